"""How well the pack's language models foretell held-out text: perplexity, and words outside the vocabulary.

Run as ``python -m tests.bench.bench_perplexity``; prints a table and writes build/bench/perplexity.json. The texts
are what is said in the sets of :mod:`tests.bench.speech_sets`, and every ``*.txt`` (a sentence per line, as
spoken) of the folder in ``CALLWARDEN_HELD_OUT_TEXTS``. Perplexity is per word and sentence end, words outside the
vocabulary left out.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from recognizer.evaluation.test_set import read_test_set
from recognizer.evaluation.word_errors import normalised_words
from recognizer.language.arpa_file import read_arpa
from recognizer.language.backoff_model import BackoffModel
from recognizer.language.compact_model import unpacked
from recognizer.language.ngram_counts import numbered_text, word_numbers
from recognizer.language.perplexity import perplexity
from recognizer.model_pack import DEFAULT_PACK, read_manifest
from tests.bench import machine
from tests.bench.speech_sets import tables

OUT = Path("build/bench/perplexity.json")
VARIABLE = "CALLWARDEN_HELD_OUT_TEXTS"
MODELS = {"language_model": "graph", "rescoring_language_model": "rescoring"}


def texts() -> Iterator[tuple[str, list[str]]]:
    for table in tables():
        yield table.stem, [" ".join(normalised_words(recording.text)) for recording in read_test_set(table)]
    if folder := os.environ.get(VARIABLE):
        for file in sorted(Path(folder).glob("*.txt")):
            lines = (" ".join(normalised_words(line)) for line in file.read_text("utf-8").splitlines())
            yield file.stem, [line for line in lines if line]


def opened(path: Path) -> BackoffModel:
    return unpacked(path.read_bytes()).restored() if path.suffix == ".lm" else read_arpa(path)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.bench_perplexity")
    parser.add_argument("--pack", type=Path, default=DEFAULT_PACK)
    given = parser.parse_args()
    manifest = read_manifest(given.pack)
    measured = list(texts())
    counts: dict[str, list[int]] = {}
    rows: dict[str, dict[str, Any]] = {name: {"sentences": len(lines)} for name, lines in measured}
    for entry, what in MODELS.items():
        if entry not in manifest:
            continue
        model = opened(given.pack / manifest[entry])
        counts[what] = [int(count) for count in model.counts]
        numbers = word_numbers(model.words)
        for name, lines in measured:
            found = perplexity(model, numbered_text(lines, numbers))
            rows[name] |= {"words": found.words, "outside": found.unknown_rate, what: found.perplexity}
    table = Table("text", "words", "outside the vocabulary %", *counts)
    for name, row in rows.items():
        shown = (f"{row[what]:.1f}" for what in counts)
        table.add_row(name, f"{row['words']:,}", f"{100 * row['outside']:.2f}", *shown)
    Console().print(table)
    OUT.parent.mkdir(parents=True, exist_ok=True)
    figures = {"machine": machine.described(), "ngrams": counts, "texts": rows}
    OUT.write_text(json.dumps(figures, indent=2) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
