"""One engine on one machine: its lock, its sockets, its processes."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from console.data_folder import DataFolder, EngineLock
from console.http_socket import listen
from console.settings import ENVIRONMENT_PREFIX, Settings
from console.stages import HTTP_FD_VARIABLE, SOCKETS_VARIABLE
from console.supervisor import Notes, StageCommand, Supervisor, stage_argv
from console.wiring import Wiring
from telephony.sockets import CaptureSockets, SocketSettings, open_rtp_sockets, open_sockets

logger = logging.getLogger(__name__)


class Engine:
    """Opens everything, supervises, closes. `run` blocks until `stop`.

    Parameters
    ----------
    consumers_only
        Start neither capture nor console: enough to take recorded calls through the stages.
    environment
        More settings for the processes, as they stand in an environment.
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
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._folder = folder
        self._settings = settings
        self._environment = dict(environment or {})
        self._sip = _at(settings.sockets, sip)
        self._lock = EngineLock(folder)
        self._lock.acquire()
        self._sockets: CaptureSockets | None = None
        self._http: socket.socket | None = None
        try:
            Wiring(folder, settings).check_here()
            if not consumers_only:
                self._sockets = self._open_sockets()
                self._http = listen(*(http or (settings.engine.http_host, settings.engine.http_port)))
            _empty(folder.metrics)
            _empty(folder.processes)
            self._supervisor = Supervisor(
                folder, self._commands(config), settings.supervisor, facts={"sip": self.sip_address}
            )
        except BaseException:
            self._close()
            raise

    @property
    def sip_address(self) -> str:
        return f"{self._sip.sip_host}:{self._sip.sip_port}" if self._sockets else ""

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

    def run(self, on_ready: Callable[[], None], on_notes: Callable[[Notes], None] = lambda notes: None) -> None:
        """Run until `stop`.

        Parameters
        ----------
        on_ready
            Called once when calls and pages are accepted and every other process is at work or has said why not.
        on_notes
            Called whenever what keeps processes from their work has changed.
        """
        _unpack_graph(self._folder, self._settings)
        self._supervisor.on_ready = on_ready
        self._supervisor.on_notes = on_notes
        try:
            self._supervisor.run()
        finally:
            self._close()

    def _open_sockets(self) -> CaptureSockets:
        if Wiring(self._folder, self._settings).endpoint() is None:
            sockets = open_sockets(self._sip)
            host, port = sockets.sip_address
        else:
            # That endpoint opens SIP sockets of its own: look now, while it can still be said, whether it can.
            probe = open_sockets(replace(self._sip, legs=1, rtp_first_port=0))
            host, port = probe.sip_address
            probe.close()
            sockets = open_rtp_sockets(self._sip)
        self._sip = replace(self._sip, sip_host=host, sip_port=port)
        return sockets

    def _commands(self, config: Path | None) -> list[StageCommand]:
        shared = {
            "PROMETHEUS_MULTIPROC_DIR": str(self._folder.metrics),
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            **self._environment,
        }
        commands: list[StageCommand] = []

        def add(stage: str, name: str | None = None, fds: tuple[int, ...] = (), **environment: str) -> None:
            commands.append(
                StageCommand(
                    name or stage,
                    stage,
                    stage_argv(stage, self._folder, config),
                    fds,
                    {**shared, **environment},
                    above_others=stage == "capture",
                    accepts=stage in ("capture", "console"),
                )
            )

        if self._sockets is not None:
            add(
                "capture",
                None,
                tuple(self._sockets.fds()),
                **{
                    SOCKETS_VARIABLE: self._sockets.to_environment(),
                    f"{ENVIRONMENT_PREFIX}SOCKETS__SIP_HOST": self._sip.sip_host,
                    f"{ENVIRONMENT_PREFIX}SOCKETS__SIP_PORT": str(self._sip.sip_port),
                },
            )
        if self._http is not None:
            add("console", None, (self._http.fileno(),), **{HTTP_FD_VARIABLE: str(self._http.fileno())})
        workers = self._settings.engine.recogniser_workers
        for number in range(workers):
            add("recogniser", f"recogniser-{number + 1}" if workers > 1 else None)
        for stage in ("redaction", "rules", "alerts", "archive", "indexer", "audit"):
            add(stage)
        return commands

    def _close(self) -> None:
        if self._sockets is not None:
            self._sockets.close()
        if self._http is not None:
            self._http.close()
        self._lock.release()


def _at(settings: SocketSettings, address: tuple[str, int] | None) -> SocketSettings:
    """Return the settings with the command line's address instead."""
    return settings if address is None else replace(settings, sip_host=address[0], sip_port=address[1])


def _unpack_graph(data: DataFolder, settings: Settings) -> None:
    """Once a machine: here, where it is seen, rather than in each recogniser at its first start."""
    from console.chosen_model import chosen_pack, told_in_one_sentence
    from recognizer.model_pack import graph_installed, install_graph

    pack = chosen_pack(data, settings.engine)
    with told_in_one_sentence():
        if not graph_installed(pack):
            logger.warning("Unpacking the recognition graph; this happens once and takes some seconds.")
            install_graph(pack)


def _empty(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()
