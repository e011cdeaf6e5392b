#!/usr/bin/env python3
"""Every driver through every story, with our own stand-ins and with printers written by others, as one matrix.

    conformance.py [--own]            tests/long/run conformance; --own: our stand-ins alone

A cell is made of cases: all of them good is ok, one that failed is FAILED with its name; what does not apply, or is
proved elsewhere, says so. A peer that cannot be had here is told as skipped. LAYERD: a ready binary for the peers.
"""
import concurrent.futures
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "tests" / "long" / "out"
DRIVERS = ("marlin", "moonraker", "bambu")

WAY, CRASH, NOBODY = ("prints_pauses_resumes_and_cancels", "after_a_crash_the_driver_answers_for_its_print",
                      "where_there_is_nothing_or_nobody")

# Story; the test of tests/conformance.rs; cases of OctoPrint's virtual printer, of the real Moonraker, of the Bambu Lab
# printers. A text instead of a list: why there is none; `None`: only with a service of its own.
STORIES = [
    ("connect, report", WAY, ["plain"], ["prints", "unix-socket"], ["way-P1S", "way-H2D"]),
    ("print to the end, each line once", "a_print_is_executed_to_its_end", ["plain", "damaged", "damaged-window"], ["prints"], ["finishes"]),
    ("pause and resume", WAY, ["pause-resume"], ["pause-heating"], ["way-P1S"]),
    ("cancel while it starts", "while_it_starts", ["cancels"], ["cancels"], ["cancels"]),
    ("cancel while it heats", "while_it_heats", ["cancel-heating"], ["cancels"], ["cancels"]),
    ("cancel while it prints", WAY, ["cancel-printing"], ["pause-heating"], ["way-P1S", "cancels"]),
    ("cancel while it pauses", "while_it_pauses", ["cancels"], ["cancels"], ["cancels"]),
    ("cancel while it is paused", "while_it_is_paused", ["cancels"], ["cancels"], ["cancels"]),
    ("cancel while it resumes", "while_it_resumes", ["cancels"], ["cancels"], ["cancels"]),
    ("a second cancel", "while_it_cancels", ["cancels"], ["cancels"], ["cancels"]),
    ("cancel where there is nothing", NOBODY, ["cancels"], ["cancels"], ["cancels"]),
    ("cancel without a connection", NOBODY, ["cancels"], ["cable"], ["changed-certificate"]),
    ("cancel where it is halted", NOBODY, ["estop"], ["estop-heating"], "these printers are never halted"),
    ("what is illegal is refused", WAY, ["pause-resume", "bad-files"], ["pause-heating"], ["way-P1S", "refused-P1S"]),
    ("skip objects", "an_object_is_left_out", ["skip", "skip-at-start"], ["skip", "skip-at-start"], ["way-P1S", "plates"]),
    ("emergency stop", "an_emergency_stop_ends_the_print", ["estop"], ["estop-heating"], ["estop"]),
    ("G-code", "gcode_goes_through_or_is_refused", ["pause-resume"], ["gcode"], ["gcode"]),
    ("begun or paused at the printer", "a_print_begun_at_the_printer_is_seen_and_can_be_ended", ["host-action"], ["outside"],
     ["outside", "trouble"]),
    ("cable pulled", "a_lost_connection_is_told_and_readings_age", ["replug", "unplug-printing", "hangup"], ["cable"],
     ["link-and-restart", "crowded"]),
    ("silence", "silence_is_told_and_nothing_is_doubled_behind_it", ["mute"], ["half-open", "muted", "unanswered"], ["silent", "no-reports"]),
    ("the printer restarts", "a_printer_that_restarts_has_lost_its_print_once", ["reset", "kill"],
     ["restart", "shutdown", "process-lost", "moonraker-restarts"], ["link-and-restart"]),
    ("layerd is killed in a print", CRASH, ["killed"], ["killed"], ["link-and-restart", "plates"]),
    ("layerd is stopped in a print", None, ["stopped", "recover", "restarts"], ["stopped"], ["stopped"]),
    ("wrong credentials", "whoever_is_not_let_in_is_told_so_and_drives_nothing", ["port-taken"], ["wrong-key", "tls"],
     ["wrong-code", "wrong-serial", "changed-certificate"]),
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
    _, text = said("cargo", "test", "--test", "conformance", "--", "--include-ignored")
    return {(driver, story): word == "ok" for driver, story, word in re.findall(r"^test (\w+)::(\w+) \.\.\. (ok|FAILED)", text, re.M)}


def peer(script, column):
    """Case: whether it passed, `None`: not without the rig; a text: why there are none."""
    names = sorted({name for story in STORIES if isinstance(story[column], list) for name in story[column]})
    _, text = said(script, *names)
    found = {name: word != "FAILED" for word, name in re.findall(r"^(ok|passed|FAILED)\s+([\w-]+)", text, re.M)}
    # Two stand-ins may go through the same case: both have to.
    for name in re.findall(r"^FAILED\s+([\w-]+)", text, re.M):
        found[name] = False
    skipped = re.search(r"skipped: (.*)", text)
    for name in re.findall(r"^no case ([\w-]+) without the rig", text, re.M) if skipped else ():
        found[name] = None
    return found or (f"skipped: {skipped.group(1)}" if skipped else "no case ran")


def cell(names, results):
    """Text, and whether it is good; `None`: nothing was proved here."""
    if isinstance(names, str) or isinstance(results, str):
        return f"– {names if isinstance(names, str) else results}", None
    failed = [name for name in names if results.get(name) is False]
    missing = [f"{name} (did not run)" for name in names if name not in results]
    if failed or missing:
        return "**FAILED** " + ", ".join(failed + missing), False
    return "ok: " + ", ".join(name if results[name] else f"({name}: only with the rig)" for name in names), True


def main():
    # They mostly wait: two suites at once. (The first is compiled before, so that nobody waits for a compiler.)
    subprocess.run(["cargo", "test", "--quiet", "--test", "conformance", "--no-run"], cwd=ROOT, check=True)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        mine = pool.submit(own)
        scripts = [] if "--own" in sys.argv else [("klipper", 3), ("run", 2), ("bambu", 4)]
        asked = {column: pool.submit(peer, ROOT / "tests" / "peers" / script, column) for script, column in scripts}
        mine = mine.result()
        peers = [asked[column].result() if column in asked else "not asked for" for column in (2, 3, 4)]
    heads = [*(f"{d}, own stand-in" for d in DRIVERS), "OctoPrint's virtual printer", "real Moonraker", "Bambu Lab printers"]
    lines = ["| story | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    ends = []
    for title, test, *cases in STORIES:
        cells = []
        for driver in DRIVERS:
            passed = bool(mine.get((driver, test))) if test else None
            ends.append(passed)
            cells.append("– see the peers" if not test else "ok" if passed else f"**FAILED** {test}")
        for names, results in zip(cases, peers):
            text, fine = cell(names, results)
            ends.append(fine)
            cells.append(text)
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    ran = [*mine.values(), *(good for results in peers if isinstance(results, dict) for good in results.values() if good is not None)]
    # Also one that belongs to no story.
    failed = ran.count(False) + ends.count(False)
    proved, empty = len(ends) - ends.count(None), ends.count(None)
    last = f"conformance: {len(STORIES)} stories, {proved} cells proved by {len(ran)} cases, {empty} cells empty, {ran.count(False)} cases failed"
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "conformance.md").write_text("\n".join(lines) + f"\n\n{last}\n")
    print("\n" + "\n".join(lines) + "\n" + last)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
