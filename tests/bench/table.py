#!/usr/bin/env python3
"""Everything that layerd is measured by beside its peers, as one table:  table.py [--quick] [PART …]

    stream      lines a second and CPU a line: a C sender, layerd, OctoPrint's MachineCom, Printrun's printcore
    turnaround  from a printer's ok to the next line, with the whole daemon on one CPU, idle and under load
    analysis    CPU of an analysis: layerd, Moonraker's metadata.py, OctoPrint's gcodeInterpreter, klipper_estimator
    memory      memory and CPU with idle printers; OctoPrint with its virtual printer, Moonraker
    klipper     what a Klipper printer costs layerd beside what Moonraker itself takes
    start       from the start of the program until it serves
    size        of the programs

Each part leaves tests/long/out/bench-PART.json; the table is made of those that are there (tests/long/out/bench.md),
so that parts may be measured one at a time. --quick: less of everything, for the script itself and not for the
README. LAYERD_DIR: where layerd and examples/ are (default target/release, built if it is not there). The peers come
from the package registry into target/peers; one that cannot be had is a line that says so. KLIPPER_ESTIMATOR: a built
klipper_estimator. --table: no measuring, the table alone.
"""
import argparse
import json
import os
import platform
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
OUT = ROOT / "tests" / "long" / "out"
PEERS = ROOT / "target" / "peers"
sys.path.insert(0, str(HERE))
sys.dont_write_bytecode = True


class Skipped(Exception):
    """A peer that is not here."""


def run(*command, limit=900):
    """What a command says, shown as it comes; its end must be a good one."""
    words = [str(c) for c in command]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT, start_new_session=True)
    # What it has started itself ends with it.
    too_long = threading.Timer(limit, os.killpg, (process.pid, signal.SIGKILL))
    too_long.start()
    told = []
    try:
        for line in process.stdout:
            told.append(line)
            sys.stdout.write(line)
            sys.stdout.flush()
        status = process.wait()
    finally:
        too_long.cancel()
    if status:
        raise RuntimeError(f"{' '.join(words)}: exit {status}")
    return "".join(told)


def python_with(folder, test, *packages, only=False):
    """An environment below target/peers where `import TEST` works."""
    python = PEERS / folder / "bin" / "python"
    def has():
        return python.exists() and subprocess.run([python, "-c", f"import {test}"], capture_output=True).returncode == 0
    if not has():
        PEERS.mkdir(parents=True, exist_ok=True)
        made = subprocess.run([sys.executable, "-m", "venv", PEERS / folder], capture_output=True)
        install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *(["--no-deps"] if only else []), *packages]
        if made.returncode or subprocess.run(install, capture_output=True, timeout=900).returncode or not has():
            raise Skipped(f"{packages[0]} cannot be installed into target/peers/{folder}")
    return python


def octoprint():
    return python_with("venv", "octoprint", "octoprint==1.11.8")


def moonraker():
    return python_with("moonraker", "moonraker", "moonraker==0.11.0")


def printrun():
    # Alone: what it wants beside is for its windows.
    return python_with("printrun", "printrun.printcore", "printrun==2.2.0", "pyserial", "psutil", "lxml", "platformdirs", "appdirs", "puremagic", only=True)


def tried(peer, notes):
    """A peer's Python; None and a note where it cannot be had."""
    try:
        return peer()
    except (Skipped, subprocess.SubprocessError, OSError) as why:
        notes.append(f"skipped: {why}")
        return None


def built(*names):
    """The folder with layerd and the examples of these names."""
    folder = Path(os.environ.get("LAYERD_DIR", ROOT / "target" / "release")).resolve()
    missing = [n for n in names if not (folder / "examples" / n).exists()]
    if missing or not (folder / "layerd").exists():
        if "LAYERD_DIR" in os.environ:
            sys.exit(f"{folder} lacks {missing or 'layerd'}")
        run("cargo", "build", "--quiet", "--release", "--bin", "layerd", *[w for n in names for w in ("--example", n)])
    return folder


