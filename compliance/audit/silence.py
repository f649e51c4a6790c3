"""Silence and clocks: was anybody writing all the time, and did the times fit?

A running log signs a checkpoint at least every heartbeat. Two neighbours further apart mean that the writer was
down. When it comes back it says so in an entry of its own (ENGINE_STARTED of ``audit-log``); a silence without one
is a problem, one that was announced is a notice.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from compliance.audit.checkpoint import Checkpoint
from compliance.audit.leaf import LoggedEntry
from events.audit_entry import Action

SUBJECT: Final = "audit-log"
CLEAN_STOP: Final = "clean"
TOLERANCE_MS: Final = 60_000
"""Clock differences below this are the everyday work of NTP."""
_HEARTBEATS: Final = 2
_MOST_TEXTS: Final = 10


class SilenceWatch:
    """Fed with entries in order; judged with the checkpoints at the end."""

    def __init__(self) -> None:
        self.clock: list[str] = []
        """Clocks that were wrong."""
        self.late: list[str] = []
        self._starts: list[LoggedEntry] = []
        self._newest_ms: int | None = None

    def entry(self, logged: LoggedEntry) -> None:
        if self._newest_ms is not None and logged.appended_ms < self._newest_ms - TOLERANCE_MS:
            back = (self._newest_ms - logged.appended_ms) // 1000
            self._clock(f"The log's clock went back by {back} s at entry {logged.index}.")
        self._newest_ms = max(self._newest_ms or logged.appended_ms, logged.appended_ms)
        skew = logged.entry.at_ms - logged.appended_ms
        if skew > TOLERANCE_MS:
            self._clock(f"Entry {logged.index} is dated {skew // 1000} s after it was written.")
        elif skew < -TOLERANCE_MS and len(self.late) < _MOST_TEXTS:
            self.late.append(f"Entry {logged.index} was written {-skew // 1000} s after what it records.")
        if logged.entry.action is Action.ENGINE_STARTED and logged.entry.subject == SUBJECT:
            self._starts.append(logged)

    def _clock(self, text: str) -> None:
        if len(self.clock) < _MOST_TEXTS:
            self.clock.append(text)

    def judge(self, checkpoints: Sequence[Checkpoint]) -> tuple[list[str], list[str]]:
        """Return (problems, notices) of silences between neighbouring checkpoints."""
        problems, notices = [], []
        for old, new in itertools.pairwise(checkpoints):
            between = f"between {_time(old.at_ms)} and {_time(new.at_ms)}"
            if new.at_ms < old.at_ms - TOLERANCE_MS:
                problems.append(f"The signing clock went back {between}.")
            if new.at_ms - old.at_ms <= _HEARTBEATS * old.heartbeat_ms:
                continue
            announced = [start for start in self._starts if old.size <= start.index < new.size]
            if announced:
                notices.append(f"The log was not written {between}; entry {announced[-1].index} says so.")
            else:
                problems.append(f"The log was silent {between}, and no entry says why.")
        return problems[:_MOST_TEXTS], notices[-_MOST_TEXTS:]


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
