"""TCP links that can be cut, stalled and slowed down, on an event loop of their own."""
import asyncio
import socket
import threading

BLOCK = 16384


class Link:
    """A port on loopback that leads to another one."""

    def __init__(self, loop, target):
        self.loop, self.target, self.mode, self.ends = loop, target, "open", set()
        # Nothing gets through, whatever the mode is set to meanwhile.
        self.held = False
        self.flows = None
        asyncio.run_coroutine_threadsafe(self.listen(), loop).result(10)

    async def listen(self):
        self.flows = asyncio.Event()
        self.flows.set()
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]

    def set(self, mode):
        """open; cut: closed and refused; stall: taken, and not a byte passes; slow: 20 kB/s."""
        self.loop.call_soon_threadsafe(self.change, mode)

    def change(self, mode):
        self.mode = mode
        (self.flows.clear if mode == "stall" else self.flows.set)()
        if mode == "cut":
            for end in list(self.ends):
                end.transport.abort()

    async def serve(self, reader, writer):
        if self.mode == "cut" or self.held:
            writer.transport.abort()
            return
        self.ends.add(writer)
        try:
            await self.flows.wait()
            far_reader, far = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            self.ends.discard(writer)
            writer.transport.abort()
            return
        self.ends.add(far)
        await asyncio.gather(self.pump(reader, far), self.pump(far_reader, writer))
        for end in (writer, far):
            self.ends.discard(end)
            end.transport.abort()

    async def pump(self, reader, writer):
        try:
            while data := await reader.read(BLOCK):
                await self.flows.wait()
                if self.mode == "slow":
                    await asyncio.sleep(len(data) / 20_000)
                writer.write(data)
                await writer.drain()
            if writer.can_write_eof():
                writer.write_eof()
            else:
                writer.transport.abort()
        except OSError:
            writer.transport.abort()


class Links:
    """All of them."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.all = {}

    def to(self, name, port):
        """The port that leads to `port`."""
        self.all[name] = Link(self.loop, port)
        return self.all[name].port

    @staticmethod
    def free_port():
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            return one.getsockname()[1]

    def heal(self):
        for link in self.all.values():
            link.set("open")

    def close(self):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(5)
