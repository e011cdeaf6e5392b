#!/usr/bin/env python3
"""Every driver through every story, with our own stand-ins and with printers written by others, as one matrix.

    conformance.py [--own]            tests/long/run conformance; --own: our stand-ins alone

A cell is made of cases: all of them good is ok, one that failed is FAILED with its name; what does not apply, or is
proved elsewhere, says so. A peer that cannot be had here is told as skipped. LAYERD: a ready binary for the peers.
"""
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "tests" / "long" / "out"
DRIVERS = ("marlin", "moonraker", "bambu")

WAY, LOST, STOP, CANCEL = ("prints_pauses_resumes_and_cancels", "a_lost_connection_is_told_and_readings_age",
                           "an_emergency_stop_ends_the_print", "a_cancel_is_good_while_it_heats_and_while_it_is_paused")

# Story; the test of tests/conformance.rs; cases of OctoPrint's virtual printer, of the real Moonraker, of the Bambu Lab
# printers. A text instead of a list: why there is none.
STORIES = [
    ("connect, report", WAY, ["plain"], ["prints"], ["way-P1S", "way-H2D"]),
    ("print to the end, each line once", None, ["plain", "damaged", "damaged-window"], ["prints"], ["finishes"]),
    ("pause and resume", WAY, ["pause-resume"], ["pause-heating"], ["way-P1S"]),
    ("cancel while heating", CANCEL, ["cancel-heating"], "own stand-in", "own stand-in"),
    ("cancel while printing", WAY, ["cancel-printing"], ["pause-heating"], ["way-P1S"]),
    ("cancel while paused", CANCEL, "own stand-in", "own stand-in", "own stand-in"),
    ("what is illegal is refused", WAY, ["pause-resume"], ["pause-heating"], ["way-P1S"]),
    ("skip objects", WAY, ["skip", "skip-at-start"], ["skip", "skip-at-start"], ["way-P1S"]),
    ("emergency stop", STOP, ["estop"], ["estop-heating"], "own stand-in: these printers know only stop"),
    ("G-code", None, ["pause-resume"], ["estop-heating"], ["way-P1S"]),
    ("changed at the printer: its own print or pause", None, ["host-action"], ["outside"], ["trouble"]),
    ("cable pulled", LOST, ["replug", "unplug-printing", "hangup"], ["half-open"], ["link-and-restart"]),
    ("silence", None, ["mute"], ["half-open"], ["silent"]),
    ("the printer restarts", None, ["reset", "kill"], ["restart", "shutdown", "process-lost", "moonraker-restarts"], ["link-and-restart"]),
    ("layerd is killed in a print", None, ["killed", "recover"], ["killed"], ["link-and-restart"]),
    ("wrong credentials", None, "a serial port has none; a port in use: port-taken", ["wrong-key"], ["wrong-code", "wrong-serial", "changed-certificate"]),
]


def said(*command):
    """Output of a command, shown as it comes."""
    process = subprocess.Popen([str(c) for c in command], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    lines = []
    for line in process.stdout:
        lines.append(line)
        sys.stdout.write(line)
        sys.stdout.flush()
    return process.wait(), "".join(lines)


def own():
    """Driver and story of each test: whether it passed."""
    _, text = said("cargo", "test", "--test", "conformance")
    return {(driver, story): word == "ok" for driver, story, word in re.findall(r"^test (\w+)::(\w+) \.\.\. (ok|FAILED)", text, re.M)}


def peer(script, column):
    """Case: whether it passed; a text: why there are none."""
    names = sorted({name for story in STORIES if isinstance(story[column], list) for name in story[column]})
    _, text = said(script, *names)
    found = {name: word != "FAILED" for word, name in re.findall(r"^(ok|passed|FAILED)\s+([\w-]+)", text, re.M)}
    # Two stand-ins may go through the same case: both have to.
    for name in re.findall(r"^FAILED\s+([\w-]+)", text, re.M):
        found[name] = False
    skipped = re.search(r"skipped: (.*)", text)
    return found or (f"skipped: {skipped.group(1)}" if skipped else "no case ran")


def cell(names, results):
    if isinstance(names, str):
        return f"– {names}", True
    if isinstance(results, str):
        return results, True
    failed = [name for name in names if results.get(name) is False]
    missing = [name for name in names if name not in results]
    if failed or missing:
        return "**FAILED** " + ", ".join(failed + [f"{name} (did not run)" for name in missing]), False
    return "ok: " + ", ".join(names), True


def main():
    mine = own()
    alone = "--own" in sys.argv
    peers = ["not asked for"] * 3 if alone else [peer(ROOT / "tests" / "peers" / script, column)
                                                for script, column in (("run", 2), ("klipper", 3), ("bambu", 4))]
    heads = [*(f"{d}, own stand-in" for d in DRIVERS), "OctoPrint's virtual printer", "real Moonraker", "Bambu Lab printers"]
    lines, good = ["| story | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"], bool(mine)
    for title, test, *cases in STORIES:
        cells = []
        for driver in DRIVERS:
            passed = mine.get((driver, test)) if test else None
            cells.append("– see the peer" if not test else "ok" if passed else f"**FAILED** {test}")
            good &= not test or bool(passed)
        for names, results in zip(cases, peers):
            text, fine = cell(names, results)
            good &= fine
            cells.append(text)
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "conformance.md").write_text("\n".join(lines) + "\n")
    print("\n" + "\n".join(lines))
    print("conformance: " + ("every story holds" if good else "NOT every story holds"))
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
