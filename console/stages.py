"""What each stage's process does. `callwarden run STAGE` and the supervisor start the same function."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from console.data_folder import DataFolder
from console.settings import Settings
from console.supervisor import say_ready
from console.wiring import Wiring
from events.audit_entry import Action
from events.consumer import StageHandler, run_stage
from events.errors import CallwardenError
from events.identity import CallId
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


def _consume(
    wiring: Wiring, handler: StageHandler, stop: threading.Event, most_records: int | None = None
) -> None:
    settings = wiring.settings.consumer
    if most_records is not None:
        settings = replace(settings, most_records=min(most_records, settings.most_records))
    say_ready()
    run_stage(wiring.log, wiring.sealer, handler, Group(handler.name), settings, stop, wiring.clock)


# Each body imports its own packages: a stage's process holds what that stage needs and starts no slower than it must.


def _capture(wiring: Wiring, stop: threading.Event) -> None:
    from telephony.capture import Capture
    from telephony.sockets import CaptureSockets, open_sockets

    handed_down = os.environ.get(SOCKETS_VARIABLE)
    sockets = (
        CaptureSockets.from_environment(handed_down) if handed_down else open_sockets(wiring.settings.sockets)
    )
    state = wiring.folder.state / "capture"
    capture = Capture(
        wiring.log, wiring.sealer, wiring.keys, wiring.settings.capture, sockets, state, wiring.clock
    )

    def tell() -> None:
        while not stop.wait(0.02):
            if capture.status().ready:
                say_ready()
                return

    threading.Thread(target=tell, name="tell-ready", daemon=True).start()
    capture.run(stop)


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
    worker = RecogniserWorker(recogniser, snapshots, settings.recogniser, wiring.clock)
    # Small batches: what a batch finds is told at its end, and an import must not hold up live calls.
    _consume(wiring, worker, stop, most_records=64)


def _redaction(wiring: Wiring, stop: threading.Event) -> None:
    from compliance.finished_calls import FinishedCalls
    from compliance.redaction.stage import RedactionStage

    finished = FinishedCalls(wiring.folder.state / "redaction", wiring.clock)
    _consume(wiring, RedactionStage(finished, wiring.settings.redaction, clock=wiring.clock), stop)


def _rules(wiring: Wiring, stop: threading.Event) -> None:
    from compliance.finished_calls import FinishedCalls
    from compliance.rules.rulebook import load_rulebooks
    from compliance.rules.stage import RulesStage

    settings = wiring.settings.rules
    finished = FinishedCalls(wiring.folder.state / "rules", wiring.clock)
    _consume(wiring, RulesStage(load_rulebooks(settings.rulebooks), finished, settings), stop)


def _alerts(wiring: Wiring, stop: threading.Event) -> None:
    from compliance.alerts.channels import Webhook
    from compliance.alerts.dispatcher import Dispatcher
    from compliance.alerts.outbox import Outbox
    from compliance.alerts.stage import AlertStage

    settings = wiring.settings
    outbox = Outbox(wiring.folder.state / "alerts")
    dispatchers = []
    if settings.webhook.url:
        webhook = Webhook(settings.webhook, settings.engine.console_url, wiring.clock)
        dispatchers.append(Dispatcher(outbox, webhook, settings.delivery, wiring.clock))
    stage = AlertStage(outbox, dispatchers, wiring.clock)
    try:
        _consume(wiring, stage, stop)
    finally:
        stage.close()


def _archive(wiring: Wiring, stop: threading.Event) -> None:
    from compliance.recordings.archive import ArchiveStage
    from compliance.recordings.bleep import Bleeper

    recorder = wiring.audit_recorder("archive")

    def note(action: Action, call: CallId) -> None:
        # Told again after a crash; the same id makes it one entry.
        recorder.record("archive", "stage", action, call, entry_id=f"{call}:{action.value}")

    stage = ArchiveStage(
        wiring.folder.recordings,
        wiring.keys,
        wiring.settings.archive,
        Bleeper(wiring.settings.bleep),
        note,
        wiring.clock,
    )
    try:
        _consume(wiring, stage, stop)
    finally:
        stage.close()


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
    "capture": _capture,
    "recogniser": _recogniser,
    "redaction": _redaction,
    "rules": _rules,
    "alerts": _alerts,
    "archive": _archive,
    "indexer": _indexer,
    "audit": _audit,
    "console": _console,
}
