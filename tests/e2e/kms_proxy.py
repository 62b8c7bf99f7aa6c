"""A proxy between kmswatch and the emulator's KMS: counts what is asked and when, and answers as KMS does at its worst.

It also cuts lists into pages, which the emulator does for ListGrants alone: ListKeys, ListAliases and ListResourceTags come
from it whole (the first without a mark when it is cut short), so they are asked for whole and handed on page by page. All
aliases are asked for once, for the emulator looks through all of them for each key.
"""

from __future__ import annotations

import http.client
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

PAGED = {"ListKeys": ("Keys", 300), "ListAliases": ("Aliases", 1), "ListResourceTags": ("Tags", 1)}
WHOLE = {"ListKeys": 1_000_000}


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        """Connections of a process that was killed end as they do."""


class Proxy:
    """On a free port of the loopback. `asked` is (seconds, operation, key) of every request, in order of arrival."""

    def __init__(self, endpoint: str):
        self.upstream = urlsplit(endpoint)
        self.asked: list[tuple[float, str, str | None]] = []
        # Called with operation, key and how often that was asked before; answers (type, message), or nothing.
        self.fault = lambda operation, key, before: None
        self._lock = threading.Lock()
        self._times: dict[tuple[str, str | None], int] = {}
        self._local = threading.local()
        self._aliases: tuple[int, bytes] | None = None
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True
            wbufsize = -1

            def do_POST(self):
                proxy.answer(self)

            def log_message(self, *_):
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        at = time.monotonic()
        body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        operation = handler.headers.get("X-Amz-Target", "").rsplit(".", 1)[-1]
        asked = json.loads(body or b"{}")
        key = asked.get("KeyId")
        with self._lock:
            self.asked.append((at, operation, key))
            before = self._times.get((operation, key), 0)
            self._times[operation, key] = before + 1
            fault = self.fault(operation, key, before)
        if fault is not None:
            kind, message = fault
            return send(handler, 400, json.dumps({"__type": kind, "message": message}).encode())
        if operation not in PAGED:
            return send(handler, *self.forward(handler, body))
        name, at_most = PAGED[operation]
        limit, marker = min(asked.pop("Limit", 100), at_most), int(asked.pop("Marker", 0))
        if operation in WHOLE:
            asked["Limit"] = WHOLE[operation]
        if operation == "ListAliases":
            status, text = self.aliases(handler)
        else:
            status, text = self.forward(handler, json.dumps(asked).encode())
        if status == 200:
            whole = json.loads(text)[name]
            if operation == "ListAliases":
                whole = [alias for alias in whole if alias["TargetKeyId"] == key.rsplit("/", 1)[-1]]
            page = {name: whole[marker : marker + limit], "Truncated": marker + limit < len(whole)}
            if page["Truncated"]:
                page["NextMarker"] = str(marker + limit)
            text = json.dumps(page).encode()
        send(handler, status, text)

    def aliases(self, handler: BaseHTTPRequestHandler) -> tuple[int, bytes]:
        with self._lock:
            known = self._aliases
        if known is None:
            known = self.forward(handler, b"{}")
            with self._lock:
                self._aliases = known
        return known

    def forward(self, handler: BaseHTTPRequestHandler, body: bytes) -> tuple[int, bytes]:
        """On one connection a thread, for kmswatch keeps its own open too."""
        headers = {name: value for name, value in handler.headers.items() if name.lower() not in ("content-length", "host")}
        if getattr(self._local, "connection", None) is None:
            self._local.connection = http.client.HTTPConnection(self.upstream.hostname, self.upstream.port, timeout=30)
        connection = self._local.connection
        connection.request("POST", handler.path, body=body, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read()

    def count(self) -> int:
        with self._lock:
            return len(self.asked)

    def clear(self) -> list[tuple[float, str, str | None]]:
        """What was asked since the last time."""
        with self._lock:
            asked, self.asked = self.asked, []
            return asked


def send(handler: BaseHTTPRequestHandler, status: int, body: bytes) -> None:
    handler.send_response(status)
    handler.send_header("Content-Type", "application/x-amz-json-1.1")
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def busiest_second(asked: list[tuple[float, str, str | None]]) -> int:
    """The most requests within any one second."""
    times = sorted(at for at, _, _ in asked)
    most, first = 0, 0
    for last, at in enumerate(times):
        while at - times[first] >= 1:
            first += 1
        most = max(most, last - first + 1)
    return most
