#!/usr/bin/env python3
"""OctoPrint's virtual printer behind a pty: a Marlin-like peer that we did not write.

Needs only the package `octoprint` (1.11.8); no OctoPrint server runs. The plugin's printer object
gets a stub for its settings; this script carries bytes between it and a pty, can damage them on the
way, and writes down every numbered line that the printer accepted.

First line on stdout: `PTY <path>`. Serves until SIGTERM or --lifetime.
"""
import argparse
import copy
import os
import pty
import re
import select
import signal
import sys
import tempfile
import threading
import time
import tty


class PluginSettings:
    """Answers the plugin's questions from a plain dictionary."""

    def __init__(self, values, sd_folder):
        self.values = values
        self.sd_folder = sd_folder

    def get(self, path, **_):
        found = self.values
        for key in path:
            if not isinstance(found, dict):
                return None
            found = found.get(key)
        return found

    def get_int(self, path, **_):
        found = self.get(path)
        return None if found is None else int(found)

    def get_float(self, path, **_):
        found = self.get(path)
        return None if found is None else float(found)

    def get_boolean(self, path, **_):
        return bool(self.get(path))

    def global_get(self, path, **_):
        return None

    def global_get_basefolder(self, kind, **_):
        return self.sd_folder


class PluginProfiles:
    """One printer profile: a 220 mm bed, up to two tools."""

    PROFILE = {
        "volume": {"width": 220.0, "depth": 220.0, "height": 250.0, "origin": "lowerleft",
                   "formFactor": "rectangular", "custom_box": False},
        "extruder": {"count": 2, "offsets": [(0.0, 0.0), (25.0, 0.0)]},
    }

    def get_current(self):
        return self.PROFILE

    get_current_or_default = get_current


class NoHooks:
    """A plugin manager without plugins."""

    def get_hooks(self, *_):
        return {}


def options():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--link", required=True, help="symlink to make to the pty")
    p.add_argument("--executed", required=True, help="file for the lines that the printer accepted")
    p.add_argument("--transcript", help="file for all traffic with times")
    p.add_argument("--lifetime", type=float, default=900.0)
    p.add_argument("--move-scale", type=float, default=1000.0, help="how much faster than the plugin moves run")
    p.add_argument("--heat-scale", type=float, default=20.0, help="how much faster than the plugin heaters heat")
    p.add_argument("--advanced-ok", action="store_true")
    p.add_argument("--corrupt-every", type=int, default=0)
    p.add_argument("--drop-line-every", type=int, default=0)
    p.add_argument("--drop-ok-every", type=int, default=0)
    p.add_argument("--extra-ok-every", type=int, default=0)
    p.add_argument("--no-ok-after-resend", action="store_true", help="a Resend without the ok that should follow it")
    p.add_argument("--flush-on-error", action="store_true", help="empties its receive buffer on a line error, as Marlin does")
    p.add_argument("--repetier", action="store_true", help="ok before the answer, TargetExtr0: temperatures, wait when idle")
    p.add_argument("--firmware", default="Marlin bugfix-2.1.x (virtual)")
    p.add_argument("--extruders", type=int, default=1)
    p.add_argument("--at", type=int, default=0, metavar="N", help="after N accepted lines do …")
    p.add_argument("--do", metavar="WHAT", help="reset, kill, mute, hangup, or one of the plugin's own words (action_pause, …)")
    return p.parse_args()


