#!/usr/bin/env python3
"""layerd against a simulated Bambu Lab printer that was proved with clients of other people.

    bambu.py LAYERD RIG [CASE …] [--short] [--transcripts DIR]

Each case starts the rig (bambu_sim.py) and a daemon of its own, works through the command line as a
person would, and looks at what the printer *received and did*. The last line is "N passed, N failed".
"""
import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
import zipfile

from harness import Case

PREFIX = {"X1C": "00M", "P1S": "01P", "A1": "039", "A1MINI": "030", "H2D": "094"}
NEXT = 0


class Bambu(Case):
    """The rig instead of a serial printer."""

    def __init__(self, name, binary, sim, model="P1S", transcripts=None, rig_words=(), code="12345678", serial=None, settings=""):
        global NEXT
        super().__init__(name, binary, None, transcripts=transcripts)
        NEXT += 1
        self.sim, self.model, self.rig_words = sim, model, list(rig_words)
        self.code, self.settings = code, settings
        self.true_serial = PREFIX[model] + "00A000000001"
        self.serial = serial or self.true_serial
        pid = os.getpid()
        self.host = f"127.{pid >> 8 & 63 | 64}.{pid & 255}.{NEXT + 1}"
        self.gcode = self.path("sample.gcode.3mf")
        subprocess.run([sys.executable, sim, "make-3mf", self.gcode], check=True, capture_output=True)

    def __enter__(self):
        self.plug_in()
        with open(self.path("layerd.toml"), "w") as f:
            f.write(f'[agent]\nstate_dir = "{self.path("state")}"\nruntime_dir = "{self.path("run")}"\n[api]\nlisten = []\n'
                    f'[printer.p]\ndriver = "bambu"\nhost = "{self.host}"\nserial = "{self.serial}"\naccess_code = "{self.code}"\n'
                    f'mqtt_port = {self.told["mqtt"]}\nftps_port = {self.told["ftps"]}\n{self.settings}\n')
        os.chmod(self.path("layerd.toml"), 0o600)
        self.start_daemon()
        return self

    def plug_in(self):
        os.makedirs(self.path("card"), exist_ok=True)
        words = ["serve", "--model", self.model, "--host", self.host, "--root", self.path("card"), "--ftp-port", "9990",
                 "--print-scale", "1.5", "--max-seconds", "900", *self.rig_words]
        self.log_file = open(self.path("rig.log"), "a")
        self.printer = subprocess.Popen([sys.executable, self.sim, *words], stdout=subprocess.PIPE, stderr=self.log_file, text=True)
        line = self.printer.stdout.readline()
        assert line.startswith("{"), f"the rig did not start: {open(self.path('rig.log')).read()[-400:]}"
        told = json.loads(line)
        ports = told.get("ports", told)
        self.told = {"mqtt": ports.get("mqtt", 8883), "ftps": ports.get("ftps", ports.get("ftp", 9990))}
        self.ctl = f"http://{self.host}:{ports.get('ctl', 8099)}"
        self.note(f"rig plugged in: {' '.join(words)}: {line.strip()}")

    def ask(self, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(self.ctl + path, data=data), timeout=20) as answer:
            return json.load(answer)

    def truth(self):
        state = self.ask("/state")
        return state.get("print", state)

    def received(self, command):
        log = self.ask("/log")
        return [e["body"] for e in log.get("requests", log.get("log", [])) if e.get("command") == command]

    def ftp(self):
        return self.ask("/log")

    def truly(self, what, seconds=20):
        end = time.monotonic() + seconds
        while True:
            seen = self.truth()
            if what(seen):
                return seen
            assert time.monotonic() < end, f"the printer never came to it: {json.dumps(seen)[:900]}\n{self.log_tail()}"
            time.sleep(0.1)


