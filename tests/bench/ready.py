#!/usr/bin/env python3
"""Instructions that the daemon executes until it says READY, one printer configured: a figure that does not depend on
how busy the machine is. Counted by Valgrind (callgrind).

    ready.py LAYERD
"""
import glob
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    if not shutil.which("valgrind"):
        sys.exit("ready: needs valgrind")
    layerd, work = os.path.abspath(sys.argv[1]), tempfile.mkdtemp(prefix="layerd-ready-")
    config = os.path.join(work, "layerd.toml")
    with open(config, "w") as f:
        f.write(f'[agent]\nstate_dir = "{work}/state"\nruntime_dir = "{work}/run"\n[api]\nlisten = []\n'
                '[printer.p]\ndriver = "marlin"\nport = "/dev/serial/by-id/none"\nbaud = 115200\nbed = [220, 220, 250]\n')
    told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    told.bind(os.path.join(work, "notify"))
    told.settimeout(60)
    words = ["valgrind", "--quiet", "--tool=callgrind", f"--callgrind-out-file={work}/counted", layerd, "--config", config, "run"]
    daemon = subprocess.Popen(words, env={**os.environ, "NOTIFY_SOCKET": os.path.join(work, "notify")},
                              stderr=open(os.path.join(work, "log"), "w"))
    try:
        while b"READY=1" not in told.recv(4096):
            pass
        subprocess.run(["callgrind_control", "--dump", str(daemon.pid)], check=True, capture_output=True, timeout=60)
        counted = sum(int(n) for name in glob.glob(f"{work}/counted*") for n in re.findall(r"^totals: (\d+)$", open(name).read(), re.M))
        print(f"{counted / 1e6:.1f} million instructions to READY")
    finally:
        daemon.kill()
        daemon.wait()
        shutil.rmtree(work, ignore_errors=True)


main()
