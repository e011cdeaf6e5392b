#!/usr/bin/env python3
"""Memory and start-up of the daemon: one idle printer, each further one, all of them printing.

    memory.py LAYERD [--most 20] [--bars] [FILE.gcode to print]

With --bars it fails where one idle printer takes more than 14 MB resident or 4 MB anonymous, or each further one 0.3 MB:
what a Pi Zero has to have for it.

Resident and anonymous memory come from the kernel's smaps_rollup; READY is the service notification.
"""
import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))


def memory_mb(pid):
    found = {}
    with open(f"/proc/{pid}/smaps_rollup") as f:
        for line in f:
            words = line.split()
            if words[0] in ("Rss:", "Anonymous:"):
                found[words[0][:-1]] = int(words[1]) / 1024
    return found["Rss"], found["Anonymous"]


class Daemon:
    def __init__(self, layerd, work, count):
        self.layerd, self.config = layerd, os.path.join(work, "layerd.toml")
        shutil.rmtree(os.path.join(work, "state"), ignore_errors=True)
        with open(self.config, "w") as f:
            f.write(f'[agent]\nstate_dir = "{work}/state"\nruntime_dir = "{work}/run"\n[api]\nlisten = []\n')
            for n in range(count):
                f.write(f'[printer.p{n}]\ndriver = "marlin"\nport = "{work}/printer{n}"\nbaud = 115200\nbed = [500, 500, 500]\n')
        notify = os.path.join(work, "notify")
        if os.path.exists(notify):
            os.unlink(notify)
        told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        told.bind(notify)
        told.settimeout(10)
        began = time.monotonic()
        self.process = subprocess.Popen([layerd, "--config", self.config, "run"], env={**os.environ, "NOTIFY_SOCKET": notify},
                                        stderr=open(os.path.join(work, "log"), "a"))
        while b"READY=1" not in told.recv(4096):
            pass
        self.ready_ms = (time.monotonic() - began) * 1000
        self.told = told

    def run(self, *words):
        return subprocess.run([self.layerd, "--config", self.config, *words], capture_output=True, text=True, timeout=120)

    def until(self, state, count):
        end = time.monotonic() + 60
        while True:
            seen = json.loads(self.run("--json", "printers").stdout or "[]")
            if sum(p["state"] == state for p in seen) == count:
                return
            assert time.monotonic() < end, [p["state"] for p in seen]
            time.sleep(0.2)

    def settled(self):
        """Memory when it has stopped moving."""
        seen = memory_mb(self.process.pid)
        for _ in range(30):
            time.sleep(0.5)
            again = memory_mb(self.process.pid)
            if abs(again[1] - seen[1]) < 0.02:
                return again
            seen = again
        return seen

    def stop(self):
        self.process.terminate()
        self.process.wait(180)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("layerd")
    p.add_argument("gcode", nargs="?")
    p.add_argument("--most", type=int, default=20)
    p.add_argument("--bars", action="store_true")
    o = p.parse_args()
    work = tempfile.mkdtemp(prefix="layerd-memory-")
    printers = subprocess.Popen([sys.executable, os.path.join(HERE, "quiet_printers.py"), work, str(o.most)], stdout=subprocess.PIPE, text=True)
    printers.stdout.readline()
    daemon, rows = None, {}
    try:
        for count in sorted({n for n in (1, 2, 5, 10) if n < o.most} | {o.most}):
            daemon = Daemon(os.path.abspath(o.layerd), work, count)
            daemon.until("operational", count)
            rss, anonymous = rows[count] = daemon.settled()
            print(f"{count:3} idle      resident {rss:6.2f} MB  anonymous {anonymous:6.2f} MB  READY after {daemon.ready_ms:.0f} ms", flush=True)
            if count == o.most and o.gcode:
                for n in range(count):
                    done = daemon.run("print", f"p{n}", o.gcode, "--no-wait")
                    assert done.returncode == 0, done.stderr
                daemon.until("printing", count)
                time.sleep(5)
                rss, anonymous = daemon.settled()
                print(f"{count:3} printing  resident {rss:6.2f} MB  anonymous {anonymous:6.2f} MB", flush=True)
            daemon.process.kill() if o.gcode and count == o.most else daemon.stop()
        each = (rows[o.most][1] - rows[1][1]) / (o.most - 1)
        print(f"each further idle printer: {each:.3f} MB anonymous")
        if o.bars and (rows[1][0] > 14 or rows[1][1] > 4 or each > 0.3):
            sys.exit("more memory than promised")
    finally:
        if daemon and daemon.process.poll() is None:
            daemon.process.kill()
        printers.kill()
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
