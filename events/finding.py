"""What a rule found, the alert it raised, and who answered. Offsets and reasons, never transcript text."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from events.identity import CallId, RecordId, Role


class Severity(StrEnum):
    INFO = "info"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class FindingKind(StrEnum):
    SAID = "said"
    """Something was said that the rule looks for."""
    MISSING = "missing"
    """Something required was not said in time."""


@dataclass(frozen=True, slots=True)
class FindingSpan:
    """Where in the call: words of one segment."""

    leg: int
    segment: RecordId
    start_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True)
class Finding:
    """`why` names the rule's own phrases and deadlines, so that it can be read without the transcript."""

    id: RecordId
    call: CallId
    rule: str
    rule_title: str
    rulebook: str
    rulebook_version: str
    kind: FindingKind
    severity: Severity
    role: Role | None
    at_ms: int
    """Call time: start of the first span, or the deadline that passed."""
    spans: tuple[FindingSpan, ...]
    why: str
    alert: bool
    """The rule asks for a live alert."""


@dataclass(frozen=True, slots=True)
class Alert:
    id: RecordId
    call: CallId
    finding: RecordId
    rule: str
    title: str
    severity: Severity
    at_ms: int
    """Call time of the finding."""
    raised_at_ms: int
    """UTC epoch milliseconds."""
    why: str


@dataclass(frozen=True, slots=True)
class AlertAnswered:
    """A supervisor acknowledged an alert; the first answer stands."""

    id: RecordId
    alert: RecordId
    call: CallId
    by: str
    at_ms: int
    """UTC epoch milliseconds."""


@dataclass(frozen=True, slots=True)
class AlertDelivered:
    """How the delivery of an alert to a channel ended, after all retries."""

    id: RecordId
    alert: RecordId
    call: CallId
    channel: str
    delivered: bool
    attempts: int
    at_ms: int
    """UTC epoch milliseconds."""
    reason: str = ""
