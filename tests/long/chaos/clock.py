"""The daemon's wall clock, which can be set while it runs (clock.c)."""
import mmap
import os
import shutil
import struct
import subprocess
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))


class Clock:
    """Where no C compiler is, `why` says so and the clock stays as it is."""

    def __init__(self, folder):
        self.why, self.page, self.lock = None, None, threading.Lock()
        self.steps = [(0.0, 0)]
        compiler = shutil.which("cc") or shutil.which("gcc")
        if not compiler:
            self.why = "no C compiler"
            return
        self.library, self.file = os.path.join(folder, "clock.so"), os.path.join(folder, "clock")
        made = subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", self.library, os.path.join(HERE, "clock.c"), "-ldl"], capture_output=True)
        if made.returncode != 0:
            self.why = "clock.c cannot be compiled"
            return
        with open(self.file, "w+b") as f:
            f.write(bytes(8))
            f.flush()
            self.page = mmap.mmap(f.fileno(), 8)

    def environment(self):
        return {"LD_PRELOAD": self.library, "CHAOS_CLOCK": self.file} if self.page else {}

    def set(self, ahead_s):
        """The daemon's clock is so far ahead of this program's from now on."""
        self.page[:8] = struct.pack("=q", ahead_s)
        self.steps.append((time.time(), ahead_s))

    def ahead_since(self, moment):
        """How far it was ahead at any time since a moment (of this program)."""
        found = set()
        for n, (at, ahead) in enumerate(self.steps):
            until = self.steps[n + 1][0] if n + 1 < len(self.steps) else time.time()
            if until >= moment:
                found.add(ahead)
        return found
