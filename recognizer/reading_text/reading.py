"""One segment from words to what is read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from events.transcript import Word
from recognizer.reading_text.reading_token import ReadingToken, is_placeholder
from recognizer.reading_text.rule import Written
from recognizer.reading_text.sentence_features import (
    MARKS,
    capital_features,
    kind_of,
    mark_features,
    pause_class,
)
from recognizer.reading_text.sentence_model import SentenceModel, load_model
from recognizer.reading_text.written_form import written_form

_ENDS: Final = (".", "?")
LONGEST: Final = 2_000
"""Words that are looked at together; a longer segment is read in parts, so that time grows with its length only."""


def reading_tokens(words: Sequence[Word], model: SentenceModel | None = None) -> tuple[ReadingToken, ...]:
    """Return a segment's words as people read them.

    Parameters
    ----------
    words : sequence of Word
        Of one segment, raw or redacted. Times tell pauses.
    model : SentenceModel, optional
        Instead of the shipped one.

    Returns
    -------
    tuple of ReadingToken
        They tile `words`. Placeholders are unchanged. A segment that has marks or capitals already is returned word
        by word.
    """
    times = [(word.start_ms, word.end_ms) for word in words]
    return read_words([word.text for word in words], times, model)


def read_words(
    words: Sequence[str],
    times_ms: Sequence[tuple[float, float]] | None = None,
    model: SentenceModel | None = None,
) -> tuple[ReadingToken, ...]:
    """As :func:`reading_tokens`, on plain words with or without their (start, end) times."""
    if as_they_are(words):
        return unchanged(words)
    model = model or load_model()
    tokens: list[ReadingToken] = []
    for first in range(0, len(words), LONGEST):
        part = words[first : first + LONGEST]
        times = None if times_ms is None else times_ms[first : first + LONGEST]
        tokens += _read(part, times, model, first)
    return tuple(tokens)


def as_they_are(words: Sequence[str]) -> bool:
    """Whether a segment's words are shown as they came."""
    return any(not word for word in words) or is_formatted(words)


def unchanged(words: Sequence[str]) -> tuple[ReadingToken, ...]:
    """Return one token a word."""
    return tuple(ReadingToken(word, "", at, at + 1) for at, word in enumerate(words))


def is_formatted(words: Sequence[str]) -> bool:
    """Whether a segment has sentence marks or capitals: recognisers write neither, so somebody else has."""
    plain = [word for word in words if not is_placeholder(word)]
    return any(len(word) > 2 and word[-1] in ",.?!;:" and not _abbreviated(word) for word in plain) or any(
        sign.isupper() for word in plain for sign in word
    )


def _abbreviated(word: str) -> bool:
    return word in ("a.m.", "p.m.", "etc.", "vs.") or (len(word) == 2 and word[1] == ".")


def _read(
    words: Sequence[str], times: Sequence[tuple[float, float]] | None, model: SentenceModel, offset: int
) -> list[ReadingToken]:
    pieces = written_form(words)
    kinds = [kind_of(piece.text.rstrip(",")) for piece in pieces]
    pauses = _pauses(pieces, times)
    tokens: list[ReadingToken] = []
    sentence = clause = 0
    capital_before = False
    for at, piece in enumerate(pieces):
        text = piece.text
        begins = at == sentence
        if begins or always_capital(text):
            text = capitalised(text)
            capital_before = not begins and capital_before
        elif may_be_capital(text, kinds[at]):
            capital_before = is_capital(model, kinds, at, capital_before)
            text = capitalised(text) if capital_before else text
        mark = _mark(model, kinds, at, sentence, clause, pauses[at])
        if mark:
            clause = at + 1
        if mark in _ENDS:
            sentence = at + 1
        tokens.append(ReadingToken(text, mark, piece.first + offset, piece.last + offset))
    return tokens


def _mark(model: SentenceModel, kinds: Sequence[str], at: int, sentence: int, clause: int, pause: str) -> str:
    scores = model.marks.scores(mark_features(kinds, at, sentence, clause, pause))
    if pause == "end":
        scores[MARKS.index(",")] = -np.inf  # nothing follows that a comma could part from
    return MARKS[int(scores.argmax())]


def is_capital(model: SentenceModel, kinds: Sequence[str], at: int, capital_before: bool) -> bool:
    """Whether the word inside a sentence has a capital; looks at the words beside it."""
    no, yes = model.capitals.scores(capital_features(kinds, at, capital_before))
    return bool(yes > no)


def may_be_capital(text: str, kind: str) -> bool:
    """Whether the text is a word in small letters."""
    return text.islower() and text.isascii() and kind[0] != "<"


def _pauses(pieces: Sequence[Written], times: Sequence[tuple[float, float]] | None) -> list[str]:
    classes = []
    for piece in pieces[:-1]:
        silence = None if times is None else times[piece.last][0] - times[piece.last - 1][1]
        classes.append(pause_class(silence))
    return [*classes, "end"]


def always_capital(text: str) -> bool:
    """``i`` and what begins with it."""
    return text == "i" or text.startswith("i'")


def capitalised(text: str) -> str:
    """The first letter in upper case, unless it belongs to a figure, an address or a placeholder."""
    first = text[:1]
    if not first.islower() or not first.isascii() or "@" in text or "www." in text:
        return text
    return first.upper() + text[1:]
