#!/usr/bin/env python3
"""layerd against a Marlin-like printer written by other people.

    marlin.py LAYERD FILE.gcode [CASE …] [--short] [--transcripts DIR] [--rig octoprint_virtual_printer.py]

Each case starts the printer (octoprint_printer.py) and a daemon of its own, works through the command
line as a person would, and looks at what the printer *executed*. The last line is "N passed, N failed".
"""
import argparse
import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import termios
import time

from cases import run_cases
from harness import Case, program, same_program
from keeper import Keeper
from plate import laid_down


def prints(case):
    with case:
        case.ready()
        case.layerd("print", "p", case.gcode, "--follow", ok=0, timeout=3000)
        lines = same_program(case.executed(), program(case.gcode))
        case.note(f"executed: all {lines} lines of the file, once and in order")
        case.until(lambda s: s["job"] is None, 10, state="operational")


def fails(case, *words):
    """The print must end as failed in these words, and what was executed is an exact prefix."""
    with case:
        case.ready()
        done = case.layerd("print", "p", case.gcode, "--follow", timeout=600)
        assert done.returncode == 1, f"exit {done.returncode}: {done.stderr}"
        told = (done.stderr + done.stdout).lower()
        assert any(word in told for word in words), f"the words name none of {words}: {told}"
        lines = same_program(case.executed(), program(case.gcode), complete=False, interruptions=1)
        case.note(f"executed: the first {lines} lines of the file, in order, and nothing after them")


def pause_resume(case):
    with case:
        case.ready()
        case.layerd("print", "p", case.gcode, ok=0)
        case.printing()
        case.layerd("pause", "p", ok=0)
        assert case.status()["state"] == "paused", case.status()
        case.layerd("pause", "p", ok=4)
        case.layerd("send", "p", "G28", ok=4)
        case.layerd("send", "p", "M104 S205", ok=0)
        assert case.executed()[-1] == "M104 S205" and "G28" not in case.executed()[-3:], case.executed()[-3:]
        time.sleep(1)  # nothing of the program may come now
        before = len(case.executed())
        time.sleep(1)
        moved = [l for l in case.executed()[before:] if l.startswith("G")]
        assert not moved, f"the program went on while paused: {moved}"
        case.layerd("resume", "p", ok=0)
        case.until(lambda s: s["job"] is None, 600, state="operational")
        lines = same_program(case.executed(), program(case.gcode), interruptions=1)
        case.note(f"executed: all {lines} lines, with one interruption")


def cancel_heating(case):
    with case:
        case.ready()
        case.layerd("print", "p", case.gcode, "--no-wait", ok=0)
        case.until(lambda s: any(t["target"] and t["actual"] < t["target"] - 5 for t in s["temps"].values()), 60)
        began = time.monotonic()
        case.layerd("cancel", "p", ok=0, timeout=60)
        assert time.monotonic() - began < 30, "a cancel while heating must not wait for the heat"
        seen = case.until(lambda s: all(not t["target"] for t in s["temps"].values()), 20)
        assert seen["state"] == "operational", seen
        assert not [l for l in case.executed() if re.match(r"G1 .*E", l)], "nothing may be extruded"


def cancel_printing(case):
    with case:
        case.ready()
        case.layerd("print", "p", case.gcode, ok=0)
        case.printing()
        case.layerd("cancel", "p", ok=0, timeout=60)
        case.until(lambda s: s["job"] is None and all(not t["target"] for t in s["temps"].values()), 20, state="operational")
        same_program(case.executed(), program(case.gcode), complete=False, interruptions=1)
        case.layerd("print", "p", case.gcode, "--no-wait", ok=0)  # the printer is usable at once
        case.until(lambda s: s["job"] is not None, 20)


