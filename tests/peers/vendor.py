#!/usr/bin/env python3
"""Every message of a transcript through the vendor's own models (PyPI: simplyprint-ws-client, pre-release).

    vendor.py TRANSCRIPT.jsonl …

The envelope goes through the library's message class of its type; the data through its state model where the
library has one, and no member may be unknown to that model.
"""
import json
import sys
from typing import get_args

from simplyprint_ws_client.core import state
from simplyprint_ws_client.core.ws_protocol import messages

# Types that other public clients send and the library does not know (it has no answer for these demands).
BEYOND = {"gcode_executed", "term_update", "power_controller", "profile_saved", "peripheral", "peripheral_definitions"}
# The model that a message's data is made from, and members that the library adds itself.
MODELS = {
    "job_info": (state.JobInfoState, {"job_id"}),
    "file_progress": (state.FileProgressState, {"job_id"}),
    "machine_data": (state.PrinterInfoState, set()),
    "cpu_info": (state.CpuInfoState, set()),
    "filament_sensor": (state.PrinterFilamentSensorState, set()),
}
INSIDE = {
    "notification": ("events", state.NotificationEvent),
    "objects": ("objects", state.JobObjectEntry),
}


def classes():
    found, todo = {}, [messages.ClientMsg]
    while todo:
        for sub in todo.pop().__subclasses__():
            todo.append(sub)
            annotation = sub.model_fields["type"].annotation
            for word in get_args(annotation):
                found[str(getattr(word, "value", word))] = sub
    return found


def check(message, known):
    kind, data = message["type"], message.get("data")
    if kind in BEYOND:
        return
    cls = known.get(kind)
    assert cls is not None, f"the vendor knows no type {kind}"
    # The library's classes are made to send: validated without their own constructor.
    base = messages.Msg[cls.model_fields["type"].annotation, dict | None]
    base.model_validate({"data": None, **message})
    if kind in MODELS:
        model, beside = MODELS[kind]
        rest = {key: value for key, value in data.items() if key not in beside}
        unknown = set(rest) - set(model.model_fields)
        assert not unknown, f"{kind}: members unknown to the vendor: {unknown}"
        model.model_validate(rest)
    if kind in INSIDE:
        key, model = INSIDE[kind]
        for entry in data[key]:
            unknown = set(entry) - set(model.model_fields)
            assert not unknown, f"{kind}: members unknown to the vendor: {unknown}"
            if kind == "objects" or "issued_at" in entry:
                model.model_validate(entry)
    if kind == "state_change":
        state.PrinterStatus(data["new"])


def main():
    known, counts, wrong = classes(), {}, 0
    for path in sys.argv[1:]:
        with open(path, encoding="utf-8") as f:
            for number, line in enumerate(f, 1):
                row = json.loads(line)
                if row["dir"] != "in":
                    continue
                kind = row["msg"].get("type")
                try:
                    check(row["msg"], known)
                    counts[kind] = counts.get(kind, 0) + 1
                except Exception as e:  # noqa: BLE001 - all of them are told
                    wrong += 1
                    print(f"{path}:{number}: {kind}: {str(e)[:300]}")
    print(f"the vendor's models: {sum(counts.values())} messages of {len(counts)} types parsed, {wrong} not")
    assert counts, "there was nothing to parse"
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
