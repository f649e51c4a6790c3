"""Old calls leave the index: a small job that the indexer does now and then.

This tidies up; it is not erasure. A call that must not come back is forgotten (`CallIndex.forget`) and its keys are
destroyed.
"""

from __future__ import annotations

import logging
from typing import Final

from events.clock import Clock
from events.errors import RetryLater
from events.topics import CALL_LIFECYCLE
from indexer.index import CallIndex

_LOG: Final = logging.getLogger(__name__)
_DAY_MS: Final = 86_400_000
LEAST_KEEP_DAYS: Final = CALL_LIFECYCLE.keep_days + 1
"""Longer than the event log keeps events: one that is delivered again must not bring a part of its call back."""


def oldest_kept_ms(clock: Clock, keep_days: float) -> int:
    """Return the start before which calls leave the index, in UTC epoch milliseconds; 0 when all are kept."""
    return clock.now_ms() - int(keep_days * _DAY_MS) if keep_days else 0


class IndexRetention:
    """Expires a bounded number of calls a step, so that the indexer's own work goes on in between.

    Parameters
    ----------
    index
        Whose calls are looked at.
    keep_days
        Calls that started longer ago leave; 0 keeps them all.
    every_s
        Pause between two looks.
    """

    def __init__(self, index: CallIndex, keep_days: float, every_s: float, clock: Clock) -> None:
        self._index = index
        self._keep_days = keep_days
        self._every_s = every_s
        self._clock = clock
        self._due = clock.monotonic()
        self._gone = 0

    def step(self) -> int:
        """Take one step if one is due; return how many calls left the index."""
        now = self._clock.monotonic()
        if not self._keep_days or now < self._due:
            return 0
        try:
            gone = self._index.expire(oldest_kept_ms(self._clock, self._keep_days))
        except RetryLater as error:
            _LOG.warning("Old calls stay in the index for now: %s", error)
            self._due = now + self._every_s
            return 0
        self._gone += gone
        if not gone:
            if self._gone:
                _LOG.info("%d calls older than %g days left the index.", self._gone, self._keep_days)
            self._gone = 0
            self._due = now + self._every_s
        return gone
