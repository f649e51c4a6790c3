"""Train the sentence model: ``python -m recognizer.reading_text.train --repositories DIR [--out FILE]``.

DIR holds clones of the repositories that ``training_text`` names. Pauses are not in printed text: they are drawn by
mark (`PAUSE_SHARES`, an assumption and not a measurement), and for a third of the utterances not told at all. A part
of the utterances is cut in the middle, as an endpoint does; figures and names are hidden at times, as redaction does.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from recognizer.reading_text.sentence_features import MARKS, PAUSES, capital_features, kind_of, mark_features
from recognizer.reading_text.sentence_model import MODEL_FILE, LinearModel, SentenceModel, save_model
from recognizer.reading_text.training_text import SOURCES, MarkedToken, TrainingTextError, marked_tokens, texts

PAUSE_SHARES: Final = {
    "": (0.90, 0.07, 0.025, 0.005),
    ",": (0.45, 0.35, 0.15, 0.05),
    ".": (0.15, 0.30, 0.35, 0.20),
    "?": (0.15, 0.30, 0.35, 0.20),
}
_SEED: Final = 7
_LEAST_COUNT: Final = 6
_MOST_FEATURES: Final = {"marks": 34_000, "capitals": 14_000}
_EPOCHS: Final = 6

Int32 = NDArray[np.int32]
Example = tuple[list[str], int]


def utterances(repositories: Path, held_out: bool) -> dict[str, list[list[MarkedToken]]]:
    """Return the usable utterances of every source."""
    return {
        source.name: [tokens for text in texts(source, repositories, held_out) if (tokens := marked_tokens(text))]
        for source in SOURCES
    }


def examples(tokens: Sequence[MarkedToken], draw: random.Random) -> tuple[list[Example], list[Example]]:
    """Return the examples of one utterance: for marks, and for capitals within sentences."""
    tokens = _hidden(tokens, draw)
    if draw.random() < 0.15 and len(tokens) > 4:
        tokens = tokens[: draw.randrange(2, len(tokens))]  # an endpoint within the sentence
    kinds = [kind_of(token.text) for token in tokens]
    told = draw.random() > 0.33
    marks: list[Example] = []
    capitals: list[Example] = []
    sentence = clause = 0
    capital_before = False
    for at, token in enumerate(tokens):
        end = at + 1 == len(tokens)
        pause = draw.choices(PAUSES[:4], PAUSE_SHARES[token.mark])[0] if told else "unknown"
        mark = "" if end and token.mark == "," else token.mark
        features = mark_features(kinds, at, sentence, clause, "end" if end else pause)
        marks.append((features, MARKS.index(mark)))
        if at != sentence and token.text.isascii() and kinds[at][0] != "<" and kinds[at].split("'")[0] != "i":
            capital = token.text[0].isupper()
            capitals.append((capital_features(kinds, at, capital_before), int(capital)))
            capital_before = capital
        if mark:
            clause = at + 1
        if mark in (".", "?"):
            sentence = at + 1
    return marks, capitals


def _hidden(tokens: Sequence[MarkedToken], draw: random.Random) -> list[MarkedToken]:
    """Hide some figures and some runs of capitals, each run as one placeholder."""
    out: list[MarkedToken] = []
    hide_figures, hide_names = draw.random() < 0.15, draw.random() < 0.15
    in_name = False
    for at, token in enumerate(tokens):
        name = (
            hide_names and at > 0 and token.text[0].isupper() and len(token.text) > 2 and not tokens[at - 1].mark
        )
        figure = hide_figures and any(sign.isdigit() for sign in token.text)
        if name and in_name:
            out[-1] = MarkedToken("[PERSON_NAME]", token.mark)
        else:
            out.append(MarkedToken("[PERSON_NAME]", token.mark) if name or figure else token)
        in_name = bool(name and not token.mark)
    return out


def fit(data: Sequence[Example], classes: int, most: int) -> LinearModel:
    """Fit a multinomial logistic regression by AdaGrad; keep the `most` features with the greatest weights."""
    counts = Counter(name for names, _ in data for name in names)
    known = {name: row for row, name in enumerate(sorted(n for n, c in counts.items() if c >= _LEAST_COUNT))}
    for round_ in range(2):
        rows = [[known[name] for name in names if name in known] for names, _ in data]
        starts = np.cumsum([0, *map(len, rows)]).astype(np.int64)
        flat = np.array([row for one in rows for row in one], np.int32)
        labels = np.array([label for _, label in data], np.int32)
        weights = np.zeros((len(known), classes), np.float32)
        order = np.random.default_rng(_SEED)
        squares = np.full_like(weights, 1e-8)
        for _ in range(_EPOCHS):
            _epoch(flat, starts, labels, order.permutation(len(labels)), weights, squares)
        if round_ == 0 and len(known) > most:
            # What is kept is fitted once more by itself: it takes over what the others said.
            frequent = np.array([counts[name] for name in known], np.float64)
            worth = np.abs(weights).max(axis=1) * np.sqrt(np.minimum(frequent, 2_000))
            kept = set(np.argsort(-worth)[:most].tolist())
            names = [name for name, row in known.items() if row in kept]
            known = {name: row for row, name in enumerate(names)}
        else:
            break
    return LinearModel(known, weights)


@njit(cache=True)
def _epoch(
    flat: Int32,
    starts: NDArray[np.int64],
    labels: Int32,
    order: NDArray[np.int64],
    weights: NDArray[np.float32],
    squares: NDArray[np.float32],
) -> None:
    """One pass of AdaGrad over the examples in `order`; `weights` and `squares` change."""
    classes = weights.shape[1]
    shares = np.empty(classes)
    for e in order:
        first, last = starts[e], starts[e + 1]
        highest = -1e30
        for c in range(classes):
            score = 0.0
            for k in range(first, last):
                score += weights[flat[k], c]
            shares[c] = score
            highest = max(highest, score)
        total = 0.0
        for c in range(classes):
            shares[c] = np.exp(shares[c] - highest)
            total += shares[c]
        for c in range(classes):
            slope = shares[c] / total - (1.0 if labels[e] == c else 0.0)
            for k in range(first, last):
                row = flat[k]
                step = slope + 2e-6 * weights[row, c]
                squares[row, c] += step * step
                weights[row, c] -= 0.1 * step / np.sqrt(squares[row, c])


def measure(model: SentenceModel, held_out: Iterable[Sequence[MarkedToken]]) -> dict[str, tuple[int, int, int]]:
    """Return right, told and true marks of each kind, and capitals, read greedily as in use.

    Without pauses inside (they would be drawn by the answer); the end of the utterance is known, as from an endpoint.
    Its closing mark counts only for questions: a full stop there is hardly a finding.
    """
    from recognizer.reading_text.reading import read_words  # the model may not exist when this module is loaded

    found = {name: [0, 0, 0] for name in (",", ".", "?", "capitals")}
    for tokens in held_out:
        words = [token.text if token.text[0].isdigit() else token.text.lower() for token in tokens]
        read = read_words(words, None, model)
        if len(read) != len(tokens):
            continue  # a rule wrote some words as one: what is measured here is marks
        begins = True
        for at, (true, token) in enumerate(zip(tokens, read, strict=True)):
            for name in (",", ".", "?"):
                if name == "." and at + 1 == len(tokens):
                    continue
                told, is_true = token.mark == name, true.mark == name
                _count(found[name], told, is_true)
            if not begins and kind_of(true.text)[0] != "<" and true.text.lower().split("'")[0] != "i":
                _count(found["capitals"], token.text[0].isupper(), true.text[0].isupper())
            begins = true.mark in (".", "?")
    return {name: (right, told, true) for name, (right, told, true) in found.items() if true or told}


def _count(counts: list[int], told: bool, true: bool) -> None:
    counts[0] += told and true
    counts[1] += told
    counts[2] += true


def f1(right: int, told: int, true: int) -> float:
    return 2 * right / (told + true) if told + true else 0.0


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m recognizer.reading_text.train", description=__doc__)
    parser.add_argument("--repositories", type=Path, required=True, metavar="DIR", help="clones, as owner/name")
    parser.add_argument("--out", type=Path, default=MODEL_FILE, metavar="FILE")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the figures to this file")
    given = parser.parse_args(arguments)
    console = Console(highlight=False)
    try:
        training = utterances(given.repositories, False)
        held_out = utterances(given.repositories, True)
    except TrainingTextError as error:
        Console(stderr=True).print(str(error), markup=False)
        return 2
    draw = random.Random(_SEED)
    marks: list[Example] = []
    capitals: list[Example] = []
    for name, own in training.items():
        for tokens in track(own, description=name, console=Console(stderr=True), transient=True):
            more_marks, more_capitals = examples(tokens, draw)
            marks += more_marks
            capitals += more_capitals
    console.print(f"{len(marks)} places, {len(capitals)} words inside sentences")
    model = SentenceModel(
        fit(marks, len(MARKS), _MOST_FEATURES["marks"]), fit(capitals, 2, _MOST_FEATURES["capitals"])
    )
    save_model(model, given.out)
    console.print(f"{given.out.name}: {given.out.stat().st_size / 1000:.0f} kB")
    report(model, held_out, given.json, console)
    return 0


def report(
    model: SentenceModel, held_out: dict[str, list[list[MarkedToken]]], out: Path | None, console: Console
) -> None:
    """Print precision, recall and F1 per held-out source, and write them as JSON."""
    table = Table(title="Held-out dialogues, no pauses known inside utterances: precision / recall / F1 %")
    names = (",", ".", "?", "capitals")
    for heading in ("source", "utterances", "commas", "full stops inside", "question marks", "capitals inside"):
        table.add_column(heading, justify="left" if heading == "source" else "right")
    figures = {}
    for source, own in held_out.items():
        counts = measure(model, own)
        cells = []
        for name in names:
            right, told, true = counts.get(name, (0, 0, 0))
            precision, recall = 100 * right / max(told, 1), 100 * right / max(true, 1)
            cells.append(f"{precision:.0f} / {recall:.0f} / {100 * f1(right, told, true):.1f}")
        figures[source] = {name: {"right": c[0], "told": c[1], "true": c[2]} for name, c in counts.items()}
        table.add_row(source, str(len(own)), *cells)
    console.print(table)
    if out is not None:
        out.write_text(json.dumps(figures, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    sys.exit(main())