def cancels(case):
    """While it starts, pauses, is paused, resumes, and where there is nothing: ended once, nothing stays hot or moves."""
    def over():
        case.until(lambda s: s["job"] is None and all(not t["target"] for t in s["temps"].values()), 30, state="operational")
        before = len(case.executed())
        case.layerd("cancel", "p", ok=4)
        moved = [l for l in case.executed()[before:] if re.match(r"G[0-3] ", l)]
        assert not moved, f"the program goes on behind its cancel: {moved[:3]}"

    with case:
        case.ready()
        case.layerd("cancel", "p", ok=4)
        case.layerd("print", "p", case.gcode, "--no-wait", ok=0)
        case.layerd("cancel", "p", ok=0, timeout=60)  # it is looked at, or its first line has gone out
        over()
        for before in (["pause", "--no-wait"],), (["pause"],), (["pause"], ["resume", "--no-wait"]):
            case.layerd("print", "p", case.gcode, ok=0)
            case.printing()
            for verb, *more in before:
                case.layerd(verb, "p", *more, ok=0)
            case.layerd("cancel", "p", ok=0, timeout=60)
            over()
        case.unplug()
        case.until(lambda s: True, 30, state="offline")
        case.layerd("cancel", "p", ok=4)


def estop(case):
    with case:
        case.ready()
        case.layerd("print", "p", case.gcode, ok=0)
        case.printing()
        began = time.monotonic()
        done = case.layerd("estop", "p", timeout=30)
        seen = case.wire(r"< (N\d+ )?M112")
        assert seen, "M112 did not reach the wire"
        after_ms = (seen[0] - began) * 1000
        case.note(f"M112 at the printer {after_ms:.1f} ms after the command was started")
        assert done.returncode == 0, done.stderr
        case.until(lambda s: s["job"] is None, 20)
        case.layerd("cancel", "p", ok=4)
        # From the start of the process; half of it is process start and the printer's own loop in Python.
        assert after_ms < 100, f"M112 came after {after_ms:.1f} ms"


def replug(case):
    with case:
        case.ready()
        case.unplug()
        case.until(lambda s: True, 30, state="offline")
        case.layerd("pause", "p", ok=4)
        case.plug_in()
        case.until(lambda s: True, 30, state="operational")


def unplug_printing(case):
    with case:
        case.ready()
        case.layerd("print", "p", case.gcode, ok=0)
        case.printing()
        case.unplug()
        seen = case.until(lambda s: s["job"] is None, 40, state="offline")
        assert seen["notices"], "a lost print must be told"
        case.plug_in()
        seen = case.until(lambda s: True, 40, state="operational")
        assert seen["job"] is None, "nothing may start by itself"
        assert not [l for l in case.executed() if re.match(r"G1 |M104 S[1-9]|M109", l)], "nothing but heaters off may follow"


def skip(case, at_start=False):
    """An object is left out on a printer whose firmware knows nothing of objects."""
    with open(case.gcode) as f:
        wanted = laid_down(f)
    names = list(dict.fromkeys(name for name, _ in wanted if name))
    gone = names[0]
    with case:
        case.ready()
        if at_start:
            case.layerd("print", "p", case.gcode, "--skip", gone, ok=0)
        else:
            case.layerd("print", "p", case.gcode, ok=0)
            case.printing(percent=30)
            case.layerd("skip", "p", "no such thing", ok=4)
            case.layerd("skip", "p", *names, ok=4)
            case.layerd("skip", "p", gone, ok=0)
            assert len(case.status()["job"]["skipped"]) == 1, case.status()
        case.until(lambda s: s["job"] is None, 600, state="operational")
        executed = laid_down(case.executed())
    kept = [segment for name, segment in wanted if name != gone]
    left = {segment for name, segment in wanted if name == gone}
    printed = [segment for _, segment in executed]
    rest = [segment for segment in printed if segment not in left]
    assert rest == kept, next((f"segment {i}: {a} instead of {b}" for i, (a, b) in enumerate(zip(rest, kept)) if a != b), "the number differs")
    some = len(printed) - len(rest)
    assert some == 0 if at_start else 0 < some < len(left), f"{some} of {len(left)} segments of {gone} were printed"
    case.note(f"executed: all {len(kept)} segments that were to stay, {some} of {len(left)} of the object that was left out")


def host_action(case):
    """The printer asks for a pause itself."""
    with case:
        case.ready()
        case.layerd("print", "p", case.gcode, ok=0)
        case.until(lambda s: True, 60, state="paused")
        case.layerd("resume", "p", ok=0)
        case.until(lambda s: s["job"] is None, 600, state="operational")
        same_program(case.executed(), program(case.gcode), interruptions=1)