def stream(quick):
    notes = []
    folder, python, core = built("ok-sink"), tried(octoprint, notes), tried(printrun, notes)
    words = [sys.executable, HERE / "stream.py", folder / "layerd", "--sink", folder / "examples" / "ok-sink"]
    words += ["--octoprint-python", python or "/nowhere"] + (["--printrun-python", core] if core else [])
    words += ["--lines", "20000", "--octoprint-lines", "3000", "--rounds", "1"] if quick else ["--rounds", "3"]
    pattern = re.compile(r"^(idle|busy)\s+(\S.*?)\s+(\d+) lines/s\s+([\d.]+) x .*?\s+([\d.]+) µs CPU a line\s+(.*)$", re.M)
    rows = []
    for load, name, rate, times, cpu_us, verdict in pattern.findall(run(*words)):
        machine = "idle machine" if load == "idle" else "both cores kept busy" if os.cpu_count() == 2 else "every core kept busy"
        wrong = "" if verdict.startswith("identical") else f" **{verdict}**"
        rows.append([f"Streaming, {machine}", peer_name(name), f"{int(rate):,} lines/s, {float(cpu_us):.0f} µs CPU a line", f"{float(times):.2f} of C{wrong}"])
    return rows, notes


def peer_name(name):
    return {"C ping-pong": "C sender", "MachineCom": "OctoPrint (MachineCom)", "printcore": "Printrun (printcore)"}.get(name, name)


def turnaround(quick):
    folder = built("ok-sink", "loaded-daemon")
    words = [sys.executable, HERE / "turnaround.py", folder] + (["--seconds", "5", "--analysis-mb", "20", "--loads", "none", "all"] if quick else ["--loads", "none", "all"])
    pattern = re.compile(r"^(\S+)\s+\d+ lines  p50\s+([\d.]+)  p90\s+([\d.]+)  p99\s+([\d.]+)  p99.9\s+([\d.]+)  max\s+([\d.]+)", re.M)
    names = {"none": "layerd, idle", "all": "layerd, with analysis, TLS handshakes, API, database, rogue cloud"}
    seen = {name: f"p99 {float(p99):.0f} µs, longest {float(most) / 1000:.1f} ms" for name, _, _, p99, _, most in pattern.findall(run(*words))}
    rows = [["From ok to the next line, one CPU", who, seen[name], f"C sender in the same seconds: {seen['C:' + name]}"] for name, who in names.items()]
    return rows, []


def analysis(quick):
    notes = []
    folder = built("bench_analyze")
    if quick or not shutil.which("prusa-slicer"):
        # The same moves again and again: no slicer is needed for it.
        from stream import write_program
        OUT.mkdir(parents=True, exist_ok=True)
        file = OUT / ("moves-small.gcode" if quick else "moves.gcode")
        write_program(file, 100_000 if quick else 2_000_000)
        notes.append(f"{file.stat().st_size / 1e6:.0f} MB of generated moves")
    else:
        run(HERE / "plates", OUT / "plates")
        file = OUT / "plates" / "easy.gcode"
        notes.append(f"{file.stat().st_size / 1e6:.0f} MB from PrusaSlicer")
    words = [sys.executable, HERE / "analyze_peers.py", folder / "examples" / "bench_analyze", file]
    for option, peer in (("--moonraker", moonraker), ("--octoprint", octoprint)):
        python = tried(peer, notes)
        words += [option, python] if python else []
    estimator = os.environ.get("KLIPPER_ESTIMATOR") or shutil.which("klipper_estimator")
    if estimator:
        words += ["--estimator", estimator]
    else:
        notes.append("klipper_estimator is not here; KLIPPER_ESTIMATOR=PATH adds it")
    pattern = re.compile(r"^(\S.*?)\s+([\d.]+) s CPU.*?([\d.]+) x floor(?:\s+(\d+) MB)?", re.M)
    names = {"everything and sha256": "layerd, all and the file's hash", "no time model": "layerd without the time model", "everything but sha256": "layerd, all",
             "Moonraker metadata.py": "Moonraker (metadata.py; of a file that it does not have to change it reads both ends)", "OctoPrint (from 1 MiB)": "OctoPrint (gcodeInterpreter, from 1 MiB)"}
    rows = []
    for name, cpu, times, mb in pattern.findall(run(*words)):
        if name in names or name == "klipper_estimator":
            memory = f", {mb} MB" if mb else ""
            rows.append(["Analysis of a file", names.get(name, name), f"{float(cpu):.2f} s CPU{memory}", f"{float(times):.1f} times reading it"])
    return rows, notes


