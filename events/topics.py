"""The table of topics: who writes, who reads, what lies in it, sealed with which key, for how long."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

KEYED_PARTITIONS: Final = 16


class Key(StrEnum):
    """The two data keys of a call, see `key_store`."""

    CAPTURE = "capture"
    RECORD = "record"


@dataclass(frozen=True, slots=True)
class Topic:
    name: str
    writers: frozenset[str]
    readers: frozenset[str]
    """Stages that may read; `events.consumer` refuses others."""
    sealed_with: Key | None
    keep_days: float
    partitions: int = KEYED_PARTITIONS
    """Equal for all topics keyed by call, so that one call has one partition number everywhere."""

    @property
    def dead_letter(self) -> Topic:
        """The bin: same seal, readers and retention as its source, because a dead letter of raw is raw."""
        return Topic(
            f"{self.name}.dead", self.readers, self.readers, self.sealed_with, self.keep_days, self.partitions
        )


def _topic(
    name: str,
    writers: str,
    readers: str,
    sealed_with: Key | None,
    keep_days: float,
    partitions: int = KEYED_PARTITIONS,
) -> Topic:
    return Topic(name, frozenset(writers.split()), frozenset(readers.split()), sealed_with, keep_days, partitions)


CALL_LIFECYCLE: Final = _topic("call.lifecycle", "capture", "archive indexer console", Key.RECORD, 30)
CALL_AUDIO: Final = _topic("call.audio", "capture", "recogniser archive", Key.CAPTURE, 2)
TRANSCRIPT_RAW: Final = _topic("transcript.raw", "recogniser", "redaction", Key.CAPTURE, 2)
TRANSCRIPT_REDACTED: Final = _topic(
    "transcript.redacted", "redaction", "rules archive indexer console", Key.RECORD, 30
)
TRANSCRIPT_PARTIAL: Final = _topic("transcript.partial", "redaction", "console", Key.RECORD, 0.05)
FINDING: Final = _topic("finding", "rules", "alerts indexer console", Key.RECORD, 30)
ALERT: Final = _topic("alert", "alerts console", "indexer console", Key.RECORD, 30)
CALL_RECORDING: Final = _topic("call.recording", "archive", "indexer console", Key.RECORD, 30)
AUDIT: Final = _topic("audit", "audit", "auditors", None, 3650, partitions=1)

TOPICS: Final[tuple[Topic, ...]] = (
    CALL_LIFECYCLE,
    CALL_AUDIO,
    TRANSCRIPT_RAW,
    TRANSCRIPT_REDACTED,
    TRANSCRIPT_PARTIAL,
    FINDING,
    ALERT,
    CALL_RECORDING,
    AUDIT,
)
