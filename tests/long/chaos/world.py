"""Everything that runs in a chaos: printers, links, cloud, broker, daemon; and what was demanded of them."""
import concurrent.futures
import contextlib
import glob
import heapq
import json
import os
import shutil
import sqlite3
import subprocess
import threading
import time

from clock import Clock
from daemon import Daemon
from doors import Api, Broker, Cloud
from links import Links
from plan import TICK_S
from printers import Bambu, Foreign, Klipper, Marlin
from programs import Job, Judge

CLOUD_JOBS = 5000
STATE_MB = 1500
KINDS = {"marlin": Marlin, "klipper": Klipper, "bambu": Bambu, "foreign": Foreign}


def until(what, done, seconds, every=0.1):
    """Waits for a condition, with a deadline."""
    end = time.monotonic() + seconds
    while not (seen := done()):
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(every)
    return seen


class World:
    def __init__(self, binary, double, folder, names, speed):
        self.binary, self.folder, self.names, self.speed = binary, folder, names, speed
        self.began = time.monotonic()
        self.printers, self.jobs, self.judges = {}, {}, {}
        self.last, self.skips, self.wild = {}, {}, []
        self.violations, self.counts, self.refused, self.story = [], {}, {}, []
        self.due, self.pool, self.lock = [], concurrent.futures.ThreadPoolExecutor(24), threading.Lock()
        self.daemon_busy = threading.Lock()
        self.links, self.broker, self.daemon, self.cloud = Links(), None, None, Cloud(double, folder) if double else None
        self.mounted = False
        self.running = set()
        self.clock = Clock(folder)

    def path(self, *parts):
        return os.path.join(self.folder, *parts)

    # Start and end --------------------------------------------------------------------------------------------------

    def start(self):
        for folder in ("state", "run", "parts"):
            os.makedirs(self.path(folder))
        mount = ["mount", "-t", "tmpfs", "-o", f"size={STATE_MB}m", "layerd-chaos", self.path("state")]
        self.mounted = os.environ.get("CHAOS_INSIDE") == "1" and subprocess.run(mount, capture_output=True).returncode == 0
        config = ""
        for kind, names in self.names.items():
            for name in names:
                printer = self.printers[name] = KINDS[kind](name, self.binary, self.folder, self.speed)
                self.judges[name] = Judge(name, self.jobs)
                self.skips[name] = []
                config += f"[printer.{name}]\n" + printer.start(self.links)
        environment = {}
        if self.cloud:
            self.cloud.start({f"j{n:05}.{end}": {"path": self.path("parts", f"j{n:05}.{end}")}
                              for n in range(CLOUD_JOBS) for end in ("gcode", "gcode.3mf")})
            port = self.links.to("cloud", self.cloud.port)
            environment = {"SIMPLYPRINT_WS_URL": f"ws://127.0.0.1:{port}", "SIMPLYPRINT_API_URL": f"http://127.0.0.1:{port}/api"}
            config += "[upstream.simplyprint]\nmode = \"multi\"\n"
        self.word = os.urandom(9).hex()
        if shutil.which("mosquitto"):
            self.broker = Broker(self.folder, self.links.free_port())
            self.broker.start()
            port = self.links.to("broker", self.broker.port)
            with open(self.path("word"), "w") as f:
                f.write(self.word + "\n")
            os.chmod(self.path("word"), 0o600)
            config += f'[upstream.mqtt]\nurl = "mqtt://127.0.0.1:{port}"\nuser = "pi"\npassword_file = "{self.path("word")}"\nreconnect_spread_s = 1\n'
        self.api_port = self.links.free_port()
        with open(self.path("layerd.toml"), "w") as f:
            f.write(f'[agent]\nname = "chaos"\nstate_dir = "{self.path("state")}"\nruntime_dir = "{self.path("run")}"\n'
                    f'[api]\nlisten = ["127.0.0.1:{self.api_port}"]\nloopback_key = true\n{config}')
        os.chmod(self.path("layerd.toml"), 0o600)
        done = subprocess.run([self.binary, "--config", self.path("layerd.toml"), "--json", "key", "create", "chaos"],
                              capture_output=True, text=True, timeout=60)
        self.key = json.loads(done.stdout).get("key", "") if done.returncode == 0 else ""
        self.api = Api(self.path("run", "layerd.sock"))
        environment |= self.clock.environment()
        self.daemon = Daemon(self.binary, self.path("layerd.toml"), self.folder, environment)
        assert self.daemon.start(), "the daemon ended at once"
        until("every printer to be operational",
              lambda: {row["state"] for row in self.api.printers().values()} == {"operational"}, 60)
        if self.clock.page:
            try:
                self.set_clock(3600)
                self.set_clock(0)
            except AssertionError:
                self.clock.page, self.clock.why = None, "this program takes no clock from outside (static?)"
        if self.clock.why:
            print(f"chaos: without a clock that is set: {self.clock.why}", flush=True)
        if self.cloud:
            until("the cloud to know every printer", lambda: self.cloud.know(self.documents()) == len(self.printers), 60)

    def end(self):
        self.pool.shutdown(wait=False, cancel_futures=True)
        process = self.daemon and self.daemon.process
        if process and process.poll() is None:
            process.kill()
            process.wait()
        for part in (*self.printers.values(), self.broker, self.cloud):
            if part:
                part.end()
        self.links.close()
        if self.daemon:
            self.daemon.keeper.close()
        if self.mounted:
            subprocess.run(["umount", self.path("state")], check=False)

    def database(self):
        return contextlib.closing(sqlite3.connect(f"file:{self.path('state/layerd.db')}?mode=ro", uri=True, timeout=10))

    def documents(self):
        """What layerd keeps of its identities in the cloud."""
        with self.database() as db:
            rows = db.execute("SELECT p.name, d.body FROM upstream_docs d JOIN printers p ON p.id = d.printer_id "
                              "WHERE d.upstream = 'simplyprint'").fetchall()
        return {name: json.loads(body) for name, body in rows}

    def secrets(self):
        """What must be in no log."""
        found = [self.word, self.key] + [getattr(p, "code", "") for p in self.printers.values()] + [getattr(p, "key", "") for p in self.printers.values()]
        return [s for s in found + (self.cloud.tokens() if self.cloud else []) if s]

    def set_clock(self, ahead_s):
        self.clock.set(ahead_s)

        def seen():
            try:
                return abs(self.api.date() - time.time() - ahead_s) < 5
            except (OSError, ValueError):
                return False
        until("the daemon to have another clock", seen, 30)

    # What was demanded ----------------------------------------------------------------------------------------------

    def new_job(self, who, way, size):
        number = len(self.jobs) + 1
        job = Job(number, who, self.printers[who].kind, way, size, self.path("parts"))
        # What was wanted left out a moment ago may arrive only now.
        job.skips |= {item for item, at in self.skips[who] if at > time.monotonic() - 60}
        self.jobs[number] = self.last[who] = job
        return job

    def skip(self, who, item):
        self.skips[who].append((item, time.monotonic()))
        for job in self.jobs.values():
            if job.printer == who:
                job.skips.add(item)

    # Time -----------------------------------------------------------------------------------------------------------

    def later(self, ticks, act):
        """Does something after so many ticks, or at the next calm."""
        with self.lock:
            heapq.heappush(self.due, (time.monotonic() + ticks * TICK_S, len(self.story) + id(act), act))

    def pass_time(self, everything=False):
        while True:
            with self.lock:
                if not self.due or not everything and self.due[0][0] > time.monotonic():
                    return
                _, _, act = heapq.heappop(self.due)
            self.dispatch(act)

    def dispatch(self, act, *words):
        """Does something beside everything else. What does not arrive is part of the chaos."""
        def run():
            try:
                act(*words)
            except AssertionError as error:
                self.violate(str(error))
            except (OSError, ValueError, KeyError, subprocess.SubprocessError, concurrent.futures.TimeoutError) as error:
                kind = type(error).__name__
                with self.lock:
                    self.refused[kind] = self.refused.get(kind, 0) + 1
            except Exception as error:  # noqa: BLE001 - of the harness itself: must not pass unseen
                self.violate(f"the harness: {type(error).__name__}: {error}")
        future = self.pool.submit(run)
        self.running.add(future)
        future.add_done_callback(self.running.discard)

    def note(self, text):
        self.story.append(f"{time.monotonic() - self.began:8.2f} {text}")

    def violate(self, text):
        self.note("VIOLATION " + text)
        self.violations.append(f"minute {(time.monotonic() - self.began) / 60:.1f}: {text}")

    def disk(self, full):
        path = self.path("state", "fill")
        if not full:
            for found in glob.glob(path):
                os.unlink(found)
            return
        if not self.mounted:
            return
        with open(path, "wb") as f:
            free = os.statvfs(self.path("state"))
            os.posix_fallocate(f.fileno(), 0, max(1, free.f_bavail - 64) * free.f_bsize)
            try:
                for _ in range(1000):
                    f.write(bytes(4096))
                    f.flush()
            except OSError:
                pass  # full
