#!/usr/bin/env python3
"""layerd against a simulated Bambu Lab printer.

    bambu.py LAYERD [--rig BAMBU_SIM.py] [CASE …] [--short] [--transcripts DIR]

The printer is the rig, which was proved with clients of other people, or else layerd's own
`simulate bambu`. Each case starts a printer and a daemon of its own, works through the command line as
a person would, and looks at what the printer *received and did*. The last line is "N passed, N failed".
"""
import argparse
import base64
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
import zipfile

from cases import PATIENCE, run_cases
from harness import Case

PREFIX = {"X1C": "00M", "P1S": "01P", "A1": "039", "A1MINI": "030", "H2D": "094"}
NEXT = itertools.count(2)  # `next` of it is one step: cases run beside each other


def project(path, layers=12, minutes=720):
    """A small sliced project: two plates with three objects each, ids 104, 121, 138 and 204, 221, 238.

    By its own words it takes half a day, so that no case is a race with its end.
    """
    plates = []
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("3D/3dmodel.model", '<?xml version="1.0"?><model unit="millimeter"><resources/><build/></model>')
        for plate in (1, 2):
            ids = [plate * 100 + 4 + 17 * n for n in range(3)]
            lines = ["; HEADER_BLOCK_START", f"; total layer number: {layers}", "; model label id: " + ",".join(map(str, ids)),
                     "; HEADER_BLOCK_END", "; CONFIG_BLOCK_START", "; CONFIG_BLOCK_END", "; EXECUTABLE_BLOCK_START",
                     "M140 S55", "G28", "M190 S55", "M109 S220", "M83"]
            for layer in range(1, layers + 1):
                z = round(0.2 * layer, 2)
                lines += ["; CHANGE_LAYER", f"; Z_HEIGHT: {z}", "; LAYER_HEIGHT: 0.2", f"M73 L{layer}", f"G1 Z{z} F600"]
                for n, number in enumerate(ids):
                    mask = base64.b64encode((1 << n).to_bytes(8, "little")).decode()
                    x = 20 + 40 * n
                    lines += [f"; start printing object, unique label id: {number}", f"M624 {mask}", f"G1 X{x} Y20 F9000",
                              f"G1 X{x + 30} E.9", "G1 Y50 E.9", f"G1 X{x} E.9", "G1 Y20 E.9",
                              f"; stop printing object, unique label id: {number}", "M625"]
            archive.writestr(f"Metadata/plate_{plate}.gcode", "\n".join(lines + ["M104 S0", "M140 S0", "; EXECUTABLE_BLOCK_END", ""]))
            objects = "".join(f'<object identify_id="{i}" name="part {n}" skipped="false"/>' for n, i in enumerate(ids))
            plates.append(f'<plate><metadata key="index" value="{plate}"/><metadata key="prediction" value="{minutes * 60}"/>'
                          f'<metadata key="label_object_enabled" value="true"/>{objects}'
                          '<filament id="1" tray_info_idx="GFA00" type="PLA" color="#FFFFFF" used_m="1.78" used_g="5.31"/></plate>')
        archive.writestr("Metadata/slice_info.config", f'<?xml version="1.0" encoding="UTF-8"?><config>{"".join(plates)}</config>')


