"""What a verification found."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ProblemKind(StrEnum):
    UNREADABLE = "unreadable"
    KEY = "key"
    """Signed with another key, or changed after signing."""
    ENTRY = "entry"
    """Not an entry, not in canonical form."""
    ORDER = "order"
    """Missing, out of order, or there twice."""
    ROOT = "root"
    """Entries do not hash to a signed root."""
    FORK = "fork"
    """Two histories of one log were signed."""
    TRUNCATED = "truncated"
    STALE = "stale"
    """The newest checkpoint is older than what must be covered."""
    PROOF = "proof"
    SILENCE = "silence"
    """Nobody wrote for longer than the log's heartbeat, and no entry says so."""
    CLOCK = "clock"


@dataclass(frozen=True, slots=True)
class Problem:
    kind: ProblemKind
    text: str
    """One whole sentence."""


@dataclass(frozen=True, slots=True)
class Verification:
    """What was found; `ok` when an auditor may rely on the export."""

    problems: tuple[Problem, ...]
    notices: tuple[str, ...]
    """One whole sentence each."""
    kind: str
    size: int
    """Entries that the newest good checkpoint covers."""
    root: bytes
    entries: int
    """Entries read from the export."""
    checkpoints: int
    first_ms: int | None
    last_ms: int | None
    newest_checkpoint_ms: int | None
    kept: int
    """Kept checkpoints that this export was compared with."""

    @property
    def ok(self) -> bool:
        return not self.problems
