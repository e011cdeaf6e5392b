#!/usr/bin/env python3
"""Makes a sliced file (absolute X and Y) hard to read:  harden.py rich|ugly FILE OUT

rich: moves of three points become arcs, 200 objects are entered and left by Klipper's macros, two tools take turns.
ugly: the same commands in lower case and without spaces, with a comment on each line and line numbers on some.
"""

import math
import re
import sys

MOVE = re.compile(r"G1 X(-?[\d.]+) Y(-?[\d.]+) E([\d.]+)$")


def centre(a, b, c):
    """Of the circle through three points; None for a large or no circle."""
    (ax, ay), (bx, by), (cx, cy) = a, b, c
    d = 2 * (ax * (by - cy) + bx * (cy - ay) + cx * (ay - by))
    if abs(d) < 1e-4:
        return None
    sa, sb, sc = ax * ax + ay * ay, bx * bx + by * by, cx * cx + cy * cy
    x = (sa * (by - cy) + sb * (cy - ay) + sc * (ay - by)) / d
    y = (sa * (cx - bx) + sb * (ax - cx) + sc * (bx - ax)) / d
    return (x, y) if math.hypot(x - ax, y - ay) < 50 else None


def rich(lines):
    for n in range(200):
        yield f"EXCLUDE_OBJECT_DEFINE NAME=part_{n} CENTER={n},{n} POLYGON=[[{n},0],[{n + 1},0],[{n + 1},1]]"
    here, held, count, inside, relative = None, None, 0, None, False

    def release():
        nonlocal held
        if held:
            yield held[0]
            held = None

    for line in lines:
        found = MOVE.match(line)
        if not found:
            yield from release()
            if line.startswith(("M82", "M83")):
                relative = line.startswith("M83")
            words = dict((w[0], w[1:]) for w in line.split(";")[0].split()[1:] if w[1:])
            if line.startswith(("G0", "G1")) and here and ("X" in words or "Y" in words):
                here = (float(words.get("X", here[0])), float(words.get("Y", here[1])))
            yield line
            if line.startswith("M109 "):
                yield line.replace("M109 ", "M109 T1 ").replace(" T0", "")
            if line.startswith(";TYPE:"):
                if inside is not None:
                    yield f"EXCLUDE_OBJECT_END NAME=part_{inside}"
                inside = count % 200
                count += 1
                yield f"EXCLUDE_OBJECT_START NAME=part_{inside}"
                if count % 40 == 0:
                    yield f"T{count // 40 % 2}"
                    yield "SET_VELOCITY_LIMIT ACCEL=3000 SQUARE_CORNER_VELOCITY=5.0"
            continue
        x, y, e = (float(v) for v in found.groups())
        if held is None:
            held = (line, here, (x, y), e)
        else:
            first, start, middle, fed = held
            at = start and centre(start, middle, (x, y))
            if at:
                (sx, sy), (mx, my) = start, middle
                turn = (mx - sx) * (y - sy) - (my - sy) * (x - sx)
                word = "G3" if turn > 0 else "G2"
                yield f"{word} X{x:.3f} Y{y:.3f} I{at[0] - sx:.4f} J{at[1] - sy:.4f} E{fed + e if relative else e:.5f}"
            else:
                yield first
                yield line
            held = None
        here = (x, y)
    yield from release()
    if inside is not None:
        yield f"EXCLUDE_OBJECT_END NAME=part_{inside}"


def ugly(lines):
    for number, line in enumerate(lines):
        if line.startswith(("G0 ", "G1 ", "G2 ", "G3 ", "M204 ", "M106 ")):
            text = line.split(";")[0].replace(" ", "").lower()
            if number % 50 == 0:
                text = f"n{number}{text}"
            yield f"{text} ; {line[:8].lower()}"
        else:
            yield line


def main():
    mode, source, target = sys.argv[1:4]
    with open(source) as text, open(target, "w") as out:
        lines = (line.rstrip("\n") for line in text)
        for line in {"rich": rich, "ugly": ugly}[mode](lines):
            out.write(line + "\n")


main()