class Bambu(Case):
    """A simulated printer on the network instead of a serial one."""

    def __init__(self, name, binary, sim, model="P1S", transcripts=None, rig_words=(), code="12345678", serial=None, settings=""):
        super().__init__(name, binary, None, transcripts=transcripts)
        self.sim, self.model, self.rig_words = sim, model, list(rig_words)
        self.code, self.settings = code, settings
        self.true_serial = PREFIX[model] + "00A000000001"
        self.serial = serial or self.true_serial
        pid = os.getpid()
        self.host = f"127.{pid >> 8 & 63 | 64}.{pid & 255}.{next(NEXT)}"
        self.gcode = self.path("sample.gcode.3mf")
        project(self.gcode)
        self.told = {}

    def __enter__(self):
        try:
            self.plug_in()
            with open(self.path("layerd.toml"), "w") as f:
                f.write(f'[agent]\nstate_dir = "{self.path("state")}"\nruntime_dir = "{self.path("run")}"\n[api]\nlisten = []\n'
                        f'[printer.p]\ndriver = "bambu"\nhost = "{self.host}"\nserial = "{self.serial}"\naccess_code = "{self.code}"\n'
                        f'mqtt_port = {self.told["mqtt"]}\nftps_port = {self.told["ftps"]}\n{self.settings}\n')
            os.chmod(self.path("layerd.toml"), 0o600)
            self.start_daemon()
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        return self

    def plug_in(self):
        os.makedirs(self.path("card"), exist_ok=True)
        if self.sim:
            words = ["serve", "--model", self.model, "--host", self.host, "--root", self.path("card"), "--ftp-port", "9990",
                     "--print-scale", "1.5", "--max-seconds", "900", *self.rig_words]
            command = [sys.executable, self.sim, *words]
        else:
            words = ["simulate", "bambu", "--model", self.model, "--host", self.host, *([] if "--speed" in self.rig_words else ["--speed", "20"]),
                     "--mqtt-port", str(self.told.get("mqtt", 0)), "--ftps-port", str(self.told.get("ftps", 0)), *self.rig_words]
            command = [self.binary, "--json", *words]
        self.rig_log = open(self.path("rig.log"), "a")
        self.printer = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.rig_log, text=True)
        line = self.printer.stdout.readline()
        assert line.startswith("{"), f"the printer did not start: {open(self.path('rig.log')).read()[-400:]}"
        told = json.loads(line)
        ports = told.get("ports", told)
        self.told = {"mqtt": ports.get("mqtt") or ports["mqtt_port"], "ftps": ports.get("ftps") or ports.get("ftp") or ports["ftps_port"]}
        self.ctl = f"http://{self.host}:{ports.get('ctl', 8099)}"
        self.note(f"printer plugged in: {' '.join(words)}: {line.strip()}")

    def __exit__(self, kind, error, trace):
        super().__exit__(kind, error, trace)
        for stream in (self.printer.stdin, self.printer.stdout, self.rig_log) if self.printer else ():
            stream.close()

    def ask(self, path, body=None):
        """The rig's control port."""
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(self.ctl + path, data=data), timeout=20) as answer:
            return json.load(answer)

    def type(self, words):
        """A word typed to our own stand-in."""
        self.printer.stdin.write(words + "\n")
        self.printer.stdin.flush()
        answer = json.loads(self.printer.stdout.readline())
        assert "error" not in answer, answer
        return answer

    def truth(self):
        if not self.sim:
            return self.type("state")
        state = self.ask("/state")
        return state.get("print", state)

    def received(self, command):
        if not self.sim:
            return [body for body in self.type("log") if body.get("command") == command]
        log = self.ask("/log")
        return [e["body"] for e in log.get("requests", log.get("log", [])) if e.get("command") == command]

    def api(self, path, body):
        """The daemon's own interface, through its socket."""
        socket = self.path("run") + "/layerd.sock"
        done = subprocess.run(["curl", "-sS", "-m", "60", "--unix-socket", socket, "-H", "Content-Type: application/json",
                               "-d", json.dumps(body), f"http://layerd/0/{path}"], capture_output=True, text=True, check=True)
        answer = json.loads(done.stdout)
        assert answer.get("status") is True, answer
        return answer

    def inject(self, **news):
        """Faults, or what a person does at the screen."""
        if self.sim:
            return self.ask("/inject", news)
        if "pause" in news:
            news = {"gcode_state": "PAUSE", "stg_cur": news["pause"]}
        for key, value in news.items():
            self.type(f"set {key} {json.dumps(value)}")

    def drop(self):
        self.ask("/drop", {}) if self.sim else self.type("drop")

    def reboot(self):
        self.ask("/reboot", {"seconds": 3}) if self.sim else self.type("restart")

    def card(self, there):
        self.ask("/inject", {"sdcard": there}) if self.sim else self.type("card " + ("on" if there else "off"))

    def change_certificate(self):
        """Another key at the same address."""
        self.printer.terminate()
        self.printer.wait(10)
        shutil.rmtree(self.path("card-certs"), ignore_errors=True)
        self.plug_in()

    def truly(self, what, seconds=20):
        end = time.monotonic() + seconds * PATIENCE
        while True:
            seen = self.truth()
            if what(seen):
                return seen
            assert time.monotonic() < end, f"the printer never came to it: {json.dumps(seen)[:900]}\n{self.log_tail()}"
            time.sleep(0.1)


