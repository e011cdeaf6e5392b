"""As much of MQTT 3.1.1 as a listener needs, on a plain socket: nothing to install."""
import os
import socket
import struct
import threading
import time


def text(words):
    raw = words.encode()
    return struct.pack(">H", len(raw)) + raw


def packet(kind, body):
    size, head = len(body), bytes([kind])
    while True:
        size, byte = size >> 7, size & 0x7f
        head += bytes([byte | (0x80 if size else 0)])
        if not size:
            return head + body


class Client:
    """Hears everything on a broker from the moment it is made, and publishes."""

    def __init__(self, port, filters=("#",), qos=1):
        self.heard, self.lock = [], threading.Lock()
        self.socket = socket.create_connection(("127.0.0.1", port), 10)
        name = f"listener-{os.getpid()}-{time.monotonic_ns()}"
        self.socket.sendall(packet(0x10, text("MQTT") + bytes([4, 2]) + struct.pack(">H", 0) + text(name)))
        assert self.one() == (0x20, b"\0\0"), "the broker does not welcome the listener"
        self.socket.sendall(packet(0x82, struct.pack(">H", 1) + b"".join(text(f) + bytes([qos]) for f in filters)))
        self.ready = threading.Event()
        self.socket.settimeout(None)
        self.thread = threading.Thread(target=self.listen, daemon=True)
        self.thread.start()
        assert self.ready.wait(10), "the broker does not take the subscription"

    def exactly(self, size):
        data = b""
        while len(data) < size:
            more = self.socket.recv(size - len(data))
            if not more:
                raise ConnectionError("closed")
            data += more
        return data

    def one(self):
        kind, size, shift = self.exactly(1)[0], 0, 0
        while True:
            byte = self.exactly(1)[0]
            size |= (byte & 0x7f) << shift
            shift += 7
            if byte < 0x80:
                return kind, self.exactly(size)

    def listen(self):
        try:
            while True:
                kind, body = self.one()
                if kind == 0x90:
                    self.ready.set()
                elif kind >> 4 == 3:
                    size = struct.unpack(">H", body[:2])[0]
                    topic, rest = body[2:2 + size].decode(), body[2 + size:]
                    if kind & 6:
                        self.socket.sendall(packet(0x40, rest[:2]))
                        rest = rest[2:]
                    with self.lock:
                        self.heard.append((topic, rest, bool(kind & 1)))
        except OSError:
            pass

    def publish(self, topic, payload, retain=False):
        payload = payload if isinstance(payload, bytes) else payload.encode()
        self.socket.sendall(packet(0x30 | retain, text(topic) + payload))

    def all(self):
        with self.lock:
            return list(self.heard)

    def to_the_end(self):
        """Everything that came until the broker ended the session, which it has: also what nobody has read yet."""
        self.thread.join(30)
        assert not self.thread.is_alive(), "the session goes on"
        return self.all()

    def close(self):
        self.socket.close()
