"""What of a guess at the words being spoken is worth telling, and what of it may be relied on.

A guess is told at once when it has words that the last one told had not, for whoever reads along wants a word when it
was said; when only earlier words changed, it waits for its turn. A word is *stable* when it and all before it have
been the same for some time: the best path seldom changes its mind about what lies further back.
"""

from __future__ import annotations

from collections.abc import Sequence


class PartialWords:
    """The guesses at one utterance, one after the other.

    Parameters
    ----------
    every_ms : int
        Guesses that bring no more words than the last one told are told at most this often.
    stable_after_ms : int
        For so long has a stable word been where it is, and so have all words before it.
    frame_ms : int
        Length of a frame.

    Attributes
    ----------
    stable : int
        How many of the present guess's first words are stable.
    """

    def __init__(self, every_ms: int, stable_after_ms: int, frame_ms: int) -> None:
        self._every = every_ms / frame_ms
        self._stable_after = stable_after_ms / frame_ms
        self._words: list[int] = []
        self._since: list[int] = []
        """The frame from which on each word has been there, behind the same words."""
        self._told: tuple[int, ...] = ()
        self._told_stable = 0
        self._told_frame = 0
        self.stable = 0

    def changed(self, words: Sequence[int], frame: int) -> bool:
        """Take the guess after `frame` frames, as word ids; return whether it should be told now."""
        same = 0
        while same < min(len(words), len(self._words)) and words[same] == self._words[same]:
            same += 1
        del self._since[same:]
        self._since += [frame] * (len(words) - same)
        self._words = list(words)
        self.stable = sum(frame - since >= self._stable_after for since in self._since)
        if not words or (tuple(words) == self._told and self.stable == self._told_stable):
            return False
        if len(words) <= len(self._told) and frame - self._told_frame < self._every:
            return False
        self._told, self._told_stable, self._told_frame = tuple(words), self.stable, frame
        return True
