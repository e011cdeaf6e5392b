"""What a printer lays down when it executes G-code: an independent look at geometry.

Knows straight moves, absolute and relative, in millimetres: what the fixtures of the peer tests hold.
"""
import re

WORD = re.compile(r"([XYZEF])\s*(-?[0-9.]+)")


def laid_down(lines):
    """(object, segment) for every move that extrudes along its way; the object as the file's comments say."""
    at, feed, absolute, e_absolute, current, segments = {"X": 0.0, "Y": 0.0, "Z": 0.0, "E": 0.0}, 0.0, True, True, None, []
    for line in lines:
        mark = re.match(r"; (stop )?printing object (.+?)( id:.*)?$", line.strip())
        if mark:
            current = None if mark[1] else mark[2]
            continue
        text = line.split(";")[0].strip()
        code = text.split(" ")[0]
        words = {letter: float(value) for letter, value in WORD.findall(text[len(code):])}
        if code in ("G90", "G91"):
            absolute = e_absolute = code == "G90"
        elif code in ("M82", "M83"):
            e_absolute = code == "M82"
        elif code == "G28":
            for axis in "XYZ":
                at[axis] = 0.0
        elif code == "G92":
            at.update({k: v for k, v in words.items() if k in at})
        elif code in ("G0", "G1"):
            before = dict(at)
            for axis in "XYZ":
                if axis in words:
                    at[axis] = words[axis] if absolute else at[axis] + words[axis]
            if "E" in words:
                at["E"] = words["E"] if e_absolute else at["E"] + words["E"]
            feed = words.get("F", feed)
            fed = at["E"] - before["E"]
            if fed > 1e-6 and (at["X"], at["Y"]) != (before["X"], before["Y"]):
                ends = tuple(round(value, 3) for place in (before, at) for value in (place["X"], place["Y"], place["Z"]))
                segments.append((current, (*ends, round(fed, 4), feed)))
    return segments
