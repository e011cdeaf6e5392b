#!/usr/bin/env python3
"""One daemon with a dozen mixed printers, a cloud and a broker, while everything around it goes wrong.

    chaos.py LAYERD [--seed N] [--minutes M] [--rounds N] [--double simplyprint_cloud.py] [--out DIR]

Rounds of half a minute of storm and a calm until --minutes are over. All that happens is made from the seed; a
violation is told with seed, minute, events and the ends of the logs, which are kept in DIR. The last line is
"seed N: M minutes, R rounds, E events, V violations".
"""
import argparse
import collections
import concurrent.futures
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../../peers"))

import checks  # noqa: E402
import plan  # noqa: E402
from deeds import do  # noqa: E402
from printers import FOREIGN_PYTHON  # noqa: E402
from world import World, until  # noqa: E402

NAMES = {"marlin": ["m1", "m2", "m3", "m4"], "klipper": ["k1", "k2", "k3", "k4"], "bambu": ["b1", "b2", "b3", "b4"], "foreign": []}
SPEED = 10
# Rules of the double that do not hold here: it takes a file that is refused by a busy printer for the current job, and
# counts a rate by arrival, also behind a link that was stalled.
NOT_HERE = ("job-id-wrong", "job-id-missing", "file-silence", "rate:")
# What a deed may take that waits for a stop of the daemon.
DEEDS_S = 200
# What the last prints may take, homing whose end was lost included, and until everybody has heard of it.
LAST_S = 420
TOLD_S = 60


def storm(world, events):
    began, events = time.monotonic(), collections.deque(events)
    for tick in range(plan.STORM):
        while events and events[0]["tick"] <= tick:
            do(world, events.popleft())
        world.pass_time()
        checks.listen(world)
        checks.alive(world)
        if tick % 4 == 0:
            checks.frugal(world)
        # The next tick begins when it is due, however long this one took.
        time.sleep(max(0, began + (tick + 1) * plan.TICK_S - time.monotonic()))


def calm(world):
    """Nothing disturbs any more, and everything that was begun has ended."""
    world.pass_time(everything=True)
    world.disk(False)
    until("what was begun to end", lambda: not world.running or world.pass_time(everything=True), DEEDS_S)
    world.links.heal()
    for printer in world.printers.values():
        printer.heal()
    checks.alive(world)
    if world.daemon.process.poll() is not None:
        assert world.daemon.start(), "the daemon does not start in a calm"


def one_round(world, number, seed):
    events = plan.round_events(seed, number, NAMES)
    world.note(f"round {number}")
    storm(world, events)
    calm(world)
    world.note("calm")
    taken = checks.agree(world)
    by_file = checks.history(world)
    to = plan.calm_clock(seed, number)
    if to is not None and world.clock.page:
        by_file = checks.clock_set(world, to, by_file)
    memory = checks.bounded(world)
    states = collections.Counter(row["layerd"]["state"] for row in by_file.values())
    world.note(f"all agree {taken:.1f} s after calm; {memory}; jobs {dict(states)}")
    print(f"   round {number}: {len(events)} events; all agree {taken:.1f} s after calm; {memory}; {dict(states)}", flush=True)
    return len(events)


