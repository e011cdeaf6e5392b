#!/usr/bin/env python3
"""The judge of what was executed has to find what is planted here; run before each chaos."""
import os
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../peers"))

from checks import AGREE_S, HOMING, SLOW_S, STANDS, patience_s  # noqa: E402
from doors import whose  # noqa: E402
from programs import Job, Judge, moves  # noqa: E402


def complaints(printer, lines, skip=()):
    with tempfile.TemporaryDirectory() as folder:
        jobs = {n: Job(n, "m1", "marlin", "api", 120, folder) for n in (1, 2)}
    jobs[1].skips |= set(skip)
    judge = Judge(printer, jobs)
    return [wrong for line in lines if (wrong := judge.hear(line))], Judge.missing(jobs[1])


def main():
    one, two = ([line for line, _ in moves(n, 120)] for n in (1, 2))
    kept = [line for line, item in moves(1, 120) if item != 1]
    good, rest = complaints("m1", ["M104 S200", "G28", *one, "M104 S0", *two])
    assert not good and rest is None, good
    assert complaints("m1", one[:50]) == ([], one[50])
    assert complaints("m1", kept, skip=[1]) == ([], None)
    planted = {
        "a move twice": complaints("m1", one[:10] + one[9:]),
        "a move left out": complaints("m1", one[:10] + one[11:]),
        "an object left out unasked": complaints("m1", kept),
        "the wrong object left out": complaints("m1", kept, skip=[2]),
        "moves in another order": complaints("m1", one[:10] + [one[11], one[10]]),
        "the same print again": complaints("m1", one + one),
        "a print that goes on behind another": complaints("m1", one[:10] + two[:5] + one[10:]),
        "a print for another printer": complaints("m2", one),
        "a print that nobody demanded": complaints("m1", [line for line, _ in moves(3, 40)]),
    }
    for what, (found, _) in planted.items():
        assert found, f"the judge does not see: {what}"
    # A print that stands is found soon; only behind G28, and not for ever, it may stand longer.
    judge = Judge("m1", {})
    assert [judge.last for line in ("G28", "M105", "M104 S200") if judge.hear(line) is None] == ["G28", "G28", "M104 S200"]
    assert patience_s(STANDS) == AGREE_S < SLOW_S == patience_s(HOMING)
    assert patience_s("is idle and hot") == SLOW_S and patience_s("is shown offline, link {}") == AGREE_S
    # Two printers of one number: the double rolls dice for them. A command for one must not go to the other.
    printers = [{"pid": 7402, "token": "a"}, {"pid": 7402, "token": "b"}, {"pid": 9, "token": "c"}]
    documents = {"b3": {"id": 7402, "token": "a"}, "b4": {"id": 7402, "token": "b"}, "m1": {"id": None, "token": "c"}, "m2": {"id": 9, "token": "x"}}
    assert whose(printers, documents) == {"b3": 0, "b4": 1}, whose(printers, documents)


main()
