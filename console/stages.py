"""What each stage's process does. `callwarden run STAGE` and the supervisor start the same function."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Final

from console.data_folder import DataFolder
from console.settings import Settings
from console.supervisor import say_ready
from console.wiring import Wiring
from events.consumer import StageHandler, run_stage
from events.errors import CallwardenError
from events.log import Group

logger = logging.getLogger(__name__)

HTTP_FD_VARIABLE: Final = "CALLWARDEN_HTTP_FD"
SOCKETS_VARIABLE: Final = "CALLWARDEN_CAPTURE_SOCKETS"


class UnknownStage(CallwardenError):
    """There is no stage of that name."""


def run(stage: str, folder: DataFolder, settings: Settings) -> int:
    """Run one stage until SIGTERM or SIGINT; return the process's exit status."""
    body = STAGES.get(stage)
    if body is None:
        raise UnknownStage(f"There is no stage {stage!r}; the stages are {', '.join(STAGES)}.")
    _log_to_standard_error(settings.engine.log_level)
    os.umask(0o077)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    wiring = Wiring(folder, settings)
    try:
        body(wiring, stop)
    except CallwardenError as error:
        logger.error("The stage %s stopped: %s", stage, error)
        return 1
    finally:
        wiring.close()
    return 0


def _log_to_standard_error(level: str) -> None:
    logging.basicConfig(
        stream=sys.stderr, level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True
    )
    # Libraries' own decisions may quote text; only their warnings are let through.
    for name in ("presidio-analyzer", "presidio-anonymizer", "httpx", "httpcore", "uvicorn", "numba", "spacy"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("presidio-analyzer").setLevel(logging.ERROR)


def _consume(wiring: Wiring, handler: StageHandler, stop: threading.Event) -> None:
    say_ready()
    run_stage(
        wiring.log, wiring.sealer, handler, Group(handler.name), wiring.settings.consumer, stop, wiring.clock
    )


# Each body imports its own packages: a stage's process holds what that stage needs and starts no slower than it must.


def _recogniser(wiring: Wiring, stop: threading.Event) -> None:
    from recognizer.model_pack import ModelPack
    from recognizer.recogniser import Recogniser, RecogniserSettings
    from recognizer.snapshot import SnapshotStore
    from recognizer.worker import RecogniserWorker

    settings = wiring.settings
    recogniser = Recogniser.of_pack(
        ModelPack.load(), RecogniserSettings(search=settings.search, endpoint=settings.endpoint)
    )
    snapshots = SnapshotStore(wiring.folder.state / "recogniser.db", wiring.keys, wiring.clock)
    _consume(wiring, RecogniserWorker(recogniser, snapshots, settings.recogniser, wiring.clock), stop)


def _redaction(wiring: Wiring, stop: threading.Event) -> None:
    from compliance.redaction.stage import RedactionStage

    _consume(wiring, RedactionStage(wiring.settings.redaction, clock=wiring.clock), stop)


def _indexer(wiring: Wiring, stop: threading.Event) -> None:
    from indexer.worker import IndexerStage

    _consume(wiring, IndexerStage(wiring.index, wiring.settings.indexer, wiring.clock), stop)


def _audit(wiring: Wiring, stop: threading.Event) -> None:
    from compliance.audit.audit_stage import AuditStage

    stage = AuditStage(wiring.audit_log, wiring.signing_key.public, wiring.log, wiring.sealer, wiring.clock)
    say_ready()
    stage.run(stop)


def _console(wiring: Wiring, stop: threading.Event) -> None:
    from console.web_server import serve

    serve(wiring, int(os.environ[HTTP_FD_VARIABLE]), say_ready, stop)


STAGES: Final[Mapping[str, Callable[[Wiring, threading.Event], None]]] = {
    "recogniser": _recogniser,
    "redaction": _redaction,
    "indexer": _indexer,
    "audit": _audit,
    "console": _console,
}
