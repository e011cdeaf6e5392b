"""What each event of the plan does."""
import random
import socket
import time

OBJECTS = {"marlin": ["0", "1"], "foreign": ["0", "1"], "klipper": ["0", "1"], "bambu": ["104", "121"]}


def do(world, event):
    """Begins an event; the rest of it happens beside everything else."""
    what = event["do"]
    world.counts[what] = world.counts.get(what, 0) + 1
    world.note(f"tick {event['tick']:3} {what} " + " ".join(f"{k}={v}" for k, v in event.items() if k not in ("tick", "do")))
    if what == "start":
        world.dispatch(start, world, world.new_job(event["who"], event["way"], event["size"]))
    elif what == "again":
        if job := world.last.get(event["who"]):
            world.dispatch(start, world, job)
    elif what in ("pause", "resume", "cancel", "skip", "gcode", "tune"):
        if what == "skip":
            world.skip(event["who"], event["object"])
        if what == "cancel":
            for job in world.jobs.values():
                job.cancelled |= job.printer == event["who"]
        world.sent = getattr(world, "sent", 0) + 1
        for _ in range(event["times"]):
            world.dispatch(command, world, event, world.sent)
    else:
        world.dispatch(globals()[what], world, event)


def start(world, job):
    """The same start may come here twice: it has the same identity then."""
    who = job.printer
    job.asked.append(time.time())
    if job.way == "cloud" and world.cloud:
        if not world.cloud.step(who, {"file": job.name, "job_id": job.number, "auto_start": True}):
            raise ConnectionError("the cloud does not see the printer")
        return
    file = world.api.upload(job.path)["file"]["id"]
    if job.way == "mqtt" and world.broker:
        world.broker.send(who, {"command": "start", "file": file}, id=f"s{job.number}")
        return
    answer = world.api.act(who, "CreateJob", {"file_id": file, "layerd": {"start_id": f"s{job.number}"}})
    job.answers.append((answer.get("layerd") or {}).get("outcome", "accepted"))


def command(world, event, number):
    who, what, way = event["who"], event["do"], event["way"]
    item = OBJECTS[world.printers[who].kind][event["object"]]
    if way == "cloud" and world.cloud:
        demand = {"skip": {"demand": "skip_objects", "objects": [item]}, "gcode": {"demand": "gcode", "list": ["M105"]},
                  "tune": {"demand": "gcode", "list": ["M220 S100"]}}.get(what, {"demand": what})
        world.cloud.step(who, {"demand": demand})
    elif way == "mqtt" and world.broker:
        message = {"skip": {"command": "skip", "objects": [item]}, "gcode": {"command": "gcode", "lines": ["M105"]},
                   "tune": {"command": "gcode", "lines": ["M220 S100"], "tune": True}}.get(what, {"command": what})
        world.broker.send(who, message, id=f"e{number}")
    else:
        action, body = {"skip": ("SkipObjects", {"object_ids": [item]}), "gcode": ("SendGcode", {"gcode": ["M105"]}),
                        "tune": ("SendGcode", {"gcode": ["M220 S100"], "layerd": {"tune": True}})}.get(what, (what.capitalize(), {}))
        body.setdefault("layerd", {})
        world.api.act(who, action, body)


def link(world, event):
    names = [event["who"]] + ([event["who"] + "-files"] if event["who"].startswith("b") else [])
    found = [world.links.all[name] for name in names if name in world.links.all]
    for one in found:
        one.set(event["how"])
    world.later(event["for"], lambda: [one.set("open") for one in found])


def serial(world, event):
    printer, how = world.printers[event["who"]], event["how"]
    if how == "damage":
        printer.type("damage {} {} {}".format(*event["rates"]))
        world.later(event["for"], lambda: printer.type("damage 0 0 0"))
    elif how == "unplug":
        printer.type("unplug")
        world.later(event["for"], lambda: printer.type("plug"))
    elif how == "mute":
        printer.type("mute")
        world.later(event["for"], lambda: printer.type("unmute"))
    else:
        printer.type(how)
        if how == "kill":
            world.later(event["for"], lambda: printer.type("reset"))


