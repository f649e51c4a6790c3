"""How sure a word error rate is: bootstrap over speakers, or over utterances where speakers are too few to tell.

Utterances of one speaker err alike, so resampling them alone would make the interval too narrow (M. Bisani, H. Ney:
"Bootstrap estimates for confidence intervals in ASR performance evaluation", ICASSP 2004).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recognizer.evaluation.measurement import Outcome

DRAWS: Final = 2000
LEAST_SPEAKERS: Final = 5
_SEED: Final = 20_260_101
Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """The middle 95 % of the resampled figure.

    Attributes
    ----------
    low, high : float
        Errors per word, or their difference.
    over : str
        ``speakers`` or ``utterances``: what was drawn with replacement.
    """

    low: float
    high: float
    over: str


def wer_interval(outcomes: Sequence[Outcome]) -> Interval | None:
    """Return the interval of the word error rate; None where there are no words."""
    if not sum(outcome.errors.words for outcome in outcomes):
        return None
    groups, over = _groups(outcomes)
    errors, words = (_totals(groups, outcomes, name) for name in ("errors", "words"))
    rates = _rates(errors, words, _draws(len(errors)))
    return Interval(float(np.quantile(rates, 0.025)), float(np.quantile(rates, 0.975)), over)


def difference_interval(ours: Sequence[Outcome], theirs: Sequence[Outcome]) -> Interval | None:
    """Return the interval of our word error rate minus theirs, on the same recordings drawn for both.

    None where the two did not hear the same recordings, or there are no words.
    """
    if [outcome.said for outcome in ours] != [outcome.said for outcome in theirs]:
        return None
    if not sum(outcome.errors.words for outcome in ours):
        return None
    groups, over = _groups(ours)
    draws = _draws(int(groups.max()) + 1)
    words = _totals(groups, ours, "words")
    rates = [_rates(_totals(groups, side, "errors"), words, draws) for side in (ours, theirs)]
    gaps = rates[0] - rates[1]
    return Interval(float(np.quantile(gaps, 0.025)), float(np.quantile(gaps, 0.975)), over)


def _groups(outcomes: Sequence[Outcome]) -> tuple[NDArray[np.int64], str]:
    """Return which group each outcome belongs to, and what the groups are."""
    speakers: dict[str, int] = {}
    groups = [speakers.setdefault(outcome.speaker, len(speakers)) for outcome in outcomes]
    if "" in speakers or len(speakers) < LEAST_SPEAKERS:
        return np.arange(len(outcomes)), "utterances"
    return np.array(groups), "speakers"


def _totals(groups: NDArray[np.int64], outcomes: Sequence[Outcome], name: str) -> Float64:
    counts = np.array([getattr(outcome.errors, name) for outcome in outcomes], np.float64)
    return np.asarray(np.bincount(groups, counts), np.float64)


def _draws(groups: int) -> NDArray[np.int64]:
    """Return int64[DRAWS, groups]: how often each group is drawn; the same every time."""
    return np.random.default_rng(_SEED).multinomial(groups, np.full(groups, 1 / groups), DRAWS)


def _rates(errors: Float64, words: Float64, draws: NDArray[np.int64]) -> Float64:
    return np.asarray((draws @ errors) / np.maximum(draws @ words, 1.0))
