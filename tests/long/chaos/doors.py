"""The ways in: the local interface on its socket, the broker, the cloud's double."""
import datetime
import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

from mqtt_client import Client

FINAL = {"job.done": "done", "job.failed": "failed", "job.cancelled": "cancelled", "job.interrupted": "interrupted"}


class SocketConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Api:
    """The interface on the unix socket."""

    def __init__(self, path):
        self.path, self.ids = path, {}

    def call(self, method, path, body=None, timeout=20, kind="application/json"):
        connection = SocketConnection(self.path, timeout)
        try:
            data = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
            connection.request(method, "/0/" + path, data, {"Content-Type": kind} if data else {})
            answer = connection.getresponse()
            return json.loads(answer.read() or b"null")
        finally:
            connection.close()

    def date(self):
        """What the daemon's wall clock says. (Not the header Date: that one is made anew only when time goes on.)"""
        rows = self.call("GET", "printers/Get?page=1&page_size=25&printer_columns=lastOnline", timeout=10)["data"]
        found = next((row["printer"]["lastOnline"] for row in rows if row["printer"].get("lastOnline")), None)
        if found is None:
            raise ConnectionError("no printer is up that would be told with its time")
        return datetime.datetime.fromisoformat(found).timestamp()

    def printers(self):
        """The printers as `layerd printers --json` has them, by name."""
        rows = self.call("GET", "printers/Get?page=1&page_size=25", timeout=10)["data"]
        found = {row["layerd"]["name"]: row["layerd"] for row in rows}
        self.ids.update({name: row["id"] for name, row in found.items()})
        return found

    def act(self, who, action, body=None, timeout=60):
        return self.call("POST", f"printers/actions/{action}?pid={self.ids[who]}", body or {}, timeout)

    def upload(self, path):
        with open(path, "rb") as f:
            content = f.read()
        body = (b'--x\r\nContent-Disposition: form-data; name="file"; filename="' + os.path.basename(path).encode() +
                b'"\r\nContent-Type: application/octet-stream\r\n\r\n' + content + b"\r\n--x--\r\n")
        return self.call("POST", "files/Upload", body, kind="multipart/form-data; boundary=x")


class Broker:
    """mosquitto, and a listener on it that comes back with it."""

    def __init__(self, folder, port):
        self.folder, self.port, self.process, self.client = folder, port, None, None
        self.finals, self.results, self.sent, self.lock = {}, {}, 0, threading.Lock()
        self.read, self.kills = 0, []

    def start(self):
        path = os.path.join(self.folder, "mosquitto.conf")
        with open(path, "w") as f:
            f.write(f"listener {self.port} 127.0.0.1\nallow_anonymous true\nuser root\n")
        with open(os.path.join(self.folder, "broker.log"), "a") as log:
            self.process = subprocess.Popen(["mosquitto", "-c", path], stdout=log, stderr=log)
        end = time.monotonic() + 20
        while self.client is None:
            assert self.process.poll() is None and time.monotonic() < end, "the broker does not start"
            try:
                self.client = Client(self.port, ("layerd/chaos/+/event", "layerd/chaos/+/result"))
            except OSError:
                time.sleep(0.05)  # between two looks

    def kill(self):
        self.hear()
        self.kills.append(time.time())
        self.process.kill()
        self.process.wait()
        self.client.close()
        self.hear()
        self.client, self.read = None, 0

    def hear(self):
        """Sorts what was heard: ends of jobs by the name of their file, results by their id."""
        if self.client is None:
            return
        with self.lock:
            heard = self.client.all()
            for topic, payload, _ in heard[self.read:]:
                said = json.loads(payload)
                if topic.endswith("/event") and said.get("event") in FINAL:
                    self.finals.setdefault(said["job"]["uid"], {})[said["id"]] = FINAL[said["event"]]
                elif topic.endswith("/result"):
                    self.results.setdefault(said["id"], []).append(said)
            self.read = len(heard)

    def send(self, who, message, id=None):
        self.sent += 1
        message = {"id": id or f"c{self.sent}", **message}
        if self.client is None:
            raise ConnectionError("the broker is away")
        self.client.publish(f"layerd/chaos/{who}/command", json.dumps(message))
        return message["id"]

    def end(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(10)


def whose(printers, documents):
    """Place in the double by the name of the printer. By token too: the double rolls dice for its numbers, and two may
    get the same one."""
    places = {(p["pid"], p["token"]): n for n, p in enumerate(printers)}
    found = {name: places.get((doc.get("id"), doc.get("token"))) for name, doc in documents.items() if doc.get("id")}
    return {name: place for name, place in found.items() if place is not None}


class Cloud:
    """The double in ../shared/rigs; it keeps a record of every message."""

    def __init__(self, double, folder):
        self.double, self.wire, self.folder = double, os.path.join(folder, "cloud.jsonl"), folder
        self.index, self.finals, self.read, self.process = {}, {}, 0, None

    def start(self, files):
        scenario = {"setup": {"complete_after": 0.3}, "files": files,
                    "intervals": {"job": 1000, "temps": 2000, "temps_target": 500, "ping": 2000}}
        path = os.path.join(self.folder, "scenario.json")
        with open(path, "w") as f:
            json.dump(scenario, f)
        self.process = subprocess.Popen([sys.executable, self.double, "--port", "0", "--scenario", path, "--log", self.wire],
                                        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        line = self.process.stdout.readline()
        assert line.startswith("LISTENING "), line
        self.port = int(line.split()[1])

    def ctl(self, what, body=None, timeout=30):
        data = None if body is None else json.dumps(body).encode()
        try:
            with urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{self.port}/_ctl/{what}", data=data), timeout=timeout) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            return json.load(error)

    def step(self, who, what):
        """One step for a printer; false: the printer is not connected."""
        return self.ctl("step", {"printer": self.index[who], "timeout": 2, **what})["ok"]

    def know(self, documents):
        """Which printer of the double is which. `documents`: what layerd keeps of its identities."""
        self.index = whose(self.ctl("state")["printers"], documents)
        return len(self.index)

    def tokens(self):
        return [p["token"] for p in self.ctl("state")["printers"]]

    def hear(self):
        """Collects the ends of jobs from the record: words by number of the job, with their connection."""
        with open(self.wire) as f:
            f.seek(self.read)
            for line in iter(f.readline, ""):
                if not line.endswith("\n"):
                    break
                self.read = f.tell()
                row = json.loads(line)
                message = row["msg"]
                if row["dir"] != "in" or message.get("type") not in ("job_info", "file_progress"):
                    continue
                data = message["data"]
                words = [w for w in ("finished", "failed", "cancelled") if data.get(w)]
                if message["type"] == "file_progress" and data.get("state") == "error":
                    words = ["not begun"]
                if words and "job_id" in data:
                    self.finals.setdefault(data["job_id"], []).append((words[0], row.get("conn")))

    def end(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(10)
