"""What `make bench-recognizer` measures, in order, what each of it needs, and how it is run in full and quickly.

What matters most comes first, so that an interrupted run has it.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from recognizer.model_pack import DEFAULT_PACK, ModelPackError, read_manifest
from tests.bench.speech_sets import VARIABLE, development_tables

CORPORA = "CALLWARDEN_CORPORA"
TEXTS = "CALLWARDEN_HELD_OUT_TEXTS"

Lacks = Callable[[], str | None]
"""Says in one sentence what is missing and which command provides it; None where nothing is."""


@dataclass(frozen=True)
class PlannedBench:
    """One benchmark of the recogniser.

    Attributes
    ----------
    name : str
        Module ``tests.bench.bench_NAME``; its figures lie in build/bench/NAME.json.
    arguments : callable
        Command line of the full run, made when it is needed: it may depend on the sets.
    quick : tuple of str, optional
        Command line of the quick run; None: left out, for the reason in `too_long`.
    lacks : sequence of callables
    """

    name: str
    arguments: Callable[[], tuple[str, ...]] = tuple
    quick: tuple[str, ...] | None = ()
    too_long: str = ""
    lacks: Sequence[Lacks] = ()

    def command(self, quick: bool) -> tuple[str, ...]:
        """Behind ``python -m``; only to be asked for where `reason` is None."""
        return (f"tests.bench.bench_{self.name}", *((self.quick or ()) if quick else self.arguments()))

    def reason(self, quick: bool) -> str | None:
        """Why it is not run, in one sentence; None if it is."""
        if quick and self.quick is None:
            return f"It is left out of the quick run: {self.too_long}."
        return next((told for lack in self.lacks if (told := lack()) is not None), None)


def package(module: str, providing: str) -> Lacks:
    def lack() -> str | None:
        if importlib.util.find_spec(module) is not None:
            return None
        return f"It needs the Python package {module.replace('_', '-')}: {providing}."

    return lack


def folder(variable: str, what: str) -> Lacks:
    def lack() -> str | None:
        named = os.environ.get(variable)
        if named and Path(named).is_dir():
            return None
        return f"It needs {what}: make bench-recognizer {variable}=FOLDER."

    return lack


def part_of_pack(entry: str, what: str) -> Lacks:
    def lack() -> str | None:
        try:
            there = entry in read_manifest(DEFAULT_PACK)
        except ModelPackError as error:
            return str(error)
        return (
            None if there else f"The shipped pack has no {what}: it is made as docs/recogniser/language.md says."
        )

    return lack


def _jobs(*arguments: str) -> tuple[str, ...]:
    return ("--jobs", str(min(4, os.cpu_count() or 1)), *arguments)


def _vocabulary() -> tuple[str, ...]:
    return ("--sets", *map(str, development_tables()), "--boosts", "0", "3", "5")


_dev = "make test once, or pip install -e '.[dev]'"
_recordings = folder(CORPORA, "a folder of recordings in the layout of docs/recogniser/corpora.md")

PLAN = (
    PlannedBench(
        "search", lambda: ("--most", "8", "--slow", "2"), ("--most", "8", "--slow", "2", "--beams", "12"),
        lacks=(package("kaldi_decoder", _dev), package("kaldifst", _dev)),
    ),
    PlannedBench("streaming", lambda: ("--legs", "20", "40", "60"), ("--legs", "20", "--seconds", "10")),
    PlannedBench("recognizer", lambda: _jobs(), _jobs(), lacks=(package("pocketsphinx", _dev),)),
    PlannedBench(
        "second_pass", lambda: _jobs(), _jobs(),
        lacks=(part_of_pack("rescoring_language_model", "language model for rescoring"),),
    ),
    PlannedBench("weights"),
    PlannedBench("first_start", quick=("--without-compiling", "--rounds", "1")),
    PlannedBench("pack", quick=("--without-building",), lacks=(package("kaldifst", _dev),)),
    PlannedBench("confidence"),
    PlannedBench("look_ahead", quick=("--legs", "10", "--seconds", "10")),
    PlannedBench("alignment", lacks=(_recordings, package("pocketsphinx", _dev))),
    PlannedBench("diarization", lambda: ("--split", "test"), lacks=(_recordings,)),
    PlannedBench("perplexity"),
    PlannedBench("language", quick=("--sentences", "1000")),
    PlannedBench("vocabulary", _vocabulary, ("--boosts", "3")),
    PlannedBench("pronunciations"),
)  # fmt: skip

CHOSEN_WITH = {VARIABLE: "test sets", CORPORA: "recordings", TEXTS: "held-out texts"}
"""Variables that say what is heard and read."""
