#!/usr/bin/env python3
"""Our figures beside the slicer's own and beside a plain reading written in Python:  analyzer_table.py LAYERD FILE …

The reading here shares nothing with the analyzer: words split at blanks, floats, straight moves only. It exits 1 when
bounds (of everything, and of each object) differ by over 0.001 mm, filament by over 0.1 %, when objects are missing,
or when time and layers are not what the slicer says. A slicer's own filament leaves out what the profile's start code
feeds (9, 30, 21.5 mm in some of these files), so it is shown and not compared.
"""

import json
import math
import re
import subprocess
import sys

HEADS = [
    "file", "slicer", "layers", "theirs", "time s", "theirs", "model s", "filament mm", "theirs", "reading", "objects",
    "reading", "bounds apart",
]


def reading(path):
    """Filament per tool (highest sum), the box of everything that extrudes while moving in X or Y, and of each object."""
    text = open(path, errors="replace", newline="").read().replace("\r\n", "\n")
    per_mm = math.pi * 2.85**2 / 4 if ";FLAVOR:UltiGCode" in text else 1.0
    at, offset, e, tool = [0.0] * 3, [0.0] * 3, 0.0, 0
    placed, relative, e_relative, scale = [False] * 3, False, False, 1.0
    fed, peak, low, high = {}, {}, [math.inf] * 3, [-math.inf] * 3
    objects, inside = {}, None
    for line in text.split("\n"):
        if line.startswith("; printing object "):
            inside = line[18:]
        elif line.startswith("; stop printing object "):
            inside = None
        elif line.startswith(";MESH:"):
            inside = None if line == ";MESH:NONMESH" else line[6:]
        if inside is not None:
            objects.setdefault(inside, [math.inf, math.inf, -math.inf, -math.inf])
        words = line.split(";")[0].split()
        if not words:
            continue
        code, value = words[0].upper(), {}
        for word in words[1:]:
            try:
                value[word[0].upper()] = float(word[1:]) * scale
            except ValueError:
                pass
        if code in ("G0", "G1", "G00", "G01"):
            before, known = list(at), list(placed)
            for axis, letter in enumerate("XYZ"):
                if letter in value:
                    if relative:
                        at[axis] += value[letter]
                    else:
                        at[axis], placed[axis] = value[letter] + offset[axis], True
            if "E" in value:
                step = value["E"] if e_relative else value["E"] - e
                e += step
                fed[tool] = fed.get(tool, 0.0) + step / per_mm
                peak[tool] = max(peak.get(tool, 0.0), fed[tool])
                if step > 0 and before[:2] != at[:2]:
                    for point, sure in ((before, known), (at, placed)):
                        if sure[0] and sure[1]:
                            low = [min(a, b) for a, b in zip(low, point)]
                            high = [max(a, b) for a, b in zip(high, point)]
                            if inside is not None:
                                x0, y0, x1, y1 = objects[inside]
                                x, y, _ = point
                                objects[inside] = [min(x0, x), min(y0, y), max(x1, x), max(y1, y)]
        elif code in ("G90", "G91"):
            relative = e_relative = code == "G91"
        elif code in ("M82", "M83"):
            e_relative = code == "M83"
        elif code in ("G20", "G21"):
            scale = 25.4 if code == "G20" else 1.0
        elif code == "G28":
            at, offset, placed = [0.0] * 3, [0.0] * 3, [False] * 3
        elif code == "G92":
            for axis, letter in enumerate("XYZ"):
                if letter in value:
                    offset[axis] = at[axis] - value[letter]
            e = value.get("E", e)
        elif re.fullmatch(r"T\d+", code):
            tool = int(code[1:])
    return {t: mm for t, mm in peak.items() if mm > 0}, low, high, objects, text


def seconds(text):
    """The slicer's own estimate, from its comment."""
    found = re.search(r"^; estimated printing time.*?= (.*)$", text, re.M)
    if found:
        units = {"d": 86400, "h": 3600, "m": 60, "s": 1}
        return sum(int(n) * units[u] for n, u in re.findall(r"(\d+)([dhms])", found[1]))
    found = re.search(r"^;(?:PRINT\.)?TIME:(\d+)", text, re.M)
    return int(found[1]) if found and found[1] != "6666" else None


def layers(text):
    found = re.search(r"^;LAYER_COUNT:(\d+)", text, re.M)
    return int(found[1]) if found else text.count("\n;LAYER_CHANGE\n") or None


def length(text):
    found = re.findall(r"^; filament used (?:\[mm\] )?= ([\d., ]+)", text, re.M)
    numbers = [float(n) for line in found for n in line.split(",") if n.strip()]
    if numbers:
        return sum(numbers)
    found = re.search(r"^;Filament used: ([\d.]+)m", text, re.M)
    if found:
        return float(found[1]) * 1000 or None
    # Ultimaker's two headers give mm³; its filament is thicker.
    found = re.search(r"^;(?:MATERIAL|EXTRUDER_TRAIN.0.MATERIAL.VOLUME_USED):(\d+)", text, re.M)
    return int(found[1]) / (math.pi * 2.85**2 / 4) if found and found[1] != "6666" else None


def farthest_apart(ours, low, high, objects):
    """The largest difference of any bound, mm; None if the objects are not the same."""
    box = ours["bounds"]["extruding"]
    apart = max(abs(a - b) for a, b in zip(box["min"] + box["max"], low + high))
    printed = [box for box in objects.values() if box[0] <= box[2]]
    own = [o["bbox"] for o in ours["objects"] if o["bbox"]]
    if len(own) != len(printed):
        return None
    return max([apart, *(abs(a - b) for one, other in zip(own, printed) for a, b in zip(one, other))])


def compare(layerd, path):
    """One row of the table, and what is wrong with it."""
    done = subprocess.run([layerd, "analyze", "--json", path], check=True, capture_output=True, text=True)
    ours = json.loads(done.stdout)
    fed, low, high, objects, text = reading(path)
    mm = {f["tool"]: f["mm"] for f in ours["filament"]}
    apart = farthest_apart(ours, low, high, objects)
    time, count = ours["time"]["slicer_s"], ours["layers"]["count"]
    wrong = []
    if apart is None or apart > 0.001:
        wrong.append("bounds")
    if set(mm) != set(fed) or any(abs(mm[t] - fed[t]) > fed[t] * 0.001 for t in fed):
        wrong.append("filament")
    if seconds(text) is not None and (time is None or abs(time - seconds(text)) > 1):
        wrong.append("time")
    if layers(text) is not None and count != layers(text):
        wrong.append("layers")
    show = lambda value, form="{:.0f}": "-" if value is None else form.format(value)
    row = [
        path.split("/")[-1], f"{ours['slicer']['name']} {ours['slicer']['version'] or ''}".strip(),
        show(count), show(layers(text)), show(time), show(seconds(text)), show(ours["time"]["model_s"]),
        show(sum(mm.values()), "{:.2f}"), show(length(text), "{:.2f}"), show(sum(fed.values()), "{:.2f}"),
        str(len(ours["objects"])), str(len(objects)), " ".join([show(apart, "{:.4f}"), *(f"WRONG {w}" for w in wrong)]),
    ]
    return row, wrong


def main():
    rows, bad = [HEADS], 0
    for path in sys.argv[2:]:
        row, wrong = compare(sys.argv[1], path)
        rows.append(row)
        bad += bool(wrong)
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEADS))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
    sys.exit(1 if bad else 0)


main()
