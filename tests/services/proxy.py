"""A real HTTP proxy before a real server: it refuses, loses answers, hangs, ends TLS and asks for an API key.

Requests that it does let through reach the server unchanged, and the server's answers come back unchanged, so that
what a test sees is the server's behaviour and nothing else.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from urllib.parse import urlsplit


class Fate(StrEnum):
    """What becomes of a request."""

    PASS = "pass"
    TOO_MANY = "429"
    NOT_READY = "503"
    LOSE_ANSWER = "answer lost"
    """The server does it, the client never hears of it."""
    CUT = "cut"
    """The connection ends before the server hears of it."""


@dataclass(frozen=True)
class Asked:
    number: int
    """Counted from 1 over all requests."""
    method: str
    path: str
    body: bytes


Decide = Callable[[Asked], Fate]
_REFUSALS = {
    Fate.TOO_MANY: (429, "es_rejected_execution_exception"),
    Fate.NOT_READY: (503, "unavailable_shards_exception"),
}


class Proxy:
    """Listens on a free loopback port. Use as a context manager.

    Parameters
    ----------
    upstream
        ``http://host:port`` of the server.
    context
        TLS context of the server's side; None for plain HTTP.
    api_key
        Asked for as ``Authorization: ApiKey ...``; None for nothing.
    """

    def __init__(self, upstream: str, context: ssl.SSLContext | None = None, api_key: str | None = None) -> None:
        self.decide: Decide = lambda asked: Fate.PASS
        self.fates: Counter[Fate] = Counter()
        self.unauthorised = 0
        self._lock = threading.Lock()
        self._api_key = api_key
        parts = urlsplit(upstream)
        self._upstream = (parts.hostname or "", parts.port or 80)
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True
            timeout = 60

            def do(self) -> None:
                proxy._serve(self)

            do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do  # noqa: N815

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

            def finish_request(self, request: socket.socket, address: tuple[str, int]) -> None:  # type: ignore[override]
                # In the connection's own thread: a client that breaks off its handshake holds up nobody.
                if context is not None:
                    request.settimeout(10)
                    request = context.wrap_socket(request, server_side=True)
                super().finish_request(request, address)

            def handle_error(self, request: object, client_address: object) -> None:
                """A client that goes away, or does not trust the certificate, is no news."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._scheme = "http" if context is None else "https"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._local = threading.local()

    @property
    def url(self) -> str:
        host = "localhost" if self._scheme == "https" else "127.0.0.1"
        return f"{self._scheme}://{host}:{self._server.server_port}"

    def __enter__(self) -> Proxy:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        if self._api_key is not None and handler.headers.get("Authorization") != f"ApiKey {self._api_key}":
            with self._lock:
                self.unauthorised += 1
            self._answer_error(handler, 401, "security_exception")
            return
        with self._lock:
            number = self.fates.total() + 1
            fate = self.decide(Asked(number, handler.command, handler.path, body))
            self.fates[fate] += 1
        if fate in _REFUSALS:
            self._answer_error(handler, *_REFUSALS[fate])
            return
        if fate is not Fate.CUT:
            status, headers, answer = self._ask(handler, body)
            if fate is Fate.PASS:
                handler.send_response_only(status)
                for name, value in headers:
                    if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                        handler.send_header(name, value)
                handler.send_header("Content-Length", str(len(answer)))
                handler.end_headers()
                if handler.command != "HEAD":
                    handler.wfile.write(answer)
                return
        handler.close_connection = True
        handler.connection.shutdown(socket.SHUT_RDWR)

    def _ask(self, handler: BaseHTTPRequestHandler, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        """Send the request on over this thread's connection."""
        headers = {name: value for name, value in handler.headers.items() if name.lower() != "authorization"}
        for attempt in (1, 2):
            upstream: http.client.HTTPConnection | None = getattr(self._local, "upstream", None)
            if upstream is None:
                upstream = self._local.upstream = http.client.HTTPConnection(*self._upstream, timeout=60)
            try:
                upstream.request(handler.command, handler.path, body or None, headers)
                answer = upstream.getresponse()
                return answer.status, answer.getheaders(), answer.read()
            except (OSError, http.client.HTTPException):
                upstream.close()
                self._local.upstream = None
                # Only an idle connection that the server closed may be tried again unseen.
                if attempt == 2 or handler.command not in ("GET", "HEAD"):
                    raise
        raise AssertionError("unreachable")

    def _answer_error(self, handler: BaseHTTPRequestHandler, status: int, kind: str) -> None:
        error = {"type": kind, "reason": "refused by the proxy"}
        body = json.dumps({"error": {**error, "root_cause": [error]}, "status": status}).encode()
        handler.send_response_only(status)
        handler.send_header("X-elastic-product", "Elasticsearch")
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(body)
