#!/usr/bin/env python3
"""Judges announcements by Home Assistant's own code:  announcements.py fixtures/mqtt/homeassistant.json

Each goes through the schema of its component, as a discovered one would; each template is rendered by Home Assistant's
template environment, once with everything known and once with nothing known. The last line is "N passed, N failed".
"""
import asyncio
import importlib
import json
import logging
import re
import sys
import tempfile
import time

# The camera component tells at length that a library for smaller pictures is not here.
logging.disable(logging.CRITICAL)
from homeassistant.components.mqtt.schemas import MQTT_ORIGIN_INFO_SCHEMA  # noqa: E402
from homeassistant.const import __version__  # noqa: E402
from homeassistant.core import HomeAssistant  # noqa: E402
from homeassistant.helpers import frame  # noqa: E402
from homeassistant.helpers.template import TemplateEnvironment  # noqa: E402

STATE = {"state": "printing", "why": None, "since": "2026-01-01T00:00:00Z", "link": True, "can": ["pause", "cancel"], "message": "hello", "tool": 0}
JOB = {"uid": "u", "file": "cube.gcode", "percent": 12.3, "layer": 3, "layers": 50, "time_left_s": 3600, "finish": "2026-01-01T01:00:00Z"}
HEAT = {"tool0": {"actual": 209.8, "target": 210.0, "at": "x"}, "bed": {"actual": 60.0, "target": 60.0, "at": "x"}, "board": {"actual": 41.0, "target": None, "at": "x"}}
FILAMENT = {"runout": False, "sensors": {"0": "loaded"}, "slots": [{"material": "PLA"}, {"material": None}]}
KNOWN = {"state": STATE, "job": JOB, "temperatures": HEAT, "fans": {"part": 50.0}, "filament": FILAMENT,
         "notices": {"count": 1, "level": "warning", "newest": "Hot.", "open": []}, "info": {"firmware_version": "2.1"},
         "host": {"cpu_percent": 5.0, "memory_percent": 30.0, "cpu_c": 50.0, "disk_free_mb": 2000}}


def nothing(value):
    """The same with nothing known: what a host says of a printer that was never reached."""
    return {key: {} if key in ("sensors",) else [] if key in ("can", "open") else None for key in value}


def unknown(group):
    return {} if group == "temperatures" else {"sensors": {"0": "loaded"}, "slots": None, "runout": None} if group == "filament" else nothing(KNOWN[group])


async def main():
    with open(sys.argv[1]) as f:
        announcements = json.load(f)
    house = HomeAssistant(tempfile.mkdtemp())
    frame.async_setup(house)
    environment = TemplateEnvironment(house)
    render = lambda text, **values: environment.from_string(text).render(**values).strip()
    failed = 0
    for topic, body in announcements.items():
        _, component, node, name, last = topic.split("/")
        try:
            assert last == "config" and re.fullmatch(r"[A-Za-z0-9_-]+", node) and re.fullmatch(r"[A-Za-z0-9_-]+", name), topic
            module = importlib.import_module(f"homeassistant.components.mqtt.{component}")
            MQTT_ORIGIN_INFO_SCHEMA(body["origin"])
            judged = module.DISCOVERY_SCHEMA(dict(body))
            assert judged["unique_id"] == body["unique_id"]
            if template := body.get("value_template"):
                group = body["state_topic"].rsplit("/", 1)[1]
                known, none = render(template, value_json=KNOWN[group]), render(template, value_json=unknown(group))
                if component == "binary_sensor":
                    assert known in ("ON", "OFF") and none in ("ON", "OFF"), (known, none)
                elif name in ("state", "slot_1", "board_target"):
                    assert known and (name != "state" or known in body["options"])
                else:
                    assert known not in ("", "None") and none == "None", (known, none)
                if body.get("unit_of_measurement"):
                    float(known)
            for source in body.get("availability", []):
                if template := source.get("value_template"):
                    assert render(template, value_json=STATE) in ("online", "offline")
                    assert render(template, value_json=unknown("state")) == "offline"
            if template := body.get("command_template"):
                wish = json.loads(render(template, value=215.0))
                assert wish["id"].startswith("ha-") and abs(wish["at"] - time.time()) < 5 and wish["command"], wish
        except Exception as error:  # noqa: BLE001 - all mistakes in one go
            failed += 1
            print(f"FAILED {topic}: {type(error).__name__}: {error}")
    print(f"Home Assistant {__version__}: {len(announcements)} announcements")
    print(f"{len(announcements) - failed} passed, {failed} failed")
    return failed


sys.exit(asyncio.run(main()) != 0)
