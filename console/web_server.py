"""Serves the console's pages on an open socket."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable

import uvicorn

from console.health import HealthReader
from console.playable import PlayableRecordings
from console.web.app import create_app
from console.web.live_feed import LiveFeed
from console.web.services import ConsoleServices
from console.web.sessions import SessionStore
from console.wiring import Wiring


def services(wiring: Wiring) -> ConsoleServices:
    """Gather what the pages need."""
    settings = wiring.settings
    return ConsoleServices(
        index=wiring.index,
        log=wiring.log,
        sealer=wiring.sealer,
        recordings=PlayableRecordings(wiring.recordings),
        audit_log=wiring.audit_log,
        audit_key=wiring.signing_key.public,
        audit=wiring.audit_recorder("console"),
        users=wiring.users,
        sessions=SessionStore(wiring.folder.users, wiring.users, wiring.clock, settings.sessions),
        feed=LiveFeed(wiring.new_log, wiring.sealer, wiring.index, wiring.clock),
        health=HealthReader(wiring.folder, settings, wiring.log, wiring.index, wiring.clock),
        settings=settings.web,
        clock=wiring.clock,
    )


class _Server(uvicorn.Server):
    """Stops with its stage; signals are the stage's business."""

    def __init__(
        self, config: uvicorn.Config, on_started: Callable[[], None], on_round: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._on_started = on_started
        self._on_round = on_round

    def install_signal_handlers(self) -> None: ...

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_started()

    async def on_tick(self, counter: int) -> bool:
        self._on_round()
        return await super().on_tick(counter)


def serve(
    wiring: Wiring,
    pages: socket.socket,
    on_ready: Callable[[], None],
    on_round: Callable[[], None],
    stop: threading.Event,
) -> None:
    """Serve on the socket until `stop` is set; `on_round` is called several times a second by the loop."""
    offered = services(wiring)
    config = uvicorn.Config(
        create_app(offered),
        log_config=None,
        access_log=False,  # paths hold call ids and queries what people look for; the audit log is the access log
        server_header=False,
        timeout_graceful_shutdown=3,
        proxy_headers=False,
    )
    server = _Server(config, on_ready, on_round)

    def leave_when_told() -> None:
        stop.wait()
        offered.feed.stop()  # ends the open streams, for which the server would wait
        server.should_exit = True

    threading.Thread(target=leave_when_told, name="leave", daemon=True).start()
    offered.feed.start()
    try:
        server.run(sockets=[pages])
    finally:
        offered.feed.stop()
