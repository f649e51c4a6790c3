"""How fast calls are folded, put and found in the embedded index.

Run as ``python -m tests.bench index``; prints a table and writes build/bench/index.json. 5,000 generated calls of
about 700 words each (five minutes of talk). Searches run one at a time, caches warm, with total, facets and
highlights, as the console asks for them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sqlite3
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from rich.console import Console
from rich.progress import track
from rich.table import Table

from events.call_document import CallDocument
from events.finding import Severity
from events.identity import Role
from events.transcript import PiiKind
from indexer.fold import fold
from indexer.index import CallQuery, SearchOrder
from indexer.sqlite_index import SqliteIndex
from tests.indexer.call_records import call_id, generated_call

BATCH = 50
QUERIES = {
    "rare words": CallQuery("word5000 OR word5001"),
    "common word": CallQuery("the"),
    "phrase": CallQuery('"i have"'),
    "phrase said by the agent": CallQuery('"i have"', spoken_by=Role.AGENT),
    "three words, AND": CallQuery("refund premium lawyer"),
    "OR and NOT": CallQuery("(refund OR complaint) -lawyer"),
    "prefix": CallQuery("guarant*"),
    "word and rule": CallQuery("mortgage", rules=("FIN-GUARANTEE",), severities=(Severity.HIGH,)),
    "no text, newest": CallQuery(order=SearchOrder.NEWEST),
    "no text, hidden card number": CallQuery(entities=(PiiKind.CARD_NUMBER,)),
}


def seconds_of(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def percentiles_ms(values_s: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(values_s, n=100, method="inclusive")
    return {"p50_ms": round(cuts[49] * 1000, 2), "p95_ms": round(cuts[94] * 1000, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--scratch", type=Path, default=Path("build/bench/index-scratch"))
    parser.add_argument("--out", type=Path, default=Path("build/bench/index.json"))
    given = parser.parse_args()
    shutil.rmtree(given.scratch, ignore_errors=True)
    index = SqliteIndex(given.scratch)

    records = fold_s = put_s = 0.0
    batch: list[tuple[CallDocument, int | None]] = []
    for number in track(range(1, given.calls + 1), "folding and putting", transient=True):
        call = generated_call(number)
        began = time.perf_counter()
        document: CallDocument | None = None
        for record in call:
            document = fold(document, record)
        fold_s += time.perf_counter() - began
        records += len(call)
        assert document is not None
        batch.append((document, 0))
        if len(batch) == BATCH or number == given.calls:
            put_s += seconds_of(lambda waiting=batch: index.put_all(waiting))  # type: ignore[misc]
            batch = []

    # A live call grows by a segment and is put whole again, alone in its own durable step.
    live: CallDocument | None = None
    growing_s: list[float] = []
    for record in generated_call(given.calls + 1):
        base = 0 if live is None else live.revision
        live = fold(live, record)
        growing_s.append(seconds_of(lambda document=live, onto=base: index.put(document, onto)))  # type: ignore[misc]

    searches = {}
    for name, query in track(QUERIES.items(), "searching", transient=True):
        index.search(query)
        times = [seconds_of(lambda asked=query: index.search(asked)) for _ in range(given.rounds)]  # type: ignore[misc]
        searches[name] = {"found": index.search(query).total, **percentiles_ms(times)}
    every = [
        seconds_of(lambda asked=query: index.search(asked))  # type: ignore[misc]
        for _ in range(given.rounds)
        for query in QUERIES.values()
    ]
    size_mb = sum(file.stat().st_size for file in given.scratch.iterdir()) / 1e6
    forget_s = [seconds_of(lambda number=number: index.forget(call_id(number))) for number in (1, 2, 3)]  # type: ignore[misc]
    index.close()
    shutil.rmtree(given.scratch)

    result = {
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "sqlite": sqlite3.sqlite_version,
        "calls": given.calls,
        "records_folded_per_s": round(records / fold_s),
        "documents_put_per_s": round(given.calls / put_s, 1),
        "live_put": percentiles_ms(growing_s),
        "search_all": percentiles_ms(every),
        "searches": searches,
        "megabytes": round(size_mb, 1),
        "forget_s": round(statistics.median(forget_s), 2),
    }
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(result, indent=2) + "\n")
    _print(result)


def _print(result: dict[str, object]) -> None:
    table = Table(title=f"Index of {result['calls']} calls ({result['machine']}, SQLite {result['sqlite']})")
    for column in ("what", "found", "P50", "P95"):
        table.add_column(column, justify="left" if column == "what" else "right")
    searches = result["searches"]
    assert isinstance(searches, dict)
    for name, row in [*searches.items(), ("all searches", result["search_all"]), ("live put", result["live_put"])]:
        found = str(row.get("found", ""))
        table.add_row(name, found, f"{row['p50_ms']} ms", f"{row['p95_ms']} ms")
    console = Console()
    console.print(table)
    console.print(
        f"{result['documents_put_per_s']} documents/s put in batches of {BATCH}, "
        f"{result['records_folded_per_s']} records/s folded, {result['megabytes']} MB, "
        f"forgetting a call takes {result['forget_s']} s.",
        highlight=False,
    )


if __name__ == "__main__":
    main()
