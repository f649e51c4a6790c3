"""Weights of 8 bits beside those of 32: words, and processor time of the whole recogniser.

Run as ``python -m tests.bench.bench_weights``; prints a table and writes build/bench/weights.json. Every set of
:mod:`tests.bench.speech_sets`, simulated telephone speech; the two take turns recording by recording. (What the
network alone costs in either form: ``python -m tests.bench streaming``.)
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, get_args

from rich.console import Console
from rich.progress import track

from recognizer.evaluation.measurement import Outcome, SetResult, pooled, recognise_recording
from recognizer.evaluation.report import as_table, print_table
from recognizer.evaluation.systems import Callwarden
from recognizer.evaluation.telephone_channel import LABEL, telephone_speech
from recognizer.evaluation.test_set import read_test_set
from recognizer.evaluation.uncertainty import difference_interval
from recognizer.model_pack import DEFAULT_PACK
from recognizer.quantised import WeightForm
from recognizer.recogniser import RecogniserSettings
from tests.bench import machine
from tests.bench.speech_sets import tables

OUT = Path("build/bench/weights.json")
FORMS: tuple[WeightForm, WeightForm] = ("float32", "int8")
assert set(FORMS) <= set(get_args(WeightForm))


def measured(pack: Path) -> dict[WeightForm, list[SetResult]]:
    systems = {form: Callwarden(pack, RecogniserSettings(weights=form)) for form in FORMS}
    found: dict[WeightForm, list[SetResult]] = {form: [] for form in FORMS}
    progress = Console(stderr=True)
    for table in tables():
        outcomes: dict[WeightForm, list[Outcome]] = {form: [] for form in FORMS}
        for recording in track(read_test_set(table), description=table.stem, console=progress, transient=True):
            for form, system in systems.items():
                outcomes[form].append(recognise_recording(recording, system, telephone_speech))
        for form in FORMS:
            found[form].append(SetResult(table.stem, form, tuple(outcomes[form])))
    return {form: [*own, pooled(own)] for form, own in found.items()}


def compared(wide: SetResult, narrow: SetResult) -> dict[str, Any]:
    """One set's figures; shares of 1."""
    gap = difference_interval(narrow.outcomes, wide.outcomes)
    pairs = zip(wide.outcomes, narrow.outcomes, strict=True)
    return {
        "words": wide.errors.words,
        "recordings": wide.recordings,
        "recordings_with_other_words": sum(a.recognised != b.recognised for a, b in pairs),
        "float32": wide.errors.rate,
        "int8": narrow.errors.rate,
        "difference_low": gap.low if gap else None,
        "difference_high": gap.high if gap else None,
        "real_time_factor_float32": wide.real_time_factor,
        "real_time_factor_int8": narrow.real_time_factor,
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.bench_weights")
    parser.add_argument("--pack", type=Path, default=DEFAULT_PACK)
    found = measured(parser.parse_args().pack)
    wide, narrow = (found[form] for form in FORMS)
    print_table(as_table([*wide, *narrow], LABEL))
    sets = {one.name: compared(one, other) for one, other in zip(wide, narrow, strict=True)}
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps({"machine": machine.described(), "sets": sets}, indent=2) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
