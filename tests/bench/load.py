#!/usr/bin/env python3
"""Many clients while a Marlin prints: the turnaround of its line, and what they cost in memory.

    cargo build --profile quick --bin layerd --example ok-sink
    tests/bench/load.py target/quick [--seconds 60] [--listeners 200] [--rate 500]

The daemon is on CPU 0, the printer (ok_sink.rs: answers a millisecond after each line) and all clients are on CPU 1, the
printer ahead of them (SCHED_FIFO where allowed). Listeners follow the server-sent events of all printers; the requests are
what a page and scripts ask: the list of printers, one printer, a plate, curves, history, notices, metrics, health. A sample
is the time from `ok` written until the next motion line was read. First the print alone, then with the clients, then alone
again. Bars: p99 2 ms and 20 ms at most with the clients; no answer but 200; memory that is given back.
"""
import argparse
import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

from stream import Daemon, Sink, write_program

PATHS = ["/0/printers/Get", "/0/printers/Get?pid=1", "/0/printers/GetPlate?pid=1", "/0/printers/GetTemperatures?pid=1",
         "/0/printers/GetCounters", "/0/printers/notification/Get?pid=1", "/0/files/ListExisting", "/metrics", "/healthz",
         "/0/account/Test"]
P99_US, MAX_US = 2000, 20000


class PinnedDaemon(Daemon):
    def command(self):
        return ["taskset", "-c", "0", *super().command()]


def memory_kb(pid):
    """Resident and anonymous memory."""
    seen = {}
    for line in open(f"/proc/{pid}/status"):
        name, _, value = line.partition(":")
        if name in ("VmRSS", "RssAnon", "VmHWM"):
            seen[name] = int(value.split()[0])
    return seen


