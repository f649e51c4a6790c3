"""From starting the process to the first word recognised: on a new machine, with an empty cache, and warm.

Run as ``python -m tests.bench.bench_first_start [--without-compiling]``; prints a table and writes
build/bench/first_start.json. Every start is a process of its own that loads the shipped pack and hears a committed
recording in pieces of 100 ms, as fast as it can, until a partial shows a word.

- *new machine*: no graph unpacked and no kernel compiled yet (numba's cache is empty); once.
- *empty cache*: kernels are compiled, the graph (and what else the pack keeps there) is not unpacked.
- *warm*: as every further start.

Times are of the clock. Python and imports are part of the first, so all of them are waited for.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

OUT = Path("build/bench/first_start.json")
STEPS = ("python and imports", "pack", "recogniser", "first word")
_PIECE = 800


def start(pack: Path | None) -> dict[str, Any]:
    """Be the process that starts; return seconds per step, and what was heard before there was a word."""
    import psutil

    from recognizer.evaluation.audio_file import read_audio
    from recognizer.evaluation.telephone_channel import telephone_speech
    from recognizer.evaluation.test_set import read_test_set
    from recognizer.model_pack import DEFAULT_PACK, ModelPack
    from recognizer.recogniser import Recogniser
    from recognizer.session import RecognitionSession
    from tests.bench.speech_sets import COMMITTED

    process = psutil.Process()
    moments = [process.create_time(), time.time()]
    loaded = ModelPack.load(pack or DEFAULT_PACK)
    moments.append(time.time())
    recogniser = Recogniser.of_pack(loaded)
    session = RecognitionSession(recogniser)
    moments.append(time.time())
    table = min(COMMITTED.glob("*.tsv"))
    reading = time.time()
    samples = telephone_speech(read_audio(read_test_set(table)[0].audio))
    moments[-1] += time.time() - reading  # a live leg is not read from a file
    for at in range(0, len(samples), _PIECE):
        if any(told.words for told in session.accept(samples[at : at + _PIECE])):
            moments.append(time.time())
            steps = [after - before for before, after in itertools.pairwise(moments)]
            memory = process.memory_info()
            return {
                "steps_s": dict(zip(STEPS, steps, strict=True)),
                "total_s": sum(steps),
                "audio_heard_s": (at + _PIECE) / 8000,
                "resident_mib": memory.rss / 2**20,
            }
    raise SystemExit("No word was recognised in the committed recording.")


def started(cache: Path, kernels: Path, pack: Path | None) -> dict[str, Any]:
    environment = {**os.environ, "CALLWARDEN_CACHE": str(cache), "NUMBA_CACHE_DIR": str(kernels)}
    command = [sys.executable, "-m", "tests.bench.bench_first_start", "--be-the-process"]
    command += ["--pack", str(pack)] if pack else []
    told = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, text=True).stdout
    found: dict[str, Any] = json.loads(told.splitlines()[-1])
    return found


def middle(starts: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians of several starts."""
    steps = {step: statistics.median(one["steps_s"][step] for one in starts) for step in STEPS}
    rest = {name: statistics.median(one[name] for one in starts) for name in starts[0] if name != "steps_s"}
    return {"starts": len(starts), "steps_s": steps, **rest}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.bench_first_start")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--without-compiling", action="store_true", help="leave the start on a new machine out")
    parser.add_argument("--pack", type=Path)
    parser.add_argument("--be-the-process", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.be_the_process:
        print(json.dumps(start(given.pack)))
        return 0

    from rich.console import Console
    from rich.table import Table

    from tests.bench import machine

    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        kernels = Path(folder) / "kernels"
        new = [started(Path(folder) / "new", kernels, given.pack)]  # always: it compiles for the others
        if not given.without_compiling:
            found["new machine"] = middle(new)
        empty = [started(Path(folder) / f"empty-{i}", kernels, given.pack) for i in range(given.rounds)]
        found["empty cache"] = middle(empty)
        warm = [started(Path(folder) / "empty-0", kernels, given.pack) for _ in range(given.rounds)]
        found["warm"] = middle(warm)
        unpacked = sum(file.stat().st_size for file in (Path(folder) / "empty-0").rglob("*") if file.is_file())
    table = Table(
        "start", *STEPS, "first word after, s", "resident, MiB", title="From process to first word, seconds"
    )
    for name, row in found.items():
        steps = (f"{row['steps_s'][step]:.2f}" for step in STEPS)
        table.add_row(name, *steps, f"{row['total_s']:.2f}", f"{row['resident_mib']:.0f}")
    Console(width=120).print(table)
    print(f"The cache holds {unpacked / 1e6:.1f} MB then.")
    OUT.parent.mkdir(parents=True, exist_ok=True)
    figures = {"machine": machine.described(), "cache_bytes": unpacked, "starts": found}
    OUT.write_text(json.dumps(figures, indent=2) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
