"""What a site decides about redaction."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from events.transcript import PiiKind


class Strength(StrEnum):
    VALUES = "values"
    """Hide values that a finder can name, and runs of nine digits and more."""
    PROBABLE_NUMBERS = "probable_numbers"
    """Hide every run of `probable_digits` digits read out, whatever it is. The default: what stays unnamed because
    a question was not recognised stays hidden."""
    REGION = "region"
    """Hide also every word between a request and the end of its answer."""


@dataclass(frozen=True, slots=True)
class RedactionSettings:
    strength: Strength = Strength.PROBABLE_NUMBERS
    kinds: tuple[PiiKind, ...] = tuple(PiiKind)
    """Kinds to hide. Card numbers and verification codes are hidden whatever this says (PCI DSS 3.3.1, 3.5.1)."""
    keep_agent_names: bool = True
    """Keep the name with which a verified agent leg introduces itself."""
    hold_back_ms: int = 4_000
    """How long after the last digit a segment waits for more of the same number."""
    link_ms: int = 8_000
    """A number goes on after a pause of at most this, also over the other party's words."""
    context_ms: int = 45_000
    """How long a request gives meaning to digits that follow."""
    probable_digits: int = 4
    least_score: float = 0.35
    """Results of pattern recognisers below this are ignored."""
    window_ms: int = 120_000
    """How much of the past is read again with each segment."""
    partial_stale_ms: int = 5_000
    """Partial segments older than this when they are read are dropped: a replay is no live view."""

    def __post_init__(self) -> None:
        if not 0 < self.hold_back_ms <= self.link_ms <= self.context_ms <= self.window_ms:
            raise ValueError(
                "Redaction needs 0 < hold_back_ms <= link_ms <= context_ms <= window_ms, because each reaches "
                "further back than the one before it."
            )
        if self.probable_digits < 2:
            raise ValueError("A probable number has at least two digits, so probable_digits is 2 or more.")
        if not 0 <= self.least_score <= 1:
            raise ValueError("A score lies between 0 and 1, so least_score does too.")

    def hides(self, kind: PiiKind) -> bool:
        return kind in self.kinds or kind in (PiiKind.CARD_NUMBER, PiiKind.VERIFICATION_CODE)