def klipper(world, event):
    printer, how = world.printers[event["who"]], event["how"]
    if how == "power":
        with printer.lock:
            printer.kill()
        # The other lines of the plan may come first.
        world.later(event["for"], printer.heal)
    elif how == "mute":
        printer.type("mute")

        def speak():
            # What was said to deaf ears is lost, which on a real line only the end of the connection can do.
            world.links.all[event["who"]].set("cut")
            printer.type("unmute")
            world.links.all[event["who"]].set("open")
        world.later(event["for"], speak)
    elif how == "shutdown":
        printer.type("shutdown")
        world.later(event["for"], lambda: printer.type("restart"))
    else:
        printer.type(how)


def bambu(world, event):
    printer, how = world.printers[event["who"]], event["how"]
    if how == "power":
        link(world, {**event, "how": "cut"})
        how = "restart"
    printer.type(how)


def broker(world, event):
    """Killed with everything that it kept."""
    if world.broker and world.broker.client:
        way = world.links.all["broker"]
        way.held = True
        way.set("cut")
        world.broker.kill()

        def back():
            world.broker.start()
            # Nobody publishes before the listener listens: it would be acknowledged and forgotten. Another deed may have
            # cut and healed this link meanwhile.
            way.held = False
            way.set("open")
        world.later(event["for"], back)


def cloud_down(world, event):
    if world.cloud:
        world.cloud.ctl("step", {"down": event["for"] / 2})


def cloud_drop(world, event):
    if world.cloud:
        world.cloud.ctl("step", {"drop": "abort", "timeout": 2})


def disk_full(world, event):
    world.disk(True)
    world.later(event["for"], lambda: world.disk(False))


def clock(world, event):
    """Somebody sets the daemon's clock. It lives on for a moment: long enough to notice it."""
    if world.clock.page is None:
        return
    with world.clock.lock:
        if world.daemon.process.poll() is not None:
            return
        world.set_clock(event["to"])
        time.sleep(4)


def daemon(world, event):
    with world.clock.lock, world.daemon_busy:
        world.daemon.end(event["how"])

    def back():
        with world.daemon_busy:
            if world.daemon.process.poll() is not None and not world.daemon.start(event["clock_s"]):
                world.later(4, back)
    world.later(event["for"], back)


# The interface as bad clients use it ---------------------------------------------------------------------------------

def connect(world):
    found = socket.create_connection(("127.0.0.1", world.api_port), 5)
    found.settimeout(5)
    return found


def hold(world, event, sockets):
    world.wild += sockets
    world.later(event["for"], lambda: [s.close() for s in sockets])


def request(world, path, more=""):
    return f"GET /0/{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nX-API-KEY: {world.key}\r\n{more}\r\n".encode()


def flood(world, event):
    """Four hundred requests in a burst, over forty connections."""
    sockets = [connect(world) for _ in range(40)]
    for one in sockets:
        one.sendall(request(world, "printers/Get?page=1") * 10)
    hold(world, event, sockets)


def oversize(world, event):
    one = connect(world)
    one.sendall(f"POST /0/files/Upload HTTP/1.1\r\nHost: 127.0.0.1\r\nX-API-KEY: {world.key}\r\nContent-Type: multipart/form-data; boundary=x\r\n"
                f"Content-Length: 99999999999\r\n\r\n--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.gcode\"\r\n\r\n".encode())
    two = connect(world)
    two.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Long: " + b"a" * 300_000)
    three = connect(world)
    body = b"[" * 400_000
    three.sendall(f"POST /0/printers/actions/Pause?pid=1 HTTP/1.1\r\nHost: 127.0.0.1\r\nX-API-KEY: {world.key}\r\nContent-Type: application/json\r\n"
                  f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
    hold(world, event, [one, two, three])


def half_open(world, event):
    sockets = [connect(world) for _ in range(60)]
    for n, one in enumerate(sockets):
        one.sendall(request(world, "events")[:-n % 20 or None])
    hold(world, event, sockets)


def garbage(world, event):
    sockets = [connect(world) for _ in range(10)]
    dice = random.Random(event["tick"])
    for n, one in enumerate(sockets):
        one.sendall(b"\x16\x03\x01\x02\x00\x01" if n == 0 else dice.randbytes(2000) if n % 2 else b"\r\n" * 500)
    hold(world, event, sockets)