def whole_way(case):
    """Connect, status, upload, start, pause, resume, skip, speed, light, G-code, stop: both views compared."""
    with case:
        # Which version it is comes by a question of its own.
        seen = case.until(lambda s: s["firmware"]["version"], state="operational")
        assert "objects.skip" in seen["capabilities"]["supported"], seen["capabilities"]
        assert abs(seen["temps"]["bed"]["actual"] - 23) < 4, seen["temps"]
        assert ("chamber" in seen["temps"]) == (case.model in ("X1C", "H2D")), seen["temps"]
        if case.model == "H2D":
            assert "tool1" in seen["temps"], seen["temps"]
        slots = {(m["nozzle"], m["position"]): m for m in seen["materials"]}
        assert slots[0, 0]["material"] == "PLA" and slots[0, 0]["unit_kind"].startswith("bambu_ams"), seen["materials"]
        assert slots[0, 256]["unit_kind"] == "virtual", seen["materials"]
        case.layerd("print", "p", case.gcode, ok=0)
        start = case.received("project_file")
        assert len(start) == 1, start
        assert start[0]["param"] == "Metadata/plate_1.gcode" and start[0]["use_ams"] is True, start
        assert start[0]["ams_mapping"] == [0], start
        assert case.truth()["subtask_id"] == start[0]["subtask_id"] != "0"
        if case.sim:  # our own refuses a data channel that does not
            log = case.ask("/log")
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
        if case.sim:
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


def plates(case):
    """Another plate than the first: its program, its objects, also after the daemon was killed."""
    with case:
        case.ready()
        done = case.layerd("print", "p", case.gcode, "--plate", "3", ok=4)
        assert "no sliced plate 3" in done.stderr and "1, 2" in done.stderr, done.stderr
        assert not case.received("project_file")
        case.layerd("print", "p", case.gcode, "--plate", "2", ok=0)
        assert case.received("project_file")[0]["param"] == "Metadata/plate_2.gcode", case.received("project_file")
        case.until(lambda s: True, 60, state="printing")
        assert "221" in case.layerd("skip", "p", "121", ok=4).stderr, "an object of the first plate"
        case.layerd("skip", "p", "221", ok=0)
        case.end_daemon(signal.SIGKILL)
        case.start_daemon()
        case.until(lambda s: s["link"]["up"] and s["job"] and s["job"]["skipped"] == [221], 30, state="printing")
        case.layerd("skip", "p", "238", ok=0)
        assert case.truth()["s_obj"] == [221, 238], case.truth()["s_obj"]
        asked = len(case.received("pushall"))
        case.api("printers/actions/RefreshMaterialData?pid=" + str(case.status()["id"]), {"layerd": {"wait": True}})
        assert len(case.received("pushall")) == asked + 1
        assert case.status()["materials"][0]["material"] == "PLA", case.status()["materials"]
        case.layerd("cancel", "p", ok=0)


def plain_gcode(case):
    """A .gcode file: wrapped where nothing is said, or started by its path."""
    with case:
        case.ready()
        plain = case.path("cube.gcode")
        with open(plain, "w") as f:
            f.write("M140 S55\nM104 S220\nG28\n" + "G1 X10 Y10 E1\n" * 50)
        case.layerd("print", "p", plain, ok=0)
        if "as_is" in case.settings:
            assert case.received("gcode_file")[0]["param"].startswith("/cube-"), case.received("gcode_file")
            assert not case.received("project_file")
        else:
            assert case.received("project_file")[0]["url"].endswith(".gcode.3mf"), case.received("project_file")
        uid = case.until(lambda s: s["job"], 60, state="printing")["job"]["uid"]
        case.end_daemon(signal.SIGKILL)
        case.start_daemon()
        case.until(lambda s: s["link"]["up"] and s["job"] and s["job"]["uid"] == uid, 30, state="printing")
        case.layerd("cancel", "p", ok=0)
        case.until(lambda s: s["job"] is None, 20, state="operational")


