"""What has to hold: all the time, in each calm, and at the end."""
import datetime
import time

from daemon import ANONYMOUS_MAX_KB, FILES_MAX

# Until what is shown agrees with the printers once nothing disturbs: the longest pause between two attempts to connect,
# and what a connection takes after it.
AGREE_S = 40
# Rule 7 gives the heaters of an interrupted print a minute; and a Marlin whose line lost the question for its place after
# a restart is asked again after 40 s: until then it is "not_ready", which is true. Homing may take its time: where the
# `ok` behind it was lost the printer is asked after 30 s.
STANDS, HOMING = "is shown printing and does not move", "is shown printing and does not move behind G28"
SLOW_S = 75
SLOW = ("is idle and hot", "is shown not_ready", HOMING)
SETTLED = ("operational", "printing", "paused")
# How long after its demand a print may begin: the file comes over a slow link first, and then a stall of twelve seconds.
BEGIN_S = 90
ENDS = ("done", "failed", "cancelled", "interrupted")


def listen(world):
    """New lines of the log and of the printers: nothing that must never be."""
    for line in world.daemon.new_lines():
        if "panicked at" in line:
            world.violate(f"the daemon's log: {line}")
        for secret in world.known:
            if secret in line:
                world.violate(f"a secret is in the daemon's log: {line}")
    for name, printer in world.printers.items():
        if printer.records:
            for line in printer.executed():
                if wrong := world.judges[name].hear(line):
                    world.violate(wrong)
    if world.broker:
        world.broker.hear()


def alive(world):
    """It ends only when it is told to; with a full disk it may refuse to start."""
    with world.daemon_busy:
        if world.daemon.died():
            world.violate(f"the daemon ended by itself: exit {world.daemon.process.returncode}")
            world.daemon.start()


def frugal(world):
    if world.daemon_busy.locked() or world.daemon.process.poll() is not None:
        return
    try:
        resident, anonymous, files = world.daemon.look()
    except (OSError, KeyError):
        return  # killed just now: what is left of it has no memory
    world.daemon.memory.append((time.monotonic() - world.began, world.daemon.starts, resident, anonymous, files))


def bounded(world):
    """In a calm: memory and open files."""
    resident, anonymous, files = world.daemon.look()
    if anonymous > ANONYMOUS_MAX_KB or files > FILES_MAX:
        world.violate(f"{resident} kB resident, {anonymous} kB of it anonymous, {files} open files in a calm")
    return f"{resident} kB resident, {anonymous} kB anonymous, {files} files"


def disagreements(world, before):
    """What is shown and is not so. `before`: what had been executed at the look before, at least a second ago."""
    shown, found, now = world.api.printers(), [], {}
    for name, printer in world.printers.items():
        row, truth = shown[name], printer.truth()
        state, job = row["state"], row["job"]
        at = sum(j.next for j in world.jobs.values() if j.printer == name)
        now[name] = (state, at)
        heating = any((t.get("target") or 0) > (t.get("actual") or 0) + 3 for t in row["temps"].values())
        moved = name in before and before[name][1] != at
        if not row["link"]["up"] or state not in SETTLED:
            found.append((name, f"is shown {state}, link {row['link']}"))
        elif truth["word"] not in (None, state):
            found.append((name, f"is shown {state} and is {truth['word']}"))
        elif (job is None) != (state == "operational"):
            found.append((name, f"is shown {state} with the job {job}"))
        elif truth["word"] is None and state == "printing" and name in before and not moved and not heating:
            found.append((name, HOMING if world.judges[name].last == "G28" else STANDS))
        elif state != "printing" and moved and before[name][0] == state:
            found.append((name, f"is shown {state} and prints"))
        elif state == "operational" and truth["hot"]:
            found.append((name, "is idle and hot"))
    return found, now


def patience_s(words):
    """How long after calm this may be so."""
    return SLOW_S if words.startswith(SLOW) else AGREE_S


def agree(world):
    """Waits until all that is shown is so; how long that took, s."""
    began = time.monotonic()
    agreed, before, looks, last = None, {}, 0, None
    while True:
        looks += 1
        listen(world)
        try:
            wrong, before = disagreements(world, before)
        except (OSError, ValueError, KeyError, TypeError) as error:
            wrong, before = [("the interface", f"does not answer: {error!r}")], {}
        taken = time.monotonic() - began
        serious = [w for w in wrong if patience_s(w[1]) == AGREE_S]
        if serious and serious[0] != last:
            last = serious[0]
            world.note(f"{taken:.1f} s after calm {len(serious)} disagree, {' '.join(last)}")
        if not serious and agreed is None:
            agreed = taken
        if not wrong and looks > 1:
            return agreed
        late = [w for w in wrong if taken > patience_s(w[1])]
        if late:
            for name, words in late:
                world.violate(f"{taken:.0f} s after calm {name} {words}")
            return taken
        time.sleep(1.5)  # moves are looked for between two looks


def records(world):
    """Every job of the history, by number."""
    rows, page = [], 1
    while True:
        answer = world.api.call("POST", "jobs/GetPaginatedPrintJobs", {"page": page, "page_size": 100})
        rows += answer["data"]
        if len(answer["data"]) < 100:
            return rows
        page += 1


