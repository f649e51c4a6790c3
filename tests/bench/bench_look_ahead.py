"""What hearing more of the future costs in delay, and brings in words.

Run as ``python -m tests.bench.bench_look_ahead [--packs DIR ...] [--legs 20]``; prints two tables and writes
build/bench/look_ahead.json. Other packs than the shipped one may also be named, with colons between, in
``CALLWARDEN_PACKS_BESIDE``.

- *Delay*: live legs on one core (:mod:`tests.bench.streaming_load`), the shipped network's words told as late as a
  network of that look-ahead (random weights, 3.5 million parameters, 8 bits) gives its frames.
- *Words*: packs that were trained, each with its own look-ahead, on the development sets of
  :mod:`tests.bench.speech_sets`. Packs differ in more than that, so only those made of the same data tell the
  trade.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from rich.console import Console

from recognizer.acoustic_model import AcousticModel
from recognizer.evaluation.jobs import SystemChoice
from recognizer.evaluation.report import by_system
from recognizer.model_pack import DEFAULT_PACK, ModelPack
from recognizer.recogniser import Recogniser
from tests.bench import machine
from tests.bench.bench_recognizer import measured
from tests.bench.bench_streaming import live_row, table
from tests.bench.speech_sets import development_tables
from tests.bench.streaming_load import simulate
from tests.bench.streaming_networks import TimedByAnother
from tests.bench.streaming_speech import Sentence, legs, sentences
from tests.builders.random_networks import random_network

OUT = Path("build/bench/look_ahead.json")
VARIABLE = "CALLWARDEN_PACKS_BESIDE"
LOOK_AHEADS_MS = (60, 120, 150, 210, 300)
_LAYERS = 12


def network_of(look_ahead_ms: int, pdfs: int) -> dict[str, Any]:
    """A random network of always the same size; 30 ms of the look-ahead are the first layer's."""
    steps = look_ahead_ms // 30 - 1
    spans = [((-1, 0), (0, 1) if layer < steps else (-1, 0)) for layer in range(_LAYERS)]
    return random_network([(a, b, 96, 640) for a, b in spans], 640, (-1, 0, 1), 192, pdfs)


def delays(pack: ModelPack, spoken: Sequence[Sentence], count: int, seconds: float) -> list[dict[str, Any]]:
    lines = legs(spoken, count, seconds, seed=1)
    trained = AcousticModel.load(pack.acoustic_model, pack.acoustic_scale)
    recogniser = Recogniser.of_pack(pack)
    rows = []
    for look_ahead_ms in LOOK_AHEADS_MS:
        other = AcousticModel.fold(network_of(look_ahead_ms, trained.pdfs), 1.0, "int8")
        assert 30 * other.right == look_ahead_ms
        recogniser.model = TimedByAnother(trained, other, lines)
        if not rows:
            simulate(recogniser, lines[:2])  # compiles
        row = live_row(f"{look_ahead_ms}", count, simulate(recogniser, lines)[0])
        rows.append({"look_ahead_ms": look_ahead_ms, **row})
    return rows


def words(folders: Sequence[Path]) -> list[dict[str, Any]]:
    rows = []
    for folder in folders:
        pack = ModelPack.load(folder)
        (own,) = by_system(measured(development_tables(), [SystemChoice(folder)], 1, folder.name)).values()
        model = AcousticModel.load(pack.acoustic_model, pack.acoustic_scale)
        rows.append(
            {
                "pack": "shipped" if folder == DEFAULT_PACK else folder.name,
                "look_ahead_ms": pack.frame_shift_ms * model.right,
                "wer": {result.name: result.errors.rate for result in own},
            }
        )
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.bench_look_ahead")
    parser.add_argument("--packs", type=Path, nargs="+", default=[], help="other packs, for their words")
    parser.add_argument("--legs", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=60.0, help="audio per leg")
    given = parser.parse_args()
    beside = [Path(folder) for folder in os.environ.get(VARIABLE, "").split(":") if folder]
    pack = ModelPack.load()
    found = delays(pack, sentences(pack), given.legs, given.seconds)
    heard = words([DEFAULT_PACK, *beside, *given.packs])
    console = Console(width=120)
    shown = [
        (
            row["what"],
            *(f"{row[d]['p50']:.0f} / {row[d]['p95']:.0f}" for d in ("word", "final")),
            f"{row['use']:.0%}",
        )
        for row in found
    ]
    console.print(
        table(f"{given.legs} live legs, ms P50 / P95", ("look-ahead, ms", "word", "final", "core"), shown)
    )
    names = list(heard[0]["wer"])
    rows = [
        (row["pack"], f"{row['look_ahead_ms']}", *(f"{100 * row['wer'][name]:.1f}" for name in names))
        for row in heard
    ]
    console.print(table("WER %, simulated telephone speech", ("pack", "look-ahead, ms", *names), rows))
    OUT.parent.mkdir(parents=True, exist_ok=True)
    figures = {"machine": machine.described(), "legs": given.legs, "delays": found, "words": heard}
    OUT.write_text(json.dumps(figures, indent=2) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
