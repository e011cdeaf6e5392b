"""A printer, a daemon and the command line between them; and the comparison of what was executed."""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

from cases import PATIENCE

HERE = os.path.dirname(os.path.abspath(__file__))

# What a host may say beside the program at any time: questions, reports, screen texts, timers.
HOST_LINES = re.compile(r"(M105|M110|M114|M115|M113|M155|M154|M27|M21|M20|M73|M75|M76|M77|M117|M118|M400|M84 S|M85|M108|M876|M31)\b")
# What it may say besides while it parks, resumes, cancels or gives up, all at one place of the program.
JOB_LINES = re.compile(r"(M104|M109|M140|M190|M106|M107|M82|M83|M84|M18|M410|M112|M108|M220|M221|G0|G1|G28|G90|G91|G92|T\d)\b")


def program(path):
    """The commands of a file as they must reach the printer."""
    lines = []
    with open(path, encoding="utf-8", errors="replace") as f:
        for line in f:
            text = " ".join(line.split(";")[0].split())
            if text and not text.startswith("@"):
                lines.append(text)
    return lines


def same_program(executed, wanted, complete=True, interruptions=0):
    """Every program line once and in order. Job control by the host may stand at `interruptions` places."""
    at, places = 0, []
    for number, line in enumerate(executed):
        if at < len(wanted) and line == wanted[at]:
            at += 1
        elif HOST_LINES.match(line):
            pass
        elif JOB_LINES.match(line):
            if not places or places[-1] != at:
                places.append(at)
            if len(places) > interruptions:
                following = wanted[at] if at < len(wanted) else "the end"
                raise AssertionError(f"executed line {number + 1} is {line!r}; expected {following!r} (program line {at + 1})")
        else:
            raise AssertionError(f"executed line {number + 1} is {line!r}, neither of the program nor of a host")
    if complete and at != len(wanted):
        raise AssertionError(f"only {at} of {len(wanted)} program lines were executed; next: {wanted[at]!r}")
    return at


