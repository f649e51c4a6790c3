"""What one live leg costs the recogniser, part by part, and how soon its final segments come.

Run as ``python -m tests.bench.bench_streaming [--seconds S] [--legs N]``; prints tables and writes
build/bench/streaming.json.

The audio is the demo call's two voices (synthetic, each speaking less than half of the time, as in a call), in
blocks of 100 ms, with the shipped model pack. Costs are CPU time of this process per second of audio, so other work
on the machine disturbs them little. Delays are in audio time: from the end of a segment's last word to the end of
the block that brought its final version. "Endpoint silence" of it is what the recogniser waits on purpose, the rest
is the network's look-ahead and the waiting for the grid's and the block's end; computing comes on top, see "block".
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import sys

import numpy as np
import psutil
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[2]))

from events.audio import AudioBlock, Encoding
from events.consumer import Opened
from events.identity import CallId, Role
from events.log import Delivery, Event, TopicPartition
from events.topics import CALL_AUDIO
from events.transcript import SegmentStatus
from recognizer.features import FeatureStream
from recognizer.model_pack import ModelPack
from recognizer.recogniser import Recogniser
from recognizer.session import RecognitionSession
from recognizer.snapshot import SnapshotStore
from recognizer.worker import RecogniserWorker
from tests.builders.small_recogniser import demo_audio, demo_codes

BLOCK = 800
VOICES = ("agent", "customer")
USABLE = 0.7
"""Share of a core that live legs may take, so that bursts and partials of many legs at once find room."""


def blocks(samples: np.ndarray) -> list[np.ndarray]:
    return np.split(samples, range(BLOCK, len(samples), BLOCK))


def cpu_s(action: Callable[[], Any]) -> float:
    began = time.process_time()
    action()
    return time.process_time() - began


def hear_all(session: RecognitionSession, pieces: Iterable[np.ndarray]) -> None:
    for piece in pieces:
        session.accept(piece)
    session.finish()


class NoSnapshots(SnapshotStore):
    """The stage's disk work is measured by the event log's benchmark."""

    def __init__(self) -> None:
        """Nothing to open."""

    def of_call(self, call: CallId) -> dict[int, Any]:
        return {}


def stage_cpu_s(recogniser: Recogniser, codes: dict[str, bytes]) -> float:
    """CPU time of the stage's handler on a two-leg call: decoding, front end, sessions, records."""
    worker = RecogniserWorker(recogniser, NoSnapshots())
    call, where = CallId("0" * 32), TopicPartition(CALL_AUDIO.name, 0)
    opened = []
    for first in range(0, len(codes["agent"]), BLOCK):
        for leg, name in enumerate(VOICES):
            payload = codes[name][first : first + BLOCK]
            block = AudioBlock(call, leg, Role.UNKNOWN, Encoding.PCMU, 8000, first, len(payload), payload)
            event = Event(f"{first}:{leg}", call, "audio_block", time.time_ns() // 1_000_000, b"")  # type: ignore[arg-type]
            opened.append(Opened(Delivery(CALL_AUDIO, where, len(opened), event), block))
    return cpu_s(lambda: [list(worker.handle(record)) for record in opened])


def costs(recogniser: Recogniser, seconds: float) -> dict[str, float]:
    """CPU seconds per second of a leg's audio, by part."""
    size = int(seconds * 8000)
    codes = {name: demo_codes(name)[:size] for name in VOICES}
    heard = [blocks(demo_audio(name)[:size]) for name in VOICES]
    length = sum(len(piece) for pieces in heard for piece in pieces) / 8000
    parts = dict.fromkeys(("features", "network", "session", "stage"), 0.0)
    for pieces in heard:
        stream, network = FeatureStream(recogniser.model.statistics), recogniser.model.stream()
        made: list[np.ndarray] = []
        parts["features"] += cpu_s(lambda s=stream, p=pieces, m=made: m.extend(s.accept(x) for x in p))
        parts["network"] += cpu_s(lambda n=network, m=made: [n.accept(x) for x in m])
        session = RecognitionSession(recogniser)
        parts["session"] += cpu_s(lambda s=session, p=pieces: hear_all(s, p))
    parts["stage"] = stage_cpu_s(recogniser, codes)
    per_second = {name: value / length for name, value in parts.items()}
    return {
        "features": per_second["features"],
        "network": per_second["network"],
        "search and alignment": per_second["session"] - per_second["features"] - per_second["network"],
        "front end and records": per_second["stage"] - per_second["session"],
        "all": per_second["stage"],
    }


def delays(recogniser: Recogniser, seconds: float) -> dict[str, list[float]]:
    """Milliseconds of audio time per final segment, and of computing per block."""
    found: dict[str, list[float]] = {"all": [], "endpoint silence": [], "rest": [], "partial": [], "block": []}
    for name in VOICES:
        session = RecognitionSession(recogniser)
        first_partial: set[int] = set()
        for piece in blocks(demo_audio(name)[: int(seconds * 8000)]):
            began = time.process_time()
            told = session.accept(piece)
            found["block"].append(1000 * (time.process_time() - began))
            now_ms, scored_ms = session.end_sample / 8, session._network.frames * 30
            for utterance in told:
                end_ms = utterance.words[-1].end_ms
                if utterance.status is SegmentStatus.FINAL:
                    found["all"].append(now_ms - end_ms)
                    found["endpoint silence"].append(scored_ms - end_ms)
                    found["rest"].append(now_ms - scored_ms)
                elif utterance.first_sample not in first_partial:
                    first_partial.add(utterance.first_sample)
                    found["partial"].append(now_ms - utterance.words[0].start_ms)
    return found


def memory_per_leg(recogniser: Recogniser, legs: int, seconds: float) -> float:
    """MiB of resident memory that one leg in mid-call adds."""
    pieces = blocks(demo_audio("agent")[: int(seconds * 8000)])
    process = psutil.Process()
    gc.collect()
    before = process.memory_info().rss
    sessions = [RecognitionSession(recogniser) for _ in range(legs)]
    for piece in pieces:
        for session in sessions:
            session.accept(piece)
    return float((process.memory_info().rss - before) / legs / 2**20)


def percentile(values: list[float], share: float) -> float:
    return float(np.percentile(values, 100 * share)) if values else float("nan")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="audio per voice")
    parser.add_argument("--legs", type=int, default=40, help="legs whose memory is measured")
    parser.add_argument("--out", type=Path, default=Path("build/bench/streaming.json"))
    options = parser.parse_args()
    recogniser = Recogniser.of_pack(ModelPack.load())
    hear_all(RecognitionSession(recogniser), blocks(demo_audio("agent")[:120_000]))  # compiles, maps the graph
    memory = memory_per_leg(recogniser, options.legs, 15.0)
    runs = [costs(recogniser, options.seconds) for _ in range(3)]
    cost = {part: statistics.median(run[part] for run in runs) for part in runs[0]}
    delay = delays(recogniser, options.seconds)
    legs = USABLE / cost["all"]

    console = Console()
    table = Table(title=f"CPU seconds per second of one leg ({platform.machine()}, one core)")
    for heading in ("part", "real-time factor", "share"):
        table.add_column(heading, justify="left" if heading == "part" else "right")
    for part, value in cost.items():
        table.add_row(part, f"{value:.4f}", f"{100 * value / cost['all']:.0f} %")
    console.print(table)
    table = Table(title="Milliseconds from the end of a segment's last word to its final version (audio time)")
    for heading in ("", "count", "P50", "P95"):
        table.add_column(heading, justify="right" if heading else "left")
    names = {
        "partial": "first partial, from the first word's start",
        "block": "computing one block of 100 ms (CPU)",
    }
    for part, values in delay.items():
        p50, p95 = percentile(values, 0.5), percentile(values, 0.95)
        table.add_row(names.get(part, part), str(len(values)), f"{p50:.1f}", f"{p95:.1f}")
    console.print(table)
    console.print(f"Live legs per core at {USABLE:.0%} use: {legs:.0f}; memory per leg: {memory:.2f} MiB.")

    options.out.parent.mkdir(parents=True, exist_ok=True)
    result = {
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "seconds_per_voice": options.seconds,
        "real_time_factor": cost,
        "live_legs_per_core": legs,
        "core_share": USABLE,
        "memory_per_leg_mib": memory,
        "delay_ms": {
            part: {"count": len(values), "p50": percentile(values, 0.5), "p95": percentile(values, 0.95)}
            for part, values in delay.items()
        },
    }
    options.out.write_text(json.dumps(result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
