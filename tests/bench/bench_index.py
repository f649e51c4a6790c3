"""How fast calls are folded, put and found: in the embedded index, and in Elasticsearch beside it.

Run as ``python -m tests.bench index``; prints a table and writes build/bench/index.json. 20,000 generated calls of
about 700 words each (five minutes of talk), put into both indexes in one run, batch by batch in turn. Searches run
one at a time, caches warm, with total, facets and highlights, as the console asks for them. Elasticsearch takes
part only when CALLWARDEN_TEST_ELASTICSEARCH names a server (`make bench-services` starts one); what the driver's
own process and the server each spend is told, and how fast the bare client puts the same documents.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import secrets
import shutil
import sqlite3
import statistics
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
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
from indexer.index import CallIndex, CallQuery, SearchOrder
from indexer.sqlite_index import SqliteIndex
from tests.indexer.call_records import STARTED_AT_MS, call_id, generated_call

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
    "word, filters": CallQuery("refund", started_from_ms=STARTED_AT_MS, has_findings=True, shortest_ms=60_000),
    "agent: phrase typed": CallQuery('agent:"i have" OR customer:"call back"'),
    "no text, newest": CallQuery(order=SearchOrder.NEWEST),
    "no text, hidden card number": CallQuery(entities=(PiiKind.CARD_NUMBER,)),
}


SECOND_PAGE_OF = "three words, AND"


def seconds_of(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def percentiles_ms(values_s: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(values_s, n=100, method="inclusive")
    return {"p50_ms": round(cuts[49] * 1000, 2), "p95_ms": round(cuts[94] * 1000, 2)}


@dataclass
class Driver:
    """One index under test and what was measured."""

    name: str
    index: CallIndex
    put_s: float = 0.0
    own_s: float = 0.0
    """Of it, time on a processor in this process."""
    searches: dict[str, dict[str, float]] = field(default_factory=dict)
    all_s: list[float] = field(default_factory=list)
    live_s: list[float] = field(default_factory=list)
    size_mb: float = 0.0
    forget_s: float = 0.0

    def put(self, batch: list[tuple[CallDocument, int | None]]) -> None:
        began, own = time.perf_counter(), time.process_time()
        self.index.put_all(batch)
        self.put_s += time.perf_counter() - began
        self.own_s += time.process_time() - own

    def grow(self, number: int) -> None:
        """A live call grows by a record and is put whole again, alone in its own durable step."""
        live: CallDocument | None = None
        for record in generated_call(number):
            base = 0 if live is None else live.revision
            live = fold(live, record)
            self.live_s.append(seconds_of(lambda document=live, onto=base: self.index.put(document, onto)))  # type: ignore[misc]

    def search(self, rounds: int) -> None:
        for name, query in track(QUERIES.items(), f"searching, {self.name}", transient=True):
            for _ in range(3):
                page = self.index.search(query)
            times = [seconds_of(lambda asked=query: self.index.search(asked)) for _ in range(rounds)]  # type: ignore[misc]
            self.searches[name] = {"found": page.total, **percentiles_ms(times)}
            self.all_s += times
            if name == SECOND_PAGE_OF and page.next_cursor:
                again = replace(query, cursor=page.next_cursor)
                times = [seconds_of(lambda asked=again: self.index.search(asked)) for _ in range(rounds)]  # type: ignore[misc]
                self.searches[f"{name}, page 2"] = {"found": page.total, **percentiles_ms(times)}
                self.all_s += times

    def result(self, calls: int) -> dict[str, object]:
        return {
            "documents_put_per_s": round(calls / self.put_s, 1),
            "own_process_share": round(self.own_s / self.put_s, 2),
            "live_put": percentiles_ms(self.live_s),
            "search_all": percentiles_ms(self.all_s),
            "searches": self.searches,
            "megabytes": round(self.size_mb, 1),
            "forget_s": round(self.forget_s, 2),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--scratch", type=Path, default=Path("build/bench/index-scratch"))
    parser.add_argument("--out", type=Path, default=Path("build/bench/index.json"))
    given = parser.parse_args()
    shutil.rmtree(given.scratch, ignore_errors=True)
    drivers = [Driver("sqlite", SqliteIndex(given.scratch))]
    url, prefix = os.environ.get("CALLWARDEN_TEST_ELASTICSEARCH", ""), f"bench-{secrets.token_hex(4)}-"
    try:
        if url:
            drivers.append(Driver("elasticsearch", _elastic(url, prefix)))
        _print(_measure(drivers, given.calls, given.rounds, url, prefix), given.out)
    finally:
        for driver in drivers:
            driver.index.close()
        shutil.rmtree(given.scratch, ignore_errors=True)
        if url:
            _remove(url, prefix)


def _measure(drivers: list[Driver], calls: int, rounds: int, url: str, prefix: str) -> dict[str, object]:
    records = fold_s = 0.0
    batch: list[tuple[CallDocument, int | None]] = []
    for number in track(range(1, calls + 1), "folding and putting", transient=True):
        call = generated_call(number)
        began = time.perf_counter()
        document: CallDocument | None = None
        for record in call:
            document = fold(document, record)
        fold_s += time.perf_counter() - began
        records += len(call)
        assert document is not None
        batch.append((document, 0))
        if len(batch) == BATCH or number == calls:
            for driver in drivers:
                driver.put(batch)
            last, batch = batch, []
    result: dict[str, object] = {
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "sqlite_version": sqlite3.sqlite_version,
        "calls": calls,
        "batch": BATCH,
        "records_folded_per_s": round(records / fold_s),
    }
    for driver in drivers:
        driver.grow(calls + 1)
        driver.search(rounds)
        driver.size_mb = driver.index.status().size_bytes / 1e6
        driver.forget_s = seconds_of(lambda driver=driver: driver.index.forget(call_id(1)))  # type: ignore[misc]
        result[driver.name] = driver.result(calls)
    if url:
        result["bare_client_documents_per_s"] = round(_bare(url, prefix, [document for document, _ in last]), 1)
        result["server"] = _ask(url, "GET", "/")["version"]["number"]  # type: ignore[index]
    return result


def _elastic(url: str, prefix: str) -> CallIndex:
    from indexer.elastic_index import ElasticIndex
    from indexer.elastic_settings import ElasticIndexSettings

    return ElasticIndex(ElasticIndexSettings(url=url, prefix=prefix, replicas=0))


def _bare(url: str, prefix: str, documents: list[CallDocument], seconds: float = 5.0) -> float:
    """Documents per second that plain bulk requests put into an index with our mapping, encoded beforehand."""
    from indexer.elastic_document import index_document

    name = f"{prefix}calls-undated-v9-bare"
    bodies = [json.dumps(index_document(document)) for document in documents]
    _ask(url, "PUT", f"/{name}")
    put = round_ = 0
    began = time.perf_counter()
    while time.perf_counter() - began < seconds:
        lines = []
        for number, body in enumerate(bodies):
            lines += [json.dumps({"create": {"_index": name, "_id": f"{round_}-{number}"}}), body]
        _ask(url, "POST", "/_bulk", "\n".join([*lines, ""]).encode())
        put += len(bodies)
        round_ += 1
    return put / (time.perf_counter() - began)


def _ask(url: str, method: str, path: str, body: bytes | None = None) -> dict[str, object]:
    request = urllib.request.Request(url + path, body, {"Content-Type": "application/x-ndjson"}, method=method)
    with urllib.request.urlopen(request, timeout=120) as answer:
        found: dict[str, object] = json.loads(answer.read())
        return found


def _remove(url: str, prefix: str) -> None:
    for name in _ask(url, "GET", f"/{prefix}*/_settings?expand_wildcards=all"):
        _ask(url, "DELETE", f"/{name}")
    _ask(url, "DELETE", f"/_index_template/{prefix}*")


def _drivers(result: dict[str, object]) -> Iterator[tuple[str, dict[str, object]]]:
    for name in ("sqlite", "elasticsearch"):
        found = result.get(name)
        if isinstance(found, dict):
            yield name, found


def _print(result: dict[str, object], out: Path) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=2) + "\n")
    drivers = dict(_drivers(result))
    table = Table(title=f"Index of {result['calls']} calls ({result['machine']})")
    table.add_column("what")
    for name in drivers:
        for column in (f"{name}: found", "P50", "P95"):
            table.add_column(column, justify="right")
    rows: dict[str, list[str]] = {}
    for found in drivers.values():
        searches = found["searches"]
        assert isinstance(searches, dict)
        for what, row in [
            *searches.items(),
            ("all searches", found["search_all"]),
            ("live put", found["live_put"]),
        ]:
            rows.setdefault(what, []).extend(
                [str(row.get("found", "")), f"{row['p50_ms']} ms", f"{row['p95_ms']} ms"]
            )
    for what, cells in rows.items():
        table.add_row(what, *cells)
    console = Console(width=120)
    console.print(table)
    for name, found in drivers.items():
        console.print(
            f"{name}: {found['documents_put_per_s']} documents/s put in batches of {BATCH} "
            f"({found['own_process_share']} of that time on a processor in this process), {found['megabytes']} MB, "
            f"forgetting a call takes {found['forget_s']} s.",
            highlight=False,
        )
    if "bare_client_documents_per_s" in result:
        console.print(
            f"Elasticsearch {result['server']}, plain bulk requests of documents encoded beforehand: "
            f"{result['bare_client_documents_per_s']} documents/s.",
            highlight=False,
        )
    console.print(f"{result['records_folded_per_s']} records/s folded.", highlight=False)


if __name__ == "__main__":
    main()
