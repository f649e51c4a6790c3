"""What each stage's process does. `callwarden run STAGE` and the supervisor start the same function."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from console.data_folder import DataFolder, EngineLock
from console.http_socket import listen
from console.settings import Settings
from console.signs_of_life import SignsOfLife
from console.supervisor import is_supervised, say_ready
from console.watched import EVENT_LOG, INDEX, WatchedIndex, WatchedLog
from console.wiring import Wiring
from events.audit_entry import Action
from events.consumer import StageHandler, run_stage
from events.errors import CallwardenError, RetryLater
from events.identity import CallId
from events.log import Group
from events.spill_state import SpillMode

logger = logging.getLogger(__name__)

HTTP_FD_VARIABLE: Final = "CALLWARDEN_HTTP_FD"
SOCKETS_VARIABLE: Final = "CALLWARDEN_CAPTURE_SOCKETS"
_LONGEST_WAIT_S: Final = 10.0


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
    lock = EngineLock(folder)
    if not is_supervised():
        lock.share()
    wiring = Wiring(folder, settings)
    signs = SignsOfLife(folder.processes, stage, wiring.clock)
    try:
        body(Process(wiring, signs, stop))
    except CallwardenError as error:
        logger.error("The stage %s stopped: %s", stage, error)
        signs.stopped(str(error))
        return 1
    except BaseException:
        signs.stopped(f"The stage {stage} ended with an error of its own; its log says where.")
        raise
    finally:
        wiring.close()
        signs.close()
        lock.release()
    return 0


@dataclass(frozen=True, slots=True)
class Process:
    """What a stage's body works with."""

    wiring: Wiring
    signs: SignsOfLife
    stop: threading.Event

    def at_work(self) -> None:
        self.signs.ready()
        say_ready()

    def until_there(self, what: str, prepare: Callable[[], None]) -> bool:
        """Wait until something outside can be used, telling what is wrong; False when told to stop meanwhile."""
        attempts = 0
        while not self.stop.is_set():
            try:
                prepare()
            except CallwardenError as error:
                if attempts == 0:
                    logger.warning("%s", error)
                self.signs.missing(what, str(error))
                self.signs.beat()
                self.stop.wait(min(_LONGEST_WAIT_S, 0.5 * 2.0 ** min(attempts, 10)))
                attempts += 1
            else:
                self.signs.found(what)
                return True
        return False


