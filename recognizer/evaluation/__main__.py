"""Measure word error rate, delays, confidences and speed.

    python -m recognizer.evaluation --set NAME=FILE.tsv ... [--json OUT] [--channel telephone] [--peer pocketsphinx]
    python -m recognizer.evaluation --set NAME=FILE.tsv ... --gate BASELINE.json [--margin POINTS]

FILE.tsv has a header with the columns ``audio`` and ``text``, and ``speaker`` if known. The exit status is 0 if at
least one recording of every set was measured, 1 if a set had none, or (with ``--gate``) the word error rate rose by
more than the margin, 2 if a table, a pack or a baseline could not be used. A recording that cannot be read is reported
in one sentence, counted as unreadable, and left out of the figures.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from recognizer.evaluation.calibration import PictureError, draw_reliability, reliability_text
from recognizer.evaluation.card import as_markdown
from recognizer.evaluation.gate import (
    DEFAULT_MARGIN,
    BaselineError,
    baseline_of,
    judge,
    read_baseline,
    verdict_table,
    write_baseline,
)
from recognizer.evaluation.jobs import SystemChoice, VariantError, changed_settings, names_of, run_all
from recognizer.evaluation.measurement import SetResult, said_and_recognised
from recognizer.evaluation.report import (
    as_json,
    as_table,
    by_system,
    calibration_of_results,
    calibration_sentence,
    comparison_lines,
    detail_tables,
    oracle_lines,
    print_table,
)
from recognizer.evaluation.telephone_channel import LABEL
from recognizer.evaluation.test_set import TestSetError, read_test_set
from recognizer.model_pack import DEFAULT_PACK, ModelPackError
from recognizer.second_recogniser import SecondRecogniserError

_AS_RECORDED = "as recorded, at 8 kHz"


def _named_set(argument: str) -> tuple[str, Path]:
    name, separator, path = argument.partition("=")
    if not (name and separator and path):
        raise argparse.ArgumentTypeError(f"{argument!r} is not of the form NAME=FILE.tsv")
    return name, Path(path)


def _points(argument: str) -> float:
    try:
        points = float(argument)
    except ValueError:
        points = math.nan
    if not 0 <= points <= 100:
        raise argparse.ArgumentTypeError(f"{argument!r} is not a number of points from 0 to 100")
    return points


def _changes(argument: str) -> tuple[tuple[str, str], ...]:
    pairs = [part.partition("=") for part in argument.split(",")]
    if not all(name and separator and value for name, separator, value in pairs):
        raise argparse.ArgumentTypeError(f"{argument!r} is not of the form SETTING=VALUE,...")
    changes = tuple((name, value) for name, _, value in pairs)
    try:
        changed_settings(changes)
    except VariantError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return changes


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m recognizer.evaluation", description="Measure word error rate and speed of the recogniser."
    )
    parser.add_argument(
        "--set", dest="sets", action="append", required=True, type=_named_set, metavar="NAME=FILE.tsv",
        help="a test set: tab-separated, with a header, columns audio and text; may be given several times",
    )  # fmt: skip
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the figures to this file")
    parser.add_argument(
        "--channel", choices=["telephone", "simulated"],
        help="telephone: bring audio to 8 kHz, 300-3400 Hz, mu-law first; simulated: the recordings are that already",
    )  # fmt: skip
    parser.add_argument("--peer", choices=["pocketsphinx"], help="measure this system on the same audio too")
    parser.add_argument(
        "--pack", type=Path, action="append", metavar="DIR",
        help="model pack (default: the shipped one); given several times, the first is compared with the others",
    )  # fmt: skip
    parser.add_argument(
        "--jobs", type=int, default=1, choices=range(1, 65), metavar="N", help="processes (default 1)"
    )
    parser.add_argument(
        "--variant", dest="variants", type=_changes, action="append", default=[], metavar="SETTING=VALUE,...",
        help="measure the first pack with these settings too, such as search.beam=15; may be given several times",
    )  # fmt: skip
    parser.add_argument("--lattices", action="store_true", help="tell the lattices' oracle WER too")
    parser.add_argument("--texts", type=Path, metavar="OUT", help="write what was said and recognised, as TSV")
    parser.add_argument("--card", type=Path, metavar="OUT", help="write the figures as Markdown, for a model card")
    parser.add_argument("--reliability", type=Path, metavar="OUT", help="draw the reliability diagram (PNG)")
    parser.add_argument(
        "--gate", type=Path, metavar="BASELINE", help="exit 1 if the WER rose by more than the margin"
    )
    parser.add_argument("--margin", type=_points, metavar="POINTS", help="instead of the margin in the baseline")
    parser.add_argument("--write-baseline", type=Path, metavar="OUT", help="write these figures as a baseline")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    given = _parser().parse_args(arguments)
    errors = Console(stderr=True, highlight=False, soft_wrap=True)
    packs = given.pack or [DEFAULT_PACK]
    choices = [SystemChoice(pack, lattices=given.lattices) for pack in packs]
    choices += [SystemChoice(packs[0], changes, given.lattices) for changes in given.variants]
    choices += [SystemChoice()] if given.peer else []
    try:
        sets = [(name, read_test_set(path)) for name, path in given.sets]
        if len({name for name, _ in sets}) < len(sets):
            raise TestSetError("Two test sets have the same name.")
        names = names_of(choices)
        baseline = read_baseline(given.gate) if given.gate else None
        total = len(choices) * sum(len(recordings) for _, recordings in sets)
        columns = (
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
            TimeRemainingColumn(),
        )  # fmt: skip
        with Progress(*columns, console=errors, transient=True) as progress:
            task = progress.add_task("recordings", total=total)
            results = run_all(
                sets, choices, names, given.channel == "telephone", given.jobs,
                lambda: progress.advance(task), lambda sentence: errors.print(sentence, markup=False),
            )  # fmt: skip
        condition = LABEL if given.channel else _AS_RECORDED
        ours = [result for result in results if result.system == names[0]]
        _print(results, condition)
        _write(given, results, condition)
        if given.write_baseline:
            margin = DEFAULT_MARGIN if given.margin is None else given.margin
            write_baseline(baseline_of(ours, condition, margin), given.write_baseline)
        if baseline:
            verdicts = judge(baseline, ours, condition, given.margin)
            print_table(verdict_table(verdicts, condition))
            return 0 if all(verdict.passed for verdict in verdicts) else 1
    except (TestSetError, ModelPackError, BaselineError, SecondRecogniserError) as error:
        errors.print(str(error), markup=False)
        return 2
    except ImportError:
        errors.print("The peer is not installed: pip install pocketsphinx.")
        return 2
    except PictureError as error:
        errors.print(str(error), markup=False)
        return 1
    except OSError as error:
        errors.print(f"The figures could not be written to {error.filename}: {error.strerror}.", markup=False)
        return 1
    return 0 if all(result.recordings for result in results) else 1


def _print(results: Sequence[SetResult], condition: str) -> None:
    systems = by_system(results)
    print_table(as_table([result for own in systems.values() for result in own], condition))
    for line in (*comparison_lines(results), *oracle_lines(results, condition)):
        print(line)  # noqa: T201
    ours = [result for result in results if result.system == results[0].system]
    for table in detail_tables(ours, condition):
        print_table(table)
    calibration = calibration_of_results(ours)
    if calibration is not None:
        print(f"{ours[0].system}: {calibration_sentence(calibration)}")  # noqa: T201
        print(reliability_text(calibration))  # noqa: T201


def _write(given: argparse.Namespace, results: Sequence[SetResult], condition: str) -> None:
    """Write what was asked for; OSError and PictureError are for the caller."""
    if given.json:
        _write_text(given.json, json.dumps(as_json(results, condition), indent=2) + "\n")
    if given.texts:
        lines = ["set\tsystem\tsaid\trecognised"]
        for result in results:
            lines += [
                f"{result.name}\t{result.system}\t{said}\t{told}" for said, told in said_and_recognised(result)
            ]
        _write_text(given.texts, "\n".join(lines) + "\n")
    if given.card:
        _write_text(given.card, as_markdown(results, condition))
    if given.reliability:
        curves = {}
        for name in dict.fromkeys(result.system for result in results):
            found = calibration_of_results([result for result in results if result.system == name])
            if found is not None:
                curves[name] = found
        draw_reliability(curves, given.reliability, f"Confidence of words, {condition}")


def _write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")


if __name__ == "__main__":
    sys.exit(main())
