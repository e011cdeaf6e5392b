"""Files to print in which every extruding move names its job, and the judge of what printers executed."""
import os
import re
import zipfile

OBJECTS = 3
QUESTIONS = ("M105", "M114", "M27")
RUN = 20
MOVE = re.compile(r"G1 X\d+ Y[\d.]+ E0\.(\d{6})$")


def moves(number, size):
    """(line, object) of each extruding move; no line is in any other file, or twice in one."""
    return [(f"G1 X{10 + i % 2 * 10} Y{10 + i / 50:.2f} E0.1{number:05}", i // RUN % OBJECTS) for i in range(size)]


def text(number, size):
    """Heat, home, moves of three objects in turn, cold."""
    out = ["M140 S60", "M104 S200", "G28", "M109 S200", "G90", "M83", "G1 Z0.3 F600", "G1 F3000"]
    for i, (line, item) in enumerate(moves(number, size)):
        if i % (RUN * 15) == 0:
            out.append(f"G1 Z{0.3 + i / (RUN * 15) * 0.2:.2f} F3000")
        if i % RUN == 0:
            out.append(f"; printing object part{item} id:{item} copy 0")
        out.append(line)
        if i % RUN == RUN - 1:
            out.append(f"; stop printing object part{item} id:{item} copy 0")
    return "\n".join(out + ["M104 S0", "M140 S0", "M84"]) + "\n"


def project(path, number, size):
    """A sliced project with three objects, which a simulated Bambu Lab printer prints in about size / 5 seconds of its own."""
    ids = [104, 121, 138]
    lines = ["; HEADER_BLOCK_START", "; total layer number: 2", "; model label id: 104,121,138", "; HEADER_BLOCK_END",
             "; CONFIG_BLOCK_START", "; CONFIG_BLOCK_END", "; EXECUTABLE_BLOCK_START", "M140 S55", "G28", "M190 S55", "M109 S220", "M83"]
    for layer in (1, 2):
        lines += ["; CHANGE_LAYER", f"; Z_HEIGHT: 0.{layer * 2}", "; LAYER_HEIGHT: 0.2", f"M73 L{layer}", f"G1 Z0.{layer * 2} F600"]
        for n, i in enumerate(ids):
            x = 20 + 40 * n
            lines += [f"; start printing object, unique label id: {i}", f"G1 X{x} Y20 F9000", f"G1 X{x + 30} E.9", f"G1 Y50 E.9{number:05}",
                      f"; stop printing object, unique label id: {i}"]
    objects = "".join(f'<object identify_id="{i}" name="part {i}" skipped="false"/>' for i in ids)
    info = (f'<?xml version="1.0" encoding="UTF-8"?><config><plate><metadata key="index" value="1"/><metadata key="prediction" value="{size // 5}"/>'
            f'<metadata key="label_object_enabled" value="true"/>{objects}'
            '<filament id="1" tray_info_idx="GFA00" type="PLA" color="#FFFFFF" used_m="1.78" used_g="5.31"/></plate></config>')
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("3D/3dmodel.model", '<?xml version="1.0"?><model unit="millimeter"><resources/><build/></model>')
        archive.writestr("Metadata/plate_1.gcode", "\n".join(lines + ["M104 S0", "M140 S0", "; EXECUTABLE_BLOCK_END", ""]))
        archive.writestr("Metadata/slice_info.config", info)


class Job:
    """A print that was demanded."""

    def __init__(self, number, printer, kind, way, size, folder):
        self.number, self.printer, self.kind, self.way, self.size = number, printer, kind, way, size
        self.name = f"j{number:05}" + (".gcode.3mf" if kind == "bambu" else ".gcode")
        self.path = os.path.join(folder, self.name)
        # Objects that somebody wanted left out, whether or not it was heard.
        self.skips, self.cancelled = set(), False
        # When it was demanded (wall clock), and what the interface answered.
        self.asked, self.answers = [], []
        self.next = 0
        if kind == "bambu":
            project(self.path, number, size)
            self.moves = []
        else:
            with open(self.path, "w") as f:
                f.write(text(number, size))
            self.moves = moves(number, size)
            self.places = {line: i for i, (line, _) in enumerate(self.moves)}


class Judge:
    """Reads what a printer executed: each program an exact prefix of its file, once, without what was to be left out."""

    def __init__(self, printer, jobs):
        self.printer, self.jobs, self.current, self.over = printer, jobs, None, set()
        # The last line that was no question.
        self.last = ""

    def hear(self, line):
        """The complaint about a line that was executed, or nothing."""
        if line not in QUESTIONS:
            self.last = line
        found = MOVE.match(line)
        if not found:
            return None
        number = int(found[1][1:])
        job = self.jobs.get(number)
        if job is None or job.printer != self.printer:
            return f"{self.printer} executes {line!r} of job {number}, which nobody demanded of it"
        if number != self.current:
            if number in self.over:
                return f"{self.printer} prints job {number} a second time: {line!r}"
            if self.current is not None:
                self.over.add(self.current)
            self.current = number
        at = job.places[line]
        if at < job.next:
            return f"{self.printer} executes {line!r} of job {number} (move {at}) again; {job.next} came before"
        missed = next((job.moves[i] for i in range(job.next, at) if job.moves[i][1] not in job.skips), None)
        job.next = at + 1
        return missed and f"{self.printer} left out {missed[0]!r} of job {number} before {line!r}"

    @staticmethod
    def missing(job):
        """The first move that a whole print would have had besides."""
        return next((line for line, item in job.moves[job.next:] if item not in job.skips), None)
