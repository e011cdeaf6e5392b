#!/usr/bin/env python3
"""Twelve printers print one file after the other: what the daemon needs of memory, files, database and disk.

    soak.py LAYERD [--hours H] [--speed N] [--out DIR] [--name WORD]

--hours are hours of printing by the printers' own clock, for each of them; --speed says how much faster that clock runs
than the wall's. What is written is given for both: SQLite's checkpoints go by the wall's clock, jobs by the printers', so
only a run with --speed 1 is what an SD card sees. The state is kept on a real disk, or nothing would be counted.
"""
import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
for folder in ("../chaos", "../../peers"):
    sys.path.insert(0, os.path.join(HERE, folder))

from curve import curve  # noqa: E402
from doors import Api, Broker  # noqa: E402
from links import Links  # noqa: E402
from printers import Bambu, Klipper, Marlin  # noqa: E402
from programs import project  # noqa: E402

LOOK_S = 2
# The bar for an SD card, and what memory may grow by between the first quarter and the last.
WRITTEN_MB, GROWN_KB = 2.0, 1500


def file(path, hours):
    """A plain part: ten moves a second."""
    with open(path, "w") as f:
        f.write("M140 S60\nM104 S200\nG28\nM109 S200\nG90\nM83\nG1 Z0.2 F600\nG1 F1500\n")
        for i in range(int(hours * 36_000)):
            if i % 1800 == 0:
                f.write(f";LAYER:{i // 1800}\nG1 Z{0.2 + i // 1800 * 0.2:.1f} F1500\n")
            f.write(f"G1 X{50 + i % 2 * 2.5} Y{20 + i % 1800 / 10:.2f} E0.08\n")
        f.write("M104 S0\nM140 S0\nM84\n")