def memory(quick):
    notes, rows = [], []
    folder = built()
    most = 5 if quick else 20
    words = [sys.executable, HERE / "memory.py", folder / "layerd", *([] if quick else ["fixtures/gcode/plate.gcode"]), "--most", most]
    told = run(*words)
    for count, what, rss, anonymous in re.findall(r"^\s*(\d+) (idle|printing)\s+resident\s+([\d.]+) MB  anonymous\s+([\d.]+) MB", told, re.M):
        if int(count) in (1, most):
            printers = "printer" if count == "1" else "printers"
            rows.append(["Memory", f"layerd, {count} {printers} {what}", f"{float(rss):.1f} MB resident, {float(anonymous):.1f} MB its own", ""])
    for each in re.findall(r"each further idle printer: ([\d.]+) MB", told):
        rows.append(["Memory", "layerd, each further printer", f"{float(each):.2f} MB its own", ""])
    seconds = 5 if quick else 30
    rows.append(["CPU with one idle printer", "layerd", f"{layerd_idle(folder, seconds):.2f} % of a core", ""])
    python = tried(octoprint, notes)
    if python:
        rss, anonymous, cpu, ready = octoprint_idle(python, seconds)
        rows.append(["Memory", "OctoPrint, 1 printer (its virtual one) idle", f"{rss:.1f} MB resident, {anonymous:.1f} MB its own", ""])
        rows.append(["CPU with one idle printer", "OctoPrint (its virtual printer is in it)", f"{cpu:.2f} % of a core", ""])
        keep("octoprint-start", ready)
    return rows, notes


def keep(name, value):
    (OUT / f"bench-{name}.value").write_text(json.dumps(value))


def usage(pid):
    """Resident and own MB, CPU seconds, all threads."""
    from cost import cost
    rss, anonymous, cpu = cost(pid)
    return rss / 1024, anonymous / 1024, cpu


def layerd_idle(folder, seconds):
    from memory import Daemon
    work = tempfile.mkdtemp(prefix="layerd-idle-")
    printers = subprocess.Popen([sys.executable, HERE / "quiet_printers.py", work, "1"], stdout=subprocess.PIPE, text=True)
    printers.stdout.readline()
    daemon = Daemon(str(folder / "layerd"), work, 1)
    try:
        daemon.until("operational", 1)
        time.sleep(3)
        before, began = usage(daemon.process.pid)[2], time.monotonic()
        time.sleep(seconds)
        return (usage(daemon.process.pid)[2] - before) / (time.monotonic() - began) * 100
    finally:
        daemon.stop()
        printers.kill()
        shutil.rmtree(work, ignore_errors=True)


OCTOPRINT = """
server: {firstRun: false, onlineCheck: {enabled: false}, pluginBlacklist: {enabled: false}}
accessControl: {enabled: false}
serial: {autoconnect: true, port: VIRTUAL, baudrate: 0}
plugins:
  virtual_printer: {enabled: true}
  tracking: {enabled: false}
  announcements: {_disabled: true}
"""


