"""Delays of live calls through the whole engine, and how many it carries at once.

`python tests/bench/bench_live.py [--calls 1 4 ...]`: places SIPREC calls of the demo's two voices in real time into a
whole engine on embedded defaults, and takes from the event log when each thing was made:

- final segment: from the end of the segment's last word to the segment in the log; the part that is endpoint
  silence (the recogniser waits for it on purpose) apart from the rest;
- finding, alert: from the end of the words that made them;
- searchable: from the end of the last word of a segment until the index has it.

A level is carried when the final segments' P95 without endpoint silence stays below one second and no packet was
lost. Everything (callers included) shares this machine's cores. Writes build/bench/live.json.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parent.parent.parent

import sys  # noqa: E402

sys.path.insert(0, str(ROOT))

from console.wiring import Wiring  # noqa: E402
from events import topics  # noqa: E402
from events.errors import CallwardenError  # noqa: E402
from events.finding import Alert, Finding, FindingKind  # noqa: E402
from events.identity import CallId  # noqa: E402
from events.lifecycle import CallEnded, CallStarted  # noqa: E402
from events.log import Delivery, Group  # noqa: E402
from events.transcript import RedactedSegment, SegmentStatus, TranscriptSegment  # noqa: E402
from recognizer.recogniser import RecogniserSettings  # noqa: E402
from telephony.caller import Caller  # noqa: E402
from tests.builders.engine import RunningEngine, running_engine  # noqa: E402
from tests.builders.journey import complete, piece, siprec_call, wired  # noqa: E402

FROM_S, TO_S = 10.0, 36.0
"""The part of the demo call with a promise, a name asked for and told, and a rule's deadline."""
LONGEST_ENDPOINT_MS = 1500
"""A later beginning of the next utterance means that silence lay between; then the endpoint is not known from it."""
CARRIED_MS = 30 * RecogniserSettings().carried_frames
"""The next utterance begins so long before the endpoint: of the silence there it hears the last part again."""
STAGGER_S = 0.37
"""Calls do not start in step, so that their endpoints do not fall together."""


@dataclass
class Delays:
    """Milliseconds from the end of speech."""

    endpoint: list[float] = field(default_factory=list)
    segment_rest: list[float] = field(default_factory=list)
    finding: list[float] = field(default_factory=list)
    alert: list[float] = field(default_factory=list)
    searchable: list[float] = field(default_factory=list)


def place(engine: RunningEngine, number: int) -> None:
    threading.Event().wait(number * STAGGER_S)
    caller = Caller(engine.sip, transport="tcp")
    with siprec_call(engine, caller, from_uri=f"sip:sbc{number}@example.com") as placed:
        placed.send(piece(FROM_S, TO_S))
    caller.close()


class IndexWatch(threading.Thread):
    """Notes when each segment of each call is first in the index. One search and one get a call and turn."""

    def __init__(self, wiring: Wiring) -> None:
        super().__init__(daemon=True)
        self._wiring = wiring
        self._stop_asked = threading.Event()
        self.calls: set[CallId] = set()
        self.seen_at_ms: dict[str, int] = {}

    def run(self) -> None:
        while not self._stop_asked.wait(0.02):
            for call in list(self.calls):
                document = self._wiring.index.get(call)
                now = time.time_ns() // 1_000_000
                for segment in document.segments if document else ():
                    self.seen_at_ms.setdefault(segment.id, now)

    def end(self) -> None:
        self._stop_asked.set()
        self.join()


def read_all(wiring: Wiring, group: str, most_s: float = 60.0) -> list[tuple[int, object]]:
    """Read until nothing more is there, or for `most_s`: while calls are up there is always more."""
    until = time.monotonic() + most_s
    made: list[tuple[int, object]] = []
    read = (
        topics.CALL_LIFECYCLE, topics.TRANSCRIPT_RAW, topics.TRANSCRIPT_REDACTED, topics.FINDING, topics.ALERT,
    )  # fmt: skip
    while True:
        deliveries = wiring.log.read(read, Group(group), 5000, 0.5)
        if not deliveries or time.monotonic() > until:
            return made + opened(wiring, deliveries)
        made += opened(wiring, deliveries)


def opened(wiring: Wiring, deliveries: Sequence[Delivery]) -> list[tuple[int, object]]:
    """Unseal what can be; calls of earlier levels have no keys any more."""
    made: list[tuple[int, object]] = []
    for delivery in deliveries:
        try:
            made.append((delivery.event.at_ms, wiring.sealer.record(delivery.topic, delivery.event)))
        except CallwardenError:
            continue
    return made