def finishes(case):
    """A print to its end, another one behind it: one start each."""
    project(case.gcode, minutes=24)
    with case:
        case.ready()
        case.layerd("print", "p", case.gcode, "--follow", ok=0, timeout=200)
        assert case.truth()["gcode_state"] == "FINISH"
        case.layerd("print", "p", case.gcode, "--slots", "9", ok=5)
        case.until(lambda s: s["job"] is None, 20, state="operational")
        case.layerd("print", "p", case.gcode, "--skip", "104", "--slots", "1", ok=0)
        assert case.received("project_file")[-1]["ams_mapping"] == [1], case.received("project_file")[-1]
        case.truly(lambda t: t["s_obj"] == [104], 60)
        case.layerd("cancel", "p", ok=0)
        assert len(case.received("project_file")) == 2


def link_and_restart(case):
    """Cut connection, killed daemon, rebooted printer: the same job, then its loss said once."""
    with case:
        case.ready()
        case.layerd("print", "p", case.gcode, ok=0)
        uid = case.until(lambda s: s["job"], 60, state="printing")["job"]["uid"]
        case.drop()
        case.until(lambda s: not s["link"]["up"], 10)
        case.until(lambda s: s["link"]["up"] and s["job"]["uid"] == uid, 30, state="printing")
        case.end_daemon(signal.SIGKILL)
        case.start_daemon()
        case.until(lambda s: s["link"]["up"] and s["job"] and s["job"]["uid"] == uid, 30, state="printing")
        case.layerd("pause", "p", ok=0)
        case.layerd("resume", "p", ok=0)
        case.reboot()
        case.until(lambda s: s["link"]["up"] and s["job"] is None, 60, state="operational")
        assert any("does not know" in n["title"] for n in case.status()["notices"]), case.status()["notices"]
        assert len(case.received("project_file")) == 1


def crowded(case):
    """Others take the printer's few places again and again: told as such, and the print is not touched."""
    def connections():
        return len(case.received("get_version"))

    with case:
        case.ready()
        case.layerd("print", "p", case.gcode, ok=0)
        uid = case.until(lambda s: s["job"], 60, state="printing")["job"]["uid"]
        for turn in range(3):
            before = connections()
            case.drop()
            if turn < 2:
                end = time.monotonic() + 30 * PATIENCE
                while connections() == before:
                    assert time.monotonic() < end, "layerd does not come back\n" + case.log_tail()
                    time.sleep(0.1)
        seen = case.until(lambda s: ((s.get("link") or {}).get("why") or {}).get("code") == "bambu/crowded", 15)
        assert seen["job"]["uid"] == uid, "the print goes on"
        case.until(lambda s: s["link"]["up"] and s["job"]["uid"] == uid, 30, state="printing")
        assert len(case.received("project_file")) == 1
        case.layerd("cancel", "p", ok=0)


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


def cancels(case):
    """Before the file is there, while it heats, prints, pauses, is paused, resumes: ended at the printer, nothing stays hot."""
    def over():
        case.truly(lambda t: t["gcode_state"] in ("IDLE", "FAILED") and t["nozzle_target_temper"] == t["bed_target_temper"] == 0)
        case.until(lambda s: s["job"] is None, 20, state="operational")

    with case:
        case.ready()
        case.layerd("cancel", "p", ok=4)
        if case.sim:
            with zipfile.ZipFile(case.gcode, "a") as archive:
                archive.writestr("Metadata/pad.bin", os.urandom(1_000_000))
            case.ask("/set", {"ftp_rate": 20_000})
            case.layerd("print", "p", case.gcode, "--no-wait", ok=0)
            case.until(lambda s: True, 20, state="downloading")
            case.layerd("cancel", "p", ok=0, timeout=60)
            over()
            assert not case.received("project_file"), "started behind its cancel"
            case.ask("/set", {"ftp_rate": 0})
            project(case.gcode)
        case.layerd("print", "p", case.gcode, ok=0)
        seen = case.truly(lambda t: t["gcode_state"] == "RUNNING" and t["bed_target_temper"] > 0)
        assert seen["bed_temper"] < seen["bed_target_temper"] - 5, f"it is warm already: {seen['bed_temper']}"
        case.layerd("cancel", "p", ok=0)
        over()
        case.layerd("print", "p", case.gcode, ok=0)
        case.until(lambda s: True, 60, state="printing")
        case.layerd("pause", "p", ok=0)
        case.layerd("cancel", "p", ok=0)
        over()
        for before in ((), ("pause",), ("resume",)):
            case.layerd("print", "p", case.gcode, ok=0)
            case.until(lambda s: True, 60, state="printing")
            if before == ("resume",):
                case.layerd("pause", "p", ok=0)
            for verb in before:
                case.layerd(verb, "p", "--no-wait", ok=0)
            case.layerd("cancel", "p", ok=0)
            over()
        case.layerd("cancel", "p", ok=4)
        assert (len(case.received("project_file")), len(case.received("stop"))) == (5, 5)


