"""Which stretches of a leg are hidden, given the spans of personal data that redaction found."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from dsp import bleep
from dsp.resample import TELEPHONE_RATE
from events.transcript import PiiSpan

_PER_MS = TELEPHONE_RATE // 1000


class BleepSound(StrEnum):
    TONE = "tone"
    SILENCE = "silence"


@dataclass(frozen=True, slots=True)
class BleepSettings:
    sound: BleepSound = BleepSound.TONE
    tone_hz: int = 1000
    tone_dbm0: float = -23.0
    edge_ms: int = 5
    """Raised-cosine fade at both ends of what is hidden, inside the margins."""
    before_ms: int = 120
    after_ms: int = 160
    """Hidden around every span, because word times are uncertain and a digit's end is as telling as its start."""
    join_ms: int = 250
    """What lies between two hidden stretches closer than this is hidden too."""
    all_legs: bool = False
    """Hide every span on all legs, for lines on which each party is heard on the other's leg."""

    def __post_init__(self) -> None:
        if not 0 <= self.edge_ms <= min(self.before_ms, self.after_ms):
            raise ValueError(
                "edge_ms of bleeps must not exceed before_ms and after_ms, or spans are heard fading."
            )
        if self.join_ms < 0:
            raise ValueError("join_ms of bleeps is zero or more.")
        bleep.tone(TELEPHONE_RATE, self.tone_hz, self.tone_dbm0)


class Bleeper:
    """Hides spans in 8 kHz int16 audio."""

    def __init__(self, settings: BleepSettings | None = None) -> None:
        self._settings = chosen = settings or BleepSettings()
        if chosen.sound is BleepSound.TONE:
            self._cover = bleep.tone(TELEPHONE_RATE, chosen.tone_hz, chosen.tone_dbm0)
        else:
            self._cover = bleep.silence()
        self._edge = bleep.raised_cosine(chosen.edge_ms * _PER_MS)

    def ranges(self, leg: int, spans: Iterable[PiiSpan]) -> bleep.Ranges:
        """Return what is hidden of `leg`, in 8 kHz samples of call time, margins included.

        A range may begin before sample 0 and end behind the call, so that a span at the very edge has its
        margin too and is not heard fading.
        """
        chosen = self._settings
        return bleep.merged(
            (
                ((span.start_ms - chosen.before_ms) * _PER_MS, (span.end_ms + chosen.after_ms) * _PER_MS)
                for span in spans
                if chosen.all_legs or span.leg == leg
            ),
            chosen.join_ms * _PER_MS,
        )

    def hide(self, samples: NDArray[np.int16], first_sample: int, ranges: bleep.Ranges) -> None:
        """Hide `ranges` in the stretch of a leg that starts at `first_sample`, in place."""
        bleep.hide(samples, ranges, self._cover, self._edge, first_sample)


def hidden_ms(ranges: Sequence[bleep.Ranges], samples: int) -> int:
    """Return the hidden time of all legs of a recording of `samples` samples, in milliseconds, rounded up."""
    hidden = sum(int(np.sum(np.diff(np.clip(of_leg, 0, samples), axis=1))) for of_leg in ranges)
    return -(-hidden // _PER_MS)
