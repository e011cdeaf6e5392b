#!/usr/bin/env python3
"""The programs and packages in dist/ as a table: what each is, its bytes, and the newest version of the C library that it asks
for. Fails where one is bigger, newer or for another processor than promised.

    for arch in aarch64 armv6 x86_64; do cross/build.sh $arch --deb; done; cross/build.sh armv7
    tests/bench/sizes.py
"""
import re
import struct
import sys
from pathlib import Path

DIST = Path(__file__).resolve().parent.parent.parent / "dist"
# What a program has to be, and Debian's name of its package.
PROMISED = {
    "aarch64": ("ELF64 AArch64", "arm64"),
    "armv6": ("ELF32 ARM v6 hard float, static", "armhf"),
    "armv7": ("ELF32 ARM v7 hard float", None),
    "x86_64": ("ELF64 x86-64", "amd64"),
}
# Raspberry Pi OS bullseye.
FLOOR = (2, 31)
# For boards; a PC has room.
BAR_BYTES = 9_000_000

MACHINES = {0x28: "ARM", 0x3E: "x86-64", 0xB7: "AArch64"}
FLOAT_HARD = 0x400
PT_INTERP, SYMTAB, ARM_ATTRIBUTES = 3, 2, 0x70000003
# Of the ABI's addenda: Tag_CPU_arch and its values, and the tags whose value is a text.
CPU_ARCH, CPUS, TEXTS = 6, {6: "v6", 7: "v6KZ", 8: "v6T2", 9: "v6K", 10: "v7"}, {4, 5, 32, 65, 67}


def uleb(data, at):
    value = shift = 0
    while True:
        value |= (data[at] & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if data[at - 1] < 0x80:
            return value, at


def cpu(attributes):
    """The processor that an ARM program says it is for."""
    at = attributes.index(b"\0", 5) + 1  # version, length, vendor
    tag, at = uleb(attributes, at)
    end, at = at - 1 + struct.unpack_from("<I", attributes, at)[0], at + 4
    while at < end:
        tag, at = uleb(attributes, at)
        if tag in TEXTS:
            at = attributes.index(b"\0", at) + 1
            continue
        value, at = uleb(attributes, at)
        if tag == CPU_ARCH:
            return CPUS.get(value, f"architecture {value}")
    return "unknown"


def kind(data):
    """What the program is, as far as its head tells: `ELF64 AArch64`."""
    wide = data[4] == 2
    machine, = struct.unpack_from("<H", data, 18)
    if wide:
        programs, sections, flags, _, p_size, p_count, s_size, s_count = struct.unpack_from("<QQIHHHHH", data, 32)
    else:
        programs, sections, flags, _, p_size, p_count, s_size, s_count = struct.unpack_from("<IIIHHHHH", data, 28)
    words = f"ELF{64 if wide else 32} {MACHINES.get(machine, hex(machine))}"
    heads = [sections + n * s_size for n in range(s_count)]
    kinds = [struct.unpack_from("<I", data, at + 4)[0] for at in heads]
    if machine == 0x28:
        at = heads[kinds.index(ARM_ATTRIBUTES)]
        offset, size = struct.unpack_from("<II", data, at + 16)
        words += f" {cpu(data[offset:offset + size])}{' hard float' if flags & FLOAT_HARD else ''}"
    if all(struct.unpack_from("<I", data, programs + n * p_size)[0] != PT_INTERP for n in range(p_count)):
        words += ", static"
    return words + (", not stripped" if SYMTAB in kinds else "")


def main():
    wrong = []
    print(f"{'target':8}  {'program':>10}  {'package':>10}  {'C library':22}  what it is")
    for arch, (promised, debian) in PROMISED.items():
        program = DIST / f"layerd-{arch}"
        if not program.exists():
            wrong.append(f"{arch} is not built")
            continue
        data = program.read_bytes()
        asked = {(int(a), int(b)) for a, b in re.findall(rb"GLIBC_(\d+)\.(\d+)", data)}
        libc = "glibc %d.%d and newer" % max(asked) if asked else "none"
        packages = sorted(DIST.glob(f"layerd_*_{debian}.deb")) if debian else []
        package = f"{packages[-1].stat().st_size:,}" if packages else "-"
        print(f"{arch:8}  {len(data):>10,}  {package:>10}  {libc:22}  {kind(data)}")
        if kind(data) != promised:
            wrong.append(f"{arch} should be {promised}")
        if asked and max(asked) > FLOOR:
            wrong.append(f"{arch} asks for a newer C library than %d.%d" % FLOOR)
        if len(data) > BAR_BYTES and arch != "x86_64":
            wrong.append(f"{arch} is bigger than {BAR_BYTES:,} bytes")
    sys.exit("\n".join(wrong) or 0)


main()
