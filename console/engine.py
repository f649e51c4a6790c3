"""One engine on one machine: its lock, its sockets, its processes."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from console.data_folder import DataFolder, EngineLock
from console.settings import Settings
from console.stages import HTTP_FD_VARIABLE, SOCKETS_VARIABLE
from console.supervisor import StageCommand, Supervisor, stage_argv
from console.wiring import Wiring
from events.errors import CallwardenError
from events.topics import TOPICS
from telephony.sockets import CaptureSockets, SocketSettings, open_sockets

logger = logging.getLogger(__name__)

_DAY_MS: Final = 86_400_000
_TRIM_EVERY_S: Final = 600.0


class AddressInUse(CallwardenError):
    """The HTTP address cannot be listened on."""


class Engine:
    """Opens everything, supervises, closes. `run` blocks until `stop`.

    Parameters
    ----------
    consumers_only
        Start neither capture nor console: enough to take recorded calls through the stages.
    """

    def __init__(
        self,
        folder: DataFolder,
        settings: Settings,
        config: Path | None,
        *,
        sip: tuple[str, int] | None = None,
        http: tuple[str, int] | None = None,
        consumers_only: bool = False,
    ) -> None:
        self._folder = folder
        self._settings = settings
        self._lock = EngineLock(folder)
        self._lock.acquire()
        self._sockets: CaptureSockets | None = None
        self._http: socket.socket | None = None
        try:
            if not consumers_only:
                self._sockets = open_sockets(_at(settings.sockets, sip))
                self._http = _listen(*(http or (settings.engine.http_host, settings.engine.http_port)))
            _empty(folder.metrics)
            self._supervisor = Supervisor(
                folder, self._commands(config), settings.supervisor, facts={"sip": self.sip_address}
            )
        except BaseException:
            self._close()
            raise

    @property
    def sip_address(self) -> str:
        return "{}:{}".format(*self._sockets.sip_address) if self._sockets else ""

    @property
    def http_address(self) -> str:
        if self._http is None:
            return ""
        host, port = self._http.getsockname()[:2]
        return f"{host}:{port}"

    def pids(self) -> dict[str, int]:
        return self._supervisor.pids()

    def stop(self) -> None:
        self._supervisor.stop()

    def run(self, on_ready: Callable[[], None]) -> None:
        """Run until `stop`; `on_ready` is called once when every process is at work."""
        _unpack_graph()
        self._supervisor.on_ready = on_ready
        stop_trimming = threading.Event()
        trimming = threading.Thread(target=self._trim, args=(stop_trimming,), name="trim", daemon=True)
        trimming.start()
        try:
            self._supervisor.run()
        finally:
            stop_trimming.set()
            trimming.join()
            self._close()

    def _commands(self, config: Path | None) -> list[StageCommand]:
        metrics = {"PROMETHEUS_MULTIPROC_DIR": str(self._folder.metrics)}
        commands: list[StageCommand] = []

        def add(stage: str, name: str | None = None, fds: tuple[int, ...] = (), **environment: str) -> None:
            commands.append(
                StageCommand(
                    name or stage,
                    stage,
                    stage_argv(stage, self._folder, config),
                    fds,
                    {**metrics, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", **environment},
                    above_others=stage == "capture",
                )
            )

        if self._sockets is not None:
            add("capture", None, tuple(self._sockets.fds()), **{SOCKETS_VARIABLE: self._sockets.to_environment()})
        if self._http is not None:
            add("console", None, (self._http.fileno(),), **{HTTP_FD_VARIABLE: str(self._http.fileno())})
        workers = self._settings.engine.recogniser_workers
        for number in range(workers):
            add("recogniser", f"recogniser-{number + 1}" if workers > 1 else None)
        for stage in ("redaction", "rules", "alerts", "archive", "indexer", "audit"):
            add(stage)
        return commands

    def _trim(self, stop: threading.Event) -> None:
        """Remove what the topics need not keep any longer."""
        wiring = Wiring(self._folder, self._settings)
        try:
            while not stop.wait(_TRIM_EVERY_S):
                now_ms = time.time_ns() // 1_000_000
                for topic in TOPICS:
                    for one in (topic, topic.dead_letter):
                        wiring.log.trim(one, now_ms - int(topic.keep_days * _DAY_MS))
        except CallwardenError as error:
            logger.warning("Old events are not removed for now: %s", error)
        finally:
            wiring.close()

    def _close(self) -> None:
        if self._sockets is not None:
            self._sockets.close()
        if self._http is not None:
            self._http.close()
        self._lock.release()


def _at(settings: SocketSettings, address: tuple[str, int] | None) -> SocketSettings:
    """Return the settings with the command line's address instead."""
    return settings if address is None else replace(settings, sip_host=address[0], sip_port=address[1])


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise AddressInUse(
            f"Pages cannot be served at {host}:{port}: {os.strerror(error.errno or 0).lower()}; "
            "choose another address with --http."
        ) from None
    return listener


def _unpack_graph() -> None:
    """Once a machine: here, where it is seen, rather than in each recogniser at its first start."""
    from recognizer.model_pack import graph_installed, install_graph

    if not graph_installed():
        logger.warning("Unpacking the recognition graph; this happens once and takes some seconds.")
        install_graph()


def _empty(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()
