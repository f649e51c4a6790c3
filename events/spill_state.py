"""What a spilling log tells about itself, for health pages and metrics."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class SpillMode(StrEnum):
    DIRECT = "direct"
    """Events go straight into the event log; nothing waits on the disk."""
    SPILLING = "spilling"
    """The event log is away: events are kept on the local disk."""
    DRAINING = "draining"
    """The event log is back: what was kept is on its way into it, new events queue behind."""


@dataclass(frozen=True, slots=True)
class SpillState:
    mode: SpillMode
    records: int
    """Events on the disk that the event log has not acknowledged; after a restart at least so many."""
    bytes: int
    """Disk space in use."""
    share: float
    """Of the space allowed, or of what the disk has for us when that is less: 0 to 1, a little above when the last
    append crossed the line."""
    since_ms: int
    """UTC epoch milliseconds at which this mode began."""
    oldest_ms: int | None
    """When the oldest waiting event was made, UTC epoch milliseconds; None when none waits."""
    has_room: bool
    """Whether new calls may begin."""
    why: str = ""
    """The sentence with which the event log last refused; empty when it takes events."""
