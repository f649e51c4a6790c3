"""How many live legs a core carries, how soon their words and segments come, and what a leg costs, part by part.

Run as ``python -m tests.bench.bench_streaming [--legs 20 40 ...] [--seconds S] [--others]``; prints tables, writes
build/bench/streaming.json. With ``CALLWARDEN_SPEECH_SETS`` (a folder of test sets) it speaks other sentences than the
sixteen committed ones. All of it is simulated telephone speech.

- *Cost*: CPU seconds per second of one leg's audio. The network alone for several legs at a time; ``live`` is one of
  the shape meant for live use (3.5 million parameters, 120 ms of future) with random weights. ``BLAS``: only the
  same products by numpy, as a peer.
- *Live*: see :mod:`tests.bench.streaming_load`; legs speak two thirds of the time. "Word" is from the end of a word
  (forced alignment of the known text) to its first appearance in a partial or final segment, of the words that were
  recognised; "final" from the endpoint to the final segment. The endpoint's silence is told apart. For ``live`` the
  words are the shipped network's, see :mod:`tests.bench.streaming_networks`.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import psutil
from rich.console import Console
from rich.table import Table

from dsp import g711
from recognizer.acoustic_model import OUTPUT_SAMPLES, AcousticModel
from recognizer.features import FeatureStream
from recognizer.model_pack import ModelPack
from recognizer.quantised import WeightForm
from recognizer.recogniser import Recogniser, RecogniserSettings
from recognizer.session import RecognitionSession
from tests.bench.streaming_load import BLOCK, Load, simulate
from tests.bench.streaming_networks import TimedByAnother
from tests.bench.streaming_speech import SpokenLeg, legs, sentences
from tests.builders.random_networks import live_network

TOGETHER = (1, 4, 16)
FORMS: tuple[WeightForm, ...] = ("float32", "int8")
WORD_GOAL_MS, FINAL_GOAL_MS = 300, 400


def cpu_s(action: Callable[[], Any]) -> float:
    began = time.process_time()
    action()
    return time.process_time() - began


def audio(leg: SpokenLeg) -> list[np.ndarray]:
    samples = g711.decode_mu_law_float(np.frombuffer(leg.codes, np.uint8))
    return np.split(samples, range(BLOCK, len(samples), BLOCK))


def hear_all(recogniser: Recogniser, pieces: Sequence[np.ndarray]) -> None:
    session = RecognitionSession(recogniser)
    for piece in pieces:
        session.accept(piece)
    session.finish()


def network_costs(models: dict[str, AcousticModel], leg: SpokenLeg) -> list[dict[str, Any]]:
    """CPU seconds per second and leg of each network, for several legs at a time; the runs take turns."""
    pieces = audio(leg)
    seconds = len(leg.codes) / 8000
    rows = []
    for name, model in models.items():
        features = model.features()
        blocks = [features.accept(piece) for piece in pieces]
        row: dict[str, Any] = {
            "network": name,
            "weights_mib": model.weight_bytes / 2**20,
            "activations_kib": model.bytes_per_leg / 2**10,
            "look_ahead_ms": 30 * model.right,
        }
        for count in TOGETHER:

            def run(model: AcousticModel = model, blocks: Any = blocks, count: int = count) -> None:
                streams = [model.stream() for _ in range(count)]
                for block in blocks:
                    model.accept_many(streams, [block] * count)

            run()
            row[f"legs_{count}"] = statistics.median(cpu_s(run) for _ in range(3)) / seconds / count
        rows.append(row)
    return rows


def blas_costs(name: str, model: AcousticModel, steps: int = 3) -> dict[str, Any]:
    """As `network_costs` for the same products by BLAS, and for them alone: no activations kept, nothing gathered."""
    chain = [affine.matrix.dense() for affine in model.chain]
    weights = [matrix.reshape(-1, matrix.shape[-1]).astype(np.float32) for matrix in chain]
    row: dict[str, Any] = {"network": name, "weights_mib": sum(w.nbytes for w in weights) / 2**20}
    row |= {"activations_kib": 0.0, "look_ahead_ms": 30 * model.right}
    turns = 100
    for count in TOGETHER:
        inputs = [np.ones((steps * count, w.shape[0]), np.float32) for w in weights]

        def run(inputs: list[np.ndarray] = inputs) -> None:
            for _ in range(turns):
                for rows, matrix in zip(inputs, weights, strict=True):
                    np.matmul(rows, matrix)

        run()
        seconds = turns * steps * OUTPUT_SAMPLES / 8000
        row[f"legs_{count}"] = statistics.median(cpu_s(run) for _ in range(3)) / seconds / count
    return row


def part_costs(recogniser: Recogniser, spoken: Sequence[SpokenLeg]) -> dict[str, float]:
    """CPU seconds per second of one leg heard alone."""
    parts = dict.fromkeys(("features", "network", "all"), 0.0)
    for leg in spoken:
        pieces = audio(leg)
        stream, network = FeatureStream(recogniser.model.statistics), recogniser.model.stream()
        made: list[np.ndarray] = []
        parts["features"] += cpu_s(lambda s=stream, p=pieces, m=made: m.extend(s.accept(x) for x in p))
        parts["network"] += cpu_s(lambda n=network, m=made: [n.accept(x) for x in m])
        parts["all"] += cpu_s(lambda p=pieces: hear_all(recogniser, p))
    seconds = sum(len(leg.codes) for leg in spoken) / 8000
    cost = {name: value / seconds for name, value in parts.items()}
    rest = cost["all"] - cost["features"] - cost["network"]
    return {
        "features": cost["features"],
        "network": cost["network"],
        "search and the rest": rest,
        "all": cost["all"],
    }


def memory_per_leg(recogniser: Recogniser, leg: SpokenLeg, count: int = 40) -> float:
    """MiB of resident memory that one leg in mid-call adds."""
    pieces = audio(leg)[:100]
    process = psutil.Process()
    gc.collect()
    before = process.memory_info().rss
    sessions = [RecognitionSession(recogniser) for _ in range(count)]
    for piece in pieces:
        for session in sessions:
            session.accept(piece)
    return float((process.memory_info().rss - before) / count / 2**20)


def percentiles(values: Sequence[float]) -> dict[str, float]:
    if not values:
        return {"count": 0, "p50": float("nan"), "p95": float("nan")}
    return {"count": len(values), "p50": float(np.percentile(values, 50)), "p95": float(np.percentile(values, 95))}


def live_row(name: str, count: int, load: Load) -> dict[str, Any]:
    row: dict[str, Any] = {"what": name, "legs": count, **vars(load)}
    for delay in ("word", "final", "silence"):
        row[delay] = percentiles(getattr(load, delay))
    row["carried"] = bool(
        load.use < 0.95 and row["word"]["p50"] <= WORD_GOAL_MS and row["final"]["p95"] <= FINAL_GOAL_MS
    )
    return row


def live_rows(pack: ModelPack, counts: Sequence[int], seconds: float, others: bool) -> list[dict[str, Any]]:
    spoken = sentences(pack)
    shipped = {form: Recogniser.of_pack(pack, RecogniserSettings(weights=form)) for form in FORMS}
    for recogniser in shipped.values():  # compiles, maps the graph
        simulate(recogniser, legs(spoken, 2, 10.0, seed=9))
    rows = []
    for count in counts:
        lines = legs(spoken, count, seconds, seed=1)
        for form, recogniser in shipped.items():
            rows.append(live_row(f"shipped, {form}", count, simulate(recogniser, lines)[0]))
            if others:
                one_by_one = simulate(recogniser, lines, most_records=1)[0]
                rows.append(live_row(f"shipped, {form}, one by one", count, one_by_one))
        if not others:
            continue
        model = AcousticModel.load(pack.acoustic_model, pack.acoustic_scale)
        for form in FORMS:
            recogniser = Recogniser.of_pack(pack)
            other = AcousticModel.fold(live_network(model.pdfs), 1.0, form)
            recogniser.model = TimedByAnother(model, other, lines)
            rows.append(live_row(f"live, {form}", count, simulate(recogniser, lines)[0]))
    return rows


def table(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    made = Table(title=title)
    for heading in headings:
        made.add_column(heading, justify="left" if heading == headings[0] else "right")
    for row in rows:
        made.add_row(*row)
    return made


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--legs", type=int, nargs="+", default=[20, 40], help="live legs on one core")
    parser.add_argument("--seconds", type=float, default=60.0, help="audio per leg")
    parser.add_argument(
        "--others", action="store_true", help="legs not heard together, and the network `live`, too"
    )
    parser.add_argument("--out", type=Path, default=Path("build/bench/streaming.json"))
    options = parser.parse_args()
    console = Console(width=max(120, Console().width))
    pack = ModelPack.load()
    scale = pack.acoustic_scale
    spoken = sentences(pack)
    quiet = legs(spoken, 4, 30.0)
    recogniser = Recogniser.of_pack(pack, RecogniserSettings(weights="int8"))
    hear_all(recogniser, audio(quiet[0]))
    memory = memory_per_leg(recogniser, quiet[1])
    parts = part_costs(recogniser, quiet)
    console.print(
        table(
            f"One leg heard alone, int8 ({platform.machine()}): CPU seconds per second; {memory:.1f} MiB a leg",
            ("part", "cost", "share"),
            [(part, f"{cost:.5f}", f"{100 * cost / parts['all']:.0f} %") for part, cost in parts.items()],
        )
    )
    models = {f"shipped, {form}": AcousticModel.load(pack.acoustic_model, scale, form) for form in FORMS}
    random = live_network(recogniser.model.pdfs)
    models |= {f"live, {form}": AcousticModel.fold(random, scale, form) for form in FORMS}
    networks = network_costs(models, quiet[0])
    networks += [blas_costs(f"{name}, BLAS", models[f"{name}, float32"]) for name in ("shipped", "live")]
    console.print(
        table(
            "The network alone: CPU seconds per second and leg",
            ("network", "weights, MiB", "a leg, KiB", "look-ahead, ms", *(f"{n} together" for n in TOGETHER)),
            [
                (
                    row["network"],
                    f"{row['weights_mib']:.1f}",
                    f"{row['activations_kib']:.0f}",
                    str(row["look_ahead_ms"]),
                    *(f"{row[f'legs_{n}']:.5f}" for n in TOGETHER),
                )
                for row in networks
            ],
        )
    )
    live = live_rows(pack, options.legs, options.seconds, options.others)
    console.print(
        table(
            "Live legs on one core, ms P50 / P95",
            ("network", "legs", "core", "a batch", "word", "final", "silence", "unstable", "goals"),
            [
                (
                    row["what"],
                    str(row["legs"]),
                    f"{row['use']:.0%}",
                    f"{row['legs_together']:.1f}",
                    *(f"{row[d]['p50']:.0f} / {row[d]['p95']:.0f}" for d in ("word", "final", "silence")),
                    f"{row['unstable']} of {row['stable']}",
                    "met" if row["carried"] else "missed",
                )
                for row in live
            ],
        )
    )
    options.out.parent.mkdir(parents=True, exist_ok=True)
    result = {
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "seconds_per_leg": options.seconds,
        "memory_per_leg_mib": memory,
        "parts": parts,
        "networks": networks,
        "live": live,
    }
    options.out.write_text(json.dumps(result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
