"""What each stage's process does. `callwarden run STAGE` and the supervisor start the same function."""

from __future__ import annotations

import logging
import logging.handlers
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
