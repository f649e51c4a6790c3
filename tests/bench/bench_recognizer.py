"""Word error rate and real-time factor beside PocketSphinx on the same audio in the same run, per test set.

Run as ``python -m tests.bench recognizer`` (or ``... bench_recognizer --jobs 2``); prints tables and writes
build/bench/recognizer.json. The sets: :mod:`tests.bench.speech_sets`; PocketSphinx, which takes 50 times as long,
hears development sets only where there are no others. All audio goes through the simulated telephone channel,
which changes audio that went through it before hardly at all. PocketSphinx runs with the 16 kHz model of its
package on the same audio, upsampled. The lattices' oracle is told too.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import track

from recognizer.evaluation.jobs import SystemChoice, names_of, run_all
from recognizer.evaluation.measurement import SetResult
from recognizer.evaluation.report import as_json, as_table, by_system, comparison_lines, oracle_lines, print_table
from recognizer.evaluation.telephone_channel import LABEL
from recognizer.evaluation.test_set import read_test_set
from recognizer.model_pack import DEFAULT_PACK
from tests.bench import machine
from tests.bench.speech_sets import is_development, tables

OUT = Path("build/bench/recognizer.json")


def measured(some: Sequence[Path], choices: Sequence[SystemChoice], jobs: int, title: str) -> list[SetResult]:
    sets = [(table.stem, read_test_set(table)) for table in some]
    total = len(choices) * sum(len(recordings) for _, recordings in sets)
    progress = iter(track(range(total), description=title, console=Console(stderr=True), transient=True))
    results = run_all(sets, choices, names_of(choices), True, jobs, lambda: next(progress, None), print)
    next(progress, None)
    return results


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.bench_recognizer")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--pack", type=Path, default=DEFAULT_PACK)
    given = parser.parse_args()
    found = tables()
    tested = [table for table in found if not is_development(table)] or found
    ours = SystemChoice(given.pack, lattices=True)
    results = {"test": measured(tested, [ours, SystemChoice()], given.jobs, "beside PocketSphinx")}
    if tuned_on := [table for table in found if table not in tested]:
        results["development"] = measured(tuned_on, [ours], given.jobs, "development sets")
    figures: dict[str, object] = {"machine": machine.described(), "jobs": given.jobs}
    for kind, some in results.items():
        print_table(as_table([result for own in by_system(some).values() for result in own], LABEL))
        for line in (*comparison_lines(some), *oracle_lines(some, LABEL)):
            print(line)
        figures[kind] = as_json(some, LABEL)
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(figures, indent=2) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
