#!/usr/bin/env python3
"""layerd against the real Moonraker (package registry) with a klippy behind it.

    moonraker.py [--klippy FAKE_KLIPPY.py] LAYERD FILE.gcode [CASE …]

The klippy is `layerd simulate klippy`, or the script named.

Each case starts klippy, Moonraker and a daemon of its own, works through the command line as a person
would, and looks at what klippy says it did, through a connection of its own. The last line is
"N passed, N failed".
"""
import argparse
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

import harness
from cases import PATIENCE, run_cases

CONF = """[server]
host: {host}
port: {port}
ssl_port: {ssl_port}
klippy_uds_address: {dir}/data/comms/klippy.sock
[authorization]
{trust}
[machine]
provider: none
validate_service: False
[announcements]
dev_mode: True
[history]
{more}
"""

# Made for "localhost", with its key; signed by itself.
CERTIFICATE = os.path.join(harness.HERE, "..", "bench", "localhost.pem")

TRUST = "trusted_clients:\n    127.0.0.1\n    192.0.2.9\n"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Proxy:
    """A proxy before Moonraker that keeps the key to itself when a connection becomes a websocket. While it is mute
    nothing of what Moonraker has to say comes through but the answers to pings; "answers": reports do as well."""

    def __init__(self, port):
        self.listener, self.target, self.kept, self.mute = socket.create_server(("127.0.0.1", 0)), port, 0, None
        self.down, self.open = False, []
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            near, _ = self.listener.accept()
            if self.down:
                near.close()
                continue
            self.open.append(near)
            threading.Thread(target=self.serve, args=(near,), daemon=True).start()

    def pull(self, down):
        """Pulls the cable, or plugs it in again."""
        self.down = down
        for near in self.open if down else ():
            try:
                near.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it was over already
        self.open.clear()

    def serve(self, near):
        head = b""
        while b"\r\n\r\n" not in head and (data := near.recv(65536)):
            head += data
        if head.startswith(b"GET /websocket"):
            lines = head.split(b"\r\n")
            head = b"\r\n".join(line for line in lines if not line.lower().startswith(b"x-api-key:"))
            self.kept += 1
        try:
            far = socket.create_connection(("127.0.0.1", self.target))
        except OSError:
            return near.close()  # Moonraker does not listen yet
        far.sendall(head)
        back = self.frames if head.startswith(b"GET /websocket") else self.pump
        threading.Thread(target=back, args=(far, near), daemon=True).start()
        self.pump(near, far)

    def frames(self, source, sink):
        """What Moonraker says over a websocket, frame by frame."""
        try:
            with source.makefile("rb") as read:
                line = None
                while line != b"\r\n":
                    line = read.readline()
                    sink.sendall(line)
                while len(head := read.read(2)) == 2:
                    size = head[1]
                    more = read.read({126: 2, 127: 8}.get(size, 0))
                    body = read.read(int.from_bytes(more, "big") if more else size)
                    control = head[0] & 0x0F >= 8
                    if control or not self.mute or self.mute == "answers" and b'"method"' in body:
                        sink.sendall(head + more + body)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # one end is gone

    @staticmethod
    def pump(source, sink):
        try:
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # one end is gone


