"""Words of which more will follow: who asks for one that was not said yet, cannot decide yet."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import overload


class NotSaidYet(Exception):
    """A decision depends on a word that will be said later, if at all."""


class OpenEnd(Sequence[str]):
    """The first words of an utterance that goes on.

    A rule that comes to a result on them comes to the same one whatever is said next, for it looked at nothing else:
    a word behind the known ones, or whether there is one, cannot be had.

    Parameters
    ----------
    words : sequence of str
        Those that are known.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self._words = words

    def __len__(self) -> int:
        return sys.maxsize

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[str]: ...
    def __getitem__(self, at: int | slice) -> str | Sequence[str]:
        """Return known words. Raises NotSaidYet for others."""
        last = at if isinstance(at, int) else at.stop - 1
        if last >= len(self._words):
            raise NotSaidYet
        return self._words[at]