def whole_way(case):
    """Connect, status, upload, start, pause, resume, skip, speed, light, G-code, stop: both views compared."""
    with case:
        seen = case.ready()
        assert seen["firmware"]["version"], seen["firmware"]
        assert "objects.skip" in seen["capabilities"]["supported"], seen["capabilities"]
        assert abs(seen["temps"]["bed"]["actual"] - 23) < 3, seen["temps"]
        assert ("chamber" in seen["temps"]) == (case.model in ("X1C", "H2D")), seen["temps"]
        if case.model == "H2D":
            assert "tool1" in seen["temps"], seen["temps"]
        case.layerd("print", "p", case.gcode, ok=0)
        start = case.received("project_file")
        assert len(start) == 1, start
        assert start[0]["param"] == "Metadata/plate_1.gcode" and start[0]["use_ams"] is True, start
        assert start[0]["ams_mapping"] == [0], start
        assert case.truth()["subtask_id"] == start[0]["subtask_id"] != "0"
        log = case.ftp()
        reuse = next((v for k, v in log.items() if "reuse" in k), None)
        assert reuse and all(reuse), f"data channels did not resume TLS: {log.keys()} {reuse}"
        case.until(lambda s: s["job"]["file"].endswith("sample.gcode.3mf"), 60, state="printing")
        case.layerd("pause", "p", ok=0)
        assert case.truth()["gcode_state"] == "PAUSE" and case.status()["state"] == "paused"
        case.layerd("pause", "p", ok=4)
        case.layerd("resume", "p", ok=0)
        assert case.truth()["gcode_state"] == "RUNNING"
        case.layerd("skip", "p", "121", ok=0)
        assert case.truth()["s_obj"] == [121], case.truth()["s_obj"]
        case.until(lambda s: s["job"]["skipped"] == [121], 10)
        case.layerd("send", "--tune", "p", "M220 S124", ok=0)
        assert case.truth()["spd_lvl"] == 3
        case.layerd("send", "--tune", "p", "M355 S1", ok=0)
        lights = {l["node"]: l["mode"] for l in case.truth()["lights_report"]}
        assert lights["chamber_light"] == "on", lights
        case.layerd("send", "--tune", "p", "M106 P2 S255", ok=0)
        case.truly(lambda t: t["big_fan1_speed"] == "15")
        case.layerd("send", "p", "G28", ok=4)
        case.until(lambda s: (s["job"]["layer"] or 0) >= 1 and s["job"]["time_left_s"], 90)
        case.layerd("cancel", "p", ok=0)
        assert case.truth()["gcode_state"] == "FAILED"
        case.until(lambda s: s["job"] is None, 20, state="operational")
        assert len(case.received("project_file")) == 1, "a start was sent twice"
        for name in ("pause", "resume", "stop"):
            sent = case.received(name)
            assert len(sent) == 1 and sent[0]["param"] == "" and sent[0]["sequence_id"], (name, sent)


def finishes(case):
    """A print to its end, another one behind it: one start each."""
    with case:
        case.ready()
        case.layerd("print", "p", case.gcode, "--follow", ok=0, timeout=200)
        assert case.truth()["gcode_state"] == "FINISH"
        case.layerd("print", "p", case.gcode, "--skip", "104", ok=0)
        case.truly(lambda t: t["s_obj"] == [104], 60)
        case.layerd("cancel", "p", ok=0)
        assert len(case.received("project_file")) == 2


def link_and_restart(case):
    """Cut connection, killed daemon, rebooted printer: the same job, then its loss said once."""
    with case:
        case.ready()
        case.layerd("print", "p", case.gcode, ok=0)
        uid = case.until(lambda s: s["job"], 60, state="printing")["job"]["uid"]
        case.ask("/drop", {})
        case.until(lambda s: not s["link"]["up"], 10)
        case.until(lambda s: s["link"]["up"] and s["job"]["uid"] == uid, 30, state="printing")
        case.end_daemon(signal.SIGKILL)
        case.start_daemon()
        case.until(lambda s: s["link"]["up"] and s["job"] and s["job"]["uid"] == uid, 30, state="printing")
        case.layerd("pause", "p", ok=0)
        case.layerd("resume", "p", ok=0)
        case.ask("/reboot", {"seconds": 3})
        case.until(lambda s: s["link"]["up"] and s["job"] is None, 60, state="operational")
        assert any("does not know" in n["title"] for n in case.status()["notices"]), case.status()["notices"]
        assert len(case.received("project_file")) == 1


def refused(case):
    """Developer Mode off: said plainly, nothing started."""
    with case:
        case.ready()
        done = case.layerd("print", "p", case.gcode)
        assert done.returncode in (4, 5), done.returncode
        assert "Developer Mode" in done.stdout + done.stderr, done.stderr
        assert case.truth()["gcode_state"] == "IDLE"
        case.until(lambda s: any("takes no orders" in n["title"] for n in s["notices"]), 10)
        done = case.layerd("send", "p", "M104 S50")
        assert done.returncode == 4 and "Developer Mode" in done.stderr + done.stdout, done.stderr
        case.until(lambda s: "objects.skip" in s["capabilities"]["unsupported"], 10)


def silent(case):
    """Acknowledges nothing and does nothing: Unverified, no second start."""
    with case:
        case.ready()
        done = case.layerd("print", "p", case.gcode, timeout=120)
        assert done.returncode == 3, f"{done.returncode} {done.stderr}"
        case.until(lambda s: s["job"] is None, 20, state="operational")
        assert len(case.received("project_file")) == 1


def trouble(case):
    """Health messages, a fault with buttons, others' prints, bad bytes."""
    with case:
        case.ready()
        case.ask("/inject", {"hms": [{"attr": 50331904, "code": 65543}]})
        case.until(lambda s: any("0300_0100_0001_0007" in n["title"] for n in s["notices"]), 10)
        case.ask("/inject", {"hms": []})
        case.until(lambda s: not any("0300_0100" in n["title"] for n in s["notices"]), 10)
        import base64
        for raw in (b'{"print":{"command":"push_status","msg":1,"subtask_name":"gr\xfc\xdfe"}}', b'{"print":{"comm', b"\x00\xff", b'{"print":[]}'):
            case.ask("/raw", {"b64": base64.b64encode(raw).decode()})
        case.ask("/raw", {"b64": base64.b64encode(b'{"print":{"x":"' + b"y" * 2_000_000 + b'"}}').decode()})
        case.until(lambda s: any("too large" in n["title"] for n in s["notices"]), 10)
        case.layerd("print", "p", case.gcode, ok=0)
        case.until(lambda s: True, 60, state="printing")
        case.ask("/inject", {"pause": 6})
        seen = case.until(lambda s: any(n["title"].startswith("The print stands still") for n in s["notices"]), 20, state="paused")
        case.layerd("answer", "p", "0", ok=0)
        case.until(lambda s: not any(n["title"].startswith("The print stands") for n in s["notices"]), 20, state="printing")
        case.layerd("cancel", "p", ok=0)


