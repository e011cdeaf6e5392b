#!/usr/bin/env python3
"""layerd against a Marlin-like printer written by other people.

    marlin.py LAYERD FILE.gcode [CASE …] [--transcripts DIR]

Each case starts the printer (octoprint_printer.py) and a daemon of its own, works through the command
line as a person would, and looks at what the printer *executed*. The last line is "N passed, N failed".
"""
import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
# What a host may send beside the program: questions, reports, screen texts, timers.
HOST_LINES = re.compile(r"^(M105|M114|M115|M110|M113 |M155 |M154 |M27|M21|M20|M73 |M75|M76|M77|M117 |M400|M84 S|M85|M108|M876|M31)")


def program(path):
    """The commands of a file as they must reach the printer."""
    lines = []
    with open(path, encoding="utf-8", errors="replace") as f:
        for line in f:
            text = line.split(";")[0].strip()
            if text and not text.startswith("@"):
                lines.append(" ".join(text.split()))
    return lines


class Case:
    """A printer, a daemon, and the command line between them."""

    def __init__(self, name, binary, gcode, transcripts, extra_config="", **printer):
        self.name, self.binary, self.gcode = name, binary, gcode
        self.dir = tempfile.mkdtemp(prefix="layerd-peer-")
        self.link = os.path.join(self.dir, "printer")
        self.executed_path = os.path.join(self.dir, "executed")
        self.transcript = os.path.join(transcripts or self.dir, name + ".txt")
        self.extra_config = extra_config
        self.printer_options = printer
        self.printer = self.daemon = None

    def __enter__(self):
        self.plug_in()
        with open(self.path("layerd.toml"), "w") as f:
            f.write(f'[agent]\nstate_dir = "{self.path("state")}"\nruntime_dir = "{self.path("run")}"\n'
                    f'[api]\nlisten = []\n'
                    f'[printer.p]\ndriver = "marlin"\nport = "{self.link}"\nbaud = 115200\nbed = [250, 210, 210]\n'
                    + self.extra_config)
        self.start_daemon()
        return self

    def __exit__(self, *_):
        for process in (self.daemon, self.printer):
            if process and process.poll() is None:
                process.terminate()
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)

    def path(self, name):
        return os.path.join(self.dir, name)

    def plug_in(self):
        command = [sys.executable, os.path.join(HERE, "octoprint_printer.py"), "--link", self.link,
                   "--executed", self.executed_path, "--transcript", self.transcript]
        for key, value in self.printer_options.items():
            command.append("--" + key.replace("_", "-"))
            if value is not True:
                command.append(str(value))
        self.printer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.printer.stdout.readline().startswith("PTY "), "the printer did not start"

    def start_daemon(self):
        log = open(self.path("log"), "a")
        self.daemon = subprocess.Popen([self.binary, "--config", self.path("layerd.toml"), "run"], stderr=log, stdout=log)

    def layerd(self, *words, ok=None, timeout=300):
        """Runs a verb; `ok` is the exit code it must end with."""
        done = subprocess.run([self.binary, "--config", self.path("layerd.toml"), *words],
                              capture_output=True, text=True, timeout=timeout)
        if ok is not None and done.returncode != ok:
            raise AssertionError(f"layerd {' '.join(words)}: exit {done.returncode}, not {ok}: {done.stderr.strip()} {done.stdout.strip()}")
        return done

    def status(self):
        done = self.layerd("--json", "printers")
        try:
            return json.loads(done.stdout)[0]
        except (ValueError, IndexError):
            return {"state": None}

    def until(self, what, seconds=60, state=None):
        """Waits for a condition on the printer's status, with a deadline."""
        end = time.monotonic() + seconds
        while True:
            seen = self.status()
            if (state is None or seen["state"] == state) and what(seen):
                return seen
            if time.monotonic() > end:
                raise AssertionError(f"not within {seconds} s; last seen: {json.dumps(seen)[:600]}\n{self.log_tail()}")
            time.sleep(0.1)

    def ready(self, seconds=60):
        return self.until(lambda s: True, seconds, state="operational")

    def log_tail(self):
        with open(self.path("log")) as f:
            return "".join(f.readlines()[-15:])

    def executed(self):
        with open(self.executed_path) as f:
            return [" ".join(line.split()) for line in f]


def same_program(executed, wanted, allow=HOST_LINES, complete=True):
    """Every program line once and in order; anything else must be a host's."""
    at = 0
    for number, line in enumerate(executed):
        if at < len(wanted) and line == wanted[at]:
            at += 1
        elif not allow.match(line):
            following = wanted[at] if at < len(wanted) else "the end"
            raise AssertionError(f"executed line {number + 1} is {line!r}; expected {following!r} (program line {at + 1})")
    if complete and at != len(wanted):
        raise AssertionError(f"only {at} of {len(wanted)} program lines were executed; next: {wanted[at]!r}")
    return at


def prints(case):
    with case:
        case.ready()
        case.layerd("print", "p", case.gcode, "--follow", ok=0, timeout=1500)
        same_program(case.executed(), program(case.gcode))
        case.until(lambda s: s["job"] is None, 10, state="operational")


def fails(case, code):
    """The print must end as failed with this fault, and what was executed is an exact prefix."""
    with case:
        case.ready()
        done = case.layerd("print", "p", case.gcode, "--follow", timeout=600)
        assert done.returncode == 1, f"exit {done.returncode}: {done.stderr}"
        told = done.stderr + done.stdout
        assert code in told, f"the words do not name {code}: {told}"
        same_program(case.executed(), program(case.gcode), re.compile(HOST_LINES.pattern + r"|^M10[47] |^M140 |^M107|^M104|^M84|^M112"), complete=False)