class Clients:
    """All of them, in one thread."""

    def __init__(self, port, listeners, rate):
        self.port, self.listeners, self.rate = port, listeners, rate
        self.events, self.asked, self.late = 0, 0, 0
        self.bad, self.lost = {}, 0
        self.times = []
        self.over = threading.Event()
        self.listening = threading.Event()
        self.thread = threading.Thread(target=lambda: asyncio.run(self.all()), daemon=True)

    async def listen(self):
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 20)
        writer.write(b"GET /0/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        if b" 200 " not in head.split(b"\r\n")[0]:
            self.bad[head.split(b"\r\n")[0].decode()] = self.bad.get(head.split(b"\r\n")[0].decode(), 0) + 1
            return
        self.there += 1
        while not self.over.is_set():
            try:
                chunk = await asyncio.wait_for(reader.read(1 << 16), 1)
            except asyncio.TimeoutError:
                continue
            if not chunk:
                self.lost += 1
                return
            self.events += chunk.count(b"event:")
        writer.close()

    async def ask(self, number, workers):
        """One connection that asks its share, on time or as fast as it gets answers."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 22)
        due = time.monotonic() + number / self.rate
        n = number
        while not self.over.is_set():
            now = time.monotonic()
            if now < due:
                await asyncio.sleep(due - now)
            elif now - due > 0.5:
                self.late += 1
                due = now
            due += workers / self.rate
            n += 1
            began = time.monotonic()
            writer.write(f"GET {PATHS[n % len(PATHS)]} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            status = head.split(b" ", 2)[1].decode()
            length = next(int(l.split(b":")[1]) for l in head.lower().split(b"\r\n") if l.startswith(b"content-length"))
            await reader.readexactly(length)
            self.asked += 1
            self.times.append(time.monotonic() - began)
            if status != "200":
                self.bad[PATHS[n % len(PATHS)] + " " + status] = self.bad.get(PATHS[n % len(PATHS)] + " " + status, 0) + 1
        writer.close()

    async def all(self):
        os.sched_setaffinity(0, {1})
        self.there = 0
        workers = 20
        listening = [asyncio.create_task(self.listen()) for _ in range(self.listeners)]
        while self.there < self.listeners and not self.bad and not self.over.is_set():
            await asyncio.sleep(0.05)
        self.listening.set()
        asking = [asyncio.create_task(self.ask(n, workers)) for n in range(workers)]
        done = await asyncio.gather(*listening, *asking, return_exceptions=True)
        for failure in done:
            if isinstance(failure, Exception):
                self.bad[repr(failure)[:100]] = self.bad.get(repr(failure)[:100], 0) + 1


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("folder", help="where layerd and examples/ are, e.g. target/quick")
    p.add_argument("--seconds", type=int, default=60)
    p.add_argument("--listeners", type=int, default=200)
    p.add_argument("--rate", type=int, default=500)
    p.add_argument("--work-us", type=int, default=1000, help="how long the printer takes for a line")
    o = p.parse_args()
    if os.cpu_count() < 2:
        sys.exit("needs two CPUs")
    work = tempfile.mkdtemp(prefix="layerd-load-")
    first = ["chrt", "-f", "50"] if subprocess.run(["chrt", "-f", "50", "true"], capture_output=True).returncode == 0 else []
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    layerd = os.path.abspath(os.path.join(o.folder, "layerd"))
    failed = []
    for name, seconds, with_clients in (("alone", max(5, o.seconds // 8), False), ("clients", o.seconds, True)):
        gcode = os.path.join(work, "bench.gcode")
        write_program(gcode, int(seconds * 1e6 / (o.work_us + 150)))
        sink = Sink(["taskset", "-c", "1", *first, os.path.join(o.folder, "examples", "ok-sink")], work, "--work-us", str(o.work_us))
        daemon = PinnedDaemon(layerd, work)
        daemon.stop()
        text = open(daemon.config).read().replace("listen = []", f'listen = ["127.0.0.1:{port}"]\nrate_per_min = 0\nloopback_key = false')
        sink.process.kill()
        sink.process.wait()
        sink = Sink(["taskset", "-c", "1", *first, os.path.join(o.folder, "examples", "ok-sink")], work, "--work-us", str(o.work_us))
        daemon.runtime = text.split('runtime_dir = "')[1].split('"')[0]
        os.makedirs(daemon.runtime, exist_ok=True)
        open(daemon.config, "w").write(text)
        daemon.process = subprocess.Popen(daemon.command(), stderr=open(daemon.log, "w"), stdout=open(daemon.out, "w"))
        daemon.until(lambda s: s["state"] == "operational", 60)
        pid, clients, highest = daemon.process.pid, None, {}
        before = memory_kb(pid)
        if with_clients:
            clients = Clients(port, o.listeners, o.rate)
            clients.thread.start()
            assert clients.listening.wait(30), "the listeners did not come in"
        try:
            printing = subprocess.Popen([layerd, "--config", daemon.config, "print", "p", gcode, "--follow"],
                                        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, preexec_fn=lambda: os.sched_setaffinity(0, {1}))
            while printing.poll() is None:
                now = memory_kb(pid)
                highest = {k: max(v, highest.get(k, 0)) for k, v in now.items()}
                time.sleep(0.5)
            assert printing.returncode == 0, printing.stderr.read()
            if clients:
                clients.over.set()
                clients.thread.join(20)
                time.sleep(3)
            after = memory_kb(pid)
        finally:
            daemon.stop()
        seen = sink.result()["turnaround_us"]
        print(f"{name:8} {seen['samples']:7} lines  p50 {seen['p50']:8.1f}  p90 {seen['p90']:8.1f}  p99 {seen['p99']:8.1f}  "
              f"p99.9 {seen['p999']:8.1f}  max {seen['max']:9.1f} µs", flush=True)
        if seen["max"] > 5000:
            print("         worst: " + ", ".join(f"{us / 1000:.1f} ms at line {n}" for us, n in seen["worst"]), flush=True)
        print(f"{'':8} memory kB: resident {before['VmRSS']} before, {highest['VmRSS']} at most, {after['VmRSS']} after; "
              f"anonymous {before['RssAnon']}, {highest['RssAnon']}, {after['RssAnon']}", flush=True)
        if clients:
            took = sorted(clients.times)
            at = lambda share: took[min(len(took) - 1, int(len(took) * share))] * 1000
            print(f"{'':8} {clients.there} listeners heard {clients.events} events, {clients.lost} were cut off; {clients.asked} requests, "
                  f"{clients.asked / o.seconds:.0f}/s, p50 {at(.5):.1f} ms, p99 {at(.99):.1f} ms, {clients.late} late; "
                  f"not as wanted: {json.dumps(clients.bad) if clients.bad else 'none'}", flush=True)
            if seen["p99"] > P99_US or seen["max"] > MAX_US:
                failed.append("turnaround")
            if clients.bad or clients.lost:
                failed.append("answers")
            if clients.asked < 0.9 * o.rate * o.seconds:
                failed.append("rate")
    shutil.rmtree(work, ignore_errors=True)
    print("load: " + ("within the bars" if not failed else "NOT within the bars: " + ", ".join(failed)))
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
