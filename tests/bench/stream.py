#!/usr/bin/env python3
"""Streaming: layerd, a minimal C sender and OctoPrint's MachineCom against the same instant-ok sink.

    stream.py LAYERD SINK_DIR [--lines 200000] [--rounds 3] [--octoprint-python PYTHON]

SINK_DIR holds ok_sink.c, host.c, gen.py and bench_octoprint.py. Prints one table: lines a second (by the
sink's clock) and CPU microseconds a line (of the sender), idle and with both cores kept busy by other
processes. The received file must equal the sent one.
"""
import argparse
import filecmp
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time


def cpu_s(pid):
    """CPU seconds of a running process, all threads."""
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Sink:
    def __init__(self, work, *options):
        self.got = os.path.join(work, "got.gcode")
        self.link = os.path.join(work, "sink")
        self.out = open(os.path.join(work, "sink.out"), "w+")
        self.process = subprocess.Popen([os.path.join(work, "ok_sink"), "-l", self.link, "-t", "1800", "-f", self.got, *options],
                                        stdout=self.out)
        end = time.monotonic() + 5
        while not os.path.islink(self.link) and time.monotonic() < end:
            time.sleep(0.01)

    def result(self):
        self.process.terminate()
        self.process.wait()
        self.out.seek(0)
        return json.loads(self.out.read().splitlines()[-1])


def c_host(work, gcode, _):
    done = subprocess.run([os.path.join(work, "host"), os.path.join(work, "sink"), gcode, "1"], capture_output=True, text=True, timeout=900)
    return json.loads(done.stdout)


def octoprint(work, gcode, o):
    done = subprocess.run([o.octoprint_python, os.path.join(o.sink_dir, "bench_octoprint.py"), os.path.realpath(os.path.join(work, "sink")), gcode, "1700"],
                          capture_output=True, text=True, timeout=1800)
    return json.loads(done.stdout.splitlines()[-1])


def layerd(work, gcode, o):
    config = os.path.join(work, "layerd.toml")
    with open(config, "w") as f:
        f.write(f'[agent]\nstate_dir = "{work}/state"\nruntime_dir = "{work}/run"\n[api]\nlisten = []\n'
                f'[printer.p]\ndriver = "marlin"\nport = "{work}/sink"\nbaud = 115200\nbed = [500, 500, 500]\npreflight = "warn"\n{o.settings}\n')
    daemon = subprocess.Popen([o.layerd, "--config", config, "run"], stderr=open(os.path.join(work, "log"), "w"))
    try:
        run = lambda *words: subprocess.run([o.layerd, "--config", config, *words], capture_output=True, text=True, timeout=1800)
        end = time.monotonic() + 40
        while '"operational"' not in run("--json", "printers").stdout.replace(" ", ""):
            assert time.monotonic() < end, open(os.path.join(work, "log")).read()
            time.sleep(0.1)
        before, began = cpu_s(daemon.pid), time.monotonic()
        done = run("print", "p", gcode)
        assert done.returncode == 0, done.stderr
        while True:
            state = json.loads(run("--json", "printers").stdout)[0]
            if state["job"] is None and state["state"] == "operational":
                break
            time.sleep(0.2)
        lines = sum(1 for line in open(gcode) if line.strip())
        span = time.monotonic() - began
        return {"lines_per_s": lines / span, "cpu_us_per_line": (cpu_s(daemon.pid) - before) * 1e6 / lines}
    finally:
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(60)
        shutil.rmtree(os.path.join(work, "state"), ignore_errors=True)


def same_as_sent(got, sent):
    """Whether the sink got exactly the file; a host's own lines (M105, M400 …) may stand between."""
    wanted = [l.rstrip("\n") for l in open(sent) if l.strip()]
    at = 0
    for line in open(got):
        line = line.rstrip("\n")
        if at < len(wanted) and line == wanted[at]:
            at += 1
        elif not re.match(r"M(105|110|115|155|113|114|27|73|75|77|400|21|20|117|84|85)\b", line):
            return False
    return at == len(wanted)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("layerd")
    p.add_argument("sink_dir")
    p.add_argument("--lines", type=int, default=200000)
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--octoprint-python", help="a Python that has octoprint and pyserial")
    p.add_argument("--settings", default="", help="more lines for the printer's table")
    p.add_argument("--sink", default="", help="more options for the sink")
    p.add_argument("--only", help="one of the senders")
    p.add_argument("--no-busy", action="store_true")
    o = p.parse_args()
    work = tempfile.mkdtemp(prefix="layerd-stream-")
    for name in ("ok_sink", "host"):
        subprocess.run(["cc", "-O2", "-o", os.path.join(work, name), os.path.join(o.sink_dir, name + ".c")], check=True)
    gcode = os.path.join(work, "bench.gcode")
    with open(gcode, "w") as f:
        subprocess.run([sys.executable, os.path.join(o.sink_dir, "gen.py"), str(o.lines)], stdout=f, check=True)
    senders = {"C ping-pong": c_host, "layerd": layerd}
    if o.octoprint_python:
        senders["OctoPrint MachineCom"] = octoprint
    if o.only:
        senders = {o.only: senders[o.only]}
    print(f"{o.lines} lines, {o.rounds} rounds, sink {o.sink or 'instant'}; median lines/s by the sink's clock, CPU µs a line of the sender")
    for load in ("idle",) if o.no_busy else ("idle", "both cores busy"):
        busy = [subprocess.Popen(["sh", "-c", "while :; do :; done"]) for _ in range(0 if load == "idle" else os.cpu_count())]
        try:
            rows = {name: [] for name in senders}
            for _ in range(o.rounds):
                for name, send in senders.items():
                    sink = Sink(work, *o.sink.split())
                    told = send(work, gcode, o)
                    seen = sink.result()
                    told["lines_per_s"] = seen.get("lines_per_s", told["lines_per_s"])
                    told["same"] = same_as_sent(sink.got, gcode)
                    rows[name].append(told)
        finally:
            for process in busy:
                process.kill()
        base = statistics.median(r["lines_per_s"] for r in next(iter(rows.values())))
        for name, runs in rows.items():
            rate = statistics.median(r["lines_per_s"] for r in runs)
            cpu = statistics.median(r["cpu_us_per_line"] for r in runs)
            same = "identical" if all(r["same"] for r in runs) else "DIFFERS"
            print(f"{load:16} {name:22} {rate:10.0f} lines/s  {rate / base:5.2f} x C  {cpu:7.2f} µs  {same}", flush=True)
    shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
