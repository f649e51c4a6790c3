"""Scoring text with the shipped language model, beside KenLM and PocketSphinx reading the same ARPA file.

Run as ``python -m tests.bench language``; prints a table and writes build/bench/language.json. The text is drawn from
the model itself (fixed seed), so that no corpus is needed. Ours: the flat trie from its ARPA file, and packed
(quantised to 64 values), stepped from state to state as rescoring does. KenLM (``pip install kenlm``) reads the ARPA
file into its probing hash table and scores sentence by sentence through its Python module; PocketSphinx is asked word
by word. Everything on one thread.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numba import njit
from rich.console import Console
from rich.table import Table

from recognizer import model_pack
from recognizer.language.arpa_file import read_arpa, write_arpa
from recognizer.language.backoff_model import SENTENCE_END, SENTENCE_START, UNKNOWN, BackoffModel
from recognizer.language.compact_model import CompactModel, pack, step, unpacked
from recognizer.language.ngram_counts import numbered_text, word_numbers
from recognizer.language.perplexity import token_rows
from tests.bench import machine

OUT = Path("build/bench/language.json")
SENTENCES = 4000
_LN10 = math.log(10.0)


def drawn_sentences(model: BackoffModel, count: int) -> list[str]:
    """Sentences drawn word by word from the bigrams that the model lists: real n-grams, and back-off now and then."""
    dice = np.random.default_rng(5)
    sentences = []
    weights = np.exp(model.log_probability)
    while len(sentences) < count:
        words, node = [], SENTENCE_START
        while len(words) < 30:
            children = slice(int(model.first[node]), int(model.first[node + 1]))
            share = weights[children] / max(1e-30, weights[children].sum())
            if not len(share):
                break
            node = int(model.word[children][dice.choice(len(share), p=share)])
            if node == SENTENCE_END:
                break
            words.append(model.words[node])
        if words and UNKNOWN not in words:
            sentences.append(" ".join(words))
    return sentences


@njit(cache=True)
def _stepped(tokens, word, first, suffix, log_probability, log_backoff):  # type: ignore[no-untyped-def]
    total, state = 0.0, 0
    for token in tokens:
        if token == 1:
            state = 1
        else:
            state, value = step(state, token, word, first, suffix, log_probability, log_backoff)
            total += value
    return total


def timed(job: Callable[[], float]) -> tuple[float, float]:
    """Result, and the best of three times in seconds."""
    best = math.inf
    for _ in range(3):
        began = time.perf_counter()
        result = job()
        best = min(best, time.perf_counter() - began)
    return result, best


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.bench_language")
    parser.add_argument("--sentences", type=int, default=SENTENCES, help="drawn from the model")
    wanted = parser.parse_args().sentences
    source = model_pack.PackSources.of(model_pack.DEFAULT_PACK).arpa
    began = time.perf_counter()
    model = read_arpa(source) if source.suffix != ".lm" else unpacked(source.read_bytes()).restored()
    read_s = time.perf_counter() - began
    sentences = drawn_sentences(model, wanted)
    tokens = numbered_text(sentences, word_numbers(model.words))
    scored = len(tokens) - wanted
    rows = token_rows(tokens, model.order, model.words)
    data = pack(model)
    began = time.perf_counter()
    packed = unpacked(data)
    unpack_s = time.perf_counter() - began
    results: dict[str, tuple[float, float, float]] = {}

    def add(name: str, load_s: float, job: Callable[[], float]) -> None:
        total, seconds = timed(job)
        results[name] = (load_s, scored / seconds, math.exp(-total / scored))

    add("callwarden, all rows at once", read_s, lambda: float(model.score(rows).sum()))
    add("callwarden, packed, state by state", unpack_s, lambda: float(_run(packed, tokens)))
    with tempfile.TemporaryDirectory() as folder:
        arpa = Path(folder) / "model.arpa"
        write_arpa(model, arpa, digits=4)
        try:
            import kenlm

            began = time.perf_counter()
            peer = kenlm.Model(str(arpa))
            load_s = time.perf_counter() - began
            add("KenLM, sentence by sentence", load_s, lambda: _LN10 * sum(peer.score(text) for text in sentences))
        except ImportError:
            print("KenLM is left out: pip install kenlm")
        try:
            import pocketsphinx

            began = time.perf_counter()
            sphinx = pocketsphinx.NGramModel.readfile(str(arpa))
            load_s = time.perf_counter() - began
            add("PocketSphinx, word by word", load_s, lambda: _asked(sphinx, sentences))
        except ImportError:
            print("PocketSphinx is left out: pip install pocketsphinx")
    table = Table("reader", "load s", "million words/s", "perplexity of the text")
    for name, (load_s, speed, found) in results.items():
        table.add_row(name, f"{load_s:.1f}", f"{speed / 1e6:.2f}", f"{found:.2f}")
    Console().print(table)
    counts = ", ".join(f"{count:,}" for count in model.counts)
    print(
        f"n-grams {counts}; packed {len(data):,} bytes; {scored:,} words scored; one thread; {platform.machine()}."
    )
    OUT.parent.mkdir(parents=True, exist_ok=True)
    keys = ("load_s", "words_per_s", "perplexity")
    readers = {name: dict(zip(keys, row, strict=True)) for name, row in results.items()}
    figures = {"machine": machine.described(), "packed_bytes": len(data), "words": scored, "readers": readers}
    OUT.write_text(json.dumps(figures, indent=2) + "\n", "utf-8")


def _run(packed: CompactModel, tokens: np.ndarray) -> float:
    return _stepped(  # type: ignore[no-any-return]
        tokens, packed.word, packed.first, packed.suffix, packed.log_probability, packed.log_backoff
    )


def _asked(sphinx: object, sentences: list[str]) -> float:
    total = 0
    for sentence in sentences:
        line = ["<s>", *sentence.split(), "</s>"]
        for i in range(1, len(line)):
            total += sphinx.prob(line[max(0, i - 2) : i + 1][::-1])  # type: ignore[attr-defined]
    return total * math.log(1.0001)


if __name__ == "__main__":
    main()
