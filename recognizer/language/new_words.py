"""Words of the texts that the dictionary lacks, and how they are said.

A British spelling is said as the American one that the dictionary has, a possessive as its noun and a sibilant, any
other word as the model of letters and phones says it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping

from recognizer.grapheme_to_phoneme import GraphemeToPhoneme
from recognizer.lexicon import Lexicon

Phones = tuple[str, ...]
_RESPELLED = tuple(
    (re.compile(british), american)
    for british, american in (
        ("our", "or"), ("is(?=e|ing|ation|able)", "iz"), ("yse", "yze"), ("lled$", "led"), ("lling$", "ling"),
        ("ller$", "ler"), ("ence$", "ense"), ("tre$", "ter"), ("ae", "e"), ("oe", "e"), ("^grey", "gray"),
        ("ogue$", "og"), ("xion$", "ction"),
    )
)  # fmt: skip
_ROMAN = re.compile(r"(?=[ivxlc]{2,})(?:xc|xl|l?x{0,3})(?:ix|iv|v?i{0,3})$")
_SHORTEST = 3
_HISSING = frozenset({"S", "Z", "SH", "ZH", "CH", "JH"})
_VOICELESS = frozenset({"P", "T", "K", "F", "TH"})
_LEAST_PROBABLE = 0.3


def is_wordlike(word: str) -> bool:
    """Whether letters look like an English word: not a Roman numeral, has a vowel, nothing three times in a row."""
    return (
        len(word) >= _SHORTEST
        and not _ROMAN.fullmatch(word)
        and re.search("[aeiouy]", word) is not None
        and re.search(r"(.)\1\1", word) is None
        and re.fullmatch("[a-z]+(?:'[a-z]+)?", word) is not None
    )


def missing_words(
    counts: Mapping[str, Mapping[str, int]], known: Collection[str], most: int, least: int = 3
) -> list[str]:
    """Return the words of several texts that are not `known`, the most frequent (mean relative frequency) first.

    Parameters
    ----------
    counts : mapping of text name to mapping of word to count
    known : collection of str
    most : int
        How many to return.
    least : int
        Fewest occurrences in all texts together.
    """
    score: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for text in counts.values():
        running = max(1, sum(text.values()))
        for word, count in text.items():
            if word not in known:
                score[word] += count / running  # type: ignore[assignment]
                total[word] += count
    good = [word for word in score if total[word] >= least and is_wordlike(word)]
    return sorted(good, key=lambda word: (-score[word], word))[:most]


def pronunciations(word: str, lexicon: Lexicon, letters: GraphemeToPhoneme) -> list[Phones]:
    """Return the ways to say a word that the dictionary lacks, the likeliest first; none if it cannot be said."""
    for british, american in _RESPELLED:
        respelled = british.sub(american, word)
        if respelled != word and respelled in lexicon:
            return list(lexicon[respelled])
    noun = word.removesuffix("'s")
    if noun != word:
        return [(*phones, *_sibilant(phones[-1])) for phones in lexicon.get(noun) or _said(noun, letters)]
    return _said(word, letters)


def _said(word: str, letters: GraphemeToPhoneme) -> list[Phones]:
    found = letters.pronounce(word, 2)
    return [
        one.phones for i, one in enumerate(found) if one.phones and (i == 0 or one.probability > _LEAST_PROBABLE)
    ]


def _sibilant(last: str) -> Phones:
    return ("AH", "Z") if last in _HISSING else ("S",) if last in _VOICELESS else ("Z",)
