"""How the words of a vocabulary are said: from the dictionary, letter by letter, as numbers, else guessed.

A word that is not in the dictionary and is written in capitals, has full stops between its letters, or cannot be
said otherwise, is spelled; one in capitals may be said as a word too (``ISA``). Digits are read one by one, and up to
ninety-nine as a number, four of them also in pairs. Parts of a word with a hyphen or ``&`` are said one by one.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Container, Iterable, Mapping, Sequence
from itertools import islice, product

from recognizer.grapheme_to_phoneme import GraphemeToPhoneme, unaccented
from recognizer.lexicon import Lexicon
from recognizer.vocabulary import VocabularyEntry
from recognizer.vocabulary_graft import SpokenPhrase

Phones = tuple[str, ...]

MOST_WAYS = 6
_GUESSES = 3
_LEAST_SHARE = 0.15
"""A guess that is this much less likely than the best one is left out."""
_PARTS = re.compile(r"\d+|[^\W\d_]+(?:'[^\W\d_]+)*'?|&")
_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_TEENS = (
    "ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
_TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_SPELLABLE = 6
_LETTER_A = ("EY",)
_MOST_RULE_WORDS = 12
_MOST_RULE_PHRASES = 64


class Pronouncer:
    """Says words.

    Parameters
    ----------
    lexicon : mapping of str to pronunciations
    guesser : GraphemeToPhoneme
    """

    def __init__(self, lexicon: Lexicon, guesser: GraphemeToPhoneme) -> None:
        self._lexicon, self._guesser = lexicon, guesser

    def ways(self, written: str) -> tuple[Phones, ...]:
        """Return the ways to say one word, the usual one first; none for a word that nobody here can say."""
        known = tuple(self._lexicon.get(written.lower(), ()))
        if known:
            capitals = 1 < len(written) <= _SPELLABLE and written.isalpha() and written.isupper()
            return tuple(dict.fromkeys((*known, *self._spelled(written)))) if capitals else known
        parts = _PARTS.findall(written)
        initials = "." in written and all(len(part) == 1 for part in parts)
        capitals = written.isupper() and len(written) <= _SPELLABLE
        said = [self._part(part, capitals, initials) for part in parts]
        ways = (tuple(phone for one in way for phone in one) for way in product(*said))
        return tuple(dict.fromkeys(way for way in islice(ways, 64) if way))[:MOST_WAYS]

    def _part(self, part: str, capitals: bool, initials: bool) -> list[Phones]:
        if part.isdigit():
            return self._number(part)
        if part == "&":
            return list(self._lexicon.get("and", ()))[:1]
        known = list(self._lexicon.get(part.lower(), ()))
        if len(part) == 1 or initials:
            return self._spelled(part) or known
        spelled = self._spelled(part) if capitals else []
        if known:
            return spelled + known
        guesses = self._guesser.pronounce(part, _GUESSES)
        said = [one.phones for one in guesses if one.probability >= _LEAST_SHARE * guesses[0].probability]
        if not any(c in "aeiouy" for c in unaccented(part)):
            return self._spelled(part) or said
        return spelled + said or self._spelled(part)

    def _spelled(self, letters: str) -> list[Phones]:
        said: list[list[Phones]] = []
        for letter in unaccented(letters):
            if letter == "'":
                continue
            # "a." is the letter's name in CMUdict, "a" the article.
            ways = self._lexicon.get(f"{letter}.") or self._lexicon.get(letter)
            if letter == "a" and ways and _LETTER_A in ways:
                ways = (_LETTER_A,)
            if not ways:
                return []
            said.append(list(ways)[:1])
        return [tuple(phone for one in way for phone in one) for way in product(*said)] if said else []

    def _number(self, digits: str) -> list[Phones]:
        readings = [[_DIGITS[int(d)] for d in digits]]
        if "0" in digits:
            readings.append(["oh" if d == "0" else _DIGITS[int(d)] for d in digits])
        if len(digits) == 2 and digits[0] != "0":
            readings.insert(0, _below_hundred(digits))
        if len(digits) == 4 and digits[0] != "0" and digits[2] != "0":
            readings.insert(0, _below_hundred(digits[:2]) + _below_hundred(digits[2:]))
        said = []
        for reading in readings:
            ways = [self._lexicon.get(word) for word in reading]
            if all(ways):
                said.append(tuple(phone for way in ways if way for phone in way[0]))
        return said


def _below_hundred(digits: str) -> list[str]:
    tens, ones = int(digits[0]), int(digits[1])
    if tens == 1:
        return [_TEENS[ones]]
    return [_TENS[tens], _DIGITS[ones]] if ones else [_TENS[tens]]


def spoken_entry(
    entry: VocabularyEntry, pronouncer: Pronouncer, label: Mapping[str, int], in_graph: Container[str]
) -> list[SpokenPhrase]:
    """Return the phrases that an entry puts into the graph: itself, and alone each of its words that is new there.

    None if a word of it cannot be said, or a pronunciation has a phone that the acoustic model lacks.
    """
    ways: list[tuple[Phones, ...]] = []
    for i, word in enumerate(entry.text.split()):
        given = tuple(way[i] for way in entry.pronunciations)
        # What somebody took the trouble to write down replaces guesses, but not what the graph has.
        usual = pronouncer.ways(word) if not given or word.lower() in in_graph else ()
        ways.append(tuple(dict.fromkeys((*usual, *given))))
    if not all(ways) or not all(phone in label for said in ways for way in said for phone in way):
        return []
    labels = tuple(tuple(tuple(label[phone] for phone in way) for way in said) for said in ways)
    phrases = [SpokenPhrase(entry.words, labels, entry.boost)]
    if len(labels) > 1:
        new = [i for i, word in enumerate(entry.words) if word not in in_graph]
        phrases += [SpokenPhrase((entry.words[i],), (labels[i],), 0.0) for i in new]
    return phrases


def rule_phrases(
    sequences: Iterable[Sequence[str]], words: Sequence[str], is_said: Iterable[str]
) -> list[tuple[str, ...]]:
    """Return the word sequences that rulebooks look for, from their patterns.

    Parameters
    ----------
    sequences : iterable of sequences of patterns
        A word, the beginning of one with ``*`` behind it, ``*`` for any word, or a placeholder in brackets.
        Placeholders and any words part a sequence.
    words : sequence of str
        Of the graph.
    is_said : iterable of str
        Those of them that have pronunciations.
    """
    said = sorted(set(words) & set(is_said))
    found: dict[tuple[str, ...], None] = {}
    for sequence in sequences:
        run: list[list[str]] = []
        for pattern in (*sequence, "*"):
            if pattern == "*" or pattern.startswith("["):
                for phrase in islice(product(*run), _MOST_RULE_PHRASES) if run else ():
                    found[phrase] = None
                run = []
            elif pattern.endswith("*"):
                run.append(_beginning_with(pattern[:-1], said))
            else:
                run.append([pattern])
    return list(found)


def _beginning_with(beginning: str, ordered: Sequence[str]) -> list[str]:
    """The shortest words that begin so, the beginning itself among them if it is a word."""
    here = bisect_left(ordered, beginning)
    found = []
    while here < len(ordered) and ordered[here].startswith(beginning):
        if "." not in ordered[here]:
            found.append(ordered[here])
        here += 1
    return sorted(found, key=lambda word: (len(word), word))[:_MOST_RULE_WORDS]