def finish(world):
    """What still prints comes to its end, and everybody has heard how."""
    def over():
        checks.listen(world)
        shown = world.api.printers()
        for name, row in shown.items():
            if row["state"] == "paused":
                world.api.act(name, "Resume", {"layerd": {}})
        return all(row["state"] == "operational" and row["job"] is None for row in shown.values())
    try:
        until("the last prints to end", over, LAST_S, 1)
    except AssertionError as error:
        shown = {n: (r["state"], r["job"]) for n, r in world.api.printers().items() if r["state"] != "operational"}
        world.violate(f"{error}: {shown}")
    by_file = checks.history(world)
    end = time.monotonic() + TOLD_S
    while (wrong := checks.told(world, by_file)) and time.monotonic() < end:
        time.sleep(0.5)
    for words in wrong:
        world.violate(words)
    if world.cloud:
        broken = [p for p in world.cloud.ctl("state")["problems"] if p["kind"] == "violation" and not p["rule"].startswith(NOT_HERE)]
        for rule, times in collections.Counter(p["rule"] for p in broken).items():
            first = next(p for p in broken if p["rule"] == rule)
            world.violate(f"the cloud's rule {rule} was broken {times} times; first: {first['text']} {str(first['message'])[:300]}")
    for words in checks.hours(world):
        world.violate(words)
    with world.database() as db:
        sound = db.execute("PRAGMA integrity_check").fetchone()[0]
    if sound != "ok":
        world.violate(f"the database: {sound}")
    return collections.Counter(row["layerd"]["state"] for row in by_file.values())


def keep(world, out, seed):
    """What is needed to find out why."""
    kept = os.path.join(out, f"seed-{seed}")
    shutil.rmtree(kept, ignore_errors=True)
    os.makedirs(kept)
    with open(os.path.join(kept, "story.txt"), "w") as f:
        f.write("\n".join(world.story) + "\n")
    for name in ("layerd.log", "cloud.jsonl", "broker.log", "layerd.toml"):
        if os.path.exists(world.path(name)):
            shutil.copy(world.path(name), kept)
    for printer in world.printers.values():
        for record in [printer.path("log"), *printer.records]:
            if os.path.exists(record):
                shutil.copy(record, kept)
    subprocess.run(["cp", "-r", world.path("state", "layerd.db"), kept], check=False)
    return kept


def run(given):
    folder = tempfile.mkdtemp(prefix="layerd-chaos-")
    if os.path.exists(FOREIGN_PYTHON):
        NAMES["foreign"] = ["o1"]
    world = World(os.path.abspath(given.layerd), given.double and os.path.abspath(given.double), folder, NAMES, SPEED)
    began, rounds, events, states = time.monotonic(), 0, 0, {}
    try:
        world.start()
        world.known = world.secrets()
        while rounds < given.rounds if given.rounds else time.monotonic() - began < given.minutes * 60:
            events += one_round(world, rounds, given.seed)
            rounds += 1
            if world.violations:
                break
        states = finish(world)
    except (AssertionError, OSError, KeyError, ValueError, concurrent.futures.TimeoutError) as error:
        world.violate(f"{type(error).__name__}: {error}")
    finally:
        if world.violations or given.keep:
            try:
                kept = keep(world, given.out, given.seed)
            except OSError as error:
                kept = f"nowhere: {error}"
        world.end()
        shutil.rmtree(folder, ignore_errors=True)
    minutes = (time.monotonic() - began) / 60
    if world.violations:
        print(f"-- the last events of seed {given.seed}", *world.story[-60:], sep="\n")
        print("-- violations", *world.violations, sep="\n")
    if world.violations or given.keep:
        print(f"-- the rest is in {kept}")
    highest = max((m[3] for m in world.daemon.memory), default=0) if world.daemon else 0
    moves = sum(job.next for job in world.jobs.values())
    print(f"   {moves} moves executed and judged; did {dict(sorted(world.counts.items()))}; not delivered {world.refused}; at most {highest} kB anonymous")
    print(f"seed {given.seed}: {minutes:.1f} minutes, {rounds} rounds, {events} events, {len(world.jobs)} prints {dict(states)}, "
          f"{len(world.violations)} violations", flush=True)
    return 1 if world.violations else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("layerd")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--rounds", type=int, help="so many rounds, however long they take")
    parser.add_argument("--double", help="the cloud's double; without it there is no cloud")
    parser.add_argument("--keep", action="store_true", help="keep everything, also when nothing was wrong")
    parser.add_argument("--out", default="tests/long/out/chaos")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    sys.exit(run(given))


main()
