"""Where the errors are: by length of utterance, in runs of deletions, and in the words that decide a call."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from recognizer.evaluation.measurement import Outcome
from recognizer.evaluation.word_errors import WordErrors

LENGTHS: Final = ((1, 2), (3, 5), (6, 10), (11, 20), (21, 10**9))
"""Words said, from and to."""

RUN_LENGTHS: Final = ((1, 1), (2, 2), (3, 4), (5, 9), (10, 10**9))
"""Consecutive deletions, from and to: long runs are stretches of speech that were lost, not misheard."""

DECIDING: Final = {
    "yes": frozenset({"yes", "yeah", "yep"}),
    "okay": frozenset({"okay", "ok"}),
    "no": frozenset({"no", "nope"}),
    "digits": frozenset(["zero", "oh", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]),
}
"""Words that stand for each other within one class count as recognised, digits only as themselves."""


@dataclass(frozen=True)
class Recall:
    """How many of a class's words that were said came out, and how many that came out were said."""

    said: int
    found: int
    told: int

    @property
    def recall(self) -> float | None:
        return self.found / self.said if self.said else None

    @property
    def precision(self) -> float | None:
        return self.found / self.told if self.told else None


def range_name(bounds: tuple[int, int]) -> str:
    """``3-5``, ``1``, or ``21+`` where there is no end."""
    first, last = bounds
    return f"{first}+" if last >= 10**9 else str(first) if first == last else f"{first}-{last}"


def errors_by_length(outcomes: Iterable[Outcome]) -> dict[str, tuple[int, WordErrors]]:
    """Return recordings and errors per range of words said; ranges that nothing falls into are left out."""
    found: dict[str, tuple[int, WordErrors]] = {}
    by_range = {bounds: (0, WordErrors()) for bounds in LENGTHS}
    for outcome in outcomes:
        for bounds in LENGTHS:
            if bounds[0] <= len(outcome.said) <= bounds[1]:
                count, errors = by_range[bounds]
                by_range[bounds] = count + 1, errors + outcome.errors
    for bounds, (count, errors) in by_range.items():
        if count:
            found[range_name(bounds)] = count, errors
    return found


def deletion_runs(outcomes: Iterable[Outcome]) -> Counter[int]:
    """Return how many runs of how many consecutive deletions there are."""
    runs: Counter[int] = Counter()
    for outcome in outcomes:
        lost = [j < 0 for _, j in outcome.edits.tolist()]
        runs.update(len(list(group)) for deleted, group in groupby(lost) if deleted)
    return runs


def deletion_histogram(runs: Counter[int]) -> dict[str, tuple[int, int]]:
    """Return runs, and words in them, per range of lengths."""
    return {
        range_name((first, last)): (
            sum(count for length, count in runs.items() if first <= length <= last),
            sum(length * count for length, count in runs.items() if first <= length <= last),
        )
        for first, last in RUN_LENGTHS
    }


def recall_of(outcomes: Sequence[Outcome]) -> dict[str, Recall]:
    """Return the recall of every class of `DECIDING`."""
    return {name: _recall(outcomes, words, name == "digits") for name, words in DECIDING.items()}


def _recall(outcomes: Sequence[Outcome], words: frozenset[str], exact: bool) -> Recall:
    said = found = told = 0
    for outcome in outcomes:
        said += sum(word in words for word in outcome.said)
        told += sum(word in words for word in outcome.recognised)
        for i, j in outcome.edits.tolist():
            if i >= 0 and j >= 0 and outcome.said[i] in words and outcome.recognised[j] in words:
                found += not exact or outcome.said[i] == outcome.recognised[j]
    return Recall(said, found, told)
