"""Words without and with the second pass, which rescores lattices with the pack's bigger language model.

Run as ``python -m tests.bench.bench_second_pass [--jobs 2]``; prints a table and writes
build/bench/second_pass.json. Every set of :mod:`tests.bench.speech_sets`, simulated telephone speech: no second
pass, one for every utterance, and, where that is neither, what the recogniser does by default.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recognizer.evaluation.jobs import SystemChoice
from recognizer.evaluation.measurement import SetResult
from recognizer.evaluation.report import as_table, by_system, print_table
from recognizer.evaluation.telephone_channel import LABEL
from recognizer.evaluation.uncertainty import difference_interval
from recognizer.model_pack import DEFAULT_PACK, read_manifest
from recognizer.second_pass import SecondPassSettings
from tests.bench import machine
from tests.bench.bench_recognizer import measured
from tests.bench.speech_sets import tables

OUT = Path("build/bench/second_pass.json")


def compared(without: SetResult, with_it: SetResult) -> dict[str, Any]:
    """One set's figures; shares of 1."""
    gap = difference_interval(with_it.outcomes, without.outcomes)
    return {
        "words": without.errors.words,
        "without": without.errors.rate,
        "with": with_it.errors.rate,
        "difference": with_it.errors.rate - without.errors.rate,
        "difference_low": gap.low if gap else None,
        "difference_high": gap.high if gap else None,
        "real_time_factor_without": without.real_time_factor,
        "real_time_factor_with": with_it.real_time_factor,
    }


def by_set(results: Sequence[SetResult]) -> dict[str, dict[str, Any]]:
    without, with_it, *_ = by_system(results).values()
    return {mine.name: compared(mine, other) for mine, other in zip(without, with_it, strict=True)}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.bench_second_pass")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--pack", type=Path, default=DEFAULT_PACK)
    given = parser.parse_args()
    if "rescoring_language_model" not in read_manifest(given.pack):
        print("The pack has no language model for rescoring: nothing is measured.")
        return 1
    default = SecondPassSettings().below_confidence
    levels = [0.0, 1.0] + [default] * (default not in (0.0, 1.0))
    choices = [SystemChoice(given.pack, (("second_pass.below_confidence", f"{level:g}"),)) for level in levels]
    results = measured(tables(), choices, given.jobs, "second pass")
    print_table(as_table([result for own in by_system(results).values() for result in own], LABEL))
    figures = {"machine": machine.described(), "default_below_confidence": default, "sets": by_set(results)}
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(figures, indent=2) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
