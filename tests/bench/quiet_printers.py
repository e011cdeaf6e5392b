#!/usr/bin/env python3
"""Many Marlin-like printers in one process, for measuring the daemon and not the printers.

    quiet_printers.py DIR COUNT [--line-ms 40]

Makes DIR/printer0 … DIR/printerN; answers every line `ok`, motion after --line-ms. Prints READY.
"""
import argparse
import heapq
import os
import pty
import select
import time
import tty

M115 = (b"FIRMWARE_NAME:Marlin 2.1.2 (quiet) PROTOCOL_VERSION:1.0 MACHINE_TYPE:Quiet EXTRUDER_COUNT:1\n"
        b"Cap:AUTOREPORT_TEMP:1\nCap:EMERGENCY_PARSER:1\nCap:HOST_ACTION_COMMANDS:1\n")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("dir")
    p.add_argument("count", type=int)
    p.add_argument("--line-ms", type=float, default=40.0)
    o = p.parse_args()
    rests, targets, keep = {}, {}, []
    for n in range(o.count):
        master, slave = pty.openpty()
        tty.setraw(slave)
        keep.append(slave)
        link = os.path.join(o.dir, f"printer{n}")
        if os.path.islink(link):
            os.unlink(link)
        os.symlink(os.ttyname(slave), link)
        rests[master] = b""
        targets[master] = {b"T": 0.0, b"B": 0.0}
    print("READY", flush=True)
    due = []  # (when, master, answer)
    report = time.monotonic() + 2
    while True:
        now = time.monotonic()
        while due and due[0][0] <= now:
            _, master, answer = heapq.heappop(due)
            os.write(master, answer)
        wait = min([report] + [d[0] for d in due[:1]]) - now
        ready, _, _ = select.select(list(rests), [], [], max(0.0, wait))
        for master in ready:
            rests[master] += os.read(master, 65536)
            *lines, rests[master] = rests[master].split(b"\n")
            for line in lines:
                text = line.split(b"*")[0]
                if text.startswith(b"N"):
                    text = text.partition(b" ")[2]
                words = text.split()
                if not words:
                    continue
                heat = targets[master]
                state = b"T:%.1f /%.1f B:%.1f /%.1f" % (heat[b"T"] or 22, heat[b"T"], heat[b"B"] or 22, heat[b"B"])
                for code, key in ((b"M104", b"T"), (b"M109", b"T"), (b"M140", b"B"), (b"M190", b"B")):
                    if words[0] == code:
                        heat[key] = max([float(w[1:]) for w in words[1:] if w[:1] in b"SR"] or [0.0])
                answer = {b"M105": b"ok " + state + b"\n", b"M115": M115 + b"ok\n",
                          b"M114": b"X:0.00 Y:0.00 Z:0.00 E:0.00 Count X:0 Y:0 Z:0\nok\n"}.get(words[0], b"ok\n")
                wait_ms = o.line_ms if words[0] in (b"G0", b"G1", b"G2", b"G3") else 0
                heapq.heappush(due, (time.monotonic() + wait_ms / 1000, master, answer))
        if time.monotonic() >= report:
            report += 2
            for master, heat in targets.items():
                os.write(master, b" T:%.1f /%.1f B:%.1f /%.1f @:0 B@:0\n" % (heat[b"T"] or 22, heat[b"T"], heat[b"B"] or 22, heat[b"B"]))


if __name__ == "__main__":
    main()
