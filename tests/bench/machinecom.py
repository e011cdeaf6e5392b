#!/usr/bin/env python3
"""Streams a file with OctoPrint's own serial class, without its server:  machinecom.py PORT FILE

Needs the package octoprint (1.11.8). Prints one line of JSON: lines a second and CPU microseconds a line.
"""
import json
import logging
import os
import resource
import sys
import tempfile
import threading
import time

logging.disable(logging.CRITICAL)
import octoprint.plugin
from octoprint.settings import settings

options = settings(init=True, basedir=tempfile.mkdtemp(prefix="machinecom-"))
octoprint.plugin.plugin_manager(init=True, plugin_folders=[], plugin_entry_points=[])

from octoprint.printer.profile import PrinterProfileManager
from octoprint.util.comm import MachineCom, MachineComPrintCallback

options.set(["serial", "useParityWorkaround"], "never")
options.setBoolean(["feature", "sdSupport"], False)


class Watcher(MachineComPrintCallback):
    def __init__(self):
        self.over = threading.Event()
        self.trouble = None

    def on_comm_print_job_done(self, *_, **__):
        self.over.set()

    def on_comm_print_job_failed(self, *_, **__):
        self.trouble = "failed"
        self.over.set()

    def on_comm_error(self, error, *_, **__):
        self.trouble = str(error)
        self.over.set()


def cpu_s():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main():
    port, path = sys.argv[1], os.path.abspath(sys.argv[2])
    watcher = Watcher()
    com = MachineCom(port, 115200, callbackObject=watcher, printerProfileManager=PrinterProfileManager())
    com.start()
    end = time.monotonic() + 60
    while not com.isOperational():
        if time.monotonic() > end:
            sys.exit("MachineCom did not connect")
        time.sleep(0.05)
    time.sleep(2)  # its questions after connecting are not part of the print
    com.selectFile(path, False)
    lines, cpu, began = com.transmitted_lines, cpu_s(), time.monotonic()
    com.startPrint()
    watcher.over.wait(3600)
    lines, cpu, span = com.transmitted_lines - lines, cpu_s() - cpu, time.monotonic() - began
    print(json.dumps({"lines": lines, "lines_per_s": round(lines / span, 1), "cpu_us_per_line": round(cpu * 1e6 / max(lines, 1), 2),
                      "trouble": watcher.trouble}), flush=True)
    os._exit(0)  # its threads never end by themselves


if __name__ == "__main__":
    main()
