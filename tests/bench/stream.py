#!/usr/bin/env python3
"""Streaming: layerd, a minimal C sender, OctoPrint's MachineCom and Printrun's printcore against the same instant-ok
printer.

    cargo build --profile quick --bins --example ok-sink
    tests/bench/stream.py target/quick/layerd [--lines 200000] [--rounds 3]

One table: lines a second by the sink's clock, as a multiple of the C sender's, and CPU microseconds a line
of the sender, with the machine idle and with every core kept busy by other processes. What the sink
received must equal the file. MachineCom takes part when a Python with the package octoprint is there
(--octoprint-python; default: the one that tests/peers/run makes), printcore with --printrun-python.

    --slow 115200      instead: a line of that speed with 1 ms answer latency and ADVANCED_OK, window on and off
"""
import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
# What a host may say beside the program.
HOST_LINES = re.compile(r"(M105|M110|M115|M155|M113|M114|M27|M73|M75|M77|M400|M21|M20|M117|M84|M85|M104 S0|M140 S0)\b")


def cpu_s(pid):
    """CPU seconds of a running process, all threads."""
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def write_program(path, count):
    """The same slicer-like file for the same count: short moves, a travel now and then, a layer each 2000."""
    seed, x, y, e = 1, 110.0, 110.0, 0.0

    def chance(below):
        nonlocal seed
        seed = (seed * 6364136223846793005 + 1442695040888963407) % 2**64
        return (seed >> 33) % below

    with open(path, "w") as f:
        for i in range(count):
            if i % 2000 == 0:
                f.write(f"G1 Z{0.2 + 0.2 * (i // 2000):.2f} F1200\n")
                continue
            x = min(max(x + (chance(4001) - 2000) / 1000, 10.0), 210.0)
            y = min(max(y + (chance(4001) - 2000) / 1000, 10.0), 210.0)
            if i % 50 == 0:
                f.write(f"G0 F9000 X{x:.3f} Y{y:.3f}\n")
            else:
                e += (1 + chance(40)) / 800
                f.write(f"G1 X{x:.3f} Y{y:.3f} E{e:.5f}\n")