class Soak:
    def __init__(self, given, folder, memory):
        self.given, self.folder, self.memory, self.binary = given, folder, memory, os.path.abspath(given.layerd)
        self.printers = [kind(f"{kind.__name__[0].lower()}{n}", self.binary, folder, given.speed)
                         for kind in (Marlin, Klipper, Bambu) for n in range(1, 5)]
        self.links, self.broker, self.daemon, self.cloud = Links(), None, None, None
        self.logged, self.rows, self.done, self.begun = 0, [], 0, {}
        self.names = {}

    def path(self, *parts):
        return os.path.join(self.folder, *parts)

    def start(self):
        hours = min(1.0, self.given.hours) if self.given.speed > 1 else self.given.hours + 1
        for n in range(3):
            file(self.path(f"part{n}.gcode"), hours * (1 - n / 10))
            project(self.path(f"part{n}.gcode.3mf"), n, int(hours * (1 - n / 10) * 3600 * 5))
        config = "".join(f"[printer.{p.name}]\n" + p.start(self.links) for p in self.printers)
        self.cloud = subprocess.Popen([self.binary, "--json", "simulate", "cloud", "--port", "0", "--claim-after", "1"],
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        urls = re.findall(r'"(\w+)":"([^"]+)"', self.cloud.stdout.readline())
        threading.Thread(target=lambda: [None for _ in self.cloud.stdout], daemon=True).start()
        config += "[upstream.simplyprint]\n" + "".join(f'{key} = "{value}"\n' for key, value in urls)
        if shutil.which("mosquitto"):
            self.broker = Broker(self.folder, self.links.free_port())
            self.broker.start()
            config += f'[upstream.mqtt]\nurl = "mqtt://127.0.0.1:{self.broker.port}"\n'
        with open(self.path("layerd.toml"), "w") as f:
            f.write(f'[agent]\nname = "soak"\nstate_dir = "{self.path("state")}"\nruntime_dir = "{self.memory}"\n[api]\nlisten = []\n{config}')
        os.chmod(self.path("layerd.toml"), 0o600)
        os.makedirs(self.path("state"))
        # The log is counted apart from what goes to the disk: journald decides what becomes of it.
        self.daemon = subprocess.Popen([self.binary, "--config", self.path("layerd.toml"), "run"], stdout=subprocess.DEVNULL,
                                       stderr=subprocess.PIPE)
        threading.Thread(target=self.read_log, daemon=True).start()
        self.api = Api(os.path.join(self.memory, "layerd.sock"))

    def read_log(self):
        for line in self.daemon.stderr:
            self.logged += len(line)

    def again(self):
        """A print for everybody who has none; how many print."""
        try:
            shown = self.api.printers()
        except (OSError, ValueError):
            return 0
        for printer in self.printers:
            row = shown.get(printer.name, {})
            if row.get("state") == "operational" and row.get("job") is None:
                turn = self.begun.get(printer.name, 0)
                self.done += turn > 0
                self.begun[printer.name] = turn + 1
                name = f"part{turn % 3}.gcode" + (".3mf" if printer.kind == "bambu" else "")
                if name not in self.names:
                    self.names[name] = self.api.upload(self.path(name))["file"]["id"]
                self.api.act(printer.name, "CreateJob", {"file_id": self.names[name], "layerd": {}})
        return sum(row.get("state") == "printing" for row in shown.values())

    def look(self):
        pid = self.daemon.pid
        with open(f"/proc/{pid}/status") as f:
            status = dict(re.findall(r"^(\w+):\s+(\d+)", f.read(), re.MULTILINE))
        with open(f"/proc/{pid}/io") as f:
            io = dict(re.findall(r"^(\w+): (\d+)", f.read(), re.MULTILINE))
        sizes = [os.path.getsize(self.path("state", name)) for name in ("layerd.db", "layerd.db-wal") if os.path.exists(self.path("state", name))]
        return {"at": time.monotonic(), "rss": int(status["VmRSS"]), "anon": int(status["RssAnon"]), "files": len(os.listdir(f"/proc/{pid}/fd")),
                "database": sizes[0] // 1024 if sizes else 0, "wal": sum(sizes[1:]) // 1024, "written": int(io["write_bytes"]), "logged": self.logged}

    def run(self):
        self.start()
        end = time.monotonic() + 120
        while self.again() < len(self.printers):
            assert time.monotonic() < end, "not all printers print"
            time.sleep(0.5)
        end = time.monotonic() + self.given.hours * 3600 / self.given.speed
        printing = []
        while time.monotonic() < end:
            printing.append(self.again())
            self.rows.append(self.look())
            assert self.daemon.poll() is None, f"the daemon ended: {self.daemon.returncode}"
            time.sleep(LOOK_S)
        return sum(printing) / len(printing)

    def end(self):
        for process in (self.daemon, self.cloud):
            if process and process.poll() is None:
                process.kill()
                process.wait()
        for part in (*self.printers, self.broker):
            if part:
                part.end()
        self.links.close()

    def report(self, printing):
        """The table; false: a bar is missed."""
        first, last = self.rows[0], self.rows[-1]
        wall_h = (last["at"] - first["at"]) / 3600
        printer_h, own_h = wall_h * printing, wall_h * printing * self.given.speed
        written = (last["written"] - first["written"]) / 1e6
        quarter = max(1, len(self.rows) // 4)
        early = sorted(row["anon"] for row in self.rows[quarter // 2:quarter + quarter // 2 + 1])
        late = sorted(row["anon"] for row in self.rows[-quarter:])
        early, late = early[len(early) // 2], late[len(late) // 2]
        print(f"{len(self.printers)} printers, speed {self.given.speed:g}: {wall_h:.2f} h by the wall's clock, on average {printing:.1f} printing, "
              f"{own_h:.0f} printer-hours by their own clock, {self.done} prints done")
        print("| | at the start | at the end |\n|---|---|---|")
        for name, key, unit in (("resident", "rss", "kB"), ("anonymous", "anon", "kB"), ("open files", "files", ""), ("database", "database", "kB"),
                                ("its log (WAL)", "wal", "kB")):
            print(f"| {name} | {first[key]} {unit} | {last[key]} {unit} |")
        print(f"anonymous memory, medians: {early} kB in the first quarter, {late} kB in the last")
        print(f"written to the disk: {written:.2f} MB = {written / printer_h:.3f} MB a printer-hour by the wall's clock, {written / own_h:.3f} by the printers'")
        print(f"its messages: {(last['logged'] - first['logged']) / 1e3 / printer_h:.1f} kB a printer-hour by the wall's clock, "
              f"{(last['logged'] - first['logged']) / 1e3 / own_h:.1f} by the printers'")
        path = os.path.join(self.given.out, f"soak-{self.given.name}.svg")
        zero = first["at"]
        curve(path, f"{len(self.printers)} printers printing, {self.given.speed:g} times as fast as life",
              [(name, unit, [(row["at"] - zero, row[key] / by) for row in self.rows])
               for name, unit, key, by in (("anonymous memory", "kB", "anon", 1), ("resident memory", "kB", "rss", 1),
                                           ("database", "kB", "database", 1), ("written since the start", "MB", "written", 1e6))])
        print(f"curves: {path}")
        good = late - early <= GROWN_KB and (self.given.speed > 1 or written / printer_h <= WRITTEN_MB)
        print(f"bars: memory grown by at most {GROWN_KB} kB, at speed 1 at most {WRITTEN_MB} MB a printer-hour: {'met' if good else 'NOT met'}")
        return good


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("layerd")
    parser.add_argument("--hours", type=float, default=24)
    parser.add_argument("--speed", type=float, default=60)
    parser.add_argument("--out", default="tests/long/out")
    parser.add_argument("--name", default="fast")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    os.makedirs(given.out, exist_ok=True)
    # Not in /dev/shm or the like: a file there is never written to a disk.
    folder = tempfile.mkdtemp(prefix="layerd-soak-", dir=os.environ.get("SOAK_DIR", "/var/tmp"))
    # And in memory what is in memory under systemd: /run.
    memory = tempfile.mkdtemp(prefix="layerd-soak-", dir="/dev/shm")
    soak = Soak(given, folder, memory)
    try:
        printing = soak.run()
        good = soak.report(printing)
    finally:
        soak.end()
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(memory, ignore_errors=True)
    sys.exit(not good)


main()