def gcode(case):
    """What is sent arrives as it was sent, or is refused and does not arrive."""
    with case:
        case.ready()
        case.layerd("send", "p", "M104 S60", "M140 S40", ok=0)
        case.truly(lambda t: (t["nozzle_target_temper"], t["bed_target_temper"]) == (60, 40))
        case.layerd("send", "p", "M104 S0", "M140 S0", ok=0)
        case.truly(lambda t: (t["nozzle_target_temper"], t["bed_target_temper"]) == (0, 0))
        case.layerd("print", "p", case.gcode, ok=0)
        # Until it is warm the printer's own program may set what is tuned.
        case.until(lambda s: (s["job"]["layer"] or 0) >= 1, 60, state="printing")
        before = len(case.received("gcode_line"))
        case.layerd("send", "p", "M104 S61", ok=4)
        case.layerd("send", "--tune", "p", "G28", ok=4)
        assert len(case.received("gcode_line")) == before, "what was refused was sent"
        case.layerd("send", "--tune", "p", "M104 S215", ok=0)
        case.truly(lambda t: t["nozzle_target_temper"] == 215)
        case.layerd("cancel", "p", ok=0)


def estop(case):
    """The hardest stop that they know: ended, both heaters off, at once."""
    with case:
        case.ready()
        case.layerd("print", "p", case.gcode, ok=0)
        case.until(lambda s: True, 60, state="printing")
        began = time.monotonic()
        case.layerd("estop", "p", ok=0, timeout=20)
        assert time.monotonic() - began < 5, "an emergency stop waits for nothing"
        case.truly(lambda t: t["gcode_state"] == "FAILED" and t["nozzle_target_temper"] == t["bed_target_temper"] == 0)
        case.until(lambda s: s["job"] is None, 20)
        off = [line for body in case.received("gcode_line") for line in body["param"].split("\n")]
        assert any(line.startswith("M104") for line in off) and "M140 S0" in off, off


def outside(case):
    """A print that a person began at its screen: seen under its name, and ended where we are asked to."""
    with case:
        case.ready()
        case.inject(subtask_name="by hand", gcode_file="by hand.gcode.3mf", subtask_id="0", task_id="0", stg_cur=0, mc_percent=40,
                    gcode_state="RUNNING")
        seen = case.until(lambda s: s["job"] is not None, 20, state="printing")
        assert seen["job"]["outside"] and "by hand" in seen["job"]["file"], seen["job"]
        case.layerd("print", "p", case.gcode, ok=4)
        case.layerd("cancel", "p", ok=0)
        case.truly(lambda t: t["gcode_state"] == "FAILED")
        case.until(lambda s: s["job"] is None, 20, state="operational")
        assert not case.received("project_file")


def stopped(case):
    """A stop of the service leaves the print alone; the next one knows it again and may end it."""
    with case:
        case.ready()
        case.layerd("print", "p", case.gcode, ok=0)
        uid = case.until(lambda s: s["job"], 60, state="printing")["job"]["uid"]
        case.end_daemon(signal.SIGTERM)
        assert case.daemon.returncode == 0, case.log_tail()
        assert case.truth()["gcode_state"] in ("PREPARE", "RUNNING"), case.truth()["gcode_state"]
        case.start_daemon()
        case.until(lambda s: s["link"]["up"] and s["job"] and s["job"]["uid"] == uid, 30, state="printing")
        assert len(case.received("project_file")) == 1 and not case.received("pause") and not case.received("stop")
        case.layerd("cancel", "p", ok=0)
        case.truly(lambda t: t["gcode_state"] == "FAILED")