def measure(engine: RunningEngine, wiring: Wiring, calls: int) -> dict[str, object]:
    """Place `calls` calls at once and return the delays' percentiles and the engine's share of the cores."""
    known = {record.call for _, record in read_all(wiring, "bench") if isinstance(record, CallStarted)}
    processes = [psutil.Process(int(str(stage["pid"]))) for stage in engine.stages().values()]
    busy = sum(sum(process.cpu_times()[:2]) for process in processes)
    watch = IndexWatch(wiring)
    began = time.monotonic()
    callers = [threading.Thread(target=place, args=(engine, number)) for number in range(calls)]
    for caller in callers:
        caller.start()
    made: list[tuple[int, object]] = []
    watch.start()
    while any(caller.is_alive() for caller in callers):
        made += read_all(wiring, "bench", most_s=0.5)
        watch.calls |= {record.call for _, record in made if isinstance(record, CallStarted)} - known
    took = time.monotonic() - began
    busy = sum(sum(process.cpu_times()[:2]) for process in processes) - busy
    for call in watch.calls:
        complete(wiring, call, within_s=180)
    made += read_all(wiring, "bench")
    watch.end()
    delays = Delays()
    started = {record.call: record.started_at_ms for _, record in made if isinstance(record, CallStarted)}
    segments: dict[str, TranscriptSegment] = {}
    lost = 0
    finals = [
        (at_ms, record)
        for at_ms, record in made
        if isinstance(record, TranscriptSegment)
        and record.status is SegmentStatus.FINAL
        and record.call in started
    ]
    # Where the next utterance of its leg begins tells where an utterance's endpoint was.
    ends: dict[tuple[CallId, int, int], int] = {}
    for _, record in finals:
        later = [o.first_sample for _, o in finals if (o.call, o.leg) == (record.call, record.leg)]
        after = [sample for sample in later if sample > record.first_sample]
        if after:
            ends[record.call, record.leg, record.first_sample] = min(after) // 8
    for at_ms, record in finals:
        segments[record.id] = record
        endpoint_ms = ends.get((record.call, record.leg, record.first_sample))
        if endpoint_ms is not None and endpoint_ms - record.words[-1].end_ms < LONGEST_ENDPOINT_MS:
            endpoint_ms += CARRIED_MS
            delays.endpoint.append(endpoint_ms - record.words[-1].end_ms)
            delays.segment_rest.append(at_ms - started[record.call] - endpoint_ms)
    for at_ms, record in made:
        match record:
            case Finding(kind=FindingKind.SAID) if record.call in started:
                delays.finding.append(at_ms - started[record.call] - max(span.end_ms for span in record.spans))
            case CallEnded():
                lost += sum(leg.lost for leg in record.legs)
    findings = {record.id: record for _, record in made if isinstance(record, Finding)}
    for at_ms, record in made:
        if isinstance(record, Alert) and record.call in started:
            of = findings[record.finding]
            if of.spans:
                delays.alert.append(at_ms - started[record.call] - max(span.end_ms for span in of.spans))
        elif isinstance(record, RedactedSegment) and record.id in watch.seen_at_ms and record.id in segments:
            spoken = started[record.call] + segments[record.id].words[-1].end_ms
            delays.searchable.append(watch.seen_at_ms[record.id] - spoken)
    return {
        "calls": calls,
        "legs": 2 * calls,
        "segments": len(segments),
        "packets_lost": lost,
        "engine_cores": round(busy / took, 2),
        **{name: percentiles(values) for name, values in vars(delays).items()},
    }


def percentiles(values: Sequence[float]) -> dict[str, float] | None:
    if not values:
        return None
    return {"p50": float(np.percentile(values, 50)), "p95": float(np.percentile(values, 95)), "n": len(values)}


def shown(value: object) -> str:
    return f"{value['p50']:.0f} / {value['p95']:.0f}" if isinstance(value, dict) else "-"


def carried(row: dict[str, object]) -> bool:
    rest = row["segment_rest"]
    return row["packets_lost"] == 0 and isinstance(rest, dict) and rest["p95"] < 1000


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--calls", type=int, nargs="+", default=[1, 4, 8, 16, 24])
    asked = arguments.parse_args()
    settings = {
        "CALLWARDEN_ARCHIVE__GRACE_S": "3600",  # the raw transcript must stay readable until it was measured
        "CALLWARDEN_SOCKETS__LEGS": str(2 * max(asked.calls) + 4),
    }
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        with running_engine(data, environment=settings) as engine:
            wiring = wired(data)
            measure(engine, wiring, 1)  # what is compiled or read on first use is not measured
            for calls in asked.calls:
                rows.append(measure(engine, wiring, calls))
                if not carried(rows[-1]):
                    break
            wiring.close()
    table = Table(title=f"Live calls on {os.cpu_count()} cores (ms, P50 / P95 from the end of speech)")
    names = [
        "calls",
        "endpoint silence",
        "segment, rest",
        "finding",
        "alert",
        "searchable",
        "engine, cores",
        "lost",
    ]
    for name in names:
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(
            str(row["calls"]),
            *(shown(row[key]) for key in ("endpoint", "segment_rest", "finding", "alert", "searchable")),
            str(row["engine_cores"]),
            str(row["packets_lost"]),
        )
    Console().print(table)
    most = max((int(str(row["calls"])) for row in rows if carried(row)), default=0)
    Console().print(
        f"Carried at once: {most} two-leg calls{'' if rows and not carried(rows[-1]) else ' or more'}."
    )
    out = ROOT / "build" / "bench" / "live.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps({"cores": os.cpu_count(), "rows": rows, "carried_calls": most}, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