class Case:
    """Starts printer and daemon, and ends both."""

    def __init__(self, name, binary, gcode, transcripts=None, rig=None, settings="", **printer):
        self.name, self.binary, self.gcode, self.rig = name, binary, gcode, rig
        self.dir = tempfile.mkdtemp(prefix="layerd-peer-")
        self.link, self.executed_path = self.path("printer"), self.path("executed")
        self.transcript = os.path.join(transcripts or self.dir, name + ".txt")
        self.kept = os.path.join(transcripts, name + ".session.txt") if transcripts else None
        self.settings, self.options = settings, printer
        self.printer = self.daemon = None
        self.environment = {}
        self.began = time.monotonic()

    def path(self, name):
        return os.path.join(self.dir, name)

    def note(self, text):
        """A line of the session's transcript, where one is kept."""
        if self.kept:
            with open(self.kept, "a") as f:
                f.write(f"{time.monotonic() - self.began:8.3f} {text}\n")

    def __enter__(self):
        if self.kept and os.path.exists(self.kept):
            os.unlink(self.kept)
        self.plug_in()
        with open(self.path("layerd.toml"), "w") as f:
            f.write(f'[agent]\nstate_dir = "{self.path("state")}"\nruntime_dir = "{self.path("run")}"\n'
                    f'[api]\nlisten = []\n'
                    f'[printer.p]\ndriver = "marlin"\nport = "{self.link}"\nbaud = 115200\nbed = [250, 220, 210]\n{self.settings}\n')
        self.start_daemon()
        return self

    def __exit__(self, kind, error, _):
        if error:
            self.note(f"FAILED: {error}")
        for process in (self.daemon, self.printer):
            if process and process.poll() is None:
                process.terminate()
                try:
                    process.wait(60)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        if self.kept and os.path.exists(self.path("log")):
            with open(self.path("log")) as log, open(self.kept, "a") as out:
                out.write("--- log of the daemon\n" + log.read())
        shutil.rmtree(self.dir, ignore_errors=True)

    def plug_in(self):
        words = ["--" + key.replace("_", "-") + ("" if value is True else f"={value}") for key, value in self.options.items()]
        if self.rig:
            command = [sys.executable, self.rig, "--link", self.link, "--log", self.transcript, "--lifetime", "1800", *words]
        else:
            command = [sys.executable, os.path.join(HERE, "octoprint_printer.py"), "--link", self.link,
                       "--executed", self.executed_path, "--transcript", self.transcript, *words]
        self.printer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.printer.stdout.readline().startswith("PTY "), "the printer did not start"
        self.note("printer plugged in: " + " ".join(words))

    def unplug(self):
        self.printer.terminate()
        self.printer.wait(10)
        self.note("printer unplugged")

    def start_daemon(self):
        with open(self.path("log"), "a") as log:
            self.daemon = subprocess.Popen([self.binary, "--config", self.path("layerd.toml"), "run"], stderr=log, stdout=log,
                                           env={**os.environ, **self.environment})
        self.note("daemon started")

    def end_daemon(self, how):
        self.daemon.send_signal(how)
        self.daemon.wait(120)
        self.note(f"daemon ended by {how.name}, exit {self.daemon.returncode}")

    def layerd(self, *words, ok=None, timeout=300):
        """Runs a verb; `ok` is the exit code it must end with."""
        began = time.monotonic()
        done = subprocess.run([self.binary, "--config", self.path("layerd.toml"), *words],
                              capture_output=True, text=True, timeout=timeout * PATIENCE)
        told = " | ".join((done.stdout + done.stderr).strip().splitlines()[-6:])
        if words != ("--json", "printers"):
            self.note(f"$ layerd {' '.join(words)}  -> {done.returncode} after {time.monotonic() - began:.2f} s: {told}")
        if ok is not None and done.returncode != ok:
            raise AssertionError(f"layerd {' '.join(words)}: exit {done.returncode}, not {ok}: {told}\n{self.log_tail()}")
        return done

    def status(self):
        done = self.layerd("--json", "printers")
        try:
            return json.loads(done.stdout)[0]
        except (ValueError, IndexError, KeyError):
            return {"state": None, "job": None, "temps": {}, "notices": []}

    def until(self, what, seconds=60, state=None):
        """Waits for a condition on the printer's status, with a deadline. What is not there (yet) is not so."""
        def so(seen):
            try:
                return what(seen)
            except (TypeError, KeyError, IndexError):
                return False

        end, before = time.monotonic() + seconds * PATIENCE, None
        while True:
            seen = self.status()
            if seen["state"] != before:
                before = seen["state"]
                self.note(f"state {before}, job {json.dumps(seen['job'])}, notices {[n.get('title') for n in seen['notices']]}")
            if (state is None or seen["state"] == state) and so(seen):
                return seen
            if time.monotonic() > end:
                raise AssertionError(f"not within {seconds * PATIENCE:.0f} s; last seen: {json.dumps(seen)[:700]}\n{self.log_tail()}")
            assert self.daemon.poll() is None, f"the daemon ended by itself: {self.daemon.returncode}\n{self.log_tail()}"
            time.sleep(0.1)

    def ready(self, seconds=60):
        return self.until(lambda s: True, seconds, state="operational")

    def printing(self, percent=5, seconds=120):
        return self.until(lambda s: ((s["job"] or {}).get("percent") or 0) > percent, seconds, state="printing")

    def log_tail(self):
        with open(self.path("log")) as f:
            return "".join(f.readlines()[-15:])

    def executed(self):
        """The numbered lines that the printer accepted, in order."""
        if not self.rig:
            with open(self.executed_path) as f:
                return [" ".join(line.split()) for line in f]
        lines, last = [], 0
        with open(self.transcript) as f:
            for entry in f:
                match = re.match(r"\s*[\d.]+ < b['\"](?:N(\d+) )?(.*?)(?:\*\d+)?['\"](.*)$", entry)
                if not match or "LOST" in match[3] or "DAMAGED" in match[3]:
                    continue
                number, text = match[1], match[2]
                if text.startswith("M110"):
                    last = int((re.search(r"N(\d+)", text) or re.match(r"(\d+)", number or "0"))[1])
                elif number and int(number) == last + 1:
                    last += 1
                    lines.append(" ".join(text.split()))
        return lines

    def wire(self, pattern):
        """Moments (of the monotonic clock) at which a matching line came in at the printer."""
        with open(self.transcript) as f:
            zero = float(re.search(r"[\d.]+", f.readline())[0])
            return [zero + float(line.split()[0]) for line in f if re.search(pattern, line)]
