"""An assistant's view of layerd: the official SDK against a daemon with a simulated Marlin on a pty."""
import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError

LIMIT_S = 60


class Stage:
    """A simulated printer and the daemon, and their ends."""

    def __init__(self, layerd, gcode):
        self.layerd, self.gcode, self.processes = layerd, gcode, []
        self.dir = tempfile.mkdtemp(prefix="layerd-mcp-")

    def path(self, name):
        return os.path.join(self.dir, name)

    def start(self, name, *words):
        with open(self.path(name + ".log"), "w") as log:
            self.processes.append(subprocess.Popen([self.layerd, *words], stdout=log, stderr=log))

    def verb(self, *words):
        done = subprocess.run([self.layerd, "--config", self.path("layerd.toml"), *words],
                              capture_output=True, text=True, timeout=LIMIT_S)
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout.strip()

    def __enter__(self):
        link, port = self.path("printer"), 17400 + os.getpid() % 1000
        self.start("printer", "simulate", "marlin", "--link", link, "--speed", "20")
        with open(self.path("layerd.toml"), "w") as f:
            f.write(f'[agent]\nstate_dir = "{self.path("state")}"\nruntime_dir = "{self.path("run")}"\n'
                    f'[api]\nlisten = ["127.0.0.1:{port}"]\nrate_per_min = 0\n'
                    f'[printer.bench]\ndriver = "marlin"\nport = "{link}"\nbaud = 115200\nbed = [250, 220, 210]\n')
        until("the printer is there", lambda: os.path.exists(link))
        self.start("daemon", "--config", self.path("layerd.toml"), "run")
        self.base = f"http://127.0.0.1:{port}"
        until("the daemon answers", self.answers)
        self.key = self.verb("key", "create", "assistant", "--scopes", "read,control")
        self.looker = self.verb("key", "create", "looker", "--scopes", "read")
        bringer = self.verb("key", "create", "bringer", "--scopes", "files")
        self.upload(bringer)
        return self

    def answers(self):
        try:
            return urllib.request.urlopen(self.base + "/healthz", timeout=2).status == 200
        except OSError:
            return False

    def upload(self, key):
        with open(self.gcode, "rb") as f:
            files = {"file": ("plate.gcode", f.read())}
        answer = httpx2.post(self.base + "/0/files/Upload", headers={"X-API-KEY": key}, files=files)
        assert answer.json()["status"], answer.text

    def __exit__(self, kind, *_):
        for process in reversed(self.processes):
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if kind:
            with open(self.path("daemon.log")) as log:
                print("".join(log.readlines()[-30:]), file=sys.stderr)
        shutil.rmtree(self.dir, ignore_errors=True)


def until(what, holds):
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < LIMIT_S, "in vain: " + what
        time.sleep(0.02)


class Session:
    """A client with a key, in one way of speaking."""

    def __init__(self, stage, key, mode):
        self.http = httpx2.AsyncClient(headers={"Authorization": "Bearer " + key}, timeout=LIMIT_S)
        transport = streamable_http_client(stage.base + "/mcp", http_client=self.http)
        self.client = Client(transport, mode=mode)

    async def __aenter__(self):
        await self.http.__aenter__()
        await self.client.__aenter__()
        return self

    async def __aexit__(self, *error):
        await self.client.__aexit__(*error)
        await self.http.__aexit__(*error)

    async def tool(self, name, good=True, **arguments):
        result = await self.client.call_tool(name, arguments)
        given = json.loads(result.content[0].text)
        assert bool(result.is_error) != good, (name, given)
        assert result.structured_content == given
        return given

    async def state(self, *words):
        """Waits until the printer is in one of these states."""
        began = time.monotonic()
        while True:
            seen = await self.tool("get_printer", printer="bench")
            if seen["state"] in words:
                return seen
            assert time.monotonic() - began < LIMIT_S, (words, seen["state"], seen["why"])
            await asyncio.sleep(0.05)


