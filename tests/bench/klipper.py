#!/usr/bin/env python3
"""What a Klipper printer costs layerd, beside what Moonraker itself takes in the same run.

    tests/peers/klipper prints                       # installs Moonraker into target/peers/moonraker
    target/peers/moonraker/bin/python tests/bench/klipper.py LAYERD [--seconds 30] [--printers 10]

A real Moonraker with `layerd simulate klippy` behind it prints a file that moves for minutes, so that about four
status frames a second go to every client. The daemon follows it once, then as so many printers at once; the
difference by printer is what one costs. Memory is resident and anonymous (smaps_rollup), processor time that of all
threads by the scheduler's own count. Then the time from a command on the daemon's socket to its frame at Moonraker,
through a relay that notes when bytes come in; the relay and this script are in that time.
"""
import argparse
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "peers"))
sys.dont_write_bytecode = True
from cost import cost  # noqa: E402
from moonraker import CONF, TRUST, free_port  # noqa: E402


class Relay:
    """Hands bytes on between layerd and Moonraker, and notes when layerd's come in."""

    def __init__(self, port):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port, self.target, self.seen = self.listener.getsockname()[1], port, []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            near, _ = self.listener.accept()
            far = socket.create_connection(("127.0.0.1", self.target))
            for one in (near, far):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self.pump, args=(near, far, True), daemon=True).start()
            threading.Thread(target=self.pump, args=(far, near, False), daemon=True).start()

    def pump(self, source, sink, note):
        try:
            while data := source.recv(65536):
                if note:
                    self.seen.append(time.monotonic())
                sink.sendall(data)
        except OSError:
            pass  # one end is gone; layerd connects anew


class Local(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=30)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)


class Host:
    """klippy and Moonraker."""

    def __init__(self, layerd, work):
        self.work, self.port = work, free_port()
        for sub in ("config", "gcodes", "logs", "comms", "misc"):
            os.makedirs(f"{work}/data/{sub}")
        open(f"{work}/data/misc/usb.ids", "w").close()
        with open(f"{work}/data/config/moonraker.conf", "w") as f:
            f.write(CONF.format(host="127.0.0.1", port=self.port, ssl_port=free_port(), dir=work, trust=TRUST, more=""))
        with open(f"{work}/data/gcodes/long.gcode", "w") as f:
            f.write("M104 S200\nG28\nM109 S200\nM83\n")
            for n in range(200_000):
                f.write(f"G1 X{10 + n % 100} Y{20 + n % 70} E0.01 F1200\n")
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.klippy = subprocess.Popen([layerd, "simulate", "klippy", "--socket", f"{work}/data/comms/klippy.sock",
                                        "--files", f"{work}/data/gcodes"], stdin=subprocess.PIPE, **quiet)
        binary = os.path.join(os.path.dirname(sys.executable), "moonraker")
        self.moonraker = subprocess.Popen([binary, "-d", f"{work}/data", "-c", f"{work}/data/config/moonraker.conf",
                                           "-l", f"{work}/data/logs/moonraker.log"], **quiet)
        end = time.monotonic() + 60
        while socket.socket().connect_ex(("127.0.0.1", self.port)):
            assert time.monotonic() < end, "Moonraker does not start"
            time.sleep(0.1)

    def post(self, path, body):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()

    def stop(self):
        for process in (self.moonraker, self.klippy):
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


class Daemon:
    def __init__(self, layerd, work, port, printers):
        self.layerd, self.config = layerd, f"{work}/layerd.toml"
        shutil.rmtree(f"{work}/state", ignore_errors=True)
        with open(self.config, "w") as f:
            f.write(f'[agent]\nstate_dir = "{work}/state"\nruntime_dir = "{work}/run"\n[api]\nlisten = []\n')
            for n in range(printers):
                # One address in as many writings: layerd takes no printer twice.
                url = f"http://127.0.0.1:{port}" + "/" * n
                f.write(f'[printer.p{n}]\ndriver = "moonraker"\nurl = "{url}"\n')
        os.chmod(self.config, 0o600)
        self.socket = f"{work}/run/layerd.sock"
        self.process = subprocess.Popen([layerd, "--config", self.config, "run"], stderr=open(f"{work}/log", "a"))

    def until(self, state, count, seconds=60):
        end = time.monotonic() + seconds
        while True:
            done = subprocess.run([self.layerd, "--config", self.config, "--json", "printers"], capture_output=True, text=True)
            # Before the daemon listens the answer is an error, and no list.
            told = json.loads(done.stdout or "[]")
            seen = [p["state"] for p in told] if isinstance(told, list) else []
            if seen.count(state) == count:
                return
            assert time.monotonic() < end, seen
            time.sleep(0.2)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)