def history(world):
    """No job twice, none without a demand, each end explained."""
    rows, by_file, live = records(world), {}, {}
    for row in rows:
        own = row["layerd"]
        state, name = own["state"], row["filename"]
        number = int(name[1:6]) if name[:1] == "j" and name[1:6].isdigit() else None
        job = world.jobs.get(number)
        if job is None or job.printer != own["printer"]:
            world.violate(f"the history has {name} on {own['printer']}, which nobody demanded there")
            continue
        if job.number in by_file:
            world.violate(f"job {job.number} is in the history twice: {row['uid']} {state}, {by_file[job.number]['uid']}")
        by_file[job.number] = row
        began = row["startDate"] and datetime.datetime.fromisoformat(row["startDate"]).timestamp()
        if began and not any(-2 < began - ahead - asked < BEGIN_S for asked in job.asked for ahead in world.clock.ahead_since(asked - 2)):
            world.violate(f"{name} on {job.printer} began at {row['startDate']}, demanded at {job.asked}; the clock: {world.clock.steps}")
        # However often the clock was set meanwhile.
        longest_s = time.time() - min(job.asked) + 5 if job.asked else 0
        if state in ENDS and not 0 <= (row["printTime"] or 0) <= longest_s:
            world.violate(f"{name} on {job.printer} is said to have taken {row['printTime']} s of {longest_s:.0f}: {row}; the clock: {world.clock.steps}")
        if state not in ENDS:
            if job.printer in live:
                world.violate(f"{job.printer} has two live jobs: {name} and {live[job.printer]}")
            live[job.printer] = name
        if state in ("failed", "interrupted") and not own["code"]:
            world.violate(f"{name} on {job.printer} is {state} without a code")
        if state == "cancelled" and not job.cancelled:
            world.violate(f"{name} on {job.printer} is cancelled and nobody cancelled it: {own}")
        if (state in ENDS) != (row["endDate"] is not None):
            world.violate(f"{name} is {state} and ended at {row['endDate']}")
        if state == "done" and job.moves and (lost := world.judges[job.printer].missing(job)):
            world.violate(f"{name} on {job.printer} is done without {lost!r}")
    for number, job in world.jobs.items():
        if job.next and job.answers and set(job.answers) == {"refused"} and len(job.answers) == len(job.asked):
            world.violate(f"{job.printer} executed job {number}, whose start was refused")
        if job.next and number not in by_file:
            world.violate(f"{job.printer} executed job {number}, which the history does not know")
    for name, printer in world.printers.items():
        if printer.kind == "bambu":
            started = [text[:6] for text in printer.started()]
            for one in set(started):
                if started.count(one) > 1:
                    world.violate(f"{name} was told to start {one} {started.count(one)} times")
    return by_file


def clock_set(world, to, before):
    """Somebody sets the clock in a calm: no print ends by it. The history after that."""
    world.note(f"calm clock to={to}")
    world.counts["calm_clock"] = world.counts.get("calm_clock", 0) + 1
    world.set_clock(to)
    time.sleep(4)  # a turn of every part of the daemon, and what it may do wrongly by it
    agree(world)
    after = history(world)
    for number, row in before.items():
        was, now = row["layerd"]["state"], after[number]["layerd"]
        if was != now["state"] and now["state"] not in ("running", "done"):
            world.violate(f"job {number} was {was} and is {now['state']} ({now['code']}) after the clock was set to {to:+} s in a calm")
    return after


def hours(world):
    """No printer has printed for longer than it was watched."""
    with world.database() as db:
        rows = db.execute("SELECT name, print_s FROM printers").fetchall()
    longest_s = time.monotonic() - world.began + 5
    return [f"{name} has printed for {print_s} s of {longest_s:.0f}" for name, print_s in rows if not 0 <= print_s <= longest_s]


def told(world, by_file):
    """What the broker and the cloud have not heard, or heard twice. Empty: each end once."""
    wrong = []
    ended = {n: row for n, row in by_file.items() if row["layerd"]["state"] in ENDS}
    if world.broker:
        world.broker.hear()
        for number, row in ended.items():
            heard = world.broker.finals.get(row["uid"], {})
            words = list(heard.values())
            if words != [row["layerd"]["state"]]:
                wrong.append(f"job {number} is {row['layerd']['state']} ({row['endDate']}); the broker heard {heard}")
    if world.cloud:
        world.cloud.hear()
        for number, row in ended.items():
            if world.jobs[number].way != "cloud":
                continue
            heard = world.cloud.finals.get(number, [])
            words, sockets = {w for w, _ in heard}, [s for _, s in heard]
            expected = {"done": {"finished"}, "cancelled": {"cancelled"}}.get(row["layerd"]["state"], {"failed"})
            # A start that did not come about is told as the file's error.
            if row["startDate"] is None:
                expected = expected | {"not begun"}
            if not words or not words <= expected or len(words) > 1 or len(set(sockets)) != len(sockets):
                wrong.append(f"cloud's job {number} is {row['layerd']['state']} (started {row['startDate']}); the cloud heard {heard}")
    return wrong