class Sink:
    """The printer: tests/bench/ok_sink.rs."""

    def __init__(self, command, work, *options):
        self.link, self.received = os.path.join(work, "sink"), os.path.join(work, "received")
        self.process = subprocess.Popen([*command, "--link", self.link, "--received", self.received, *options],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline().startswith("PTY "), "the sink did not start"

    def result(self):
        told, _ = self.process.communicate()
        return json.loads(told)


class Daemon:
    """layerd with one printer on the sink."""

    def __init__(self, binary, work, settings=""):
        self.binary, self.work = binary, work
        # As /run is: memory, where a write never waits for a disk that commits.
        self.runtime = tempfile.mkdtemp(prefix="layerd-run-", dir="/dev/shm" if os.path.isdir("/dev/shm") else work)
        self.config, self.log, self.out = (os.path.join(work, name) for name in ("layerd.toml", "log", "out"))
        with open(self.config, "w") as f:
            f.write(f'[agent]\nstate_dir = "{work}/state"\nruntime_dir = "{self.runtime}"\n[api]\nlisten = []\n'
                    f'[printer.p]\ndriver = "marlin"\nport = "{work}/sink"\nbaud = 115200\nbed = [500, 500, 500]\n'
                    f'preflight = "warn"\n{settings}\n')
        self.process = subprocess.Popen(self.command(), stderr=open(self.log, "w"), stdout=open(self.out, "w"))
        self.until(lambda s: s["state"] == "operational", 60)

    def command(self):
        return [self.binary, "--config", self.config, "run"]

    def run(self, *words):
        return subprocess.run([self.binary, "--config", self.config, *words], capture_output=True, text=True, timeout=3600)

    def status(self):
        try:
            return json.loads(self.run("--json", "printers").stdout)[0]
        except (ValueError, IndexError, KeyError):
            return {"state": None, "job": None}

    def until(self, what, seconds, pause=0.1):
        end = time.monotonic() + seconds
        while True:
            seen = self.status()
            if what(seen):
                return seen
            assert time.monotonic() < end, json.dumps(seen)[:500] + "\n" + open(self.log).read()[-2000:]
            time.sleep(pause)

    def print_file(self, gcode):
        """Prints to the end; CPU seconds of the daemon from the order to the end."""
        before = cpu_s(self.process.pid)
        done = self.run("print", "p", gcode)
        assert done.returncode == 0, done.stderr + open(self.log).read()[-2000:]
        # Rarely asked: answering is the daemon's work, too.
        self.until(lambda s: s["job"] is None and s["state"] == "operational", 3000, pause=1.0)
        return cpu_s(self.process.pid) - before

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
        shutil.rmtree(os.path.join(self.work, "state"), ignore_errors=True)
        shutil.rmtree(self.runtime, ignore_errors=True)


def same_as_sent(received, sent):
    """Every line of the file once and in order; a host's own lines may stand between."""
    with open(sent) as f:
        wanted = [line.rstrip("\n") for line in f if line.strip()]
    at = 0
    with open(received) as f:
        for line in f:
            line = line.rstrip("\n")
            if at < len(wanted) and line == wanted[at]:
                at += 1
            elif not HOST_LINES.match(line):
                return f"DIFFERS at program line {at + 1}: {line!r}"
    return "identical" if at == len(wanted) else f"ENDS at program line {at} of {len(wanted)}"


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("layerd")
    p.add_argument("--sink", default=os.path.join(ROOT, "target/quick/examples/ok-sink"))
    p.add_argument("--lines", type=int, default=200000)
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--octoprint-python", default=os.path.join(ROOT, "target/peers/venv/bin/python"))
    p.add_argument("--octoprint-lines", type=int, default=20000, help="MachineCom needs minutes for what others do in seconds")
    p.add_argument("--printrun-python", help="one that has the package printrun")
    p.add_argument("--only", help="one of: c, layerd, machinecom, printcore")
    p.add_argument("--load", choices=["idle", "busy", "both"], default="both")
    p.add_argument("--hogs", type=int, default=1, metavar="N", help="busy processes for each core")
    p.add_argument("--sink-first", action="store_true", help="the printer answers ahead of all processes, as one with a processor of its own")
    p.add_argument("--slow", type=int, metavar="BAUD")
    o = p.parse_args()
    o.layerd = os.path.abspath(o.layerd)
    work = tempfile.mkdtemp(prefix="layerd-stream-")
    gcode, short = os.path.join(work, "bench.gcode"), os.path.join(work, "short.gcode")
    write_program(gcode, 5000 if o.slow else o.lines)
    write_program(short, min(o.lines, o.octoprint_lines))
    ping_pong = os.path.join(work, "ping_pong")
    subprocess.run(["cc", "-O2", "-o", ping_pong, os.path.join(HERE, "ping_pong.c")], check=True)

    def c_sender(file):
        done = subprocess.run([ping_pong, os.path.join(work, "sink"), file], capture_output=True, text=True, check=True)
        return json.loads(done.stdout)["cpu_us_per_line"]

    def python(interpreter, script):
        def send(file):
            port = os.path.realpath(os.path.join(work, "sink"))
            done = subprocess.run([interpreter, os.path.join(HERE, script), port, file], capture_output=True, text=True)
            return json.loads(done.stdout.splitlines()[-1])["cpu_us_per_line"]
        return send

    def layerd(file, settings=""):
        daemon = Daemon(o.layerd, work, settings)
        try:
            return daemon.print_file(file) * 1e6 / sum(1 for _ in open(file))
        finally:
            daemon.stop()

    senders = {"C ping-pong": (c_sender, gcode), "layerd": (layerd, gcode), "MachineCom": (python(o.octoprint_python, "machinecom.py"), short)}
    if o.printrun_python:
        senders["printcore"] = (python(o.printrun_python, "printcore.py"), short)
    sink_options = []
    first = ["chrt", "-f", "50"] if o.sink_first else []
    if o.slow:
        sink_options = ["--baud", str(o.slow), "--latency-us", "1000", "--advanced-ok"]
        senders = {"window off": (lambda f: layerd(f, 'window = "off"'), gcode), "window auto": (layerd, gcode)}
        o.load = "idle"
    elif o.only:
        senders = {name: s for name, s in senders.items() if name.lower().startswith(o.only)}
    if "MachineCom" in senders and not os.path.exists(o.octoprint_python):
        print(f"MachineCom: skipped: no {o.octoprint_python} (tests/peers/run makes it)")
        del senders["MachineCom"]

    print(f"{o.lines} lines (Python {min(o.lines, o.octoprint_lines)}), median of {o.rounds}; {os.cpu_count()} cores")
    for load in ("idle", "busy") if o.load == "both" else (o.load,):
        busy = [subprocess.Popen(["sh", "-c", "while :; do :; done"]) for _ in range(os.cpu_count() * o.hogs if load == "busy" else 0)]
        rows = {name: [] for name in senders}
        try:
            for _ in range(o.rounds):
                for name, (send, file) in senders.items():
                    sink = Sink([*first, o.sink], work, *sink_options)
                    cpu_us = send(file)
                    seen = sink.result()
                    rows[name].append((seen["lines_per_s"], cpu_us, same_as_sent(sink.received, file), seen["refused"]))
        finally:
            for process in busy:
                process.kill()
        base = None
        for name, runs in rows.items():
            rate, cpu_us = (statistics.median(r[i] for r in runs) for i in (0, 1))
            base = base or rate
            verdict = next((r[2] for r in runs if r[2] != "identical"), "identical")
            refused = f", {max(r[3] for r in runs)} refused" if any(r[3] for r in runs) else ""
            print(f"{load:5} {name:12} {rate:9.0f} lines/s  {rate / base:6.3f} x {next(iter(rows))}  {cpu_us:7.2f} µs CPU a line  {verdict}{refused}", flush=True)
    shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
