"""Words: what the recogniser heard, and what of it may be kept.

Times are integer milliseconds of call time. "Until now nothing was said" is known from `LegProgress` in the
transcript itself, never from a clock or another topic.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from events.identity import CallId, RecordId, Role


class SegmentStatus(StrEnum):
    PARTIAL = "partial"
    FINAL = "final"


class PiiKind(StrEnum):
    """Kinds of personal data; the placeholder in redacted text is the upper-case value in brackets."""

    CARD_NUMBER = "card_number"
    VERIFICATION_CODE = "verification_code"
    CARD_EXPIRY = "card_expiry"
    SSN = "ssn"
    PHONE_NUMBER = "phone_number"
    EMAIL_ADDRESS = "email_address"
    PERSON_NAME = "person_name"
    NUMBER = "number"
    """A run of digits that no finder could name, hidden because policy hides all probable numbers."""
    REGION = "region"
    """Everything around a request for sensitive data, hidden because policy says so."""

    @property
    def placeholder(self) -> str:
        return f"[{self.value.upper()}]"


@dataclass(frozen=True, slots=True)
class Word:
    """One word. `text` is lower case as recognised, or a placeholder like ``[CARD_NUMBER]``."""

    text: str
    start_ms: int
    end_ms: int
    confidence: float
    """Estimated probability that the word is right, in [0, 1]."""


@dataclass(frozen=True, slots=True)
class TranscriptSegment:
    """An utterance of one leg. `first_sample` (8 kHz, call timeline) names it: the sample after the last end."""

    id: RecordId
    call: CallId
    leg: int
    role: Role
    status: SegmentStatus
    first_sample: int
    start_ms: int
    end_ms: int
    words: tuple[Word, ...]
    revision: int = 0
    """Counts the partial versions of one utterance; a final segment has the highest."""
    stable_words: int = 0
    """How many of a partial segment's first words will hardly change any more; 0 in final segments."""


@dataclass(frozen=True, slots=True)
class LegProgress:
    """The leg is recognised (or redacted) up to this call time, also where it was silent."""

    call: CallId
    leg: int
    role: Role
    up_to_ms: int


@dataclass(frozen=True, slots=True)
class LegTranscriptEnded:
    call: CallId
    leg: int
    role: Role
    end_ms: int


@dataclass(frozen=True, slots=True)
class CallTranscriptEnded:
    """Every leg in `legs` has had its `LegTranscriptEnded`; nothing of this call follows in this topic."""

    call: CallId
    legs: tuple[int, ...]
    end_ms: int


@dataclass(frozen=True, slots=True)
class PiiSpan:
    """Personal data in time, never in text. The same span is hidden in words and in sound."""

    kind: PiiKind
    leg: int
    start_ms: int
    end_ms: int
    score: float
    finder: str


@dataclass(frozen=True, slots=True)
class RedactedSegment:
    """A segment with typed placeholders instead of values; same id, times and leg as its source.

    `words` holds one placeholder word where a run of words was hidden. `spans` may reach beyond the words
    (policy hides a region), and always cover every hidden word.
    """

    id: RecordId
    call: CallId
    leg: int
    role: Role
    status: SegmentStatus
    first_sample: int
    start_ms: int
    end_ms: int
    words: tuple[Word, ...]
    spans: tuple[PiiSpan, ...] = ()
    revision: int = 0
    stable_words: int = 0
    """As its source's, counted in the words shown here."""

    @property
    def text(self) -> str:
        return " ".join(word.text for word in self.words)


RawTranscriptRecord = TranscriptSegment | LegProgress | LegTranscriptEnded | CallTranscriptEnded
RedactedTranscriptRecord = RedactedSegment | LegProgress | LegTranscriptEnded | CallTranscriptEnded
