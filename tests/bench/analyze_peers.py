#!/usr/bin/env python3
"""The analyzer beside other people's, by processor time on the same file, as multiples of the floor.

    analyze_peers.py BENCH FILE [--estimator PATH] [--crate FOLDER] [--moonraker PYTHON] [--octoprint PYTHON]

BENCH is target/release/examples/bench_analyze. --estimator is a built klipper_estimator (asked for JSON: its table for
people does not end on large files); --crate is a folder where a reader with the crate `gcode` (its visitor; bounds of
all words only) is built. A PYTHON is one whose environment has the package of that name (`pip install moonraker`,
`pip install octoprint`). OctoPrint is slow: it gets the first megabyte of the file, scaled. Moonraker reads only the
head and the tail of a file (with -o, as here, all of it where objects are not marked).
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

# Longest that one of them may take.
MOST_S = 300

OCTOPRINT = """
import sys
from octoprint.util.gcodeInterpreter import gcode
g = gcode(); g.load(sys.argv[1]); print(g.printing_area, file=sys.stderr)
"""


CRATE = """
[package]
name = "reader"
version = "0.0.0"
edition = "2024"
[workspace]
[dependencies]
gcode = "0.7"
"""
READER = """
use gcode::core::{BlockVisitor, CommandVisitor, ControlFlow, Diagnostics, HasDiagnostics, Number, ProgramVisitor};
use gcode::core::{Span, Value};

struct Silent;
impl Diagnostics for Silent {}
struct Reader { low: [f32; 3], high: [f32; 3], silent: Silent }
struct Block<'a>(&'a mut Reader);
struct Command<'a>(&'a mut Reader);

impl HasDiagnostics for Reader { fn diagnostics(&mut self) -> &mut dyn Diagnostics { &mut self.silent } }
impl HasDiagnostics for Block<'_> { fn diagnostics(&mut self) -> &mut dyn Diagnostics { &mut self.0.silent } }
impl HasDiagnostics for Command<'_> { fn diagnostics(&mut self) -> &mut dyn Diagnostics { &mut self.0.silent } }
impl ProgramVisitor for Reader {
    fn start_block(&mut self) -> ControlFlow<impl BlockVisitor + '_> { ControlFlow::Continue(Block(self)) }
}
impl BlockVisitor for Block<'_> {
    fn start_general_code(&mut self, _: Number) -> ControlFlow<impl CommandVisitor + '_> {
        ControlFlow::Continue(Command(self.0))
    }
}
impl CommandVisitor for Command<'_> {
    fn argument(&mut self, letter: char, value: Value<'_>, _: Span) {
        let axis = match letter { 'X' => 0, 'Y' => 1, 'Z' => 2, _ => return };
        let Value::Literal(mm) = value else { return };
        self.0.low[axis] = self.0.low[axis].min(mm);
        self.0.high[axis] = self.0.high[axis].max(mm);
    }
}

fn main() {
    let text = std::fs::read_to_string(std::env::args().nth(1).unwrap()).unwrap();
    let mut reader = Reader { low: [f32::MAX; 3], high: [f32::MIN; 3], silent: Silent };
    gcode::core::parse(&text, &mut reader);
    println!("{:?} {:?}", reader.low, reader.high);
}
"""


def crate_reader(folder):
    """The reader with the crate `gcode`, built."""
    (folder / "src").mkdir(parents=True, exist_ok=True)
    (folder / "Cargo.toml").write_text(CRATE)
    (folder / "src" / "main.rs").write_text(READER)
    subprocess.run(["cargo", "build", "--quiet", "--release"], cwd=folder, check=True)
    return folder / "target" / "release" / "reader"


def measure(command):
    """Processor seconds and peak resident MB of a command; None if it failed or took too long."""
    limited = ["timeout", str(MOST_S), *(str(part) for part in command)]
    process = subprocess.Popen(limited, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    return (usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024) if status == 0 else None


def main():
    parse = argparse.ArgumentParser()
    parse.add_argument("bench")
    parse.add_argument("file", type=Path)
    parse.add_argument("--estimator")
    parse.add_argument("--crate", type=Path)
    parse.add_argument("--moonraker")
    parse.add_argument("--octoprint")
    given = parse.parse_args()
    size = given.file.stat().st_size
    print(f"{given.file.name}, {size / 1e6:.0f} MB")
    shown = subprocess.run([given.bench, given.file, "5"], check=True, capture_output=True, text=True).stdout
    print(shown, end="")
    # The floor itself is printed with too few digits for a small file.
    last = next(line for line in shown.splitlines() if line.startswith("everything and sha256"))
    cpu, times = re.search(r"([\d.]+) s CPU .* ([\d.]+) x floor", last).groups()
    floor = float(cpu) / float(times)

    def row(name, got, share=1.0):
        if got is None:
            print(f"{name:<26} failed, or took over {MOST_S} s")
        else:
            print(f"{name:<26} {got[0] / share:8.2f} s CPU {'':14}{got[0] / share / floor:8.1f} x floor  {got[1]:.0f} MB")

    if given.estimator:
        row("klipper_estimator", measure([given.estimator, "estimate", "-f", "json", given.file]))
    if given.crate:
        row("crate gcode's visitor", measure([crate_reader(given.crate), given.file]))
    if given.moonraker:
        ask = "import moonraker.components.file_manager.metadata as m; print(m.__file__)"
        script = subprocess.run([given.moonraker, "-c", ask], check=True, capture_output=True, text=True).stdout.strip()
        folder, name = given.file.resolve().parent, given.file.name
        row("Moonraker metadata.py", measure([given.moonraker, script, "-p", folder, "-f", name]))
    if given.octoprint:
        with tempfile.NamedTemporaryFile(suffix=".gcode") as part, given.file.open("rb") as source:
            part.write(source.read(1 << 20))
            part.flush()
            empty = measure([given.octoprint, "-c", OCTOPRINT, os.devnull])
            got = measure([given.octoprint, "-c", OCTOPRINT, part.name])
            if got and empty:
                row("OctoPrint (from 1 MiB)", (got[0] - empty[0], got[1]), min(1.0, (1 << 20) / size))
            else:
                row("OctoPrint", None)


sys.exit(main())
