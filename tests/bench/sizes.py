#!/usr/bin/env python3
"""The programs and packages in dist/ as a table: bytes, and the newest version of the C library that each asks for.

    for arch in aarch64 armv6 x86_64; do cross/build.sh $arch --deb; done; cross/build.sh armv7
    tests/bench/sizes.py
"""
import re
import sys
from pathlib import Path

DIST = Path(__file__).resolve().parent.parent.parent / "dist"
PACKAGES = {"aarch64": "arm64", "armv6": "armhf", "x86_64": "amd64", "armv7": None}
# Raspberry Pi OS bullseye.
FLOOR = (2, 31)

wrong = False
print(f"{'target':8}  {'program':>10}  {'package':>10}  C library")
for arch, debian in PACKAGES.items():
    program = DIST / f"layerd-{arch}"
    if not program.exists():
        print(f"{arch:8}  {'not built':>10}")
        continue
    data = program.read_bytes()
    asked = {(int(a), int(b)) for a, b in re.findall(rb"GLIBC_(\d+)\.(\d+)", data)}
    libc = "glibc %d.%d and newer" % max(asked) if asked else "none: static"
    if asked and max(asked) > FLOOR:
        wrong, libc = True, libc + " (too new)"
    packages = sorted(DIST.glob(f"layerd_*_{debian}.deb")) if debian else []
    package = f"{packages[-1].stat().st_size:,}" if packages else "-"
    print(f"{arch:8}  {len(data):>10,}  {package:>10}  {libc}")
sys.exit(wrong)