def octoprint_idle(python, seconds):
    """Resident, own MB, % of a core, seconds until it serves."""
    work, port = tempfile.mkdtemp(prefix="octoprint-"), free_port()
    Path(work, "config.yaml").write_text(OCTOPRINT)
    began = time.monotonic()
    process = subprocess.Popen([python, "-m", "octoprint", "serve", "--iknowwhatimdoing", "--host", "127.0.0.1", "--port", str(port), "--basedir", work],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        ready = serves(port, began, process)
        time.sleep(15)
        before, began = usage(process.pid), time.monotonic()
        time.sleep(seconds)
        after = usage(process.pid)
        return after[0], after[1], (after[2] - before[2]) / (time.monotonic() - began) * 100, ready
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
        shutil.rmtree(work, ignore_errors=True)


def serves(port, began, process):
    """Seconds until somebody answers on a port."""
    while time.monotonic() - began < 180:
        if process.poll() is not None:
            raise RuntimeError("it ended instead of serving")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return time.monotonic() - began
        time.sleep(0.01)
    raise RuntimeError("it does not serve within three minutes")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def klipper(quick):
    notes = []
    folder, python = built(), tried(moonraker, notes)
    if not python:
        return [], notes
    told = run(python, HERE / "klipper.py", folder / "layerd", *(["--seconds", "6", "--printers", "4", "--commands", "20"] if quick else []))
    rows = []
    for name, rss, anonymous, cpu in re.findall(r"^(Moonraker, one client|layerd, \d+ printers?): ([\d.]+) MB resident, ([\d.]+) MB anonymous, ([\d.]+) %", told, re.M):
        rows.append(["A Klipper printer that prints", name, f"{float(rss):.1f} MB resident, {float(anonymous):.1f} MB its own, {float(cpu):.2f} % of a core", ""])
    for kb, share, cpu, part in re.findall(r"each further printer: .*?(\d+) kB anonymous, ([\d.]+) % of a CPU \(1/(\d+) of Moonraker()", told):
        rows.append(["A Klipper printer that prints", "layerd, each further", f"{int(kb) / 1024:.2f} MB its own, {float(share):.2f} % of a core", f"1/{cpu} of Moonraker's CPU"])
    return rows, notes


def start(quick):
    notes, rows = [], []
    folder = built()
    from memory import Daemon
    times = []
    for _ in range(3 if quick else 11):
        work = tempfile.mkdtemp(prefix="layerd-start-")
        daemon = Daemon(str(folder / "layerd"), work, 1)
        times.append(daemon.ready_ms)
        daemon.stop()
        shutil.rmtree(work, ignore_errors=True)
    rows.append(["Start until it serves", "layerd", f"{sorted(times)[len(times) // 2]:.0f} ms (median of {len(times)})", ""])
    python = tried(moonraker, notes)
    if python:
        rows.append(["Start until it serves", "Moonraker", f"{moonraker_start(python, folder / 'layerd'):.1f} s", ""])
    python = tried(octoprint, notes)
    if python:
        value = OUT / "bench-octoprint-start.value"
        seconds = json.loads(value.read_text()) if value.exists() else octoprint_idle(python, 1)[3]
        rows.append(["Start until it serves", "OctoPrint", f"{seconds:.1f} s", ""])
    return rows, notes


def moonraker_start(python, layerd):
    script = ("import sys, time; sys.path[:0] = sys.argv[1:3]; began = time.monotonic()\n"
              "import klipper; work = __import__('tempfile').mkdtemp(prefix='moonraker-start-')\n"
              "began = time.monotonic(); host = klipper.Host(sys.argv[3], work); print(time.monotonic() - began); host.stop()\n"
              "__import__('shutil').rmtree(work, ignore_errors=True)")
    done = run(python, "-c", script, HERE, HERE.parent / "peers", layerd, limit=120)
    return float(done.split()[-1])


def size(_quick):
    rows = []
    for arch, name in (("x86_64", "x86-64"), ("aarch64", "64-bit ARM"), ("armv6", "ARMv6")):
        program = ROOT / "dist" / f"layerd-{arch}"
        if program.exists():
            rows.append(["Size of the program, as packaged", f"layerd, {name}", f"{program.stat().st_size / 1e6:.1f} MB, one file", ""])
    notes = [] if rows else ["cross/build.sh makes dist/"]
    if not rows:
        rows.append(["Size of the program", "layerd, built here", f"{(built() / 'layerd').stat().st_size / 1e6:.1f} MB, one file", ""])
    for name, peer in (("OctoPrint", octoprint), ("Moonraker", moonraker)):
        python = tried(peer, notes)
        if python:
            packages = Path(subprocess.check_output([python, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"], text=True).strip())
            total = sum(f.stat().st_size for f in packages.rglob("*") if f.is_file() and f.suffix != ".pyc")
            rows.append(["Size of the program, as packaged", f"{name} with its packages, without Python", f"{total / 1e6:.0f} MB", ""])
    return rows, notes


PARTS = {"stream": stream, "turnaround": turnaround, "analysis": analysis, "memory": memory, "klipper": klipper, "start": start, "size": size}


def machine():
    model = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith(("model name", "Model"))), platform.machine())
    memory_gb = next(int(line.split()[1]) for line in open("/proc/meminfo") if line.startswith("MemTotal")) / 1048576
    return f"{model}, {os.cpu_count()} cores, {memory_gb:.0f} GB, Linux {platform.release().split('-')[0]}"


def version(folder):
    return subprocess.run([folder / "layerd", "--version"], capture_output=True, text=True).stdout.strip()


def table():
    """Of what the parts left."""
    parts = [json.loads(p.read_text()) for name in PARTS if (p := OUT / f"bench-{name}.json").exists()]
    lines, group = ["| what | who | figure | beside |", "|---|---|---|---|"], None
    for part in parts:
        for what, who, figure, beside in part["rows"]:
            lines.append(f"| {what if what != group else ''} | {who} | {figure} | {beside} |")
            group = what
    places = sorted({(p["machine"], p["date"], p["layerd"], p["quick"]) for p in parts})
    for where, when, what, quick in places:
        here = ", ".join(p["part"] for p in parts if (p["machine"], p["date"], p["layerd"], p["quick"]) == (where, when, what, quick))
        hurry = " (--quick: not for quoting)" if quick else ""
        lines.append(f"\nMeasured on {where}, {when}, {what}{hurry}: {here}. Repeat with `tests/long/run bench`.")
    for part in parts:
        lines += [f"\n{part['part']}: {note}." for note in part["notes"]]
    text = "\n".join(lines) + "\n"
    (OUT / "bench.md").write_text(text)
    return text


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("parts", nargs="*", metavar="PART", help="of: " + " ".join(PARTS))
    p.add_argument("--quick", action="store_true")
    p.add_argument("--table", action="store_true")
    o = p.parse_args()
    unknown = [part for part in o.parts if part not in PARTS]
    if unknown:
        p.error(f"no part {' '.join(unknown)}; there are: {' '.join(PARTS)}")
    OUT.mkdir(parents=True, exist_ok=True)
    failed = []
    for name in [] if o.table else o.parts or PARTS:
        print(f"-- {name}", flush=True)
        began = time.monotonic()
        try:
            rows, notes = PARTS[name](o.quick)
        except (RuntimeError, AssertionError, subprocess.SubprocessError, OSError, ValueError) as why:
            print(f"bench: {name} failed: {why}", flush=True)
            failed.append(name)
            continue
        kept = {"part": name, "date": time.strftime("%Y-%m-%d"), "machine": machine(), "layerd": version(built()), "quick": o.quick,
                "seconds": round(time.monotonic() - began), "rows": rows, "notes": notes}
        (OUT / f"bench-{name}.json").write_text(json.dumps(kept, indent=1) + "\n")
    print(table())
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
