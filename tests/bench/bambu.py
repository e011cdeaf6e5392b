#!/usr/bin/env python3
"""The bars of the Bambu Lab driver, each beside its peer in the same run.

    bambu.py DIR [--printers 20] [--seconds 30]

DIR: where the optimised `layerd` and `examples/bambu-bench` lie (target/quick, target/release). Needs
mosquitto, openssl, curl and the package paho-mqtt. Three figures:

* a report of 16 kB read and merged, against serde_json passing over it;
* CPU and anonymous memory of a daemon with N printers that report 11 kB twice a second through one
  mosquitto (TLS to the daemon, plain from the printers), against that mosquitto's CPU;
* an upload to a stand-in, against curl's to the same one.
"""
import argparse
import hashlib
import json
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time

CODE = "12345678"
SERIAL = "00M00A0000{:05d}"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def cpu_s(pid):
    with open(f"/proc/{pid}/stat") as f:
        words = f.read().rsplit(")", 1)[1].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def anon_kb(pid):
    with open(f"/proc/{pid}/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("RssAnon"))


def end(process):
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def report(n):
    """A whole report of an X1 with four AMS units, about 11 kB, never the same twice."""
    tray = {"bed_temp": "0", "bed_temp_type": "0", "cols": ["F95959FF"], "ctype": 0, "nozzle_temp_max": "230",
            "nozzle_temp_min": "190", "remain": 71, "state": 11, "tag_uid": "0" * 16, "tray_color": "F95959FF",
            "tray_diameter": "1.75", "tray_id_name": "A00-R0", "tray_info_idx": "GFL00", "tray_sub_brands": "PLA Basic",
            "tray_type": "PLA", "tray_uuid": "0" * 32, "tray_weight": "1000", "xcam_info": "0" * 24}
    units = [{"id": str(u), "humidity": "4", "temp": "23.9", "tray": [{"id": str(t), **tray} for t in range(4)]} for u in range(4)]
    here = os.path.dirname(os.path.abspath(__file__))
    with open(os.path.join(here, "..", "..", "fixtures", "bambu", "x1-idle-old.json")) as f:
        whole = json.load(f)
    whole["print"].update(command="push_status", gcode_state="IDLE", print_error=0, subtask_name="", hms=[], sequence_id=str(n),
                          nozzle_temper=25 + n % 7 / 10, bed_temper=24 + n % 5 / 10,
                          ams={"ams": units, "ams_exist_bits": "f", "tray_exist_bits": "ffff", "tray_now": "255"})
    return json.dumps(whole, indent=1)


def farm(layerd, dir, count, seconds):
    """CPU of daemon and broker over some seconds, and the daemon's anonymous memory, with so many printers."""
    import paho.mqtt.client as mqtt
    tls_port, plain_port = free_port(), free_port()
    key, cert = os.path.join(dir, "key.pem"), os.path.join(dir, "cert.pem")
    if not os.path.exists(cert):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert, "-days", "9", "-subj", "/CN=bench"],
                       check=True, capture_output=True)
    der = subprocess.run(["openssl", "pkey", "-in", key, "-pubout", "-outform", "DER"], check=True, capture_output=True).stdout
    base = os.path.join(dir, f"farm{count}")
    os.makedirs(os.path.join(base, "state"))
    with open(os.path.join(base, "mosquitto.conf"), "w") as f:
        f.write(f"user root\nlistener {tls_port} 127.0.0.1\nallow_anonymous true\ncafile {cert}\ncertfile {cert}\nkeyfile {key}\ntls_version tlsv1.2\n"
                f"listener {plain_port} 127.0.0.1\nallow_anonymous true\n")
    with open(os.path.join(base, "layerd.toml"), "w") as f:
        f.write(f'[agent]\nstate_dir = "{base}/state"\nruntime_dir = "{base}/run"\n[api]\nlisten = []\n')
        for n in range(count):
            f.write(f'[printer.p{n}]\ndriver = "bambu"\nhost = "127.0.0.1"\nmqtt_port = {tls_port}\nserial = "{SERIAL.format(n)}"\naccess_code = "{CODE}"\n')
            with open(os.path.join(base, "state", f"bambu-p{n}.key"), "w") as pin:
                pin.write(hashlib.sha256(der).hexdigest())
    os.chmod(os.path.join(base, "layerd.toml"), 0o600)
    broker = subprocess.Popen(["mosquitto", "-c", os.path.join(base, "mosquitto.conf")], stderr=subprocess.DEVNULL)
    time.sleep(1)
    printers = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2) if hasattr(mqtt, "CallbackAPIVersion") else mqtt.Client()
    printers.connect("127.0.0.1", plain_port)
    printers.loop_start()
    over = threading.Event()
    texts = [report(n) for n in range(8)]

    def speak():
        turn = 0
        while not over.is_set():
            began = time.monotonic()
            for n in range(count):
                printers.publish(f"device/{SERIAL.format(n)}/report", texts[(turn + n) % len(texts)])
                over.wait(max(0, began + 0.5 * (n + 1) / count - time.monotonic()))
            turn += 1

    speaker = threading.Thread(target=speak)
    speaker.start()
    with open(os.path.join(base, "log"), "w") as log:
        daemon = subprocess.Popen([layerd, "--config", os.path.join(base, "layerd.toml"), "run"], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 60
        while True:
            done = subprocess.run([layerd, "--config", os.path.join(base, "layerd.toml"), "--json", "printers"], capture_output=True, text=True)
            try:
                rows = json.loads(done.stdout)
            except ValueError:
                rows = []
            if len(rows) == count and all(r["link"]["up"] for r in rows):
                break
            assert time.monotonic() < deadline, open(os.path.join(base, "log")).read()[-800:]
            time.sleep(0.5)
        time.sleep(5)
        before = cpu_s(daemon.pid), cpu_s(broker.pid)
        time.sleep(seconds)
        after = cpu_s(daemon.pid), cpu_s(broker.pid)
        return after[0] - before[0], after[1] - before[1], anon_kb(daemon.pid), len(texts[0])
    finally:
        over.set()
        speaker.join()
        printers.loop_stop()
        end(daemon)
        end(broker)


def upload(layerd, bench, dir, rounds=3):
    """Best seconds of the driver's upload and of curl's, in turn."""
    file = os.path.join(dir, "big.bin")
    with open(file, "wb") as f:
        for _ in range(64):
            f.write(os.urandom(1 << 20))
    sim = subprocess.Popen([layerd, "--json", "simulate", "bambu"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    ours, theirs = [], []
    try:
        port = json.loads(sim.stdout.readline())["ftps_port"]
        for n in range(rounds):
            pins = os.path.join(dir, f"pins{n}")
            os.makedirs(pins)
            # Another name each time: a file that lies there in full size is not sent again.
            done = subprocess.run([bench, "upload", str(port), file, pins, f"layerd{n}.bin"], capture_output=True, text=True, timeout=120)
            assert done.stdout, done.stderr
            ours.append(float(done.stdout))
            began = time.monotonic()
            subprocess.run(["curl", "-sk", "--ssl-reqd", "--tls-max", "1.2", "-u", f"bblp:{CODE}", "-T", file, f"ftps://127.0.0.1:{port}/curl.bin"], check=True, timeout=120)
            theirs.append(time.monotonic() - began)
    finally:
        sim.stdin.close()
        end(sim)
    return min(ours), min(theirs), os.path.getsize(file)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("dir")
    p.add_argument("--printers", type=int, default=20)
    p.add_argument("--seconds", type=float, default=30)
    o = p.parse_args()
    layerd, bench = os.path.abspath(os.path.join(o.dir, "layerd")), os.path.abspath(os.path.join(o.dir, "examples", "bambu-bench"))
    print(subprocess.run([bench, "report"], check=True, capture_output=True, text=True).stdout.strip(), flush=True)
    dir = tempfile.mkdtemp(prefix="layerd-bench-")
    try:
        ours, theirs, size = upload(layerd, bench, dir)
        print(f"upload: {size / ours / 1e6:.0f} MB/s, curl {size / theirs / 1e6:.0f} MB/s, ratio {theirs / ours:.2f}", flush=True)
        if not shutil.which("mosquitto"):
            return print("farm: skipped: mosquitto is not installed")
        few = farm(layerd, dir, 1, 2)
        many = farm(layerd, dir, o.printers, o.seconds)
        print(f"farm: {o.printers} printers, {many[3]} bytes twice a second, {o.seconds:.0f} s: layerd {many[0]:.2f} s CPU, mosquitto {many[1]:.2f} s, "
              f"ratio {many[0] / many[1]:.2f}; anonymous memory {few[2]} kB with one, {many[2]} kB with all: "
              f"{(many[2] - few[2]) / (o.printers - 1):.0f} kB each", flush=True)
    finally:
        shutil.rmtree(dir, ignore_errors=True)


main()
