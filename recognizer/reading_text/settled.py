"""The beginning of an utterance that is being spoken, for reading: only what nothing that follows can change.

Marks wait for the final segment: they hang on pauses, and the times of words in a partial one are rough.
"""

from __future__ import annotations

from collections.abc import Sequence

from recognizer.reading_text.reading import (
    LONGEST,
    always_capital,
    as_they_are,
    capitalised,
    is_capital,
    may_be_capital,
    unchanged,
)
from recognizer.reading_text.reading_token import ReadingToken
from recognizer.reading_text.rule import Written
from recognizer.reading_text.sentence_features import kind_of
from recognizer.reading_text.sentence_model import SentenceModel, load_model
from recognizer.reading_text.written_form import settled_form


def settled_tokens(
    words: Sequence[str], stable: int, model: SentenceModel | None = None
) -> tuple[ReadingToken, ...]:
    """Return the settled beginning of a partial segment as people read it.

    Parameters
    ----------
    words : sequence of str
        Of the segment, raw or redacted.
    stable : int
        How many of the first ones will not change.
    model : SentenceModel, optional
        Instead of the shipped one.

    Returns
    -------
    tuple of ReadingToken
        They tile the first of the stable words and have no marks. When the stable words grow, these tokens stay and
        others follow. In the final segment they are the same, but for marks, and capitals where a sentence turns out to
        begin; unless a later word has capitals, marks or figures, for then nothing is rewritten at all.
    """
    if as_they_are(words):
        return unchanged(words[:stable])
    known = words[: min(stable, LONGEST)]
    return tuple(_settled(settled_form(known), model or load_model()))


def _settled(pieces: Sequence[Written], model: SentenceModel) -> list[ReadingToken]:
    kinds = [kind_of(piece.text.rstrip(",")) for piece in pieces]
    tokens: list[ReadingToken] = []
    # A capital hangs on the words beside it and on whether the word before has one, which is not known where a sentence
    # may begin: both is possible then, and a capital is settled that is one either way.
    before = {False}
    # The last piece's neighbour is not known.
    for at, piece in enumerate(pieces[:-1]):
        text = piece.text
        if at == 0 or always_capital(text):
            text = capitalised(text)
            before.add(False)
        elif may_be_capital(text, kinds[at]):
            found = {is_capital(model, kinds, at, capital) for capital in before}
            if found == {True}:
                text = capitalised(text)
            before = found | {False}
        else:
            before.add(False)
        tokens.append(ReadingToken(text, "", piece.first, piece.last))
    return tokens
