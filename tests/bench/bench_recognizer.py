"""Word error rate and real-time factor beside PocketSphinx on the same audio, per test set.

Run as ``python -m tests.bench recognizer``; prints a table and writes build/bench/recognizer.json. The sets are all
``*.tsv`` files of the folder in ``CALLWARDEN_SPEECH_SETS`` (columns audio and text), by default the sixteen committed
utterances. All audio goes through the simulated telephone channel, which changes audio that went through it before
hardly at all. PocketSphinx runs with the 16 kHz model of its package on the same audio, upsampled.
"""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path

import psutil
from rich.console import Console
from rich.progress import track

from recognizer.evaluation.measurement import SetResult, measure
from recognizer.evaluation.report import as_json, as_table, print_table
from recognizer.evaluation.systems import Callwarden, PocketSphinx
from recognizer.evaluation.telephone_channel import LABEL, telephone_speech
from recognizer.evaluation.test_set import read_test_set

_ROOT = Path(__file__).parent.parent.parent
_COMMITTED = _ROOT / "tests" / "golden" / "speech"


def main() -> int:
    folder = Path(os.environ.get("CALLWARDEN_SPEECH_SETS") or _COMMITTED)
    tables = sorted(folder.glob("*.tsv"))
    if not tables:
        print(f"There is no test set (*.tsv) in {folder}.")
        return 1
    progress = Console(stderr=True)
    results: list[SetResult] = []
    systems = [Callwarden(), PocketSphinx()]
    for table in tables:
        recordings = read_test_set(table)
        for system in systems:
            shown = track(recordings, description=f"{table.stem}, {system.name}", console=progress, transient=True)
            results.append(measure(table.stem, shown, system, telephone_speech, print))
    print_table(as_table(results, LABEL))
    out = _ROOT / "build" / "bench" / "recognizer.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    machine = {
        "processor": platform.processor() or platform.machine(),
        "cores": psutil.cpu_count(),
        "python": platform.python_version(),
    }
    out.write_text(json.dumps({"machine": machine, **as_json(results, LABEL)}, indent=2) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