def wrong_code(case):
    with case:
        case.until(lambda s: any("access code" in n["title"] for n in s["notices"]), 30)


def wrong_serial(case):
    """A mistyped serial number is told from the certificate, before the access code is sent."""
    with case:
        case.until(lambda s: any("another printer" in n["title"] for n in s["notices"]), 30)


def changed_certificate(case):
    with case:
        case.ready()
        case.printer.terminate()
        case.printer.wait(10)
        shutil.rmtree(case.path("card-certs"), ignore_errors=True)
        case.plug_in()
        case.until(lambda s: any("another certificate" in n["title"] for n in s["notices"]), 40)
        assert not case.received("get_version"), "something was sent to an unknown key"
        case.layerd("trust", "p", ok=0)
        case.until(lambda s: s["link"]["up"], 40, state="operational")


def bad_upload(case):
    """Cut upload, missing card: nothing started, words that tell them apart."""
    with case:
        case.ready()
        with zipfile.ZipFile(case.gcode, "a") as archive:
            archive.writestr("Metadata/pad.bin", os.urandom(300_000))
        case.ask("/set", {"ftp_cut": 65_536})
        done = case.layerd("print", "p", case.gcode)
        assert done.returncode in (1, 5) and "did not reach" in done.stderr + done.stdout, (done.returncode, done.stderr)
        case.ask("/set", {"ftp_cut": 0})
        case.ask("/inject", {"sdcard": False})
        case.until(lambda s: s["job"] is None, 10, state="operational")
        time.sleep(1.5)
        done = case.layerd("print", "p", case.gcode)
        assert done.returncode in (4, 5) and "card" in done.stderr + done.stdout, (done.returncode, done.stderr)
        assert not case.received("project_file")
        assert not [f for f in os.listdir(case.path("card")) if f.endswith(".3mf")], "half a file was left"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("layerd")
    parser.add_argument("rig")
    parser.add_argument("cases", nargs="*")
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--transcripts")
    given = parser.parse_args()
    binary = os.path.abspath(given.layerd)
    if given.transcripts:
        os.makedirs(given.transcripts, exist_ok=True)

    def case(name, model="P1S", *rig_words, **more):
        return Bambu(name, binary, given.rig, model, given.transcripts, rig_words, **more)

    cases = {}
    for model in ("P1S", "X1C", "A1MINI", "H2D"):
        cases[f"way-{model}"] = (whole_way, model, ("--strict-fields",), {})
    if shutil.which("mosquitto"):
        for model in ("P1S", "X1C", "A1MINI", "H2D"):
            cases[f"mosquitto-{model}"] = (whole_way, model, ("--broker", "mosquitto"), {})
    cases["finishes"] = (finishes, "P1S", ("--print-scale", "12"), {})
    cases["link-and-restart"] = (link_and_restart, "P1S", (), {})
    cases["link-and-restart-H2D"] = (link_and_restart, "H2D", (), {})
    cases["refused-H2D"] = (refused, "H2D", ("--no-dev-mode",), {})
    cases["refused-P1S"] = (refused, "P1S", ("--no-dev-mode",), {})
    cases["refused-bare"] = (refused, "A1MINI", ("--no-dev-mode", "--refusal", "bare"), {})
    cases["silent"] = (silent, "P1S", ("--no-dev-mode", "--refusal", "silent"), {})
    cases["trouble"] = (trouble, "P1S", (), {})
    cases["wrong-code"] = (wrong_code, "P1S", (), {"code": "00000000"})
    cases["wrong-serial"] = (wrong_serial, "P1S", (), {"serial": "01P00A00000000X"})
    cases["changed-certificate"] = (changed_certificate, "P1S", (), {})
    cases["bad-upload"] = (bad_upload, "P1S", (), {})
    short = ["way-P1S", "way-H2D", "refused-P1S", "wrong-serial"]
    wanted = given.cases or (short if given.short else list(cases))
    failed = 0
    for name in wanted:
        work, model, words, more = cases[name]
        began = time.monotonic()
        try:
            work(case(name, model, *words, **more))
            print(f"passed {name} ({time.monotonic() - began:.0f} s)", flush=True)
        except Exception as error:  # noqa: BLE001 - the next case is still worth running
            failed += 1
            print(f"FAILED {name}: {type(error).__name__}: {error}", flush=True)
    print(f"{len(wanted) - failed} passed, {failed} failed")
    sys.exit(failed != 0)


main()