def pause_resume(case):
    with case:
        case.ready()
        case.layerd("print", "p", case.gcode, ok=0)
        case.until(lambda s: (s["job"] or {}).get("percent") and s["job"]["percent"] > 5, 120, state="printing")
        case.layerd("pause", "p", ok=0)
        paused = case.status()
        assert paused["state"] == "paused", paused
        before = len(case.executed())
        case.layerd("pause", "p", ok=4)
        case.layerd("send", "p", "G28", ok=4)
        case.layerd("send", "p", "M104 S205", ok=0)
        case.layerd("resume", "p", ok=0)
        case.until(lambda s: s["job"] is None, 600, state="operational")
        executed = case.executed()
        parked = re.compile(HOST_LINES.pattern + r"|^(M10[49] |M140 |M190 |M82|M83|G90|G91|G92 |G1 |G0 |M106|M107|T\d)")
        same_program(executed, program(case.gcode), parked)
        assert len(executed) > before


def cancel_heating(case):
    with case:
        case.ready()
        case.layerd("print", "p", case.gcode, ok=0)
        case.until(lambda s: any(t["target"] and t["actual"] < t["target"] - 5 for t in s["temps"].values()), 60)
        began = time.monotonic()
        case.layerd("cancel", "p", ok=0, timeout=60)
        assert time.monotonic() - began < 30, "a cancel while heating must not wait for the heat"
        seen = case.until(lambda s: all(not t["target"] for t in s["temps"].values()), 20)
        assert seen["state"] == "operational", seen
        assert not [l for l in case.executed() if re.match(r"G1 .*E", l)], "nothing may be extruded"


def estop(case):
    with case:
        case.ready()
        case.layerd("print", "p", case.gcode, ok=0)
        case.until(lambda s: (s["job"] or {}).get("percent") and s["job"]["percent"] > 5, 120)
        done = case.layerd("estop", "p", timeout=30)
        with open(case.transcript) as f:
            assert re.search(r"< (N\d+ )?M112", f.read()), "M112 did not reach the wire"
        assert done.returncode == 0, done.stderr
        case.until(lambda s: s["job"] is None, 20)


def replug(case):
    with case:
        case.ready()
        case.printer.terminate()
        case.printer.wait(10)
        case.until(lambda s: True, 30, state="offline")
        case.layerd("pause", "p", ok=4)
        case.plug_in()
        case.until(lambda s: True, 15, state="operational")


def unplug_printing(case):
    with case:
        case.ready()
        case.layerd("print", "p", case.gcode, ok=0)
        case.until(lambda s: (s["job"] or {}).get("percent") and s["job"]["percent"] > 5, 120)
        case.printer.terminate()
        case.printer.wait(10)
        seen = case.until(lambda s: s["job"] is None, 40, state="offline")
        assert any("lost" in n["title"].lower() or "lost" in n["text"].lower() for n in seen["notices"]), seen["notices"]
        case.plug_in()
        seen = case.until(lambda s: True, 20, state="operational")
        assert seen["job"] is None, "nothing may start by itself"


CASES = {
    "plain": lambda c: prints(c("plain")),
    "advanced-ok": lambda c: prints(c("advanced-ok", advanced_ok=True)),
    "damaged": lambda c: prints(c("damaged", corrupt_every=50, drop_line_every=70, drop_ok_every=100)),
    "damaged-window": lambda c: prints(c("damaged-window", corrupt_every=50, drop_line_every=70, drop_ok_every=100, advanced_ok=True)),
    "extra-ok": lambda c: prints(c("extra-ok", extra_ok_every=100)),
    "pause-resume": lambda c: pause_resume(c("pause-resume", move_scale=20)),
    "cancel-heating": lambda c: cancel_heating(c("cancel-heating", heat_scale=0.2)),
    "estop": lambda c: estop(c("estop", move_scale=20)),
    "reset": lambda c: fails(c("reset", at=400, do="reset"), "marlin/reset"),
    "kill": lambda c: fails(c("kill", at=400, do="kill"), "marlin/"),
    "mute": lambda c: fails(c("mute", at=400, do="mute"), "marlin/"),
    "hangup": lambda c: fails(c("hangup", at=400, do="hangup"), "lost"),
    "replug": lambda c: replug(c("replug")),
    "unplug-printing": lambda c: unplug_printing(c("unplug-printing", move_scale=20)),
}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("layerd")
    p.add_argument("gcode")
    p.add_argument("cases", nargs="*")
    p.add_argument("--transcripts")
    o = p.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    if o.transcripts:
        os.makedirs(o.transcripts, exist_ok=True)
    passed, failed = 0, 0
    for name in o.cases or CASES:
        began = time.monotonic()
        make = lambda n, **printer: Case(n, os.path.abspath(o.layerd), os.path.abspath(o.gcode), o.transcripts, **printer)
        try:
            CASES[name](make)
            passed += 1
            print(f"ok      {name}  {time.monotonic() - began:.1f} s", flush=True)
        except (AssertionError, subprocess.TimeoutExpired, OSError) as error:
            failed += 1
            print(f"FAILED  {name}  {time.monotonic() - began:.1f} s: {error}", flush=True)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
