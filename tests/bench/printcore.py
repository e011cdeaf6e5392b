#!/usr/bin/env python3
"""Streams a file with Printrun's printcore:  printcore.py PORT FILE

Needs the package printrun. Prints one line of JSON: lines a second and CPU microseconds a line.
"""
import json
import logging
import os
import resource
import sys
import threading
import time

logging.disable(logging.CRITICAL)
from printrun import gcoder
from printrun.printcore import printcore


def cpu_s():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main():
    port, path = sys.argv[1], sys.argv[2]
    core, over = printcore(), threading.Event()
    core.endcb = over.set
    core.connect(port, 115200)
    end = time.monotonic() + 60
    while not core.online:
        if time.monotonic() > end:
            sys.exit("printcore did not connect")
        time.sleep(0.05)
    time.sleep(1)  # its questions after connecting are not part of the print
    with open(path) as f:
        program = [line.rstrip("\n") for line in f]
    # Reading the file belongs to the print, as it does with the others.
    cpu, began = cpu_s(), time.monotonic()
    core.startprint(gcoder.LightGCode(program))
    over.wait(3600)
    cpu, span = cpu_s() - cpu, time.monotonic() - began
    print(json.dumps({"lines": len(program), "lines_per_s": round(len(program) / span, 1),
                      "cpu_us_per_line": round(cpu * 1e6 / max(len(program), 1), 2)}), flush=True)
    os._exit(0)  # its threads never end by themselves


if __name__ == "__main__":
    main()
