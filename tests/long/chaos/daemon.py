"""The daemon under a stand-in for systemd: started, ended in all manners, watched."""
import os
import re
import signal
import subprocess
import time

from keeper import Keeper

# What the daemon takes at most to end in order (165 s for a head that has to be parked on a bad line), and some more.
STOP_S = 185
# More than all that is open with thirteen printers, three upstreams and listeners while nobody floods it.
FILES_MAX = 160
# What is not in a file of the program's own, kB.
ANONYMOUS_MAX_KB = 48_000


class Daemon:
    def __init__(self, binary, config, folder, environment):
        self.command = [binary, "-v", "--config", config, "run"]
        self.log_path = os.path.join(folder, "layerd.log")
        self.keeper, self.environment = Keeper(os.path.join(folder, "keeper")), environment
        self.process, self.wanted, self.at, self.rest, self.starts, self.memory = None, False, 0, "", 0, []
        self.clocks = subprocess.run(["unshare", "-T", "true"], capture_output=True).returncode == 0

    def start(self, clock_s=0):
        """Starts it; the monotonic clock is `clock_s` beside the host's. False: it ended at once (and is tried again later)."""
        offset = max(clock_s, 1000 - int(time.monotonic()))
        command = ["unshare", "-T", "--monotonic", str(offset), *self.command] if self.clocks and clock_s else self.command
        self.wanted = True
        self.starts += 1
        while self.keeper.ready.acquire(blocking=False):
            pass
        with open(self.log_path, "a") as log:
            self.process = self.keeper.launch(command, log, self.environment)
        end = time.monotonic() + 30
        while not self.keeper.ready.acquire(timeout=0.1):
            if self.process.poll() is not None:
                return False
            if time.monotonic() > end:
                raise AssertionError("the daemon did not become ready in 30 s")
        return True

    def end(self, how):
        """kill, restart (descriptors kept), stop (the print is to be parked), lost (killed, and nothing is kept)."""
        self.wanted = False
        if how in ("restart", "stop"):
            self.keeper.queue("restart" if how == "restart" else "stop")
            self.process.send_signal(signal.SIGTERM)
        else:
            self.process.send_signal(signal.SIGKILL)
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"the daemon did not end within {STOP_S} s of a {how}") from None
        finally:
            self.keeper.queue("")
        if how in ("stop", "lost"):
            self.keeper.forget()

    def died(self):
        return self.wanted and self.process.poll() is not None

    def new_lines(self):
        """What the log got since the last call."""
        with open(self.log_path, errors="replace") as f:
            f.seek(self.at)
            text = self.rest + f.read()
            self.at = f.tell()
        *lines, self.rest = text.split("\n")
        return lines

    def look(self):
        """(resident kB, anonymous kB, open files)."""
        with open(f"/proc/{self.process.pid}/status") as f:
            status = dict(re.findall(r"^(\w+):\s+(\d+)", f.read(), re.MULTILINE))
        return int(status["VmRSS"]), int(status["RssAnon"]), len(os.listdir(f"/proc/{self.process.pid}/fd"))
