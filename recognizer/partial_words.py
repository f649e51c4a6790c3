"""What of a guess at the words being spoken is worth telling, and what of it may be relied on.

A guess is told at once when it has more words than the last one told, for whoever reads along wants a word when it was
said; when only earlier words changed, it waits for its turn.

A word is *stable* when it and all before it are on every path that is nearly as good as the best one, or have been
the same for some time. Measured on the development speakers (24 minutes, simulated telephone speech): of 2,985 prefixes
called stable so, 0.5 % were not the final segment's, and half of the words were called so within 0.36 s of their first
appearance. Paths alone with a margin of 8 were never wrong and take 0.48 s; time alone needs 0.72 s for 0.7 %.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class PartialSettings:
    """When partial utterances are told, and which of their words are called stable.

    Attributes
    ----------
    first_ms : int
        An utterance is at least so long when the first guess at it is told: of less the search knows little.
    every_ms : int
        Guesses that bring no more words than the last one told are told at most this often.
    stable_margin : float
        Words on which all paths agree that cost at most so much more than the best are stable.
    stable_after_ms : int
        And those that have not changed for so long.
    """

    first_ms: int = 180
    every_ms: int = 300
    stable_margin: float = 6.0
    stable_after_ms: int = 900

    def __post_init__(self) -> None:
        if self.first_ms < 0 or self.every_ms <= 0 or self.stable_after_ms <= 0:
            raise ValueError("The times of partial utterances must be positive.")
        if not (self.stable_margin >= 0 and math.isfinite(self.stable_margin)):
            raise ValueError("The margin of stable words must be a finite cost that is not negative.")


class PartialWords:
    """The guesses at one utterance, one after the other.

    Parameters
    ----------
    settings : PartialSettings
    frame_ms : int
        Length of a frame.

    Attributes
    ----------
    stable : int
        How many of the present guess's first words are stable.
    """

    def __init__(self, settings: PartialSettings, frame_ms: int) -> None:
        self._first = settings.first_ms / frame_ms
        self._every = settings.every_ms / frame_ms
        self._stable_after = settings.stable_after_ms / frame_ms
        self._words: tuple[int, ...] = ()
        self._since: list[int] = []
        """The frame from which on each word has been there, behind the same words."""
        self._told: tuple[int, ...] = ()
        self._told_stable = 0
        self._told_frame = 0
        self.stable = 0

    def changed(self, words: Sequence[int], agreed: int, frame: int) -> bool:
        """Take the guess after `frame` frames; return whether it should be told now.

        Parameters
        ----------
        words : sequence of int
            Ids of its words.
        agreed : int
            On how many of them, from the first on, all good paths agree.
        """
        same = 0
        while same < min(len(words), len(self._words)) and words[same] == self._words[same]:
            same += 1
        # What was once called stable is not taken back while it is there.
        kept = self.stable if same >= self.stable else same
        del self._since[same:]
        self._since += [frame] * (len(words) - same)
        self._words = tuple(words)
        old = sum(frame - since >= self._stable_after for since in self._since)
        self.stable = min(len(words), max(agreed, old, kept))
        if not words or frame < self._first or (self._words == self._told and self.stable == self._told_stable):
            return False
        if len(words) <= len(self._told) and frame - self._told_frame < self._every:
            return False
        self._told, self._told_stable, self._told_frame = self._words, self.stable, frame
        return True
