#!/usr/bin/env python3
"""A cloud that misbehaves: one connection after the other, each in another manner.

    rogue_cloud.py [SECONDS]        prints what to put into the configuration

It greets as SimplyPrint does, and then floods with junk, wants files that are not there, lies about sizes, sends frames
of 50 MB, closes in the middle of a frame, answers the upgrade with an error, or says nothing at all.
"""
import base64
import hashlib
import itertools
import json
import os
import socket
import struct
import sys
import threading
import time

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def frame(text):
    data = text.encode()
    if len(data) < 126:
        head = struct.pack("!BB", 0x81, len(data))
    elif len(data) < 65536:
        head = struct.pack("!BBH", 0x81, 126, len(data))
    else:
        head = struct.pack("!BBQ", 0x81, 127, len(data))
    return head + data


class RogueCloud:
    MANNERS = ["flood", "huge", "files", "cut", "error", "flood", "silent"]

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.over = threading.Event()
        self.frames, self.connections = 0, 0
        self.turns = itertools.cycle(self.MANNERS)
        threading.Thread(target=self.accept, daemon=True).start()

    def settings(self):
        return f'[upstream.simplyprint]\nws_url = "ws://127.0.0.1:{self.port}"\napi_url = "http://127.0.0.1:{self.port}"\n'

    def told(self):
        return f"{self.connections} connections, {self.frames} frames"

    def stop(self):
        self.over.set()
        self.listener.close()

    def accept(self):
        if hasattr(os, "sched_setaffinity") and os.cpu_count() > 1:
            os.sched_setaffinity(0, {1})
        while not self.over.is_set():
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(peer,), daemon=True).start()

    def serve(self, peer):
        try:
            with peer:
                peer.settimeout(30)
                head = b""
                while not head.endswith(b"\r\n\r\n"):
                    byte = peer.recv(1)
                    if not byte:
                        return
                    head += byte
                self.answer(peer, head.decode(errors="replace"))
        except OSError:
            pass  # the other side has had enough, as it should

    def answer(self, peer, head):
        if "upgrade: websocket" not in head.lower():
            # A file: more is announced than comes.
            peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n" + b"G1 X10\n" * 100000)
            return
        self.connections += 1
        manner = next(self.turns)
        if manner == "error":
            peer.sendall(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")
            return
        key = next(line.split(": ", 1)[1] for line in head.split("\r\n") if line.lower().startswith("sec-websocket-key"))
        accept = base64.b64encode(hashlib.sha1((key + GUID).encode()).digest()).decode()
        peer.sendall(f"HTTP/1.1 101 Go\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n".encode())
        if manner == "silent":
            self.over.wait(20)
            return
        uid = self.greet(peer)
        end = time.monotonic() + 4
        numbers = itertools.count(1)
        while not self.over.is_set() and time.monotonic() < end:
            if manner == "huge":
                peer.sendall(frame("x" * 50_000_000))
            elif manner == "cut":
                peer.sendall(frame(json.dumps({"type": "demand", "for": uid, "data": {"demand": "resume"}}))[:-5])
                return
            elif manner == "files":
                self.demand(peer, uid, demand="file", job_id=next(numbers), file_size=7, auto_start=True, file_name="a.gcode",
                            url=f"http://127.0.0.1:{self.port}/f")
                self.over.wait(0.05)
            else:
                for _ in range(20):
                    peer.sendall(frame(os.urandom(60).hex()) + frame('{"type":"demand","data":[]}'))
                    self.demand(peer, uid, demand="skip_objects", objects=list(range(200)))
                    self.demand(peer, uid, demand="make_coffee", list=["G28"] * 100)
                    self.frames += 2
                self.over.wait(0.01)

    def demand(self, peer, uid, **data):
        self.frames += 1
        peer.sendall(frame(json.dumps({"type": "demand", "for": uid, "data": data})))

    def greet(self, peer):
        """Lets the first printer in; its own name is in the first message that it sends."""
        peer.sendall(frame('{"type":"connected","data":{"region":"nowhere"}}'))
        got = b""
        while b"unique_id" not in got:
            got += self.text(peer)
        uid = json.loads(got)["data"]["unique_id"]
        peer.sendall(frame(json.dumps({"type": "add_connection", "data": {"status": True, "pid": 7, "unique_id": uid}})))
        if json.loads(got)["data"]["pid"] == 0:
            peer.sendall(frame(json.dumps({"type": "new_token", "for": uid, "data": {"token": "rogue", "short_id": "BAAD"}})))
            peer.sendall(frame(json.dumps({"type": "connected", "for": uid, "data": {"in_setup": True, "region": "nowhere"}})))
            peer.sendall(frame(json.dumps({"type": "complete_setup", "for": uid, "data": {"printer_id": 7}})))
        else:
            peer.sendall(frame(json.dumps({"type": "connected", "for": uid, "data": {"in_setup": False, "region": "nowhere"}})))
        return uid

    @staticmethod
    def text(peer):
        """One masked frame of the client."""
        def exactly(count):
            data = b""
            while len(data) < count:
                more = peer.recv(count - len(data))
                if not more:
                    raise OSError("closed")
                data += more
            return data

        length = exactly(2)[1] & 0x7F
        if length == 126:
            length = struct.unpack("!H", exactly(2))[0]
        elif length == 127:
            length = struct.unpack("!Q", exactly(8))[0]
        mask = exactly(4)
        return bytes(byte ^ mask[at % 4] for at, byte in enumerate(exactly(length)))


if __name__ == "__main__":
    rogue = RogueCloud()
    print(rogue.settings(), flush=True)
    time.sleep(float(sys.argv[1]) if len(sys.argv) > 1 else 3600)
    rogue.stop()
    print(rogue.told())