def killed(case):
    """kill -9 in mid-print: the next daemon tells the truth, and the heaters go to 0."""
    with case:
        case.ready()
        case.layerd("print", "p", case.gcode, ok=0)
        case.printing(percent=50)
        case.end_daemon(signal.SIGKILL)
        before = len(case.executed())
        case.start_daemon()
        seen = case.until(lambda s: s["temps"] and all(not t["target"] for t in s["temps"].values()), 70)
        case.note(f"after the restart: {seen['state']}, {[n.get('title') for n in seen['notices']]}")
        later = [l for l in case.executed()[before:] if re.match(r"G[0123] ", l)]
        assert not later, f"the program went on by itself: {later[:3]}"
        assert seen["notices"], "the interrupted print must be told"
        # And it goes on when a person says so: at most the last seconds come twice.
        with open(case.gcode) as f:
            wanted = [segment for _, segment in laid_down(f)]
        first = case.executed()
        case.until(lambda s: True, 60, state="operational")
        case.layerd("recover", "p", "--yes", ok=0)
        case.until(lambda s: s["job"] is None, 600, state="operational")
        rest = [segment for _, segment in laid_down(case.executed()[len(first):])]
        before = len(laid_down(first))
        twice = before + len(rest) - len(wanted)
        assert rest == wanted[-len(rest):], "the rest differs"
        assert 0 <= twice < before, f"{before} segments before, {len(rest)} after, {len(wanted)} in the file"
        case.note(f"executed: {before} segments, killed, then {len(rest)} to the end; {twice} of {len(wanted)} twice")


def stopped(case):
    """SIGTERM in mid-print, no quick restart: park, heaters to 0, exit within the limit; told after the start."""
    with case:
        case.ready()
        case.layerd("print", "p", case.gcode, ok=0)
        case.printing()
        began = time.monotonic()
        case.end_daemon(signal.SIGTERM)
        assert case.daemon.returncode == 0, case.log_tail()
        assert time.monotonic() - began < 90, "the stop took too long"
        same_program(case.executed(), program(case.gcode), complete=False, interruptions=1)
        off = [l for l in case.executed()[-30:] if re.match(r"M104 (T0 )?S0|M140 S0", l)]
        assert len(off) >= 2, f"heaters were left on: {case.executed()[-12:]}"
        case.start_daemon()
        seen = case.until(lambda s: s["state"] not in (None, "offline"), 60)
        assert seen["state"] in ("operational", "paused"), seen
        assert seen["notices"], "the interrupted print must be told"


def recover(case):
    """A print that was interrupted goes on where it stood, when a person says so: nothing twice, nothing missing."""
    with open(case.gcode) as f:
        wanted = [segment for _, segment in laid_down(f)]
    with case:
        case.ready()
        case.layerd("recover", "p", "--yes", ok=4)
        case.layerd("print", "p", case.gcode, ok=0)
        case.printing(percent=30)
        case.end_daemon(signal.SIGTERM)
        first = len(case.executed())
        case.start_daemon()
        case.until(lambda s: s["notices"], 60, state="operational")
        case.layerd("recover", "p", ok=2)  # nobody is there to look at the printer
        case.layerd("recover", "p", "--layer", "9999", "--yes", ok=4)
        case.layerd("recover", "p", "--yes", ok=0)
        case.until(lambda s: s["job"] is None, 600, state="operational")
        executed = case.executed()
        assert not [l for l in executed[first:] if re.match(r"G28( Z|$)", l)], "Z must not be homed over a part"
        printed = [segment for _, segment in laid_down(executed[:first])] + [segment for _, segment in laid_down(executed[first:])]
        assert printed == wanted, next((f"segment {i}: {a} instead of {b}" for i, (a, b) in enumerate(zip(printed, wanted)) if a != b),
                                       f"{len(printed)} segments instead of {len(wanted)}")
        case.note(f"executed: all {len(wanted)} segments, once and in order, over an interruption")