class Klipper(harness.Case):
    """klippy, Moonraker and the daemon. `trust=False`: only the API key lets in; `more`: sections of Moonraker's."""

    klippy_script = None

    def __init__(self, name, binary, gcode, settings="", trust=True, link="url", disk_mb=None, more="", host="127.0.0.1", **klippy):
        super().__init__(name, binary, gcode, settings=settings)
        self.options, self.trust, self.link_kind = {"speed": 20, **klippy}, trust, link
        self.disk_mb, self.mounted = disk_mb, False
        self.port, self.ssl_port, self.more, self.host = free_port(), free_port(), more, host
        self.klippy = self.moonraker = None

    def __enter__(self):
        for sub in ("config", "gcodes", "logs", "comms", "misc"):
            os.makedirs(self.path("data/" + sub))
        open(self.path("data/misc/usb.ids"), "w").close()
        if self.disk_mb:
            mount = ["mount", "-t", "tmpfs", "-o", f"size={self.disk_mb}m", "layerd-peer", self.path("data/gcodes")]
            self.mounted = subprocess.run(mount, capture_output=True).returncode == 0
        if self.link_kind == "tls":
            os.makedirs(self.path("data/certs"))
            for name in ("moonraker.cert", "moonraker.key"):
                shutil.copy(CERTIFICATE, self.path("data/certs/" + name))
        self.configure(self.more)
        self.start_klippy()
        self.start_moonraker()
        where = f'url = "http://127.0.0.1:{self.port}"'
        if self.link_kind == "proxy":
            self.proxy = Proxy(self.port)
            where = f'url = "http://127.0.0.1:{self.proxy.port}"\napi_key = "{self.api_key()}"'
        if self.link_kind == "open-proxy":
            self.proxy = Proxy(self.port)
            where = f'url = "http://127.0.0.1:{self.proxy.port}"'
        if self.link_kind == "tls":
            where = f'url = "https://localhost:{self.ssl_port}"'
        if self.link_kind == "socket":
            where += f'\nsocket = "{self.path("data/comms/moonraker.sock")}"'
        with open(self.path("layerd.toml"), "w") as f:
            f.write(f'[agent]\nstate_dir = "{self.path("state")}"\nruntime_dir = "{self.path("run")}"\n'
                    f'[api]\nlisten = []\n[printer.p]\ndriver = "moonraker"\n{where}\n{self.settings}\n')
        os.chmod(self.path("layerd.toml"), 0o600)
        self.start_daemon()
        return self

    def __exit__(self, kind, error, trace):
        super().__exit__(kind, error, trace)
        for process in (self.moonraker, self.klippy):
            self.end(process)
        if self.mounted:
            subprocess.run(["umount", "-l", self.path("data/gcodes")], check=False)
        shutil.rmtree(self.dir, ignore_errors=True)

    def configure(self, more):
        """Writes Moonraker's configuration."""
        trust = TRUST if self.trust else ""
        with open(self.path("data/config/moonraker.conf"), "w") as f:
            f.write(CONF.format(host=self.host, port=self.port, ssl_port=self.ssl_port, dir=self.dir, trust=trust, more=more))

    @staticmethod
    def end(process):
        if process and process.poll() is None:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def start_klippy(self):
        words = [w for key, value in self.options.items() for w in ("--" + key.replace("_", "-"), str(value))]
        words += ["--socket", self.path("data/comms/klippy.sock")]
        if self.klippy_script:
            command = [sys.executable, self.klippy_script, "--gcodes", self.path("data/gcodes")]
        else:
            command = [self.binary, "simulate", "klippy", "--files", self.path("data/gcodes"), "--executed", self.executed_path]
        self.klippy = subprocess.Popen([*command, *words], stdin=subprocess.PIPE, text=True,
                                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def shut_down(self, reason):
        """A shutdown of the firmware, as by a lost board."""
        if self.klippy_script:
            self.script(f'FAKE_SHUTDOWN MSG="{reason}"')
        else:
            self.klippy.stdin.write(f"shutdown {reason}\n")
            self.klippy.stdin.flush()

    def executed(self):
        """The lines that klippy executed, in order; `None`: this klippy keeps no record."""
        if self.klippy_script:
            return None
        with open(self.executed_path) as f:
            return f.read().splitlines()

    def executed_once(self, *lines):
        """Each of these was executed exactly once."""
        done = self.executed()
        for line in lines if done is not None else ():
            assert done.count(line) == 1, f"{line} was executed {done.count(line)} times: {done[-20:]}"

    def start_moonraker(self):
        binary = os.path.join(os.path.dirname(sys.executable), "moonraker")
        self.moonraker = subprocess.Popen(
            [binary, "-d", self.path("data"), "-c", self.path("data/config/moonraker.conf"),
             "-l", self.path("data/logs/moonraker.log")],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=self.limit_files,
            # Two instances that take a file in the same second write into one another's in a shared folder.
            env={**os.environ, "TMPDIR": self.path("data/misc")})

    def api_key(self):
        """From Moonraker's own socket, which asks for none."""
        end = time.monotonic() + 30 * PATIENCE
        while True:
            try:
                with socket.socket(socket.AF_UNIX) as s:
                    s.settimeout(10)
                    s.connect(self.path("data/comms/moonraker.sock"))
                    s.sendall(b'{"jsonrpc":"2.0","method":"access.get_api_key","id":1}\x03')
                    text = b""
                    while True:
                        text += s.recv(65536)
                        for frame in text.split(b"\x03")[:-1]:
                            if (told := json.loads(frame)).get("id") == 1:
                                return told["result"]
            except OSError:
                assert time.monotonic() < end, "Moonraker does not start"
                time.sleep(0.1)

    def limit_files(self):
        """Where no small disk may be mounted: no file of Moonraker grows beyond the limit."""
        if self.disk_mb and not self.mounted:
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.disk_mb << 20, self.disk_mb << 20))

    def ask(self, path, body=None):
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}",
                                         data=None if body is None else json.dumps(body).encode(),
                                         headers={"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)["result"]

    def objects(self, *names):
        return self.ask("/printer/objects/query?" + "&".join(names))["status"]

    def script(self, text):
        return self.ask("/printer/gcode/script", {"script": text})

    def settled(self, test, seconds=30):
        end = time.monotonic() + seconds * PATIENCE
        while not test():
            assert time.monotonic() < end, f"not within {seconds * PATIENCE:.0f} s\n{self.log_tail()}"
            time.sleep(0.1)


def hot_file(case, bed=60, nozzle=None, moves=400):
    """A program that heats for a while at first, then prints: some 35 moves a second at speed 1."""
    path = case.path("hot.gcode")
    with open(path, "w") as f:
        f.write(f"M140 S{bed}\nM190 S{bed}\nG28\n" + (f"M109 S{nozzle}\n" if nozzle else ""))
        for i in range(moves):
            f.write(f"G1 X{10 + i % 80} Y{10 + i % 50} Z0.2 F3000\n")
    return path


def plate_file(case):
    """A program with two objects as Klipper's slicers mark them."""
    path = case.path("plate.gcode")
    with open(path, "w") as f:
        f.write("EXCLUDE_OBJECT_DEFINE NAME=zebra CENTER=20,20\nEXCLUDE_OBJECT_DEFINE NAME=ant CENTER=60,60\nG28\nM83\nM109 S210\n")
        for i in range(1500):
            name, x = (("zebra", 20), ("ant", 60))[i % 2]
            f.write(f"EXCLUDE_OBJECT_START NAME={name}\nG1 X{x} Y{x} F6000\nG1 X{x + 5} E0.1 F1800\nEXCLUDE_OBJECT_END NAME={name}\n")
    return path


def commented_file(case):
    """Two objects labelled in comments only."""
    path = case.path("commented.gcode")
    with open(path, "w") as f:
        f.write("G28\nM83\nM104 S210\nM109 S210\n")
        for i in range(1500):
            name, x = (("cube id:0 copy 0", 20), ("cube id:1 copy 0", 60))[i % 2]
            f.write(f"; printing object {name}\nG1 X{x} Y{x} F6000\nG1 X{x + 5} E0.1 F1800\n; stop printing object {name}\n")
    return path


def prints(case):
    with case:
        case.ready()
        seen = case.status()
        assert seen["firmware"]["name"] == "Klipper" and "tool0" in seen["temps"] and "bed" in seen["temps"], seen
        path = hot_file(case, bed=30)
        case.layerd("print", "p", path, "--follow", ok=0, timeout=120)
        assert case.objects("print_stats")["print_stats"]["state"] == "complete"
        if (done := case.executed()) is not None:
            assert done[-len(harness.program(path)):] == harness.program(path), "every line once and in order"
        case.until(lambda s: s["job"] is None, 10, state="operational")


def pause_heating(case):
    with case:
        case.ready()
        case.layerd("print", "p", hot_file(case), ok=0)
        case.layerd("pause", "p", ok=0, timeout=120)  # waits for the heat, as Klipper does
        assert case.objects("print_stats")["print_stats"]["state"] == "paused"
        assert case.status()["state"] == "paused"
        case.layerd("pause", "p", ok=4)
        case.layerd("resume", "p", ok=0)
        case.until(lambda s: True, 10, state="printing")
        case.layerd("cancel", "p", ok=0, timeout=60)
        stats = case.objects("print_stats", "heater_bed")
        assert stats["print_stats"]["state"] == "cancelled", stats
        assert stats["heater_bed"]["target"] == 0, "a cancel leaves nothing hot"
        case.until(lambda s: s["job"] is None, 10, state="operational")
        case.executed_once("PAUSE", "RESUME", "CANCEL_PRINT", "TURN_OFF_HEATERS")
        if (done := case.executed()) is not None:
            between = done[done.index("PAUSE") + 1:done.index("RESUME")]
            assert between == [], f"nothing is executed in a pause: {between}"
            assert not [line for line in done[done.index("CANCEL_PRINT"):] if line.startswith("G1")], "nor after a cancel"


def cancels(case):
    """While it starts, heats, pauses, is paused, resumes, and where there is nothing: ended once at the printer, nothing stays hot."""
    def over(times):
        seen = case.until(lambda s: s["job"] is None, 20, state="operational")
        assert seen["link"]["up"], seen
        stats = case.objects("print_stats", "heater_bed", "extruder")
        assert stats["print_stats"]["state"] == "cancelled", stats
        assert stats["heater_bed"]["target"] == stats["extruder"]["target"] == 0, stats
        if (done := case.executed()) is not None:
            assert done.count("CANCEL_PRINT") == times, done[-20:]

    with case:
        case.ready()
        case.layerd("cancel", "p", ok=4)
        case.layerd("print", "p", hot_file(case), "--no-wait", ok=0)
        case.layerd("cancel", "p", ok=0, timeout=120)  # its file may be on its way, or the print may have begun
        case.until(lambda s: s["job"] is None, 20, state="operational")
        assert case.objects("print_stats")["print_stats"]["state"] in ("standby", "cancelled")
        assert case.objects("heater_bed")["heater_bed"]["target"] == 0
        begun = (case.executed() or []).count("CANCEL_PRINT")
        case.layerd("print", "p", hot_file(case), ok=0)
        case.settled(lambda: case.objects("heater_bed")["heater_bed"]["target"] == 60)
        assert case.objects("heater_bed")["heater_bed"]["temperature"] < 50, "it is warm already"
        case.layerd("cancel", "p", ok=0, timeout=120)  # waits for the heat, as Klipper does
        over(begun + 1)
        case.layerd("print", "p", hot_file(case, bed=30, moves=5000), ok=0)
        case.layerd("pause", "p", ok=0, timeout=60)
        case.layerd("cancel", "p", ok=0, timeout=60)
        over(begun + 2)
        case.layerd("print", "p", hot_file(case, bed=40, moves=5000), ok=0)
        case.layerd("pause", "p", "--no-wait", ok=0)
        case.layerd("cancel", "p", ok=0, timeout=60)
        over(begun + 3)
        case.layerd("print", "p", hot_file(case, bed=30, moves=5000), ok=0)
        case.layerd("pause", "p", ok=0, timeout=60)
        case.layerd("resume", "p", "--no-wait", ok=0)
        case.layerd("cancel", "p", ok=0, timeout=60)
        over(begun + 4)
        case.layerd("cancel", "p", ok=4)
        over(begun + 4)


def gcode(case):
    """What is sent is executed, in order; what is refused is not; what Klipper does not know is said."""
    with case:
        case.ready()
        case.layerd("send", "p", "M104 S60", "M140 S40", ok=0)
        case.settled(lambda: (case.objects("extruder")["extruder"]["target"], case.objects("heater_bed")["heater_bed"]["target"]) == (60, 40))
        done = case.layerd("send", "p", "SING_A_SONG")
        assert done.returncode == 5 and "SING_A_SONG" in done.stdout + done.stderr, (done.returncode, done.stdout, done.stderr)
        case.layerd("print", "p", hot_file(case, bed=30, moves=5000), ok=0)
        case.settled(lambda: case.objects("virtual_sdcard")["virtual_sdcard"]["progress"] > 0.01)
        case.layerd("send", "p", "M104 S61", ok=4)
        case.layerd("send", "--tune", "p", "G28", ok=4)
        case.layerd("send", "--tune", "p", "M104 S50", ok=0)
        case.settled(lambda: case.objects("extruder")["extruder"]["target"] == 50)
        case.layerd("cancel", "p", ok=0, timeout=60)
        case.executed_once("M104 S60", "M140 S40", "M104 S50")
        if (done := case.executed()) is not None:
            assert "M104 S61" not in done and done.count("G28") == 1, done[:10]


def stopped(case):
    """A stop of the service leaves the print alone; the next one knows it again and may end it."""
    with case:
        case.ready()
        case.layerd("print", "p", hot_file(case, bed=30, moves=20_000), ok=0)
        uid = case.status()["job"]["uid"]
        case.end_daemon(signal.SIGTERM)
        assert case.daemon.returncode == 0, case.log_tail()
        assert case.objects("print_stats")["print_stats"]["state"] == "printing"
        case.start_daemon()
        seen = case.until(lambda s: s["link"]["up"] and s["job"] is not None, 30, state="printing")
        assert seen["job"]["uid"] == uid, "the same print goes on under the same identity"
        case.layerd("cancel", "p", ok=0, timeout=60)
        case.until(lambda s: s["job"] is None, 20, state="operational")
        case.executed_once("CANCEL_PRINT")


def cable(case):
    """The network is gone for a while: told, refused, and the same print afterwards."""
    with case:
        case.ready()
        case.layerd("print", "p", hot_file(case, bed=30, moves=20_000), ok=0)
        uid = case.status()["job"]["uid"]
        case.proxy.pull(True)
        seen = case.until(lambda s: not s["link"]["up"], 20)
        assert seen["job"]["uid"] == uid and seen["state"] == "printing", "the print goes on"
        case.layerd("cancel", "p", ok=4)
        case.proxy.pull(False)
        seen = case.until(lambda s: s["link"]["up"], 60, state="printing")
        assert seen["job"]["uid"] == uid, "the same print goes on"
        case.layerd("cancel", "p", ok=0, timeout=120)
        case.executed_once("CANCEL_PRINT")


def muted(case):
    """Moonraker keeps the connection, answers pings, and nothing else: told, and the print is the same afterwards."""
    with case:
        case.ready()
        case.layerd("print", "p", hot_file(case, bed=30, moves=20_000), ok=0)
        uid = case.status()["job"]["uid"]
        case.proxy.mute = "all"
        seen = case.until(lambda s: not s["link"]["up"], 90)
        assert seen["link"]["why"]["code"] == "moonraker/silent", seen["link"]
        assert seen["job"]["uid"] == uid, "a print is not over because nobody hears of it"
        case.layerd("pause", "p", ok=4)
        case.proxy.mute = None
        seen = case.until(lambda s: s["link"]["up"], 90, state="printing")
        assert seen["job"]["uid"] == uid, "the same print goes on"
        case.layerd("cancel", "p", ok=0, timeout=120)
        case.executed_once("CANCEL_PRINT")
        if (done := case.executed()) is not None:
            assert "PAUSE" not in done, "what was refused is never executed"


def unanswered(case):
    """Moonraker reports and answers nothing: what the reports show is verified, what nothing shows is not."""
    with case:
        case.ready()
        case.layerd("print", "p", hot_file(case, bed=30, moves=20_000), ok=0)
        case.proxy.mute = "answers"
        case.layerd("pause", "p", ok=0, timeout=60)
        assert case.objects("print_stats")["print_stats"]["state"] == "paused"
        done = case.layerd("send", "p", "M104 S50", timeout=120)
        assert done.returncode in (1, 3), (done.returncode, done.stdout, done.stderr)
        case.executed_once("PAUSE", "M104 S50")
        case.until(lambda s: not s["link"]["up"], 30)  # what nobody answers is no connection
        case.proxy.mute = None
        case.until(lambda s: s["link"]["up"], 60, state="paused")
        case.layerd("cancel", "p", ok=0, timeout=120)
        case.until(lambda s: s["job"] is None, 20)
        case.executed_once("CANCEL_PRINT")


def skip(case):
    with case:
        case.ready()
        case.layerd("print", "p", plate_file(case), ok=0)
        case.settled(lambda: len(case.objects("exclude_object")["exclude_object"]["objects"]) == 2)
        case.layerd("skip", "p", "zebra", ok=0)
        assert [n.upper() for n in case.objects("exclude_object")["exclude_object"]["excluded_objects"]] == ["ZEBRA"]
        case.until(lambda s: s["job"]["skipped"] == [0], 10)
        assert case.layerd("skip", "p", "nobody").returncode in (1, 4)
        assert len(case.objects("exclude_object")["exclude_object"]["excluded_objects"]) == 1
        if (done := case.executed()) is not None:
            assert [line for line in done if line.startswith("EXCLUDE_OBJECT NAME")] == ["EXCLUDE_OBJECT NAME=ZEBRA"]


def skip_at_start(case):
    with case:
        case.ready()
        case.layerd("print", "p", commented_file(case), "--skip", "1", ok=0, timeout=120)
        case.settled(lambda: len(case.objects("exclude_object")["exclude_object"]["objects"]) == 2)
        case.settled(lambda: case.objects("exclude_object")["exclude_object"]["excluded_objects"])
        gone = case.objects("exclude_object")["exclude_object"]["excluded_objects"]
        assert [n.upper() for n in gone] == ["CUBE_ID_1_COPY_0"], gone


def outside(case):
    with case:
        case.ready()
        shutil.copy(hot_file(case), case.path("data/gcodes/by hand.gcode"))
        case.ask("/printer/print/start", {"filename": "by hand.gcode"})
        seen = case.until(lambda s: s["job"] is not None, 20, state="printing")
        assert seen["job"]["file"] == "by hand.gcode", seen["job"]
        case.layerd("cancel", "p", ok=0, timeout=60)
        case.until(lambda s: s["job"] is None, 10, state="operational")


def estop_heating(case):
    with case:
        case.ready()
        case.layerd("print", "p", hot_file(case, bed=30, nozzle=250), ok=0)
        case.settled(lambda: case.objects("extruder")["extruder"]["target"] == 250)
        began = time.monotonic()
        case.layerd("estop", "p", ok=0, timeout=20)
        assert time.monotonic() - began < 3, "an emergency stop waits for nothing"
        assert case.objects("webhooks")["webhooks"]["state"] == "shutdown"
        case.until(lambda s: s["job"] is None, 10, state="error")
        case.layerd("cancel", "p", ok=4)
        if (done := case.executed()) is not None:
            assert done[-1] == "M109 S250", f"nothing was executed behind it: {done[-3:]}"
        case.layerd("send", "p", "FIRMWARE_RESTART", timeout=60)
        case.until(lambda s: True, 30, state="operational")


def shutdown_printing(case):
    with case:
        case.ready()
        case.layerd("print", "p", hot_file(case, bed=30), ok=0)
        case.shut_down("MCU 'mcu' shutdown: Timer too close")
        seen = case.until(lambda s: s["job"] is None, 20, state="error")
        assert any("too late" in n["title"] for n in seen["notices"]), seen["notices"]
        case.ask("/printer/firmware_restart", {})
        case.until(lambda s: True, 30, state="operational")


def restart_printing(case):
    with case:
        case.ready()
        case.layerd("print", "p", hot_file(case, bed=30), ok=0)
        case.ask("/printer/firmware_restart", {})
        seen = case.until(lambda s: s["job"] is None and s["state"] == "operational", 40)
        assert any("restarted" in n["title"] for n in seen["notices"]), seen["notices"]


def process_lost(case):
    with case:
        case.ready()
        case.layerd("print", "p", hot_file(case, bed=30), ok=0)
        case.klippy.kill()
        case.klippy.wait()
        seen = case.until(lambda s: s["job"] is None, 40, state="not_ready")
        assert any("Klipper ended" in n["title"] for n in seen["notices"]), seen["notices"]
        case.start_klippy()
        case.until(lambda s: True, 40, state="operational")


def moonraker_restarts(case):
    with case:
        case.ready()
        case.layerd("print", "p", hot_file(case), ok=0)
        uid = case.status()["job"]["uid"]
        case.end(case.moonraker)
        case.until(lambda s: not s["link"]["up"], 20)
        assert case.status()["job"]["uid"] == uid, "the print goes on without Moonraker"
        case.start_moonraker()
        seen = case.until(lambda s: s["link"]["up"], 60, state="printing")
        assert seen["job"]["uid"] == uid, seen


def half_open(case):
    """Moonraker hangs: the connection stays and nothing comes over it."""
    with case:
        case.ready()
        # Far longer than the silence: it must still be on its way when Moonraker is back.
        case.layerd("print", "p", hot_file(case, bed=30, moves=20_000), ok=0)
        uid = case.status()["job"]["uid"]
        case.moonraker.send_signal(signal.SIGSTOP)
        try:
            seen = case.until(lambda s: not s["link"]["up"], 40)
            assert seen["link"]["why"]["code"] == "moonraker/silent", seen["link"]
            case.layerd("pause", "p", ok=4)
        finally:
            case.moonraker.send_signal(signal.SIGCONT)
        seen = case.until(lambda s: s["link"]["up"], 60, state="printing")
        assert seen["job"]["uid"] == uid, "the same print goes on"
        case.layerd("cancel", "p", ok=0, timeout=120)
        case.executed_once("CANCEL_PRINT")
        if (done := case.executed()) is not None:
            assert "PAUSE" not in done, "what was refused is never executed"


def no_room(case):
    """The disk of the printer's host is full."""
    with case:
        case.ready()
        path = case.path("big.gcode")
        with open(path, "w") as f:
            f.write("G28\n" + "G1 X10 Y10 F3000\nG1 X20 Y20\n" * 120000)
        done = case.layerd("print", "p", path, timeout=120)
        assert done.returncode == 5, (done.returncode, done.stdout + done.stderr)
        assert ("no room" if case.mounted else "broke") in done.stdout + done.stderr, done.stderr
        seen = case.until(lambda s: s["job"] is None, 10, state="operational")
        assert seen["link"]["up"], seen
        assert not any(line.startswith("SDCARD") for line in case.executed() or []), "nothing was started"
        case.layerd("print", "p", hot_file(case, bed=30), ok=0, timeout=60)


def killed(case):
    with case:
        case.ready()
        case.layerd("print", "p", hot_file(case), ok=0)
        uid = case.status()["job"]["uid"]
        case.end_daemon(signal.SIGKILL)
        case.start_daemon()
        seen = case.until(lambda s: s["link"]["up"] and s["job"] is not None, 30, state="printing")
        assert seen["job"]["uid"] == uid, "the same print goes on under the same identity"
        case.layerd("cancel", "p", ok=0, timeout=60)
        case.until(lambda s: s["job"] is None, 20, state="operational")


def stale_pause(case):
    with case:
        case.ready()
        case.ask("/printer/print/pause", {})
        assert case.objects("pause_resume")["pause_resume"]["is_paused"]
        case.layerd("print", "p", hot_file(case, bed=30), ok=0)
        case.layerd("pause", "p", ok=0, timeout=60)
        assert case.objects("print_stats")["print_stats"]["state"] == "paused"


def socket_key(case):
    """Moonraker trusts nobody: its own socket is open to layerd, and gives the key for the file."""
    with case:
        case.ready()
        case.layerd("print", "p", hot_file(case, bed=30), "--follow", ok=0, timeout=120)


def proxy_key(case):
    """Moonraker trusts nobody, and a proxy before it loses the key of the websocket: a word in the address lets in."""
    with case:
        case.ready()
        assert case.proxy.kept >= 1
        case.layerd("print", "p", hot_file(case, bed=30), "--follow", ok=0, timeout=120)
        with open(case.path("log")) as f:
            assert "token=" not in f.read(), "a secret is in no log"


def wrong_key(case):
    with case:
        case.until(lambda s: ((s.get("link") or {}).get("why") or {}).get("code") == "moonraker/unauthorized", 30)
        case.layerd("pause", "p", ok=4)


def encrypted(case):
    """Over TLS: a certificate of nobody we trust is told as such, one that this host trusts lets in."""
    with case:
        seen = case.until(lambda s: ((s.get("link") or {}).get("why") or {}).get("code") == "moonraker/certificate", 30)
        assert "certificate" in seen["link"]["why"]["message"], seen["link"]
        case.end_daemon(signal.SIGTERM)
        case.environment["SSL_CERT_FILE"] = CERTIFICATE
        case.start_daemon()
        case.ready()
        case.layerd("print", "p", hot_file(case, bed=30), "--follow", ok=0, timeout=120)


def own_simplyprint(case):
    """Moonraker's own client of the cloud is active: said while it is, and not a moment longer."""
    def told(seen):
        return any(n["title"].startswith("Moonraker's own SimplyPrint client") for n in seen["notices"])

    with case:
        case.ready()
        seen = case.until(told, 20)
        note = next(n for n in seen["notices"] if "SimplyPrint" in n["title"])
        assert "[simplyprint]" in json.dumps(note), note
        case.end(case.moonraker)
        case.configure("")
        case.start_moonraker()
        case.until(lambda s: s["link"]["up"] and not told(s), 60, state="operational")


def unknown_name(case):
    """A name that nobody has, at the command line and on the network."""
    with case:
        case.ready()
        done = case.layerd("pause", "q")
        assert done.returncode == 2 and "q" in done.stderr and "p" in done.stderr, (done.returncode, done.stderr)
        case.end_daemon(signal.SIGTERM)
        with open(case.path("layerd.toml")) as f:
            text = f.read()
        with open(case.path("layerd.toml"), "w") as f:
            f.write(text.replace(f"127.0.0.1:{case.port}", f"no-such-printer.invalid:{case.port}"))
        case.start_daemon()
        seen = case.until(lambda s: ((s.get("link") or {}).get("why") or {}).get("code") == "moonraker/unreachable", 30)
        assert seen["state"] in ("offline", "not_ready"), seen
        done = case.layerd("check")
        assert done.returncode == 1 and "does not answer" in done.stdout + done.stderr, done


def announced(case):
    """Found by what it announces on the network; in a network of its own, so that no other one is asked."""
    inside = os.environ.get("LAYERD_PEER_NETWORK")
    if not inside:
        shutil.rmtree(case.dir, ignore_errors=True)
        network = ("ip link set lo up && ip link add lan type veth peer name far && ip link set far up && ip addr add 192.0.2.9/24 dev lan && ip link set lan up "
                   " && exec \"$@\"")
        words = ["unshare", "--map-root-user", "--net", "sh", "-c", network, "sh"]
        try:
            able = subprocess.run([*words, "true"], capture_output=True, text=True).returncode == 0
        except OSError:
            able = False
        if not able:
            print("        announced: skipped: no network of one's own can be made here (unshare, iproute2)", flush=True)
            return
        again = [sys.executable, "-B", *sys.argv[:1], case.binary, case.gcode, case.name]
        done = subprocess.run([*words, *again], env={**os.environ, "LAYERD_PEER_NETWORK": "1"}, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        return
    with case:
        case.ready()
        end = time.monotonic() + 30
        while True:
            told = json.loads(case.layerd("--json", "discover", ok=0).stdout)
            mine = [f for f in told if f["driver"] == "moonraker" and f":{case.port}" in f["config"] and "127.0.0.1" not in f["config"]]
            if mine:
                break
            assert time.monotonic() < end, f"not found by its announcement: {told}\n{case.log_tail()}"
        assert "printer-of-the-case.local" in mine[0]["label"], mine
        # What is to be pasted works here, whether this host resolves such names or not.
        case.end_daemon(signal.SIGTERM)
        with open(case.path("layerd.toml")) as f:
            text = f.read()
        with open(case.path("layerd.toml"), "w") as f:
            f.write(text[:text.index("[printer.p]")] + mine[0]["config"])
        case.layerd("check", ok=0)


CASES = {
    "prints": (prints, {}),
    "pause-heating": (pause_heating, {}),
    "cancels": (cancels, {"speed": 10}),
    "gcode": (gcode, {"speed": 3}),
    "skip": (skip, {}),
    "skip-at-start": (skip_at_start, {}),
    "outside": (outside, {}),
    "estop-heating": (estop_heating, {"speed": 1}),
    "shutdown": (shutdown_printing, {}),
    "restart": (restart_printing, {}),
    "process-lost": (process_lost, {}),
    "moonraker-restarts": (moonraker_restarts, {"speed": 2}),
    "killed": (killed, {"speed": 2}),
    "stopped": (stopped, {"speed": 3}),
    "half-open": (half_open, {"speed": 3}),
    "cable": (cable, {"speed": 3, "link": "open-proxy"}),
    "muted": (muted, {"speed": 3, "link": "open-proxy"}),
    "unanswered": (unanswered, {"speed": 3, "link": "open-proxy"}),
    "no-room": (no_room, {"disk_mb": 2}),
    "stale-pause": (stale_pause, {}),
    "unix-socket": (prints, {"link": "socket"}),
    "socket-key": (socket_key, {"link": "socket", "trust": False}),
    "proxy-key": (proxy_key, {"link": "proxy", "trust": False}),
    "tls": (encrypted, {"link": "tls"}),
    "own-simplyprint": (own_simplyprint, {"more": "[simplyprint]\nurl: ws://127.0.0.1:9/\n"}),
    "unknown-name": (unknown_name, {}),
    "announced": (announced, {"host": "0.0.0.0", "more": "[zeroconf]\nmdns_hostname: printer-of-the-case\n"}),
    "wrong-key": (wrong_key, {"trust": False, "settings": 'api_key = "00000000000000000000000000000000"'}),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("layerd")
    parser.add_argument("gcode")
    parser.add_argument("cases", nargs="*")
    parser.add_argument("--klippy")
    options = parser.parse_args()
    Klipper.klippy_script = options.klippy and os.path.abspath(options.klippy)

    def run(name):
        work, settings = CASES[name]
        work(Klipper(name, os.path.abspath(options.layerd), os.path.abspath(options.gcode), **settings))

    return not run_cases(options.cases or list(CASES), run, jobs=1)


if __name__ == "__main__":
    sys.exit(main())
