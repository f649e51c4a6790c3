"""A real HTTP server on loopback that takes alerts, or does not."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True, slots=True)
class Request:
    headers: dict[str, str]
    body: bytes

    @property
    def alert(self) -> str:
        return self.headers["X-Callwarden-Alert"]


@dataclass
class Behaviour:
    """What the receiver does with its next requests."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    hold: threading.Event | None = None
    """Answer only once this is set."""
    drip: threading.Event | None = None
    """Send the answer's header byte by byte, without an end, until this is set."""


class Receiver:
    def __init__(self, port: int = 0) -> None:
        self.behaviours: list[Behaviour] = []
        """One per request to come; behind the last one, 200 for all."""
        self.requests: list[Request] = []
        self._changed = threading.Condition()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with receiver._changed:
                    receiver.requests.append(Request(dict(self.headers), body))
                    behaviour = receiver.behaviours.pop(0) if receiver.behaviours else Behaviour()
                    receiver._changed.notify_all()
                if behaviour.hold is not None:
                    behaviour.hold.wait(20)
                if behaviour.drip is not None:
                    self.wfile.write(b"HTTP/1.1 200 OK\r\n")
                    while not behaviour.drip.wait(0.05):
                        try:
                            self.wfile.write(b"X")
                        except OSError:
                            return
                    return
                self.send_response(behaviour.status)
                for name, value in behaviour.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/alerts"

    def wait_for(self, condition: Callable[[], bool], seconds: float = 20.0) -> None:
        with self._changed:
            assert self._changed.wait_for(condition, seconds), "The receiver did not get what was expected."

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
