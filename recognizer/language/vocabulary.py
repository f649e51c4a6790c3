"""Choose the words of a language model: the most probable ones that can be pronounced, and some always."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from itertools import chain

LETTERS = tuple("abcdefghijklmnopqrstuvwxyz")
_NUMBERS = """zero oh one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand million billion
first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth fifteenth
sixteenth seventeenth eighteenth nineteenth twentieth thirtieth double triple half quarter point percent
dollar dollars cent cents pound pounds pence"""
_ANSWERS = "yes yeah yep no nope okay ok right sure correct hello hi bye goodbye thanks please sorry"
_FILLERS = "uh um hmm mm mhm er ah oh huh"
ALWAYS = (*LETTERS, *_NUMBERS.split(), *_ANSWERS.split(), *_FILLERS.split())


def word_counts(lines: Iterable[str]) -> Counter[str]:
    """Count the words of a text."""
    return Counter(chain.from_iterable(line.split() for line in lines))


def chosen_words(
    counts: Mapping[str, Mapping[str, int]],
    weights: Mapping[str, float],
    pronounced: Collection[str],
    size: int,
    always: Iterable[str] = (),
) -> list[str]:
    """Return at most `size` words, and all of `always` besides, alphabetically.

    Parameters
    ----------
    counts : mapping of text name to mapping of word to count
    weights : mapping of text name to float
        How much a text's relative frequencies count; 1 for texts without one.
    pronounced : collection of str
        Words outside it are never chosen.
    size : int
    always : iterable of str
        Chosen however rare, if they can be pronounced; ``ALWAYS`` is added.
    """
    score: Counter[str] = Counter()
    for name, text in counts.items():
        share = weights.get(name, 1.0) / max(1, sum(text.values()))
        for word, count in text.items():
            if word in pronounced:
                score[word] += share * count  # type: ignore[assignment]
    best = sorted(score, key=lambda word: (-score[word], word))[:size]
    return sorted({*best, *(word for word in chain(always, ALWAYS) if word in pronounced)})
