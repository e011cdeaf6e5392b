"""What happens in a round, and when: made from the seed alone, so that the same seed gives the same events."""
import random

TICK_S = 0.5
# Ticks of storm in a round.
STORM = 70

# How far the daemon's wall clock is ahead of everybody else's, s.
YEAR_S, DAY_S = 31_536_000, 86_400
CLOCKS = [YEAR_S, YEAR_S, -DAY_S, -DAY_S, 3600, -600, 0, 0]

WAYS = ["api", "api", "api", "mqtt", "cloud"]
COMMANDS = ["pause", "pause", "resume", "resume", "resume", "cancel", "skip", "gcode", "tune", "start", "again"]


def round_events(seed, number, names):
    """The events of a round, ordered by tick. `names`: printers by kind."""
    dice = random.Random(f"{seed}/{number}")
    network = names["klipper"] + names["bambu"]
    every = names["marlin"] + network
    out = [start(dice, dice.randrange(8), name) for name in every]
    trouble = [
        (30, lambda t: command(dice, t, dice.choice(every))),
        (8, lambda t: link(dice, t, dice.choice(network + ["cloud", "cloud", "broker", "broker"]))),
        (6, lambda t: serial(dice, t, dice.choice(names["marlin"]))),
        (2, lambda t: klipper(dice, t, dice.choice(names["klipper"]))),
        (2, lambda t: bambu(dice, t, dice.choice(names["bambu"]))),
        (2, lambda t: api(dice, t)),
        (1, lambda t: upstream(dice, t)),
    ]
    for tick in range(6, STORM):
        for _ in range(dice.choice([0, 0, 1, 1, 2])):
            out.append(dice.choices([make for _, make in trouble], [weight for weight, _ in trouble])[0](tick))
    # At most one of each in a round, for they end what the others are to meet.
    if dice.random() < 0.75:
        out.append(daemon(dice, dice.randrange(10, STORM - 25)))
    if dice.random() < 0.3:
        out.append({"tick": dice.randrange(8, STORM - 20), "do": "disk_full", "for": dice.randrange(4, 20)})
    dice = random.Random(f"{seed}/{number}/clock")
    if dice.random() < 0.6:
        out.append({"tick": dice.randrange(6, STORM - 10), "do": "clock", "to": dice.choice(CLOCKS)})
    # With dice of its own: what happens to the others is the same where it is missing.
    dice = random.Random(f"{seed}/{number}/foreign")
    for name in names["foreign"]:
        out.append(start(dice, dice.randrange(8), name))
        out += [command(dice, dice.randrange(6, STORM), name) for _ in range(dice.randrange(5))]
        if dice.random() < 0.3:
            out.append({"tick": dice.randrange(10, STORM), "do": "serial", "who": name, "how": "unplug", "for": dice.choice([2, 12])})
    return sorted(out, key=lambda event: event["tick"])


def calm_clock(seed, number):
    """Where the clock is set to when everything is calm; None: it is not."""
    dice = random.Random(f"{seed}/{number}/calm clock")
    return dice.choice(CLOCKS) if dice.random() < 0.4 else None


def start(dice, tick, who):
    return {"tick": tick, "do": "start", "who": who, "way": dice.choice(WAYS), "size": dice.choice([200, 600, 1200, 2400])}


def command(dice, tick, who):
    what = dice.choice(COMMANDS)
    if what == "start":
        return start(dice, tick, who)
    return {"tick": tick, "do": what, "who": who, "way": dice.choice(WAYS), "object": dice.randrange(2), "times": dice.choice([1, 1, 1, 3])}


def link(dice, tick, who):
    return {"tick": tick, "do": "link", "who": who, "how": dice.choice(["cut", "cut", "stall", "slow"]), "for": dice.choice([0, 1, 4, 12, 24])}


def serial(dice, tick, who):
    how = dice.choices(["damage", "unplug", "mute", "reset", "kill"], [6, 2, 2, 1, 1])[0]
    event = {"tick": tick, "do": "serial", "who": who, "how": how, "for": dice.choice([1, 4, 12])}
    if how == "damage":
        event.update({"for": dice.choice([8, 20]), "rates": [dice.choice([0, 20, 100]), dice.choice([0, 5, 30]), dice.choice([0, 5, 20])]})
    return event


def klipper(dice, tick, who):
    return {"tick": tick, "do": "klipper", "who": who, "how": dice.choice(["shutdown", "restart", "mute", "power"]), "for": dice.choice([2, 8, 16])}


def bambu(dice, tick, who):
    return {"tick": tick, "do": "bambu", "who": who, "how": dice.choice(["drop", "drop", "restart", "power"]), "for": dice.choice([2, 8, 16])}


def api(dice, tick):
    return {"tick": tick, "do": dice.choice(["flood", "oversize", "half_open", "garbage"]), "for": dice.choice([4, 16])}


def upstream(dice, tick):
    how = dice.choice(["broker", "cloud_down", "cloud_drop"])
    return {"tick": tick, "do": how, "for": dice.choice([1, 8, 16])}


def daemon(dice, tick):
    """Restarts: with the descriptors kept as by systemd, without, and after a pause; the monotonic clock begins anywhere."""
    how = dice.choice(["kill", "kill", "restart", "restart", "stop", "lost"])
    return {"tick": tick, "do": "daemon", "how": how, "for": dice.choice([0, 2, 10]) if how in ("stop", "lost") else 0,
            "clock_s": dice.choice([0, -20_000, 3_000_000])}
