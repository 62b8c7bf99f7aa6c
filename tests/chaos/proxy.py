"""A bad network: an HTTP proxy on the loopback between kmswatch and the emulator.

Each request meets one of the faults below with the chance of the weather. Which, is drawn from a seed; as requests of
several connections race, the same seed makes the same mixture and not the same run.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import socket
import struct
import threading
from collections import Counter

# Before the emulator hears of it.
BEFORE = ("cut", "reset", "500", "503", "throttled")
# After it has done what was asked: whoever asked does not know that.
AFTER = ("answer lost", "answer cut", "500 after", "garbage", "slow answer")
# Neither.
WHILE = ("delay", "hang")
KINDS = BEFORE + AFTER + WHILE

LENGTH = re.compile(rb"(?im)^content-length:\s*(\d+)\s*$")
CONNECTION = re.compile(rb"(?im)^connection:[^\r\n]*\r\n")
TARGET = re.compile(rb"(?im)^x-amz-target:\s*(\S+)\s*$")
STATUS = {"500": "500 Internal Server Error", "503": "503 Service Unavailable", "500 after": "500 Internal Server Error"}


def canned(status: str, body: bytes, kind: str = "application/x-amz-json-1.0") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


class Proxy:
    """Runs in a thread of its own. `endpoint` is where it listens."""

    def __init__(self, upstream_port: int, seed: int):
        self.upstream_port = upstream_port
        self.random = random.Random(seed)
        self.faults: Counter[str] = Counter()
        self.requests = 0
        self.weather: dict[str, float] = {}
        # Calls of this name are refused, whatever the weather.
        self.refused = ""
        self.endpoint = ""
        self._parted = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)

    def start(self) -> "Proxy":
        self._thread.start()
        if not self._ready.wait(10):
            raise RuntimeError("the proxy did not start")
        return self

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def part(self) -> None:
        """Cuts every connection, and each new one, until [`heal`]."""
        self.faults["partition"] += 1
        self._parted = True
        self._loop.call_soon_threadsafe(self._cut_all)

    def heal(self) -> None:
        self._parted = False

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0, limit=1 << 22))
        self.endpoint = "http://127.0.0.1:%d" % server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        server.close()
        self._cut_all()

    def _cut_all(self) -> None:
        for writer in list(self._writers):
            reset(writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._parted:
            return reset(writer)
        self._writers.add(writer)
        try:
            while await self._exchange(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            reset(writer)
        finally:
            self._writers.discard(writer)
            with contextlib.suppress(OSError):
                writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request; whether the connection goes on."""
        head = await reader.readuntil(b"\r\n\r\n")
        length = LENGTH.search(head)
        body = await reader.readexactly(int(length[1])) if length else b""
        self.requests += 1
        target = TARGET.search(head)
        if self.refused and target and target[1].decode().endswith(self.refused):
            self.faults["refused"] += 1
            return await send(writer, canned(STATUS["503"], b"{}"))
        fault = self._draw()
        if fault == "cut":
            return False
        if fault == "reset":
            reset(writer)
            return False
        if fault in ("500", "503"):
            return await send(writer, canned(STATUS[fault], b"{}"))
        if fault == "throttled":
            return await send(writer, canned("400 Bad Request", b'{"__type":"ThrottlingException","message":"Rate exceeded"}'))
        if fault == "delay":
            await asyncio.sleep(self.random.uniform(0.05, 1.5))
        if fault == "hang":
            await asyncio.sleep(self.random.uniform(2, 14))
            reset(writer)
            return False
        answer = await self._ask(head, body)
        return await self._answer(writer, answer, fault)

    async def _answer(self, writer: asyncio.StreamWriter, answer: bytes, fault: str | None) -> bool:
        if fault == "answer lost":
            reset(writer)
            return False
        if fault == "answer cut":
            start = answer.find(b"\r\n\r\n") + 4
            await send(writer, answer[: self.random.randint(start, max(start, len(answer) - 1))])
            return False
        if fault == "500 after":
            return await send(writer, canned(STATUS[fault], b"{}"))
        if fault == "garbage":
            return await send(writer, canned("200 OK", b"<html>It works!</html>", "text/html"))
        if fault == "slow answer":
            for start in range(0, len(answer), max(1, len(answer) // 8)):
                await send(writer, answer[start : start + max(1, len(answer) // 8)])
                await asyncio.sleep(0.05)
            return True
        return await send(writer, answer)

    async def _ask(self, head: bytes, body: bytes) -> bytes:
        """What the emulator says, whole. A connection for each request: nothing to go stale."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.upstream_port)
        try:
            line, rest = CONNECTION.sub(b"", head).split(b"\r\n", 1)
            writer.write(line + b"\r\nConnection: close\r\n" + rest + body)
            await writer.drain()
            return CONNECTION.sub(b"", await reader.read(-1), count=1)
        finally:
            writer.close()

    def _draw(self) -> str | None:
        at = self.random.random()
        for kind, chance in self.weather.items():
            if at < chance:
                self.faults[kind] += 1
                return kind
            at -= chance
        return None


def reset(writer: asyncio.StreamWriter) -> None:
    """Closes with RST, as a crashed peer does, and not with FIN."""
    with contextlib.suppress(OSError, AttributeError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def send(writer: asyncio.StreamWriter, data: bytes) -> bool:
    writer.write(data)
    await writer.drain()
    return True