def no_reports(case):
    """It is there and tells nothing any more: asked again, then said; the print is the same."""
    with case:
        case.ready()
        case.layerd("print", "p", case.gcode, ok=0)
        uid = case.until(lambda s: s["job"], 60, state="printing")["job"]["uid"]
        asked = len(case.received("start"))
        case.ask("/silence", {"seconds": 600})
        end = time.monotonic() + 90 * PATIENCE
        while len(case.received("start")) == asked:
            assert time.monotonic() < end, "nobody asked what it is at\n" + case.log_tail()
            time.sleep(0.2)
        case.until(lambda s: s["link"]["up"] and s["temps"]["bed"]["age_ms"] < 3000 and s["job"]["uid"] == uid, 60, state="printing")
        case.layerd("pause", "p", ok=0)
        case.layerd("cancel", "p", ok=0)
        assert len(case.received("project_file")) == 1


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
        case.inject(hms=[{"attr": 50331904, "code": 65543}])
        case.until(lambda s: any("0300_0100_0001_0007" in n["title"] for n in s["notices"]), 10)
        case.inject(hms=[])
        case.until(lambda s: not any("0300_0100" in n["title"] for n in s["notices"]), 10)
        if case.sim:
            for raw in (b'{"print":{"command":"push_status","msg":1,"subtask_name":"gr\xfc\xdfe"}}', b'{"print":{"comm', b"\x00\xff", b'{"print":[]}'):
                case.ask("/raw", {"b64": base64.b64encode(raw).decode()})
            case.ask("/raw", {"b64": base64.b64encode(b'{"print":{"x":"' + b"y" * 2_000_000 + b'"}}').decode()})
            case.until(lambda s: any("too large" in n["title"] for n in s["notices"]), 10)
        case.layerd("print", "p", case.gcode, ok=0)
        case.until(lambda s: True, 60, state="printing")
        case.inject(pause=6)
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


def discover(case):
    """Without an access code: by its announcements, by its address; `check` tells a wrong serial number."""
    with case:
        case.ready()
        for words in ([case.host], []):
            told = json.loads(case.layerd("--json", "discover", *words, ok=0).stdout)
            mine = [f for f in told if f["driver"] == "bambu" and case.host in f["config"]]
            assert len(mine) == 1 and f'serial = "{case.true_serial}"' in mine[0]["config"], told
        case.end_daemon(signal.SIGTERM)
        case.layerd("check", ok=0)
        with open(case.path("layerd.toml")) as f:
            text = f.read()
        with open(case.path("layerd.toml"), "w") as f:
            f.write(text.replace(case.true_serial, "01P00A00000000X"))
        done = case.layerd("check", ok=1)
        assert "another printer" in done.stdout + done.stderr and case.true_serial in done.stdout + done.stderr, done


def another_address(case):
    """The router gives the printer another address: it is found again by its announcements."""
    with case:
        case.ready()
        case.printer.terminate()
        case.printer.wait(10)
        case.until(lambda s: not s["link"]["up"], 20)
        case.host = case.host.rsplit(".", 1)[0] + ".250"
        case.plug_in()
        case.until(lambda s: s["link"]["up"], 90, state="operational")
        case.layerd("print", "p", case.gcode, ok=0)
        assert len(case.received("project_file")) == 1


def slow_upload(case):
    """A file that needs longer than any start may take without one: as long as bytes move it goes on."""
    with case:
        case.ready()
        with zipfile.ZipFile(case.gcode, "a") as archive:
            archive.writestr("Metadata/pad.bin", os.urandom(6_000_000))
        case.ask("/set", {"ftp_rate": 25_000})
        case.layerd("print", "p", case.gcode, ok=0, timeout=400)
        assert len(case.received("project_file")) == 1


def changed_certificate(case):
    with case:
        case.ready()
        case.change_certificate()
        case.until(lambda s: any("another certificate" in n["title"] for n in s["notices"]), 40)
        case.layerd("cancel", "p", ok=4)
        assert not case.received("get_version") and not case.received("stop"), "something was sent to an unknown key"
        case.layerd("trust", "p", ok=0)
        case.until(lambda s: s["link"]["up"], 40, state="operational")


