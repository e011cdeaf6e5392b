"""What a running process costs, from the kernel's own books."""
import os


def cost(pid):
    """Resident and anonymous kB, processor seconds of all threads by the scheduler's count."""
    found = {}
    with open(f"/proc/{pid}/smaps_rollup") as f:
        for line in f:
            words = line.split()
            found[words[0]] = words[1]
    spent_ns = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/schedstat") as f:
            spent_ns += int(f.read().split()[0])
    return int(found["Rss:"]), int(found["Anonymous:"]), spent_ns / 1e9
