"""Measure word error rate and speed.

    python -m recognizer.evaluation --set NAME=FILE.tsv ... [--json OUT] [--channel telephone] [--peer pocketsphinx]

FILE.tsv has a header with the columns ``audio`` and ``text``. The exit status is 0 if at least one recording of every
set was measured, 1 if a set had none, 2 if a table could not be read. A recording that cannot be read is reported in
one sentence, counted as unreadable, and left out of the figures.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import track

from recognizer.evaluation.measurement import SetResult, measure
from recognizer.evaluation.report import as_json, as_table, print_table
from recognizer.evaluation.systems import Callwarden, PocketSphinx, System
from recognizer.evaluation.telephone_channel import LABEL, telephone_speech
from recognizer.evaluation.test_set import TestSetError, read_test_set
from recognizer.model_pack import DEFAULT_PACK, ModelPackError

_AS_RECORDED = "as recorded, at 8 kHz"


def _named_set(argument: str) -> tuple[str, Path]:
    name, separator, path = argument.partition("=")
    if not (name and separator and path):
        raise argparse.ArgumentTypeError(f"{argument!r} is not of the form NAME=FILE.tsv")
    return name, Path(path)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m recognizer.evaluation", description="Measure word error rate and speed of the recogniser."
    )
    parser.add_argument(
        "--set", dest="sets", action="append", required=True, type=_named_set, metavar="NAME=FILE.tsv",
        help="a test set: tab-separated, with a header, columns audio and text; may be given several times",
    )  # fmt: skip
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the figures to this file")
    parser.add_argument("--channel", choices=["telephone"], help="bring audio to 8 kHz, 300-3400 Hz, mu-law first")
    parser.add_argument("--peer", choices=["pocketsphinx"], help="measure this system on the same audio too")
    parser.add_argument("--pack", type=Path, default=DEFAULT_PACK, help="model pack (default: the shipped one)")
    parser.add_argument("--texts", type=Path, metavar="OUT", help="write what was said and recognised, as TSV")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    given = _parser().parse_args(arguments)
    errors = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        sets = [(name, read_test_set(path)) for name, path in given.sets]
        systems: list[System] = [Callwarden(given.pack)]
        if given.peer:
            systems.append(PocketSphinx())
    except (TestSetError, ModelPackError) as error:
        errors.print(str(error), markup=False)
        return 2
    except ImportError:
        errors.print("The peer is not installed: pip install pocketsphinx.")
        return 2
    condition = LABEL if given.channel else _AS_RECORDED
    channel = telephone_speech if given.channel else None
    results: list[SetResult] = []
    texts: list[str] = ["set\tsystem\tsaid\trecognised"]
    for name, recordings in sets:
        for system in systems:
            pairs: list[tuple[str, str]] = []
            shown = track(recordings, description=f"{name}, {system.name}", console=errors, transient=True)
            complain = (lambda sentence: errors.print(sentence, markup=False)) if system is systems[0] else None
            results.append(measure(name, shown, system, channel, complain or (lambda sentence: None), pairs))
            texts += [f"{name}\t{system.name}\t{said}\t{recognised}" for said, recognised in pairs]
    print_table(as_table(results, condition))
    try:
        if given.json:
            given.json.parent.mkdir(parents=True, exist_ok=True)
            given.json.write_text(json.dumps(as_json(results, condition), indent=2) + "\n", "utf-8")
        if given.texts:
            given.texts.write_text("\n".join(texts) + "\n", "utf-8")
    except OSError as error:
        errors.print(f"The figures could not be written to {error.filename}: {error.strerror}.", markup=False)
        return 1
    return 0 if all(result.recordings for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
