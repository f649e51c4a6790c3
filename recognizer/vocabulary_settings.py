"""How words of a vocabulary are weighed."""

from __future__ import annotations

import math
from dataclasses import dataclass, field


@dataclass(frozen=True)
class GraftSettings:
    """What phrases cost.

    Attributes
    ----------
    new_word_cost : float
        Of a word that the language model lacks, in place of its negative log probability after backing off.
    least_cost : float
        No bonus makes a phrase cheaper than this.
    common_cost : float
        Words that the language model has as cheaper are common.
    unknown_cost : float
        Of going through a loop of phones instead of words, told as ``<unk>``; 0 leaves it out.
    """

    new_word_cost: float = 10.0
    least_cost: float = 0.5
    common_cost: float = 7.0
    unknown_cost: float = 0.0

    def __post_init__(self) -> None:
        if not (0 <= self.least_cost <= self.new_word_cost and math.isfinite(self.new_word_cost)):
            raise ValueError("The cost of a new word must be finite and not less than the least cost of a phrase.")


@dataclass(frozen=True)
class VocabularySettings:
    """How words of a vocabulary are weighed.

    Attributes
    ----------
    rulebook_boost : float
        Of the phrases that the active rulebooks look for (natural logarithm); 0 leaves them out.
    graft : GraftSettings
    """

    rulebook_boost: float = 1.0
    graft: GraftSettings = field(default_factory=GraftSettings)

    def __post_init__(self) -> None:
        if not 0 <= self.rulebook_boost <= 5:
            raise ValueError("The boost of rulebooks' phrases must lie between 0 and 5.")
