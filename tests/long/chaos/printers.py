"""Simulated printers as processes: what is typed to them, what they say of themselves, what they executed."""
import json
import os
import queue
import re
import secrets
import subprocess
import threading

ANSWER_S = 20
HERE = os.path.dirname(os.path.abspath(__file__))
FOREIGN = os.path.join(HERE, "../../peers/octoprint_printer.py")
# As tests/peers/run makes it.
FOREIGN_PYTHON = os.path.join(HERE, "../../../target/peers/venv/bin/python")


class Simulator:
    """One of `layerd simulate`; words go to its keyboard, answers are lines of JSON."""

    def __init__(self, name, binary, folder, speed):
        self.name, self.binary, self.folder, self.speed = name, binary, folder, speed
        self.process, self.lock, self.records, self.read = None, threading.Lock(), [], (0, 0, "")

    def path(self, name):
        return os.path.join(self.folder, f"{self.name}.{name}")

    def spawn(self, words):
        self.answers = queue.SimpleQueue()
        with open(self.path("log"), "a") as log:
            self.process = subprocess.Popen([self.binary, "--json", "simulate", *words, "--speed", str(self.speed)],
                                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, bufsize=1)
        threading.Thread(target=self.listen, args=(self.process.stdout, self.answers), daemon=True).start()
        return json.loads(self.answers.get(timeout=ANSWER_S))

    @staticmethod
    def listen(stream, answers):
        for line in stream:
            answers.put(line)

    def type(self, word):
        with self.lock:
            self.process.stdin.write(word + "\n")

    def ask(self, word):
        with self.lock:
            self.process.stdin.write(word + "\n")
            return json.loads(self.answers.get(timeout=ANSWER_S))

    def kill(self):
        self.process.kill()
        self.process.wait()

    def end(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.kill()

    def record(self):
        """A fresh file for what is executed: one for each life of the process."""
        self.records.append(self.path(f"executed{len(self.records)}"))
        return self.records[-1]

    def executed(self):
        """The lines executed since the last call."""
        file, at, rest = self.read
        lines = []
        while file < len(self.records):
            if os.path.exists(self.records[file]):
                with open(self.records[file]) as f:
                    f.seek(at)
                    rest += f.read()
                    at = f.tell()
            *whole, rest = rest.split("\n")
            lines += [line.strip() for line in whole]
            if file + 1 == len(self.records):
                break
            file, at, rest = file + 1, 0, ""
        self.read = (file, at, rest)
        return lines


class Marlin(Simulator):
    kind = "marlin"

    def start(self, links):
        self.spawn(["marlin", "--link", self.path("port"), "--executed", self.record(),
                    *(["--advanced-ok"] if int(self.name[1:]) % 2 else [])])
        return (f'driver = "marlin"\nport = "{self.path("port")}"\nbaud = 115200\nbed = [220, 220, 250]\nidle_heaters_off_min = 1\n')

    def truth(self):
        """It knows of no job: only whether it is hot."""
        return {"word": None, "hot": any(self.ask("state")["targets"])}

    def heal(self):
        state = self.ask("state")
        self.type("unmute")
        self.type("damage 0 0 0")
        if state["killed"]:
            self.type("reset")


class Foreign(Simulator):
    """OctoPrint's virtual printer on a line that is never quite good. It knows no words: the cable is its process."""
    kind = "foreign"
    target = re.compile(r"(M104|M109|M140|M190) (?:T\d )?S([\d.]+)")
    words = ("--corrupt-every", "97", "--drop-line-every", "701", "--drop-ok-every", "997", "--advanced-ok", "--lifetime", "36000")

    def start(self, links):
        self.power_on()
        return f'driver = "marlin"\nport = "{self.path("port")}"\nbaud = 115200\nbed = [250, 220, 210]\nidle_heaters_off_min = 1\n'

    def power_on(self):
        with open(self.path("log"), "a") as log:
            self.process = subprocess.Popen([FOREIGN_PYTHON, FOREIGN, "--link", self.path("port"), "--executed", self.record(),
                                             "--move-scale", str(self.speed), "--heat-scale", str(self.speed), *self.words],
                                            stdout=subprocess.PIPE, stderr=log, text=True)
        assert self.process.stdout.readline().startswith("PTY "), "OctoPrint's printer does not start"

    def type(self, word):
        if word == "unplug":
            self.end()
        elif word == "plug" and self.process.poll() is not None:
            self.power_on()

    def truth(self):
        targets = {}
        with open(self.records[-1]) as f:
            for line in f:
                if found := self.target.match(line.strip()):
                    targets[found[1] in ("M104", "M109")] = float(found[2])
        return {"word": None, "hot": any(targets.values())}

    def heal(self):
        self.type("plug")


class Klipper(Simulator):
    kind = "klipper"
    port, key = 0, ""

    def start(self, links):
        self.key = secrets.token_hex(16)
        self.power_on()
        return f'driver = "moonraker"\nurl = "http://127.0.0.1:{links.to(self.name, self.port)}"\napi_key = "{self.key}"\n'

    def power_on(self):
        told = self.spawn(["moonraker", "--port", str(self.port), "--files", self.path("files"), "--key", self.key,
                           "--startup", "0.3", "--executed", self.record()])
        self.port = int(told["url"].rsplit(":", 1)[1])

    def truth(self):
        all_ = self.ask("state")
        word = all_.get("print_stats", {}).get("state")
        if all_.get("webhooks", {}).get("state", "ready") != "ready":
            word = "gone"
        return {"word": {"printing": "printing", "paused": "paused", "gone": "error"}.get(word, "operational"),
                "hot": any(all_.get(h, {}).get("target") for h in ("extruder", "heater_bed"))}

    def heal(self):
        if self.process.poll() is not None:
            self.power_on()
        self.type("unmute")
        if self.truth()["word"] == "error":
            self.type("restart")


class Bambu(Simulator):
    kind = "bambu"
    models = ("P1S", "X1C", "A1MINI", "H2D")

    def start(self, links):
        self.code = f"{secrets.randbelow(90_000_000) + 10_000_000}"
        model = self.models[(int(self.name[1:]) - 1) % len(self.models)]
        told = self.spawn(["bambu", "--model", model, "--code", self.code])
        mqtt, ftps = links.to(self.name, told["mqtt_port"]), links.to(self.name + "-files", told["ftps_port"])
        return (f'driver = "bambu"\nhost = "127.0.0.1"\nserial = "{told["serial"]}"\naccess_code = "{self.code}"\n'
                f'mqtt_port = {mqtt}\nftps_port = {ftps}\ncamera_port = {told["camera_port"]}\n')

    def truth(self):
        state = self.ask("state")
        word = {"PREPARE": "printing", "RUNNING": "printing", "PAUSE": "paused"}.get(state.get("gcode_state"), "operational")
        return {"word": word, "hot": bool(state.get("nozzle_target_temper") or state.get("bed_target_temper"))}

    def started(self):
        return self.ask("starts")

    def type(self, word):
        """Every word is answered here."""
        self.ask(word)

    def heal(self):
        pass
