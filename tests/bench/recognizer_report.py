"""All benchmarks of the recogniser, one process after the other, and one summary: `make bench-recognizer`.

``python -m tests.bench.recognizer_report [--quick] [--only NAME ...]`` writes build/bench/NAME.json a benchmark,
and build/bench/recognizer.md, which docs/performance.md quotes. One that fails does not stop the others; what one
needs and lacks is said in a sentence with the command that provides it. Ctrl-C ends the run, and the summary is
made from what there is. ``--only`` measures some again; the others' figures stay, with the time at which they were
taken. ``--quick`` hears the committed speech only and takes about five minutes.

Environment: CALLWARDEN_SPEECH_SETS, a folder of test sets; CALLWARDEN_CORPORA, a folder of recordings (alignment,
diarization); CALLWARDEN_HELD_OUT_TEXTS, a folder of texts (perplexity); CALLWARDEN_PACKS_BESIDE, other packs
(look-ahead).
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.bench import machine, recognizer_summary
from tests.bench.recognizer_plan import PLAN, VARIABLE, PlannedBench
from tests.bench.recognizer_summary import FOLDER, RUN
from tests.bench.speech_sets import tables


def shown_command(arguments: Sequence[str]) -> str:
    """The command without this machine's folders."""
    return " ".join(("python", "-m", *(Path(one).name if "/" in one else one for one in arguments)))


def commit() -> str:
    told = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    ).stdout.strip()  # fmt: skip
    return told or "not under version control"


def run_one(planned: PlannedBench, quick: bool, folder: Path) -> dict[str, Any]:
    """Run one benchmark; return what is to be noted of it. KeyboardInterrupt passes through, its process ended."""
    reason = planned.reason(quick)
    if reason is not None:
        print(reason, flush=True)
        return {"reason": reason}
    arguments = planned.command(quick)
    (folder / f"{planned.name}.json").unlink(missing_ok=True)  # no old figures in a new run
    began, at = time.monotonic(), datetime.datetime.now(datetime.UTC)
    load = os.getloadavg()[0]
    process = subprocess.Popen([sys.executable, "-m", *arguments])
    try:
        status = process.wait()
    except KeyboardInterrupt:
        process.terminate()
        process.wait()
        raise
    return {
        "command": shown_command(arguments),
        "began": at.strftime("%Y-%m-%d %H:%M UTC"),
        "seconds": round(time.monotonic() - began, 1),
        "status": status,
        "load": load,
        "quick": quick,
    }


def noted_before(path: Path) -> dict[str, Any]:
    """The notes of an earlier run; none where there are none that can be read."""
    try:
        notes = json.loads(path.read_text("utf-8"))["benches"]
    except (OSError, ValueError, LookupError, TypeError):
        return {}
    return dict(notes) if isinstance(notes, dict) else {}


def measure_all(plan: Sequence[PlannedBench], quick: bool, only: Sequence[str], folder: Path) -> bool:
    """Run what is planned, noting each as soon as it has ended; return whether it went to the end."""
    path = folder / RUN
    notes = noted_before(path) if only else {}
    chosen = [planned for planned in plan if not only or planned.name in only]
    began = time.monotonic()
    run: dict[str, Any] = {
        "quick": quick,
        "command": f"make bench-recognizer{' BENCH_ARGS=--quick' if quick else ''}",
        "machine": machine.described(),
        "commit": commit(),
        "sets": [table.stem for table in tables()],
        "seconds": 0.0,
        "benches": notes,
    }
    try:
        for number, planned in enumerate(chosen, 1):
            print(f"\n== {number} of {len(chosen)}: {planned.name} ({time.monotonic() - began:.0f} s)", flush=True)
            notes[planned.name] = run_one(planned, quick, folder)
            order = [each.name for each in plan if each.name in notes]
            run["benches"] = {name: notes[name] for name in order}
            run["seconds"] = sum(note.get("seconds", 0.0) for note in notes.values())
            path.write_text(json.dumps(run, indent=2) + "\n", "utf-8")
    except KeyboardInterrupt:
        print("\nInterrupted; the summary is made from what there is.", file=sys.stderr)
        return False
    return True


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.recognizer_report", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--quick", action="store_true", help="about five minutes, on the committed speech")
    parser.add_argument("--only", nargs="+", default=[], choices=[planned.name for planned in PLAN])
    given = parser.parse_args()
    if given.quick:
        os.environ.pop(VARIABLE, None)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    FOLDER.mkdir(parents=True, exist_ok=True)
    ended = measure_all(PLAN, given.quick, given.only, FOLDER)
    status = recognizer_summary.main()
    failed = [name for name, note in noted_before(FOLDER / RUN).items() if note.get("status")]
    if failed:
        print(f"Failed: {', '.join(failed)}.", file=sys.stderr)
    print(f"The summary lies in {FOLDER / 'recognizer.md'}.")
    return 130 if not ended else int(bool(failed or status))


if __name__ == "__main__":
    raise SystemExit(main())
