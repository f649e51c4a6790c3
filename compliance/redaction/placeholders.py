"""Redacted words out of raw words and hits, by Presidio's anonymizer."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from compliance.redaction.spans import Hit
from events.transcript import PiiKind, Word

if TYPE_CHECKING:
    from presidio_anonymizer import AnonymizerEngine


@cache
def _engine() -> tuple[AnonymizerEngine, dict[str, Any]]:
    # Imported with the first segment that holds something: it costs seconds, and only the redacting stage pays.
    from presidio_anonymizer import AnonymizerEngine
    from presidio_anonymizer.entities import OperatorConfig

    # At debug level the library writes what it found; log lines never hold transcript text.
    logging.getLogger("presidio-anonymizer").setLevel(logging.WARNING)
    operators = {kind.value: OperatorConfig("replace", {"new_value": kind.placeholder}) for kind in PiiKind}
    return AnonymizerEngine(), operators


def redacted_words(words: Sequence[Word], hidden: Mapping[int, Hit]) -> tuple[Word, ...]:
    """Replace each run of hidden words of one kind by one placeholder word that covers its time.

    Parameters
    ----------
    words
        A segment's raw words.
    hidden
        Index in `words` -> the hit that hides it.
    """
    if not hidden:
        return tuple(words)
    from presidio_anonymizer.entities import RecognizerResult

    starts: list[int] = []
    at = 0
    for word in words:
        starts.append(at)
        at += len(word.text) + 1
    text = " ".join(word.text for word in words)
    runs = hidden_runs(hidden)
    results = [
        RecognizerResult(kind.value, starts[first], starts[last] + len(words[last].text), 1.0)
        for kind, first, last in runs
    ]
    engine, operators = _engine()
    anonymized = engine.anonymize(text, results, operators, merge_entities_with_spaces=False)
    made: list[Word] = []
    index = 0
    for kind, first, last in runs:
        made.extend(words[index:first])
        covered = words[first : last + 1]
        made.append(
            Word(
                kind.placeholder,
                covered[0].start_ms,
                max(word.end_ms for word in covered),
                sum(word.confidence for word in covered) / len(covered),
            )
        )
        index = last + 1
    made.extend(words[index:])
    if anonymized.text != " ".join(word.text for word in made):
        raise RuntimeError("The anonymizer's text and the redacted words of a segment differ.")
    return tuple(made)


def hidden_runs(hidden: Mapping[int, Hit]) -> list[tuple[PiiKind, int, int]]:
    """Return (kind, first, last) of each run of neighbouring hidden words of one kind."""
    runs: list[tuple[PiiKind, int, int]] = []
    for index in sorted(hidden):
        kind = hidden[index].kind
        if runs and runs[-1][0] is kind and runs[-1][2] == index - 1:
            runs[-1] = (kind, runs[-1][1], index)
        else:
            runs.append((kind, index, index))
    return runs
