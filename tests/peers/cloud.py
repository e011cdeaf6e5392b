#!/usr/bin/env python3
"""layerd against a double of the SimplyPrint cloud that was written for no client in particular.

    cloud.py LAYERD DOUBLE [CASE …] [--short] [--jobs N] [--transcripts DIR]

Each case is a scenario of the double (cloud/NAME.json) with a daemon of its own and simulated printers. The
member "layerd" of a scenario is for this script: {"printers": 2, "speed": 40, "mode": "single", "config": "…",
"with": "name of a function below"}. Every rule of the double and every warning counts, but for what crossed the removal of
its printer on the wire.
"""
import argparse
import base64
import http.server
import itertools
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

from cases import PATIENCE, run_cases

HERE = os.path.dirname(os.path.abspath(__file__))
SCENARIOS = os.path.join(HERE, "cloud")
SHORT = ["first-setup", "print", "cancel", "files", "lost", "many", "notices", "single", "cloned", "camera", "power", "skip"]


class Cloud:
    """The double with one scenario, a daemon, and printers."""

    def __init__(self, name, binary, double, transcripts):
        self.name, self.binary, self.double = name, binary, double
        with open(os.path.join(SCENARIOS, name + ".json")) as f:
            self.scenario = json.load(f)
        self.own = self.scenario.pop("layerd", {})
        self.dir = tempfile.mkdtemp(prefix="layerd-cloud-")
        self.wire = os.path.join(transcripts or self.dir, name + ".jsonl")
        self.printers, self.daemon, self.server = [], None, None

    def path(self, name):
        return os.path.join(self.dir, name)

    def __enter__(self):
        speed = str(self.own.get("speed", 60))
        names = [f"p{n + 1}" for n in range(self.own.get("printers", 1))]
        for name in names:
            with open(self.path(name + ".log"), "w") as log:
                self.printers.append(subprocess.Popen([self.binary, "simulate", "marlin", "--speed", speed, "--advanced-ok",
                                                       "--link", self.path(name)], stdin=subprocess.PIPE, stdout=log, stderr=log, text=True))
        # Paths of files in the scenario are relative to where it lies.
        for spec in self.scenario.get("files", {}).values():
            if "path" in spec:
                spec["path"] = os.path.abspath(os.path.join(SCENARIOS, spec["path"]))
        self.limit = self.own.get("limit", 120) * PATIENCE
        with open(self.path("scenario.json"), "w") as f:
            json.dump({**self.scenario, "steps": [patient(step) for step in self.scenario.get("steps", [])]}, f)
        self.server = subprocess.Popen([sys.executable, self.double, "--port", "0", "--scenario", self.path("scenario.json"),
                                        "--log", self.wire, "--run-for", str(self.limit)],
                                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        line = self.server.stdout.readline()
        assert line.startswith("LISTENING "), line + self.server.stdout.read()
        self.port = int(line.split()[1])
        config = (f'[agent]\nname = "test"\nstate_dir = "{self.path("state")}"\nruntime_dir = "{self.path("run")}"\n[api]\nlisten = []\n'
                  f'[upstream.simplyprint]\nmode = "{self.own.get("mode", "multi")}"\n{self.own.get("config", "")}\n')
        self.plug = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Plug)
        self.plug.on, self.plug.switched = True, []
        threading.Thread(target=self.plug.serve_forever, daemon=True).start()
        self.eye = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Eye)
        self.eye.broken = False
        threading.Thread(target=self.eye.serve_forever, daemon=True).start()
        cameras = [f'camera = {{ {kind} = "http://127.0.0.1:{self.eye.server_port}/{kind}" }}\n' for kind in self.own.get("cameras", [])]
        for name, camera in itertools.zip_longest(names, cameras, fillvalue=""):
            config += (f'[printer.{name}]\ndriver = "marlin"\nport = "{self.path(name)}"\nbaud = 115200\nbed = [250, 220, 210]\n'
                       f'on_stop = "cancel"\n{camera}'
                       f'{self.own.get("printer", "").replace("PLUG", f"http://127.0.0.1:{self.plug.server_port}")}\n')
        with open(self.path("layerd.toml"), "w") as f:
            f.write(config)
        os.chmod(self.path("layerd.toml"), 0o600)
        self.start_daemon()
        return self

    def __exit__(self, kind, error, _):
        for process in [self.daemon, self.server, *self.printers]:
            if process and process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(40)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        for server in (self.eye, self.plug):
            server.shutdown()
            server.server_close()
        if kind:
            print(self.log_tail())
        shutil.rmtree(self.dir, ignore_errors=True)

    def start_daemon(self):
        env = dict(os.environ, SIMPLYPRINT_WS_URL=f"ws://127.0.0.1:{self.port}", SIMPLYPRINT_API_URL=f"http://127.0.0.1:{self.port}/api")
        with open(self.path("log"), "a") as log:
            self.daemon = subprocess.Popen([self.binary, "-v", "--config", self.path("layerd.toml"), "run"], env=env, stdout=log, stderr=log)

    def stop_daemon(self, how=signal.SIGTERM):
        self.daemon.send_signal(how)
        self.daemon.wait(60)

    def layerd(self, *words, timeout=120):
        return subprocess.run([self.binary, "--config", self.path("layerd.toml"), *words], capture_output=True, text=True, timeout=timeout)

    def ctl(self, what, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/_ctl/{what}", data=data)
        with urllib.request.urlopen(request, timeout=150 * PATIENCE) as answer:
            return json.load(answer)

    def rows(self):
        with open(self.wire) as f:
            return [json.loads(line) for line in f if line.endswith("\n")]

    def sent(self, kind=None):
        """What layerd has sent so far."""
        found = [row["msg"] for row in self.rows() if row["dir"] == "in"]
        return [m for m in found if kind is None or m.get("type") == kind]

    def until(self, what, seconds=30):
        end = time.monotonic() + seconds * PATIENCE
        while not (got := what()):
            assert time.monotonic() < end, "not in time\n" + self.log_tail()
            time.sleep(0.1)
        return got

    def database(self):
        return sqlite3.connect(self.path("state/layerd.db"), timeout=10)

    def doc(self, printer, upstream="simplyprint"):
        """What layerd keeps about its identity in the cloud."""
        with self.database() as db:
            found = db.execute("SELECT d.body FROM upstream_docs d JOIN printers p ON p.id = d.printer_id "
                               "WHERE p.name = ? AND d.upstream = ?", (printer, upstream)).fetchone()
        return json.loads(found[0]) if found else None

    def doc_soon(self, printer, what):
        return self.until(lambda: what(self.doc(printer)) and self.doc(printer))

    def edit(self, printer, **members):
        doc = dict(self.doc(printer), **members)
        with self.database() as db:
            db.execute("UPDATE upstream_docs SET body = ? WHERE printer_id = (SELECT id FROM printers WHERE name = ?)",
                       (json.dumps(doc), printer))

    def log_tail(self):
        with open(self.path("log")) as f:
            return "".join(f.readlines()[-25:])

    def verdict(self):
        """Waits for the end of the scenario."""
        told = self.server.communicate(timeout=self.limit + 30)[0]
        assert self.server.returncode == 0, told
        warned = json.loads(told[told.index("{"):])["problems"].get("warning", {})
        # As the double warns of it, and does not forbid it: it was on its way when the cloud removed the printer.
        assert set(warned) <= {"for-unknown"}, told
        assert self.daemon.poll() is None, "the daemon ended by itself"
        # Credentials must not be in the log.
        with open(self.path("log")) as f:
            log = f.read()
        for row in self.rows():
            message = row["msg"]
            if row["dir"] == "out" and message.get("type") == "new_token":
                assert message["data"]["token"] not in log, "a token is in the log"


def patient(step):
    """A step of the double with more time for what it waits for; ten seconds are its own word for it."""
    return {**step, "timeout": step.get("timeout", 10) * PATIENCE}


def plain(cloud):
    """The scenario says everything."""


def claimed(cloud):
    """Waits until the printer is claimed and idle."""
    cloud.until(lambda: cloud.sent("temps"))


def step(cloud, what):
    """One step of the double, now."""
    assert cloud.ctl("step", patient(what))["ok"], f"{what}: {cloud.ctl('state')['failures']}"


def lost(cloud):
    """The cloud forgets the printer: it is in set-up again and shows the new code."""
    claimed(cloud)
    known = cloud.ctl("state")["printers"][0]
    cloud.stop_daemon()
    doc = cloud.doc("p1")
    assert doc["id"] == 1234 and doc["token"] == known["token"], doc
    cloud.edit("p1", token="of-another-account")
    cloud.start_daemon()
    cloud.until(lambda: any(m["msg"]["data"].get("no_exist") for m in cloud.rows()
                            if m["dir"] == "out" and m["msg"].get("type") == "new_token"))
    # It is claimed again by the scenario, as a printer of its own.
    cloud.until(lambda: len(cloud.ctl("state")["printers"]) == 2 and len(cloud.sent("temps")) > 1)
    assert cloud.doc_soon("p1", lambda d: d["id"] == 1234)["token"] != "of-another-account"


def print_to(cloud, percent, job_id):
    step(cloud, {"file": "plate.gcode", "job_id": job_id, "auto_start": True})
    cloud.until(lambda: any((m["data"].get("progress") or 0) >= percent for m in cloud.sent("job_info")), 60)


def huge(cloud):
    """A frame of 50 MB ends the connection, not the print.

    While the double makes and sends it, it reads nothing: two messages that were a second apart come to it at once, so
    that their rate is not judged here.
    """
    claimed(cloud)
    print_to(cloud, 10, 5)
    sockets = len(cloud.sent("add_connection"))
    try:
        step(cloud, {"raw": "x" * 50_000_000})
    except urllib.error.HTTPError:
        pass  # the double is cut off in the middle of it
    cloud.until(lambda: len(cloud.sent("add_connection")) > sockets, 30)
    cloud.until(lambda: any(m["data"].get("finished") and m["data"]["job_id"] == 5 for m in cloud.sent("job_info")), 60)
    assert len([m for m in cloud.sent("job_info") if m["data"].get("started")]) == 1
    with open(f"/proc/{cloud.daemon.pid}/status") as f:
        peak_kb = int(next(line for line in f if line.startswith("VmHWM")).split()[1])
    assert peak_kb < 60_000, f"{peak_kb} kB at the peak"


def notices(cloud):
    """Filament runs out: an event with buttons; the button goes on with the print, and the event is settled."""
    claimed(cloud)
    print_to(cloud, 10, 5)
    cloud.printers[0].stdin.write("runout\n")
    cloud.printers[0].stdin.flush()

    def event():
        found = [e for m in cloud.sent("notification") for e in m["data"]["events"] if (e.get("payload") or {}).get("actions")]
        return found[-1] if found else None

    shown = cloud.until(event, 60)
    assert shown["severity"] == 2 and shown["issued_at"], shown
    # As a person does: by the words on the button.
    action = next((name for name, a in shown["payload"]["actions"].items() if "purge" not in a["label"].lower()), "button0")
    end = time.monotonic() + 60
    while not any(e.get("event_id") == shown["event_id"] and e.get("resolved_at") for m in cloud.sent("notification") for e in m["data"]["events"]):
        assert time.monotonic() < end, "never resolved\n" + cloud.log_tail()
        step(cloud, {"demand": {"demand": "resolve_notification", "event_id": shown["event_id"], "action": action, "payload": {"type": "button"}}})
        time.sleep(1)
        latest = event()
        if latest["event_id"] != shown["event_id"]:
            shown = latest
            action = next((name for name, a in shown["payload"]["actions"].items() if "purge" not in a["label"].lower()), "button0")
    step(cloud, {"demand": {"demand": "resume"}})
    cloud.until(lambda: any(m["data"].get("finished") for m in cloud.sent("job_info")), 60)


def restart(cloud):
    """Killed while a file is fetched: nothing starts, and that is said. Killed while the result waits: it is told once."""
    claimed(cloud)
    step(cloud, {"file": "slow.gcode", "job_id": 21, "auto_start": True})
    cloud.until(lambda: any(m["data"].get("percent", 0) >= 3 for m in cloud.sent("file_progress")))
    cloud.stop_daemon(signal.SIGKILL)
    cloud.start_daemon()
    cloud.until(lambda: any(m["data"].get("state") == "error" and m["data"]["job_id"] == 21 for m in cloud.sent("file_progress")), 30)
    time.sleep(2)
    assert not cloud.sent("job_info"), "something was started"
    print_to(cloud, 15, 22)
    step(cloud, {"down": 12})
    # The job ends as failed with the daemon; the cloud hears of it when it is back.
    cloud.stop_daemon(signal.SIGKILL)
    cloud.start_daemon()

    def ends():
        return [m["data"] for m in cloud.sent("job_info") if any(f in m["data"] for f in ("finished", "failed", "cancelled"))]

    cloud.until(ends, 60)
    step(cloud, {"drop": "abort"})
    cloud.until(lambda: len(cloud.sent("add_connection")) >= 4, 30)
    time.sleep(2)
    assert len(ends()) == 1 and ends()[0]["job_id"] == 22, ends()
    assert len([m for m in cloud.sent("job_info") if m["data"].get("started")]) == 1


def cloned(cloud):
    """A copied card goes to set-up; `adopt` brings the identity back."""
    claimed(cloud)
    cloud.stop_daemon()
    token = cloud.doc("p1")["token"]
    with cloud.database() as db:
        db.execute("UPDATE settings SET value = 'of-another-machine' WHERE key = 'machine'")
    cloud.start_daemon()
    cloud.until(lambda: [m for m in cloud.sent("add_connection")[1:] if m["data"]["pid"] == 0])
    cloud.until(lambda: len(cloud.ctl("state")["printers"]) == 2)
    cloud.stop_daemon()
    assert cloud.doc("p1")["token"] == token, "the old identity was touched"
    done = cloud.layerd("adopt")
    assert done.returncode == 0, done.stderr
    cloud.start_daemon()
    cloud.until(lambda: [m for m in cloud.sent("add_connection")[2:] if m["data"]["token"] == token])


class Eye(http.server.BaseHTTPRequestHandler):
    """A camera: a picture at /snapshot, a stream at anything else; the stream lies about its lengths, as many do."""
    picture = bytes.fromhex("ffd8ffe000104a46494600010100000100010000ffda0008010100003f00") + bytes(2000) + bytes.fromhex("ffd9")

    def do_GET(self):  # noqa: N802 - the name is the base class's
        if self.server.broken:
            self.send_error(503)
            return
        self.send_response(200)
        if self.path == "/snapshot":
            self.send_header("Content-Type", "image/jpeg")
            self.send_header("Content-Length", str(len(self.picture)))
            self.end_headers()
            self.wfile.write(self.picture)
            return
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=eye")
        self.end_headers()
        try:
            for _ in range(100):
                self.wfile.write(b"--eye\r\nContent-Type: image/jpeg\r\nContent-Length: 7\r\n\r\n" + self.picture + b"\r\n")
                time.sleep(0.1)
        except OSError:
            pass  # the one picture that is wanted was taken

    def log_message(self, *_):
        pass


class Plug(http.server.BaseHTTPRequestHandler):
    """A relay that speaks as Tasmota does."""

    def do_GET(self):  # noqa: N802 - the name is the base class's
        command = urllib.parse.parse_qs(urllib.parse.urlparse(self.path).query).get("cmnd", [""])[0]
        if command.endswith((" On", " Off")):
            self.server.on = command.endswith(" On")
            self.server.switched.append(self.server.on)
        body = json.dumps({"POWER": "ON" if self.server.on else "OFF"}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def power(cloud):
    """The switch obeys when the printer is cool and idle, tells how it stands, and never goes off in a print."""
    cloud.until(lambda: any(m["data"]["on"] for m in cloud.sent("power_controller")), 40)
    step(cloud, {"demand": {"demand": "psu_off"}})
    step(cloud, {"expect": {"type": "power_controller", "data": {"on": False}}, "timeout": 30})
    step(cloud, {"demand": {"demand": "psu_keepalive"}})
    step(cloud, {"expect": {"type": "power_controller", "data": {"on": True}}, "timeout": 30})
    step(cloud, {"demand": {"demand": "psu_keepalive"}})
    step(cloud, {"demand": {"demand": "refresh_peripherals"}})
    step(cloud, {"expect": {"type": "peripheral_definitions", "data": {"power:psu": {"f": "rw"}}}})
    cloud.until(lambda: any(m["data"]["new"] == "operational" for m in cloud.sent("state_change")[-1:]), 40)
    print_to(cloud, 5, 41)
    step(cloud, {"demand": {"demand": "psu_off"}})
    step(cloud, {"expect": {"type": "notification", "data": {"events": {"$has": {"payload": {"title": "Not switched."}}}}}, "timeout": 20})
    step(cloud, {"expect": {"type": "job_info", "data": {"finished": True, "job_id": 41}}, "timeout": 90})
    assert cloud.plug.switched == [False, True], cloud.plug.switched


def camera(cloud):
    """A camera that gives pictures, one that only streams, and a printer without one."""
    cloud.until(lambda: len(cloud.sent("webcam_status")) >= 2, 40)
    for n in range(2):
        step(cloud, {"demand": {"demand": "test_webcam"}, "printer": n})
        step(cloud, {"expect": {"type": "webcam_status", "data": {"connected": True}}, "printer": n})
        step(cloud, {"demand": {"demand": "webcam_snapshot", "id": f"s-{n}"}, "printer": n})
        step(cloud, {"expect_http": {"kind": "snapshot", "form": {"id": f"s-{n}", "image": {"$re": "characters"}}}})
        for _ in range(3):
            step(cloud, {"demand": {"demand": "webcam_snapshot", "timer": 300}, "printer": n})
            step(cloud, {"expect": {"type": "stream"}, "printer": n})
            step(cloud, {"send": {"type": "stream_received"}, "printer": n})
    # The double keeps of a picture only how long it was.
    size = len(base64.b64encode(Eye.picture))
    pictures = [m["data"]["base"] for m in cloud.sent("stream")]
    assert all(picture == f"<{size} characters>" for picture in pictures), pictures
    step(cloud, {"demand": {"demand": "test_webcam"}, "printer": 2})
    step(cloud, {"expect": {"type": "webcam_status", "data": {"connected": False}}, "printer": 2})
    # The camera goes: that is said, and nothing else suffers.
    cloud.eye.broken = True
    step(cloud, {"demand": {"demand": "test_webcam"}, "printer": 0})
    step(cloud, {"expect": {"type": "webcam_status", "data": {"connected": False}}, "printer": 0})


def mute(cloud):
    """A cloud that takes the connection and says nothing, and one that closes at any moment: the print goes on."""
    claimed(cloud)
    print_to(cloud, 5, 6)
    for _ in range(4):
        step(cloud, {"drop": "abort", "timeout": 60})
        time.sleep(0.7)
    cloud.until(lambda: any(m["data"].get("finished") for m in cloud.sent("job_info")), 80)
    assert len([m for m in cloud.sent("job_info") if m["data"].get("finished")]) == 1


def run(name, binary, double, transcripts):
    with Cloud(name, binary, double, transcripts) as cloud:
        beside = globals()[cloud.own.get("with", "plain")]
        trouble = []

        def side():
            try:
                beside(cloud)
            except BaseException as e:  # noqa: BLE001 - told by the main thread
                trouble.append(e)

        thread = threading.Thread(target=side, daemon=True)
        thread.start()
        if beside is not plain:
            # The script drives the double and says when it is over.
            thread.join(cloud.limit)
            cloud.ctl("quit", {})
        cloud.verdict()
        if trouble:
            raise trouble[0]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("layerd")
    parser.add_argument("double")
    parser.add_argument("cases", nargs="*")
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--transcripts")
    parser.add_argument("--jobs", type=int, default=3, help="cases at once")
    args = parser.parse_args()
    every = sorted(name[:-5] for name in os.listdir(SCENARIOS) if name.endswith(".json"))
    if args.transcripts:
        os.makedirs(args.transcripts, exist_ok=True)

    def case(name):
        run(name, os.path.abspath(args.layerd), os.path.abspath(args.double), args.transcripts)

    return 0 if run_cases(args.cases or (SHORT if args.short else every), case, args.jobs) else 1


if __name__ == "__main__":
    sys.exit(main())
