#!/usr/bin/env python3
"""How long the printer waits for its next line, with the whole daemon on one CPU.

    cargo build --profile quick --bins --examples
    tests/bench/turnaround.py target/quick [--seconds 30] [--analysis-mb 200]

The daemon is pinned to CPU 0; the printer (ok_sink.rs: answers a millisecond after each line, as a board
does) and everything that asks the daemon are on CPU 1, the printer ahead of the others (SCHED_FIFO where
allowed). A sample is the time from `ok` written until the next motion line was read. Loads run in the
daemon's own process (loaded_daemon.rs): analysis of a big file, TLS handshakes back to back, transactions
back to back; API traffic comes through its socket; "cloud" is an upstream that misbehaves in every way it can
(rogue_cloud.py, on CPU 1). A row "C:LOAD" is the same measurement of the least a sender can do (ping_pong.c), with a printer
of its own on the same two CPUs in the same seconds: what this machine itself adds just then. --alone leaves it out; the row
"C" is it with nothing beside.
"""
import argparse
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

from rogue_cloud import RogueCloud
from stream import Daemon, Sink, write_program

LOADS = ["C", "none", "api", "cloud", "sqlite", "analysis", "tls", "all"]


class LocalConnection(http.client.HTTPConnection):
    """HTTP over the daemon's socket."""

    def __init__(self, path):
        super().__init__("localhost", timeout=30)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)


def ask(path, over, count):
    """One client that asks for the printers as fast as it gets answers, at most 200 times a second."""
    os.sched_setaffinity(0, {1})
    connection = LocalConnection(path)
    while not over.is_set():
        connection.request("GET", "/0/printers/Get")
        assert connection.getresponse().read()
        count[0] += 1
        over.wait(0.005)


class LoadedDaemon(Daemon):
    """loaded-daemon in the place of `layerd run`."""

    def __init__(self, folder, work, loads, settings=""):
        self.loaded = [os.path.join(folder, "examples", "loaded-daemon"), os.path.join(work, "layerd.toml"), *loads]
        super().__init__(os.path.join(folder, "layerd"), work, settings)

    def command(self):
        return ["taskset", "-c", "0", *self.loaded]


class CSender:
    """ping_pong.c and its printer, beside whatever else runs."""

    def __init__(self, ping_pong, printer, work, gcode, *options):
        folder = os.path.join(work, "c")
        os.makedirs(folder, exist_ok=True)
        self.sink = Sink(printer, folder, *options)
        self.process = subprocess.Popen(["taskset", "-c", "0", "nice", "-n", "-10", ping_pong, self.sink.link, gcode], stdout=subprocess.DEVNULL)

    def result(self):
        assert self.process.wait(600) == 0
        return self.sink.result()["turnaround_us"]


def row(name, times, done):
    print(f"{name:11} {times['samples']:7} lines  p50 {times['p50']:8.1f}  p90 {times['p90']:8.1f}  p99 {times['p99']:8.1f}  "
          f"p99.9 {times['p999']:8.1f}  max {times['max']:9.1f}   {done}", flush=True)
    if times["max"] > 5000:
        print("          worst: " + ", ".join(f"{us / 1000:.1f} ms at line {n}" for us, n in times["worst"]), flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("folder", help="where layerd and examples/ are, e.g. target/quick")
    p.add_argument("--seconds", type=int, default=30)
    p.add_argument("--work-us", type=int, default=1000, help="how long the printer takes for a line")
    p.add_argument("--analysis-mb", type=int, default=200)
    p.add_argument("--loads", nargs="*", default=LOADS)
    p.add_argument("--alone", action="store_true", help="no C sender beside the daemon")
    o = p.parse_args()
    if os.cpu_count() < 2:
        sys.exit("needs two CPUs")
    work = tempfile.mkdtemp(prefix="layerd-turnaround-")
    gcode, big = os.path.join(work, "bench.gcode"), os.path.join(work, "big.gcode")
    write_program(gcode, int(o.seconds * 1e6 / (o.work_us + 100)))
    if {"analysis", "all"} & set(o.loads):
        write_program(big + ".part", 300_000)
        part = open(big + ".part").read()
        with open(big, "w") as f:
            while f.tell() < o.analysis_mb * 1_000_000:
                f.write(part)
    first = ["chrt", "-f", "50"] if subprocess.run(["chrt", "-f", "50", "true"], capture_output=True).returncode == 0 else []
    binary = os.path.join(o.folder, "examples", "ok-sink")
    print(f"daemon on CPU 0 alone, printer {o.work_us} µs a line, {o.seconds} s each; µs from ok to next line")
    ping_pong = os.path.join(work, "ping_pong")
    subprocess.run(["cc", "-O2", "-o", ping_pong, os.path.join(os.path.dirname(os.path.abspath(__file__)), "ping_pong.c")], check=True)
    for name in o.loads:
        printer, slow = ["taskset", "-c", "1", *first, binary], ("--work-us", str(o.work_us))
        if name == "C":
            row(name, CSender(ping_pong, printer, work, gcode, *slow).result(), "")
            continue
        chosen = {"none": [], "api": [], "cloud": [], "sqlite": ["sqlite"], "tls": ["tls"], "analysis": ["analysis=" + big],
                  "all": ["tls", "sqlite", "analysis=" + big]}[name]
        sink = Sink(printer, work, *slow)
        cloud = RogueCloud() if name in ("cloud", "all") else None
        daemon = LoadedDaemon(o.folder, work, chosen, cloud.settings() if cloud else "")
        over, asked = threading.Event(), [0]
        client = threading.Thread(target=ask, args=(os.path.join(daemon.runtime, "layerd.sock"), over, asked), daemon=True)
        if name in ("api", "all"):
            client.start()
        beside = None if o.alone else CSender(ping_pong, printer, work, gcode, *slow)
        try:
            daemon.print_file(gcode)
        finally:
            over.set()
            if client.is_alive():
                client.join()
            daemon.stop()
            if cloud:
                cloud.stop()
        seen = sink.result()
        done = open(daemon.out).read().strip() if os.path.exists(daemon.out) else ""
        row(name, seen["turnaround_us"], done + (f", {asked[0]} questions" if asked[0] else "")
            + (f", {cloud.told()}" if cloud else ""))
        if beside:
            row("C:" + name, beside.result(), "")
    shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
