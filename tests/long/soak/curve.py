"""A curve as SVG: time in minutes to the right, as many lines as wanted, each with a scale of its own."""

COLOURS = ("#1b6ca8", "#c0392b", "#2e8b57", "#8e6c1f")
WIDTH, HEIGHT, LEFT, TOP = 900, 150, 110, 30


def curve(path, title, rows):
    """`rows`: (name, unit, [(second, value)])."""
    end = max(at for _, _, points in rows for at, _ in points) or 1
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH + LEFT + 30}" height="{TOP + len(rows) * (HEIGHT + 40)}" '
           f'font-family="sans-serif" font-size="13"><rect width="100%" height="100%" fill="white"/><text x="{LEFT}" y="20">{title}</text>']
    for n, (name, unit, points) in enumerate(rows):
        top, highest = TOP + n * (HEIGHT + 40), max(value for _, value in points) * 1.1 or 1
        place = [(LEFT + at / end * WIDTH, top + HEIGHT - value / highest * HEIGHT) for at, value in points]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in place)
        out += [f'<rect x="{LEFT}" y="{top}" width="{WIDTH}" height="{HEIGHT}" fill="none" stroke="#ccc"/>',
                f'<polyline points="{line}" fill="none" stroke="{COLOURS[n % len(COLOURS)]}" stroke-width="1.5"/>',
                f'<text x="{LEFT - 6}" y="{top + 12}" text-anchor="end">{highest:.0f} {unit}</text>',
                f'<text x="{LEFT - 6}" y="{top + HEIGHT}" text-anchor="end">0</text>',
                f'<text x="{LEFT + 6}" y="{top + 16}">{name}</text>',
                f'<text x="{LEFT + WIDTH}" y="{top + HEIGHT + 16}" text-anchor="end">{end / 60:.0f} min</text>']
    with open(path, "w") as f:
        f.write("\n".join(out) + "\n</svg>\n")