def main():
    o = options()
    try:
        from serial import SerialTimeoutException

        from octoprint.plugins.virtual_printer import VirtualPrinterPlugin, virtual
    except ImportError as error:
        sys.exit(f"the package octoprint is missing: {error}")

    values = copy.deepcopy(VirtualPrinterPlugin().get_settings_defaults())
    values.update(enabled=True, throttle=0, sendBusy=True, busyInterval=1.0,
                  simulated_errors=[], resetLines=["start", "echo:Marlin (virtual)", "echo:SD card ok"])
    values.update(firmwareName=o.firmware, brokenResend=o.no_ok_after_resend, numExtruders=o.extruders,
                  okBeforeCommandOutput=o.repetier, repetierStyleTargetTemperature=o.repetier, sendWait=o.repetier)
    if o.advanced_ok:
        values["okFormatString"] = "ok N{lastN} P{buffer} B{buffer}"
    folder = tempfile.mkdtemp(prefix="virtual-printer-")
    os.makedirs(os.path.join(folder, "virtualSd"), exist_ok=True)
    virtual.plugin_manager = lambda *_, **__: NoHooks()

    executed = open(o.executed, "w", buffering=1)
    transcript = open(o.transcript, "w", buffering=1) if o.transcript else None
    began = time.monotonic()
    if transcript:  # < from the host, > to the host, x lost on the way, ! what the printer did by itself
        transcript.write("# seconds since %.3f of this machine's monotonic clock\n" % began)
    over = threading.Event()
    silent = threading.Event()
    marlins_words = {
        "checksum_mismatch": "checksum mismatch",
        "checksum_missing": "No Checksum with line number",
        "lineno_mismatch": "Line Number is not Last Line Number+1",
    }

    def tell(mark, data):
        if transcript:
            transcript.write("%9.3f %s %s\n" % (time.monotonic() - began, mark, data.decode("ascii", "replace")))

    class Printer(virtual.VirtualPrinter):
        """The plugin's printer with Marlin's words, faster moves and a memory of what it accepted."""

        accepted = 0
        number = 0
        texts = {}

        @property
        def lastN(self):
            return self.number

        @lastN.setter
        def lastN(self, value):
            text = self.texts.get(value)
            if value == self.number + 1 and text is not None:
                executed.write(text + "\n")
                self.accepted += 1
                if o.at and self.accepted == o.at:
                    threading.Thread(target=misbehave, daemon=True).start()
            self.number = value

        def _error(self, error, *args, **kwargs):
            if error in marlins_words:
                return "Error:%s, Last Line: %d" % (marlins_words[error], self.number)
            return super()._error(error, *args, **kwargs)

        def _triggerResend(self, expected=None, actual=None, checksum=None):
            # Marlin always asks for the line after the last one it accepted.
            with self._incoming_lock:
                super()._triggerResend(self.number + 1, None, True)
                self.current_line = self.number
                if o.flush_on_error:
                    self._clearQueue(self.incoming)

        def _finishSdFile(self):
            if self._writingToSdFile is not None:
                super()._finishSdFile()

        def _simulateTemps(self, delta=0.5):
            moment = time.monotonic()
            self.lastTempAt = moment - (moment - self.lastTempAt) * o.heat_scale
            super()._simulateTemps(delta)

        def _performMove(self, line):
            feed = self._feedrate_multiplier
            self._feedrate_multiplier = feed * o.move_scale
            try:
                super()._performMove(line)
            finally:
                self._feedrate_multiplier = feed

    # The plugin waits for room in its buffer with a lock held that its answers need, too: short turns only.
    printer = Printer(PluginSettings(values, folder), PluginProfiles(), folder, read_timeout=0.2,
                      write_timeout=0.05, faked_baudrate=115200)
    master, slave = pty.openpty()  # our end of the slave stays open: hosts may come and go
    tty.setraw(slave)
    if os.path.islink(o.link):
        os.unlink(o.link)
    os.symlink(os.ttyname(slave), o.link)

    def misbehave():
        tell("!", o.do.encode())
        if o.do == "reset":
            printer._reset()
        elif o.do == "kill":
            printer._debugTrigger("trigger_fatal_error_marlin")
            time.sleep(0.5)
            silent.set()
        elif o.do == "mute":
            silent.set()
        elif o.do == "hangup":
            over.set()
        else:
            printer._debugTrigger(o.do)

    def every(n, count):
        return n > 0 and count % n == 0

    def from_host():
        rest, numbered = b"", 0
        while not over.is_set():
            if not select.select([master], [], [], 0.2)[0]:
                continue
            try:
                rest += os.read(master, 4096)
            except OSError:
                break
            while b"\n" in rest:
                line, _, rest = rest.partition(b"\n")
                line = line.rstrip(b"\r")
                tell("<", line)
                match = re.match(rb"N(\d+) (.*)\*\d+$", line)
                if match and b"M110" not in line:
                    numbered += 1
                    if every(o.drop_line_every, numbered):
                        continue
                    if every(o.corrupt_every, numbered):
                        star = line.rfind(b"*")
                        line = line[:star - 1] + bytes([line[star - 1] ^ 1]) + line[star:]
                    else:
                        printer.texts[int(match[1])] = match[2].decode("ascii", "replace")
                if b"M108" in line:
                    printer._heatingUp = False
                rest_of_line = line + b"\n" if line else b""
                while rest_of_line and not silent.is_set() and not over.is_set():
                    try:
                        rest_of_line = rest_of_line[printer.write(rest_of_line):]
                    except SerialTimeoutException:
                        pass  # its receive buffer is full

    def to_host():
        oks, resending = 0, False
        while not over.is_set():
            line = printer.readline() if printer.outgoing is not None else b""
            if not line or silent.is_set():
                if printer.outgoing is None:
                    time.sleep(0.2)
                continue
            line = line.rstrip(b"\r\n")
            if line.startswith(b"Resend:"):
                line = b"Resend: " + line[7:].lstrip()
                resending = True
            copies = 1
            if line.startswith(b"ok"):
                # Marlin's ADVANCED_OK leaves these bare.
                if resending or b" T:" in line:
                    line = re.sub(rb"^ok N\d+ P\d+ B\d+", b"ok", line)
                resending = False
                oks += 1
                if every(o.drop_ok_every, oks):
                    tell("x", line)
                    continue
                copies += every(o.extra_ok_every, oks)
            for _ in range(copies):
                tell(">", line)
                try:
                    os.write(master, line + b"\n")
                except OSError:
                    return

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())
    for work in (from_host, to_host):
        threading.Thread(target=work, daemon=True).start()
    print("PTY " + os.ttyname(slave), flush=True)
    end = began + o.lifetime
    while not over.wait(0.2) and time.monotonic() < end:
        pass
    os.close(slave)
    os.close(master)
    if os.path.islink(o.link):
        os.unlink(o.link)
    os._exit(0)  # the plugin's threads never end by themselves


if __name__ == "__main__":
    main()
