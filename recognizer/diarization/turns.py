"""A turn: one speaker, from when until when."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Turn:
    """One speaker speaks without a longer pause.

    Attributes
    ----------
    speaker : int
        0 is who speaks first in the recording.
    start_s, end_s : float
    """

    speaker: int
    start_s: float
    end_s: float
