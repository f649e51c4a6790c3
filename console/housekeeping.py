"""What has to be done now and then for the whole engine, in a thread of the one process that there is once."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from console.wiring import Wiring
from events.errors import CallwardenError
from events.log import EventLog
from events.topics import TOPICS

logger = logging.getLogger(__name__)

_DAY_MS: Final = 86_400_000
_EVERY_S: Final = 600.0


@contextmanager
def housekeeping(wiring: Wiring) -> Iterator[None]:
    """Within it, old events are removed from the log every ten minutes."""
    stop = threading.Event()
    thread = threading.Thread(target=_run, args=(wiring, stop), name="housekeeping", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _run(wiring: Wiring, stop: threading.Event) -> None:
    log: EventLog | None = None
    try:
        while not stop.wait(_EVERY_S):
            try:
                log = log or wiring.new_log()
                trim(log, wiring.clock.now_ms())
            except CallwardenError as error:
                logger.warning("Old events are not removed for now: %s", error)
    finally:
        if log is not None:
            log.close()


def trim(log: EventLog, now_ms: int) -> None:
    """Remove what the topics need not keep any longer."""
    for topic in TOPICS:
        for one in (topic, topic.dead_letter):
            log.trim(one, now_ms - int(topic.keep_days * _DAY_MS))