def restarts(case, times=10):
    """Ten restarts of the service in one print (SIGTERM, SIGKILL, another binary in place), descriptors kept:
    the same job goes on, and what was executed is the file."""
    keeper = Keeper(case.path("keeper"))
    program_file = case.path("layerd")

    def install():
        shutil.copy2(case.binary, program_file + ".new")
        os.replace(program_file + ".new", program_file)

    def start():
        with open(case.path("log"), "a") as log:
            command = [program_file, "--config", case.path("layerd.toml"), "run"]
            case.daemon = keeper.start(command, log)
        case.note(f"daemon started with {list(keeper.kept)}")

    install()
    case.start_daemon = start
    wanted = program(case.gcode)
    try:
        with case:
            case.ready()
            case.layerd("print", "p", case.gcode, ok=0)
            uid, before = case.status()["job"]["uid"], 0
            for n in range(times):
                # Far enough on that each restart finds another place.
                step = max(1, len(wanted) // (times * 3))
                case.until(lambda s: len(case.executed()) >= before + step, 120)
                how = [signal.SIGTERM, signal.SIGKILL, "upgrade"][n % 3]
                if how == "upgrade":
                    install()
                    how = signal.SIGTERM
                before = len(case.executed())
                keeper.end(case.daemon, how)
                case.note(f"daemon ended by {how.name} after {before} lines")
                start()
                seen = case.until(lambda s: s["job"], 60, state="printing")
                assert seen["job"]["uid"] == uid, f"another job after restart {n + 1}: {seen['job']}"
            case.until(lambda s: s["job"] is None, 600, state="operational")
            lines = same_program(case.executed(), wanted)
            case.note(f"executed: all {lines} lines of the file, once and in order, over {times} restarts")
    finally:
        keeper.close()


def bad_files(case):
    """Files that are no program are refused, in words, and the printer stays usable."""
    def write(name, data):
        with open(case.path(name), "wb") as f:
            f.write(data)
        return case.path(name)

    with case:
        case.ready()
        good = open(case.gcode, "rb").read()
        for name, data in (("nuls.gcode", b"G28\n" + b"\0" * 5000 + b"\nG1 X5\n"), ("empty.gcode", b""),
                           ("long.gcode", b"G28\nG1 X" + b"1" * 2_000_000 + b"\nG1 X5\n"), ("noise.gcode", bytes(range(256)) * 400),
                           ("letter.gcode", b"Dear printer,\nplease print something nice.\nYours, a friend\n")):
            done = case.layerd("print", "p", write(name, data), timeout=60)
            assert done.returncode in (1, 2, 4), f"{name}: exit {done.returncode}"
            assert len(done.stderr.strip()) > 20, f"{name}: no words"
        case.layerd("print", "p", case.path("missing.gcode"), timeout=20)
        done = case.layerd("print", "p", write("hot.gcode", b"M104 S400\nG28\nG1 X10 Y10 Z0.2 E5\n"), ok=4)
        assert "400" in done.stderr, done.stderr
        done = case.layerd("print", "p", write("wide.gcode", b"G28\nG90\nM82\nG1 X10 Y10 Z0.2 F3000\nG1 X900 E5\n"), ok=4)
        assert "900" in done.stderr, done.stderr
        assert case.daemon.poll() is None and not [l for l in case.executed() if re.match(r"M104 S[1-9]|G28|G1", l)], case.executed()
        case.layerd("print", "p", write("good.gcode", good), ok=0)


def port_taken(case):
    """Another program owns the port: told with its name, taken up again when it is free."""
    case.plug_in()
    other = os.open(case.link, os.O_RDWR | os.O_NOCTTY)
    fcntl.flock(other, fcntl.LOCK_EX)
    fcntl.ioctl(other, termios.TIOCEXCL)
    case.plug_in = lambda: None
    with case:
        seen = case.until(lambda s: (s.get("link") or {}).get("why"), 30)
        assert seen["state"] == "offline", seen
        fcntl.ioctl(other, termios.TIOCNXCL)
        os.close(other)
        case.ready(90)


CASES = {
    "plain": lambda c: prints(c("plain")),
    "damaged": lambda c: prints(c("damaged", corrupt_every=50, drop_line_every=700, drop_ok_every=1000)),
    "pause-resume": lambda c: pause_resume(c("pause-resume", move_scale=20)),
    "cancel-heating": lambda c: cancel_heating(c("cancel-heating", heat_scale=0.2)),
    "estop": lambda c: estop(c("estop", move_scale=2)),
    "damaged-window": lambda c: prints(c("damaged-window", corrupt_every=50, drop_line_every=70, drop_ok_every=100, advanced_ok=True)),
    "damaged-flush": lambda c: prints(c("damaged-flush", corrupt_every=50, drop_ok_every=100, advanced_ok=True, flush_on_error=True)),
    "advanced-ok": lambda c: prints(c("advanced-ok", advanced_ok=True)),
    "extra-ok": lambda c: prints(c("extra-ok", extra_ok_every=100)),
    "no-ok-after-resend": lambda c: prints(c("no-ok-after-resend", corrupt_every=50, no_ok_after_resend=True, firmware="Repetier_1.0.4")),
    "repetier": lambda c: prints(c("repetier", repetier=True, firmware="Repetier_1.0.4")),
    "skip": lambda c: skip(c("skip", move_scale=20)),
    "skip-at-start": lambda c: skip(c("skip-at-start"), at_start=True),
    "cancel-printing": lambda c: cancel_printing(c("cancel-printing", move_scale=20)),
    "cancels": lambda c: cancels(c("cancels", move_scale=20)),
    "host-action": lambda c: host_action(c("host-action", at=400, do="action_pause")),
    "reset": lambda c: fails(c("reset", at=400, do="reset"), "reset", "restart"),
    "kill": lambda c: fails(c("kill", at=400, do="kill"), "kill", "halted", "runaway", "thermal", "stopped"),
    "mute": lambda c: fails(c("mute", at=400, do="mute"), "silent", "answer", "silence"),
    "hangup": lambda c: fails(c("hangup", at=400, do="hangup"), "lost", "gone", "unplug", "cable"),
    "replug": lambda c: replug(c("replug")),
    "unplug-printing": lambda c: unplug_printing(c("unplug-printing", move_scale=20)),
    "killed": lambda c: killed(c("killed", move_scale=20)),
    "stopped": lambda c: stopped(c("stopped", move_scale=20)),
    "recover": lambda c: recover(c("recover", move_scale=20)),
    "restarts": lambda c: restarts(c("restarts", move_scale=3)),
    "bad-files": lambda c: bad_files(c("bad-files", settings="max_tool_c = 260\nmax_bed_c = 110")),
    "port-taken": lambda c: port_taken(c("port-taken")),
}
# What the stories of tests/conformance.rs show in less time: by name (tests/long/run conformance).
BY_NAME = ["cancels"]
SHORT = ["plain", "damaged", "pause-resume", "cancel-heating", "estop", "restarts"]
# With somebody else's bridge of the same printer, faults by its own clock.
RIG_CASES = {
    "rig-plain": lambda c: prints(c("rig-plain", move_scale=1000, heat_scale=20)),
    "rig-damaged": lambda c: prints(c("rig-damaged", move_scale=1000, heat_scale=20, corrupt_every=50, drop_line_every=70,
                                      drop_ok_every=100, advanced_ok=True)),
    "rig-reset": lambda c: fails(c("rig-reset", move_scale=1, heat_scale=20, reset_after=6), "reset", "restart"),
    "rig-kill": lambda c: fails(c("rig-kill", move_scale=1, heat_scale=20, kill_after=6), "kill", "halted", "runaway", "thermal"),
    "rig-mute": lambda c: fails(c("rig-mute", move_scale=1, heat_scale=20, mute_after=6), "silent", "answer", "silence"),
    "rig-hangup": lambda c: fails(c("rig-hangup", move_scale=1, heat_scale=20, hangup_after=6), "lost", "gone", "unplug", "cable"),
}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("layerd")
    p.add_argument("gcode")
    p.add_argument("cases", nargs="*")
    p.add_argument("--short", action="store_true", help="only " + ", ".join(SHORT))
    p.add_argument("--transcripts", help="keep the traffic and a record of each case in this folder")
    p.add_argument("--jobs", type=int, default=3, help="cases at once")
    p.add_argument("--rig", help="run the cases for this script instead of those for our own bridge")
    o = p.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    if o.transcripts:
        os.makedirs(o.transcripts, exist_ok=True)
    known = RIG_CASES if o.rig else CASES

    def run(name):
        def make(case, settings="", **printer):
            return Case(case, os.path.abspath(o.layerd), os.path.abspath(o.gcode), o.transcripts, o.rig, settings, **printer)

        known[name](make)

    names = o.cases or (SHORT if o.short else [n for n in known if n not in BY_NAME])
    return 0 if run_cases(names, run, o.jobs) else 1


if __name__ == "__main__":
    sys.exit(main())