def bad_upload(case):
    """Cut upload, missing card: nothing started, words that tell them apart."""
    with case:
        case.ready()
        if case.sim:
            with zipfile.ZipFile(case.gcode, "a") as archive:
                archive.writestr("Metadata/pad.bin", os.urandom(300_000))
            case.ask("/set", {"ftp_cut": 65_536})
            done = case.layerd("print", "p", case.gcode)
            assert done.returncode in (1, 5) and "did not reach" in done.stderr + done.stdout, (done.returncode, done.stderr)
            case.ask("/set", {"ftp_cut": 0})
        case.card(False)
        case.until(lambda s: s["job"] is None, 10, state="operational")
        # The printer tells that its card is gone with its next report: until then the upload finds out.
        done = case.layerd("print", "p", case.gcode)
        assert done.returncode in (4, 5) and "card" in done.stderr + done.stdout, (done.returncode, done.stderr)
        assert not case.received("project_file")
        if case.sim:
            assert not [f for f in os.listdir(case.path("card")) if f.endswith(".3mf")], "half a file was left"
        case.card(True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("layerd")
    parser.add_argument("cases", nargs="*")
    parser.add_argument("--rig")
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--jobs", type=int, default=3, help="cases at once")
    parser.add_argument("--transcripts")
    given = parser.parse_intermixed_args()
    binary = os.path.abspath(given.layerd)
    rig = given.rig and os.path.abspath(given.rig)
    if given.transcripts:
        os.makedirs(given.transcripts, exist_ok=True)

    cases = {}

    def add(name, work, model="P1S", *words, **more):
        cases[name] = (work, model, words, more)

    strict = ("--strict-fields",) if rig else ()
    for model in ("P1S", "X1C", "A1MINI", "H2D"):
        add(f"way-{model}", whole_way, model, *strict)
    add("link-and-restart", link_and_restart)
    add("link-and-restart-H2D", link_and_restart, "H2D")
    add("finishes", finishes, "P1S", *(("--print-scale", "12") if rig else ("--speed", "60")))
    add("plates", plates, "X1C")
    add("plain-gcode", plain_gcode)
    if not rig:  # which answers as an A1 does: refused
        add("plain-gcode-as-it-is", plain_gcode, settings='plain_gcode = "as_is"')
    for model in ("H2D", "P1S"):
        add(f"refused-{model}", refused, model, "--no-dev-mode" if rig else "--no-developer-mode")
    add("cancels", cancels, "P1S", "--speed", "4")
    add("gcode", gcode)
    add("estop", estop)
    add("outside", outside)
    add("stopped", stopped)
    if rig:
        add("no-reports", no_reports)
    add("silent", silent, "P1S", *(("--no-dev-mode", "--refusal", "silent") if rig else ("--silent",)))
    add("trouble", trouble)
    add("crowded", crowded)
    add("wrong-code", wrong_code, code="00000000")
    add("wrong-serial", wrong_serial, serial="01P00A00000000X")
    add("changed-certificate", changed_certificate)
    add("bad-upload", bad_upload)
    if rig:
        add("discover", discover, "P1S", "--detect", "3000", "--ssdp", "127.0.0.1:2021")
        add("another-address", another_address, "P1S", "--ssdp", "127.0.0.1:2021")
        add("slow-upload", slow_upload)
        add("refused-bare", refused, "A1MINI", "--no-dev-mode", "--refusal", "bare")
    if rig and shutil.which("mosquitto"):
        for model in ("P1S", "X1C", "A1MINI", "H2D"):
            add(f"mosquitto-{model}", whole_way, model, "--broker", "mosquitto")
    ways = [name for name in cases if name.startswith(("way-", "mosquitto-"))] if rig else ["way-P1S", "way-H2D", "crowded"]
    short = [*ways, "link-and-restart", "refused-P1S", "silent", "trouble", "wrong-serial", "changed-certificate", "bad-upload"]
    wanted = [name for name in given.cases or (short if given.short else cases) if name in cases]
    for name in set(given.cases) - set(wanted):
        print(f"no case {name}" + ("" if rig else " without the rig"), flush=True)

    def run(name):
        work, model, words, more = cases[name]
        work(Bambu(name, binary, rig, model, given.transcripts, words, **more))

    # Those that listen at the one port of the announcements come one by one.
    alone = [name for name in wanted if "--ssdp" in cases[name][2]]
    sys.exit(not run_cases(wanted, run, given.jobs, alone))


main()