async def prints(stage, mode):
    """A print from the file to the history, by tools alone."""
    async with Session(stage, stage.key, mode) as session:
        version = session.client.protocol_version
        tools = {tool.name: tool for tool in (await session.client.list_tools()).tools}
        assert len(tools) >= 16 and tools["cancel_print"].annotations.destructive_hint, sorted(tools)
        await session.state("operational")
        printers = (await session.tool("list_printers"))["printers"]
        assert [p["name"] for p in printers] == ["bench"], printers
        heat = (await session.tool("get_temperatures", printer="bench"))["temps"]
        assert heat["tool0"]["age_ms"] is not None, heat
        refused = await session.tool("pause_print", good=False, printer="bench")
        assert refused["outcome"] == "refused", refused
        files = (await session.tool("list_files"))["files"]
        start = {"printer": "bench", "file": files[0]["name"], "start_id": "sdk-" + mode}
        first = await session.tool("start_print", **start)
        again = await session.tool("start_print", **start)
        assert first["job"] == again["job"], (first, again)
        await session.state("printing")
        objects = (await session.tool("list_objects", printer="bench"))["objects"]
        assert len(objects) > 1, objects
        skipped = await session.tool("skip_objects", printer="bench", objects=[objects[0]["name"]])
        assert skipped["outcome"] == "verified", skipped
        refused = await session.tool("send_gcode", good=False, printer="bench", gcode=["G28"])
        assert refused["outcome"] == "refused", refused
        await session.tool("send_gcode", printer="bench", gcode=["M117 hello"], tune=True)
        for name, state in (("pause_print", "paused"), ("resume_print", "printing")):
            told = await session.tool(name, printer="bench")
            assert told["outcome"] == "verified", told
            await session.state(state)
        told = await session.tool("cancel_print", printer="bench", comment="enough")
        assert told["outcome"] == "verified", told
        await session.state("operational")
        await session.tool("clear_bed", printer="bench", rating=3)
        jobs = await session.tool("list_jobs", printer="bench", status="cancelled")
        assert jobs["jobs"][0]["id"] == first["job"]["id"], jobs
        await session.tool("get_printer", good=False, printer="nobody")
        try:
            await session.client.call_tool("fly", {})
            raise AssertionError("a tool that is not there was used")
        except MCPError as error:
            assert error.code == -32602, error
    return version


async def looks(stage, mode):
    """A key that may only look sees only what looks."""
    async with Session(stage, stage.looker, mode) as session:
        tools = [tool for tool in (await session.client.list_tools()).tools]
        assert tools and all(tool.annotations.read_only_hint for tool in tools), tools
        try:
            await session.client.call_tool("emergency_stop", {"printer": "bench"})
            raise AssertionError("a key that may look stopped a printer")
        except MCPError as error:
            assert error.code == -32001, error


async def stranger(stage, mode):
    """Without a key there is nothing."""
    try:
        async with Session(stage, "lyd_wrong", mode):
            pass
    except Exception as error:
        codes = [leaf.code for leaf in leaves(error) if isinstance(leaf, MCPError)]
        assert codes == [-32001], error
        return
    raise AssertionError("a stranger was let in")


def leaves(error):
    """What is inside of groups of errors."""
    if not hasattr(error, "exceptions"):
        return [error]
    return [leaf for inner in error.exceptions for leaf in leaves(inner)]


def main():
    layerd, gcode = sys.argv[1:3]
    with Stage(layerd, gcode) as stage:
        for mode in ("auto", "legacy"):
            began = time.monotonic()
            version = asyncio.run(prints(stage, mode))
            asyncio.run(looks(stage, mode))
            asyncio.run(stranger(stage, mode))
            print(f"mcp: {mode}: version {version}: a print by tools, a key that looks, a stranger: ok "
                  f"({time.monotonic() - began:.1f} s)", flush=True)


main()
