#!/usr/bin/env python3
"""layerd on mosquitto, seen and commanded from the broker alone.

    mqtt.py LAYERD [CASE …] [--short] [--jobs N] [--transcripts DIR]

Each case has a broker, a daemon and simulated printers of its own. The last line is "N passed, N failed".
"""
import argparse
import json
import os
import shutil
import signal
import random
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request

from cases import PATIENCE, run_cases
from mqtt_client import Client

HERE = os.path.dirname(os.path.abspath(__file__))
PLATE = os.path.join(HERE, "../../fixtures/gcode/plate.gcode")
SHORT = ["print", "outage", "kept", "leaves", "cloud-too", "encrypted", "websocket", "killed"]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Case:
    """A broker, a listener, printers and the daemon."""

    def __init__(self, name, binary, transcripts, printers=("p",), speed=60, start=True):
        self.name, self.binary, self.transcripts = name, binary, transcripts
        self.dir = tempfile.mkdtemp(prefix="layerd-mqtt-")
        self.names, self.speed, self.starts = list(printers), speed, start
        self.port, self.api = free_port(), free_port()
        self.broker = self.daemon = self.client = None
        self.others, self.ids = [], 0
        self.broker_config = f"listener {self.port} 127.0.0.1\nallow_anonymous true\n"
        self.upstream = f'url = "mqtt://127.0.0.1:{self.port}"\n'
        self.more = ""

    def path(self, name):
        return os.path.join(self.dir, name)

    def __enter__(self):
        for name in self.names:
            with open(self.path(name + ".log"), "w") as log:
                self.others.append(subprocess.Popen(
                    [self.binary, "simulate", "marlin", "--speed", str(self.speed), "--advanced-ok", "--link", self.path(name)],
                    stdin=subprocess.PIPE, stdout=log, stderr=log))
        self.prepare()
        self.start_broker()
        self.configure()
        if self.starts:
            self.start_daemon()
        return self

    def prepare(self):
        pass

    def configure(self):
        config = (f'[agent]\nname = "test"\nstate_dir = "{self.path("state")}"\nruntime_dir = "{self.path("run")}"\n'
                  f'[api]\nlisten = ["127.0.0.1:{self.api}"]\nloopback_key = false\n'
                  f'[upstream.mqtt]\n{self.upstream}full_s = 10\nreconnect_spread_s = 1\n{self.more}\n')
        for name in self.names:
            config += (f'[printer.{name}]\ndriver = "marlin"\nport = "{self.path(name)}"\nbaud = 115200\nbed = [250, 220, 210]\n'
                       f'on_stop = "cancel"\n')
        with open(self.path("layerd.toml"), "w") as f:
            f.write(config)
        os.chmod(self.path("layerd.toml"), 0o600)

    def start_broker(self):
        with open(self.path("mosquitto.conf"), "w") as f:
            f.write(self.broker_config + "log_type all\nuser root\n")
        with open(self.path("broker.log"), "a") as log:
            self.broker = subprocess.Popen(["mosquitto", "-c", self.path("mosquitto.conf")], stdout=log, stderr=log)
        self.until("the broker", self.reach)

    def reach(self):
        assert self.broker.poll() is None, open(self.path("broker.log")).read()
        try:
            self.client = Client(self.port)
            return True
        except OSError:
            return False

    def stop_broker(self):
        """Without a word, and without anything kept."""
        self.broker.kill()
        self.broker.wait()
        self.client.close()

    def start_daemon(self):
        with open(self.path("log"), "a") as log:
            self.daemon = subprocess.Popen([self.binary, "--config", self.path("layerd.toml"), "run"], stdout=log, stderr=log)

    def end_daemon(self, how=signal.SIGTERM):
        self.daemon.send_signal(how)
        self.daemon.wait(60)

    def __exit__(self, kind, error, _):
        if error and os.path.exists(self.path("log")):
            with open(self.path("log")) as f:
                print("".join(f.readlines()[-25:]), file=sys.stderr)
        for process in (self.daemon, *self.others, self.broker):
            if process and process.poll() is None:
                process.terminate()
                try:
                    process.wait(30)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        if self.transcripts:
            shutil.copytree(self.dir, os.path.join(self.transcripts, self.name), dirs_exist_ok=True,
                            ignore=shutil.ignore_patterns("state", "run", *self.names))
        shutil.rmtree(self.dir, ignore_errors=True)

    def until(self, what, done, seconds=40):
        end = time.monotonic() + seconds * PATIENCE
        while True:
            seen = done()
            if seen:
                return seen
            if time.monotonic() > end:
                heard = [(t, p[:300]) for t, p, _ in self.client.all()[-12:]] if self.client else []
                raise AssertionError(f"{what} did not come; last heard: {heard}")
            time.sleep(0.05)

    # What was heard ------------------------------------------------------------------------------------------------

    def said(self, topic):
        """Messages on a topic of this host, oldest first."""
        return [json.loads(p) for t, p, _ in self.client.all() if t == f"layerd/test/{topic}" and p]

    def level(self, topic):
        return (self.said(topic) or [{}])[-1]

    def state(self, printer="p"):
        return self.level(f"{printer}/state").get("state")

    def ready(self, printer="p"):
        self.until(f"{printer} operational", lambda: self.state(printer) == "operational")

    def ready_anew(self, printer="p"):
        """After a restart, which the broker's kept state does not tell from what was before."""
        self.until("the daemon", lambda: [p["state"] for p in self.printers() if p["upstreams"].get("mqtt", {}).get("connected")] == ["operational"])

    def events(self, printer="p"):
        return [e["event"] for e in self.said(f"{printer}/event") if e["event"].startswith("job.")]

    def kept(self):
        """What the broker keeps now."""
        # A subscription is answered with all that is kept before anything that is published after it.
        listener, end = Client(self.port, qos=0), "listener/end"
        listener.publish(end, b"")
        self.until("all that is kept", lambda: any(t == end for t, _, _ in listener.all()))
        listener.close()
        return {t: p for t, p, retained in listener.all() if retained}

    def send(self, command, printer="p", id=None, retain=False, **more):
        self.ids += 1
        id = id or f"c{self.ids}"
        self.client.publish(f"layerd/test/{printer}/command", json.dumps({"id": id, "command": command, **more}), retain)
        return id

    def results(self, id, printer="p"):
        return [r for r in self.said(f"{printer}/result") if r["id"] == id]

    def do(self, command, outcome="verified", printer="p", **more):
        id = self.send(command, printer, **more)
        result = self.until(f"the result of {command}", lambda: self.results(id, printer))[0]
        assert result["outcome"] == outcome, result
        return result

    def upload(self, path=PLATE, name="plate.gcode"):
        with open(path, "rb") as f:
            content = f.read()
        body = (b'--x\r\nContent-Disposition: form-data; name="file"; filename="' + name.encode() +
                b'"\r\nContent-Type: application/octet-stream\r\n\r\n' + content + b"\r\n--x--\r\n")
        request = urllib.request.Request(f"http://127.0.0.1:{self.api}/0/files/Upload", body,
                                         {"Content-Type": "multipart/form-data; boundary=x"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            assert json.load(answer)["status"]

    def printers(self):
        done = subprocess.run([self.binary, "--config", self.path("layerd.toml"), "--json", "printers"], capture_output=True, text=True)
        try:
            told = json.loads(done.stdout)
        except ValueError:
            return []
        # One that is not up yet is told of as an object.
        return told if isinstance(told, list) else []


def whole_print(case):
    """A print from the file to its end by MQTT alone: pause, skip, resume, results; refusals with their codes."""
    with case:
        case.ready()
        case.upload()
        assert case.do("resume", outcome="refused")["code"] == "refused/wrong-state"
        begun = case.do("start", file="plate.gcode", at=time.time())
        case.until("printing", lambda: case.state() == "printing")
        again = case.send("start", id=begun["id"], file="plate.gcode")
        assert case.do("start", outcome="refused", file="plate.gcode")["code"].startswith("refused/")
        case.do("pause")
        case.until("paused", lambda: case.state() == "paused")
        case.do("temperature", outcome="sent", heaters={"bed": 61})
        case.until("the target", lambda: case.level("p/temperatures")["bed"]["target"] == 61)
        case.do("skip", objects=["star.stl"])
        case.until("the skip", lambda: case.level("p/job")["skipped"])
        case.do("resume")
        case.until("the end", lambda: "job.done" in case.events(), 90)
        case.ready()
        events = case.events()
        told = [e for e in events if e in ("job.started", "job.paused", "job.objects_skipped", "job.resumed", "job.done")]
        assert told == ["job.started", "job.paused", "job.objects_skipped", "job.resumed", "job.done"], events
        assert len(case.results(again)) == 2 and case.results(again)[0] == case.results(again)[1], "the same answer again"
        last = case.until("the last job", lambda: case.level("p/job")["last"])
        assert (last["uid"], last["end"]) == (begun["job"]["uid"], "done"), last
        sizes = sorted(len(p) for t, p, _ in case.client.all() if t.startswith("layerd/"))
        assert sizes[-1] < 2000, sizes[-5:]


def outage(case):
    """The broker dies in mid-print and has forgotten everything when it comes back; the daemon too, once."""
    with case:
        case.ready()
        case.upload()
        case.do("start", file="plate.gcode")
        case.until("printing", lambda: case.state() == "printing")
        case.do("pause")
        case.stop_broker()
        for word, state in (("resume", "printing"), (None, "operational")):
            if word:
                subprocess.run([case.binary, "--config", case.path("layerd.toml"), word, "p"], check=True, timeout=60)
            case.until(state, lambda: [p["state"] for p in case.printers()] == [state], 90)
        case.end_daemon(signal.SIGKILL)
        case.start_daemon()
        case.until("an answer", case.printers)
        assert not case.printers()[0]["upstreams"]["mqtt"]["connected"]
        case.start_broker()
        case.until("what happened", lambda: "job.done" in case.events(), 60)
        case.ready()
        case.do("refresh_materials", outcome="refused")
        assert [e for e in case.events() if e in ("job.resumed", "job.done")] == ["job.resumed", "job.done"], case.events()
        kept = case.kept()
        assert kept["layerd/test/status"] == b"online" and "layerd/test/p/job" in kept, sorted(kept)
        assert "homeassistant/sensor/layerd_test_p/progress/config" in kept
        # The last will.
        case.end_daemon(signal.SIGKILL)
        case.until("the last will", lambda: case.client.all()[-1][:2] == ("layerd/test/status", b"offline"))


def kept_commands(case):
    """A command kept since last week, foreign messages, ten megabytes: nothing runs, and the session stays."""
    with case:
        case.send("start", id="last-week", file="plate.gcode", retain=True)
        case.client.publish("layerd/test/p/command", b"x" * 10_000_000)
        case.start_daemon()
        case.ready()
        case.upload()
        case.client.publish("layerd/test/p/command", b"\xff\xfe\x00 PRESS")
        case.client.publish("layerd/test/nobody/command", b'{"id": "n", "command": "pause"}')
        case.client.publish("layerd/test/p/command", b"y" * 10_000_000)
        case.client.publish("homeassistant/status", b"online")
        assert case.do("resume", outcome="refused", at=time.time() - 7 * 86400)["code"] == "refused/stale"
        assert case.do("resume", outcome="refused", at=time.time() + 3600)["code"] == "refused/clock"
        assert case.do("resume", outcome="refused", session="another")["code"] == "refused/stale"
        assert case.do("start", outcome="refused", url="http://169.254.169.254/x.gcode")["code"] == "refused/not-fetched"
        assert case.do("start", outcome="refused", url=f"http://127.0.0.1:{case.api}/x.gcode")["code"] == "refused/not-fetched"
        assert case.do("gcode", outcome="sent", lines=["M105"])["code"] == "ok"
        assert case.state() == "operational" and not case.events() and not case.results("last-week")
        with open(case.path("broker.log")) as f:
            assert f.read().count(" as layerd-test-") == 1, "the session ended"
        trouble = lambda: case.printers()[0]["upstreams"]["mqtt"]["trouble"]
        assert trouble() is None
        case.client.publish("layerd/test/host", json.dumps({"version": "1", "session": "of another host"}))
        case.until("a word about the other host", trouble)
        # A broker that keeps ten megabytes for us would end every session of a lesser client.
        case.client.publish("layerd/test/p/command", b"z" * 10_000_000, True)
        case.end_daemon()
        case.start_daemon()
        case.until("a new session", lambda: len([1 for t, p, _ in case.client.all() if (t, p) == ("layerd/test/status", b"online")]) >= 2)
        case.until("the printer", lambda: [p["state"] for p in case.printers()] == ["operational"])
        case.do("gcode", outcome="sent", lines=["M105"])


def leaves(case):
    """A printer leaves the configuration: by a reload, and while the daemon was stopped."""
    with case:
        case.ready("p"), case.ready("q"), case.ready("r")
        of = lambda name: {t for t in case.kept() if f"/{name}/" in t or f"_{name}/" in t}
        case.until("the announcement", lambda: len(of("p")) > 15 and len(of("q")) > 15)
        case.names = ["p", "r"]
        case.configure()
        case.daemon.send_signal(signal.SIGHUP)
        case.until("q forgotten", lambda: not of("q"))
        assert len(of("p")) > 15
        case.end_daemon()
        case.until("a goodbye", lambda: case.kept()["layerd/test/status"] == b"offline")
        case.names = ["p"]
        case.configure()
        case.start_daemon()
        case.until("r forgotten", lambda: not of("r"))
        case.ready("p")
        # Another address of the broker's section restarts this upstream and nothing else.
        case.more = "commands = false\n"
        case.configure()
        case.daemon.send_signal(signal.SIGHUP)
        case.until("no buttons", lambda: not [t for t in of("p") if t.startswith("homeassistant/button/")])
        with open(case.path("log")) as f:
            assert f.read().count("same=1") == 1, "the printer was not disturbed"


def cloud_too(case):
    """The broker dies beside a cloud that goes on, and the cloud beside a broker that goes on."""
    with case:
        port = free_port()
        cloud = subprocess.Popen([case.binary, "simulate", "cloud", "--port", str(port), "--claim-after", "0"],
                                 stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        case.others.append(cloud)
        case.more = f'[upstream.simplyprint]\nws_url = "ws://127.0.0.1:{port}"\napi_url = "http://127.0.0.1:{port}"\n'
        case.configure()
        case.start_daemon()
        stands = lambda: {name: up["connected"] for p in case.printers() for name, up in p["upstreams"].items()}
        case.until("both", lambda: stands() == {"mqtt": True, "simplyprint": True})
        case.ready()
        case.upload()
        case.do("start", file="plate.gcode")
        case.stop_broker()
        case.until("the cloud alone", lambda: stands() == {"mqtt": False, "simplyprint": True})
        case.start_broker()
        case.until("both again", lambda: stands() == {"mqtt": True, "simplyprint": True})
        cloud.kill()
        cloud.wait()
        case.until("the broker alone", lambda: stands() == {"mqtt": True, "simplyprint": False}, 90)
        case.do("cancel")
        case.until("the end", lambda: "job.cancelled" in case.events())


def secure(case):
    """TLS with certificates on both sides, a password and an access list; the same as a websocket."""
    websocket = case.name == "websocket"

    def openssl(*words):
        subprocess.run(["openssl", *words], cwd=case.dir, check=True, capture_output=True)

    def prepare():
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=test authority", "-days", "2")
        for name, names in (("server", "DNS:localhost,IP:127.0.0.1"), ("client", "DNS:test")):
            openssl("req", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
            with open(case.path("names"), "w") as f:
                f.write(f"subjectAltName={names}\n")
            openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-out", f"{name}.pem",
                    "-days", "2", "-extfile", "names")
        case.secure = free_port()
        subprocess.run(["mosquitto_passwd", "-b", "-c", case.path("passwords"), "pi", "secret word"], check=True)
        # The access list of the README.
        with open(case.path("acl"), "w") as f:
            f.write("topic readwrite #\nuser pi\ntopic readwrite layerd/test/#\ntopic write homeassistant/#\ntopic read homeassistant/status\n")
        with open(case.path("word"), "w") as f:
            f.write("secret word\n")
        case.broker_config = (
            f"per_listener_settings true\nlistener {case.port} 127.0.0.1\nallow_anonymous true\n"
            f"listener {case.secure} 127.0.0.1\nprotocol {'websockets' if websocket else 'mqtt'}\nallow_anonymous false\n"
            f"password_file {case.path('passwords')}\nacl_file {case.path('acl')}\n"
            f"cafile {case.path('ca.pem')}\ncertfile {case.path('server.pem')}\nkeyfile {case.path('server.key')}\nrequire_certificate true\n")
        scheme = "wss" if websocket else "mqtts"
        case.upstream = (f'url = "{scheme}://localhost:{case.secure}"\nuser = "pi"\npassword_file = "{case.path("word")}"\n'
                         f'ca_file = "{case.path("ca.pem")}"\ncert_file = "{case.path("client.pem")}"\nkey_file = "{case.path("client.key")}"\n')

    case.prepare = prepare
    with case:
        case.ready()
        assert case.do("gcode", outcome="sent", lines=["M105"])["code"] == "ok"
        if not websocket:
            # mosquitto 2.0 hands a large message to a websocket at 30 kB/s, and stalls at one of 10 MB.
            case.client.publish("layerd/test/p/command", b"x" * 10_000_000)
            case.do("gcode", outcome="sent", lines=["M105"])
        subprocess.run([case.binary, "--config", case.path("layerd.toml"), "check"], check=True, capture_output=True, timeout=60)
        case.upstream = case.upstream.replace("ca_file", "#ca_file")
        case.configure()
        done = subprocess.run([case.binary, "--config", case.path("layerd.toml"), "check"], capture_output=True, text=True, timeout=60)
        assert done.returncode == 1 and "upstream mqtt" in done.stdout and "ertificate" in done.stdout, done.stdout


class Klipper:
    """A printer that writes down every line that it carries out, and a disk that can be made to refuse."""

    def __init__(self, case):
        port, self.case, self.file = free_port(), case, case.path("executed")
        with open(case.path("klipper.log"), "w") as log:
            case.others.append(subprocess.Popen(
                [case.binary, "simulate", "moonraker", "--port", str(port), "--startup", "0.1", "--executed", self.file],
                stdin=subprocess.PIPE, stdout=log, stderr=log))
        case.more = f'[printer.p]\ndriver = "moonraker"\nurl = "http://127.0.0.1:{port}"\n'
        case.configure()
        case.start_daemon()
        case.ready()

    def done(self, word):
        """How often a line was carried out."""
        with open(self.file) as f:
            return sum(line.strip() == f"M117 {word}" for line in f)

    def refusing(self):
        """Until it is closed no write of the daemon comes through."""
        disk = sqlite3.connect(self.case.path("state/layerd.db"), timeout=20, isolation_level=None)
        disk.execute("BEGIN IMMEDIATE")
        return disk

    def killed(self):
        self.case.end_daemon(signal.SIGKILL)

    def again(self, word):
        """The same command after a restart: its first new answer."""
        before = len(self.case.results(word))
        self.case.start_daemon()
        self.case.ready_anew()
        self.case.send("gcode", id=word, lines=[f"M117 {word}"])
        # One that was under way has an answer by itself; the one to this message has the same words.
        return self.case.until(f"an answer to {word}", lambda: self.case.results(word)[before:])[-1]


def killed(case):
    """The service is killed before and after the id of a command is on its disk, and at any moment: nothing runs twice."""
    with case:
        printer = Klipper(case)
        disk = printer.refusing()
        case.send("gcode", id="before", lines=["M117 before"])
        # What comes behind it is answered, so that it was heard.
        case.do("resume", outcome="refused", session="another")
        assert printer.done("before") == 0, "it was carried out while nobody could know it again"
        printer.killed()
        disk.close()
        assert printer.again("before")["outcome"] == "sent" and printer.done("before") == 1
        case.do("gcode", outcome="sent", lines=["M117 after"], id="after")
        printer.killed()
        assert printer.again("after")["outcome"] in ("sent", "unverified") and printer.done("after") == 1
        for n in range(int(os.environ.get("KILLS", 3))):
            word = f"any{n}"
            case.send("gcode", id=word, lines=[f"M117 {word}"])
            time.sleep(random.uniform(0, 0.02))
            printer.killed()
            outcome = printer.again(word)["outcome"]
            assert printer.done(word) == 1 if outcome == "sent" else printer.done(word) <= 1 and outcome == "unverified", outcome


def full(case):
    """A disk that refuses: what stops is done at once, everything else is refused in words and does not come later."""
    with case:
        printer = Klipper(case)
        disk = printer.refusing()
        case.do("heaters_off", outcome="verified")
        assert case.do("gcode", outcome="refused", lines=["M117 late"])["code"] == "refused/not-kept"
        disk.close()
        case.until("a disk that takes it", lambda: case.results(case.send("gcode", lines=["M117 next"])) or printer.done("next"))
        assert printer.done("late") == 0


CASES = {
    "print": (whole_print, {}),
    "outage": (outage, {}),
    "kept": (kept_commands, {"start": False}),
    "leaves": (leaves, {"printers": ("p", "q", "r")}),
    "cloud-too": (cloud_too, {"start": False, "speed": 20}),
    "encrypted": (secure, {}),
    "websocket": (secure, {}),
    "killed": (killed, {"printers": (), "start": False}),
    "full": (full, {"printers": (), "start": False}),
}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("layerd")
    parser.add_argument("cases", nargs="*")
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--jobs", type=int, default=3)
    parser.add_argument("--transcripts")
    given = parser.parse_intermixed_args()
    if given.transcripts:
        os.makedirs(given.transcripts, exist_ok=True)
    wanted = given.cases or (SHORT if given.short else list(CASES))

    def run(name):
        work, options = CASES[name]
        if work is secure and not shutil.which("openssl"):
            return "no openssl"
        work(Case(name, os.path.abspath(given.layerd), given.transcripts, **options))
        return None

    sys.exit(not run_cases(wanted, run, given.jobs))


main()