def measure(host, layerd, work, printers, seconds):
    """Of the daemon and of Moonraker: resident, anonymous kB, processor seconds a second."""
    daemon = Daemon(layerd, work, host.port, printers)
    try:
        daemon.until("printing", printers)
        time.sleep(3)
        before, began = [cost(p.pid) for p in (daemon.process, host.moonraker)], time.monotonic()
        time.sleep(seconds)
        passed = time.monotonic() - began
        after = [cost(p.pid) for p in (daemon.process, host.moonraker)]
    finally:
        daemon.stop()
    return [(rss, anonymous, (cpu - old[2]) / passed) for (rss, anonymous, cpu), old in zip(after, before)]


def latency(host, layerd, work, count):
    relay = Relay(host.port)
    daemon = Daemon(layerd, work, relay.port, 1)
    times = []
    try:
        daemon.until("operational", 1)
        connection = Local(daemon.socket)
        for n in range(count):
            time.sleep(0.05)
            body = json.dumps({"gcode": [f"M117 {n}"]})
            seen, began = len(relay.seen), time.monotonic()
            connection.request("POST", "/0/printers/actions/SendGcode?pid=1", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            told = answer.read()
            assert answer.status == 200, told
            while not (fresh := [at - began for at in relay.seen[seen:] if at >= began]):
                assert time.monotonic() - began < 5, "the command never came to Moonraker"
                time.sleep(0.001)
            times.append(fresh[0] * 1000)
    finally:
        daemon.stop()
    return sorted(times)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("layerd")
    p.add_argument("--seconds", type=int, default=30)
    p.add_argument("--printers", type=int, default=10)
    p.add_argument("--commands", type=int, default=200)
    o = p.parse_args()
    layerd, work = os.path.abspath(o.layerd), tempfile.mkdtemp(prefix="layerd-klipper-")
    host = Host(layerd, work)
    try:
        times = latency(host, layerd, work, o.commands)
        host.post("/printer/print/start", {"filename": "long.gcode"})
        (one, moonraker), (many, _) = (measure(host, layerd, work, n, o.seconds) for n in (1, o.printers))
    finally:
        host.stop()
        shutil.rmtree(work, ignore_errors=True)
    extra = o.printers - 1
    rss, anonymous, cpu = ((b - a) / extra for a, b in zip(one, many))
    print(f"Moonraker, one client: {moonraker[0] / 1024:.1f} MB resident, {moonraker[1] / 1024:.1f} MB anonymous, {moonraker[2] * 100:.2f} % of a CPU")
    print(f"layerd, 1 printer: {one[0] / 1024:.1f} MB resident, {one[1] / 1024:.2f} MB anonymous, {one[2] * 100:.2f} % of a CPU")
    print(f"layerd, {o.printers} printers: {many[0] / 1024:.1f} MB resident, {many[1] / 1024:.2f} MB anonymous, {many[2] * 100:.2f} % of a CPU")
    print(f"each further printer: {rss:.0f} kB resident (1/{moonraker[0] / max(rss, 1):.0f} of Moonraker), {anonymous:.0f} kB anonymous, "
          f"{cpu * 100:.3f} % of a CPU (1/{moonraker[2] / max(cpu, 1e-6):.0f} of Moonraker)")
    pick = lambda part: times[min(len(times) - 1, int(len(times) * part))]
    print(f"command to Moonraker, ms: p50 {pick(0.5):.2f}  p90 {pick(0.9):.2f}  p99 {pick(0.99):.2f}  max {times[-1]:.2f}  ({len(times)} commands)")


if __name__ == "__main__":
    main()