def _log_to_standard_error(level: str) -> None:
    logging.basicConfig(
        stream=sys.stderr, level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True
    )
    # Libraries' own decisions may quote text; only their warnings are let through.
    for name in ("presidio-analyzer", "presidio-anonymizer", "httpx", "httpcore", "uvicorn", "numba", "spacy"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("presidio-analyzer").setLevel(logging.ERROR)


def _consume(process: Process, handler: StageHandler, most_records: int | None = None) -> None:
    wiring = process.wiring
    if not process.until_there(EVENT_LOG, wiring.prepare_log):
        return
    for what, warning in wiring.clock_warnings().items():
        process.signs.tell(what, warning)
    settings = wiring.settings.consumer
    if most_records is not None:
        settings = replace(settings, most_records=min(most_records, settings.most_records))
    process.at_work()
    log = WatchedLog(wiring.log, process.signs)
    run_stage(log, wiring.sealer, handler, Group(handler.name), settings, process.stop, wiring.clock)


# Each body imports its own packages: a stage's process holds what that stage needs and starts no slower than it must.


def _capture(process: Process) -> None:
    from telephony.capture import Capture, read_status
    from telephony.sockets import CaptureSockets, open_rtp_sockets, open_sockets

    wiring, stop = process.wiring, process.stop
    endpoint = wiring.endpoint()
    handed_down = os.environ.get(SOCKETS_VARIABLE)
    if handed_down:
        sockets = CaptureSockets.from_environment(handed_down)
    else:
        sockets = (open_sockets if endpoint is None else open_rtp_sockets)(wiring.settings.sockets)
    state = wiring.folder.state / "capture"
    spilling = wiring.spilling_log
    capture = Capture(
        wiring.capture_log,
        wiring.sealer,
        wiring.keys,
        wiring.settings.capture,
        sockets,
        state,
        wiring.clock,
        room=lambda: spilling is None or spilling.has_room,
        spill=lambda: None if spilling is None else spilling.state,
        endpoint=endpoint,
    )

    def tell() -> None:
        while not stop.wait(0.02):
            if capture.status().ready:
                process.at_work()
                break
        heard = 0
        while not stop.wait(0.5):
            # The file is written by the loop that answers calls: nothing new in it means that the loop hangs.
            status = read_status(state)
            if status is None or status.pid != os.getpid() or status.at_ms == heard:
                continue
            heard = status.at_ms
            if status.spill is not None and status.spill.mode is SpillMode.SPILLING:
                process.signs.missing(EVENT_LOG, status.spill.why)
            else:
                process.signs.found(EVENT_LOG)
            process.signs.beat()

    threading.Thread(target=tell, name="tell", daemon=True).start()
    capture.run(stop)


def _recogniser(process: Process) -> None:
    from console.chosen_model import chosen_pack, told_in_one_sentence
    from console.site_vocabulary import with_site_vocabulary
    from recognizer.model_pack import ModelPack
    from recognizer.recogniser import Recogniser, RecogniserSettings
    from recognizer.snapshot import SnapshotStore
    from recognizer.worker import RecogniserWorker

    wiring = process.wiring
    settings = wiring.settings
    how = RecogniserSettings(
        search=settings.search,
        endpoint=settings.endpoint,
        partials=settings.partials,
        weights=settings.recogniser.weights,
        second_pass=settings.second_pass,
        rescoring=settings.rescoring,
        second_recogniser=settings.second_recogniser,
    )
    with told_in_one_sentence():
        pack = ModelPack.load(chosen_pack(wiring.folder, settings.engine))
        pack, why_without = with_site_vocabulary(pack, wiring.folder, settings)
        if why_without:
            logger.warning("%s", why_without)
        process.signs.tell("vocabulary", why_without)
        recogniser = Recogniser.of_pack(pack, how)
    snapshots = SnapshotStore(wiring.folder.state / "recogniser.db", wiring.keys, wiring.clock)
    worker = RecogniserWorker(recogniser, snapshots, settings.recogniser, wiring.clock)
    # Small batches: what a batch finds is told at its end, and an import must not hold up live calls.
    _consume(process, worker, most_records=64)


def _redaction(process: Process) -> None:
    from compliance.finished_calls import FinishedCalls
    from compliance.redaction.stage import RedactionStage

    wiring = process.wiring
    finished = FinishedCalls(wiring.folder.state / "redaction", wiring.clock)
    _consume(process, RedactionStage(finished, wiring.settings.redaction, clock=wiring.clock))


def _rules(process: Process) -> None:
    from compliance.finished_calls import FinishedCalls
    from compliance.rules.rulebook import load_rulebooks
    from compliance.rules.stage import RulesStage

    wiring = process.wiring
    settings = wiring.settings.rules
    finished = FinishedCalls(wiring.folder.state / "rules", wiring.clock)
    _consume(process, RulesStage(load_rulebooks(settings.rulebooks), finished, settings))


def _alerts(process: Process) -> None:
    from compliance.alerts.channels import Webhook
    from compliance.alerts.dispatcher import Dispatcher
    from compliance.alerts.outbox import Outbox
    from compliance.alerts.stage import AlertStage

    wiring = process.wiring
    settings = wiring.settings
    outbox = Outbox(wiring.folder.state / "alerts")
    dispatchers = []
    if settings.webhook.url:
        webhook = Webhook(settings.webhook, settings.engine.console_url, wiring.clock)
        dispatchers.append(Dispatcher(outbox, webhook, settings.delivery, wiring.clock))
    stage = AlertStage(outbox, dispatchers, wiring.clock)
    try:
        _consume(process, stage)
    finally:
        stage.close()


def _archive(process: Process) -> None:
    from compliance.recordings.archive import ArchiveStage
    from compliance.recordings.bleep import Bleeper

    wiring = process.wiring
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
        _consume(process, stage)
    finally:
        stage.close()


def _indexer(process: Process) -> None:
    from indexer.worker import IndexerStage

    wiring = process.wiring
    if process.until_there(INDEX, wiring.prepare_index):
        index = WatchedIndex(wiring.index, process.signs)
        _consume(process, IndexerStage(index, wiring.settings.indexer, wiring.clock))


def _audit(process: Process) -> None:
    from compliance.audit.audit_stage import AuditStage
    from console.housekeeping import housekeeping

    class Beating(AuditStage):
        def step(self) -> None:
            super().step()
            process.signs.beat()

    wiring = process.wiring
    # The audit log itself is a file: entries are signed also while the event log, which gets a copy, is away.
    log = WatchedLog(wiring.log, process.signs)
    stage = Beating(wiring.audit_log, wiring.signing_key.public, log, wiring.sealer, wiring.clock)
    process.at_work()
    with housekeeping(wiring):
        try:
            stage.run(process.stop)
        except RetryLater as error:
            # Only at the end, when all is signed: the event log gets the last entries at the next start.
            logger.warning("%s", error)


def _console(process: Process) -> None:
    from console.web_server import serve

    wiring = process.wiring
    engine = wiring.settings.engine
    handed_down = os.environ.get(HTTP_FD_VARIABLE)
    pages = socket.socket(fileno=int(handed_down)) if handed_down else listen(engine.http_host, engine.http_port)
    serve(wiring, pages, process.at_work, process.signs.beat, process.stop)


STAGES: Final[Mapping[str, Callable[[Process], None]]] = {
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
