"""The real indexer stage on a real event log and a real Elasticsearch, and a count of what came out.

Calls are sent at a steady rate while the stage works, so that a fault always falls into the middle. What lies in
the server in the end is counted with plain HTTP requests, not through the driver that is tested.
"""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from events.call_document import CallDocument
from events.clock import SystemClock
from events.codec import Record
from events.consumer import ConsumerSettings, run_stage
from events.errors import CallwardenError, LogUnavailable
from events.finding import Severity
from events.identity import CallId
from events.key_store import KeyStore, MasterKey
from events.log import Group
from events.sealing import Sealer
from events.sqlite_log import SqliteLog
from indexer.elastic_index import ElasticIndex
from indexer.elastic_settings import ElasticIndexSettings
from indexer.index import CallIndex, PutOutcome
from indexer.rebuild import LogRebuild, Rebuilt
from indexer.worker import IndexerSettings, IndexerStage
from tests.indexer.call_records import STARTED_AT_MS, call_id, call_records, document_of
from tests.indexer.topic_of import topic_of

WORKER = IndexerSettings(progress_every_s=0.2, refused_again_s=1.0)
_MONTH_MS = 31 * 86_400_000
_TEXT = "the refund premium guaranteed account please thank okay invoice order mortgage lawyer"


def ask(url: str, method: str, path: str, body: object = None) -> dict[str, Any]:
    """One plain request; lines of JSON where `body` is a list."""
    lines = isinstance(body, list)
    text = "\n".join([*map(json.dumps, body), ""]) if isinstance(body, list) else json.dumps(body)
    request = urllib.request.Request(
        url + path,
        None if body is None else text.encode(),
        {"Content-Type": "application/x-ndjson" if lines else "application/json"},
        method=method,
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        found: dict[str, Any] = json.loads(answer.read() or b"{}")
        return found


def made_records(number: int) -> list[Record]:
    """Call `number`, in one of three months, with a finding here and there."""
    dice = random.Random(number)
    said = [(dice.randint(0, 1), " ".join(dice.choices(_TEXT.split(), k=8)) + f" call{number}") for _ in range(6)]
    findings = [("FIN-GUARANTEE", 900, Severity.HIGH)] if number % 3 == 0 else []
    return call_records(call_id(number), said, STARTED_AT_MS + number % 3 * _MONTH_MS, findings)


@dataclass(frozen=True)
class Verdict:
    """What a fault left behind."""

    fault: str
    sent: int
    found: int
    missing: int
    doubled: int
    stale: int
    longest_stall_s: float
    """Longest time between two puts that were acknowledged, from the start on, the fault's own duration included."""
    note: str = ""

    @property
    def clean(self) -> bool:
        return self.sent > 0 and self.found == self.sent and not (self.missing or self.doubled or self.stale)

    def row(self) -> str:
        figures = (self.sent, self.found, self.missing, self.doubled, self.stale, f"{self.longest_stall_s:.1f} s")
        return f"| {self.fault} | {' | '.join(map(str, figures))} | {self.note} |"


HEAD = (
    "| fault | calls sent | in the index | missing | doubled | stale | longest stall | seen |\n"
    "|---|--:|--:|--:|--:|--:|--:|---|"
)


class _Watched:
    """The index, telling when a put is under way and when one was acknowledged."""

    def __init__(self, index: CallIndex, rig: IndexRig) -> None:
        self._index = index
        self._rig = rig

    def put_all(self, documents: Sequence[tuple[CallDocument, int | None]]) -> list[PutOutcome]:
        self._rig.putting.set()
        try:
            outcomes = self._index.put_all(documents)
        except CallwardenError as error:
            self._rig.heard[str(error)] += 1
            raise
        finally:
            self._rig.putting.clear()
        if PutOutcome.REFUSED in outcomes:
            self._rig.heard["documents refused"] += outcomes.count(PutOutcome.REFUSED)
        if PutOutcome.STORED in outcomes:
            self._rig.stored()
        return outcomes

    def __getattr__(self, name: str) -> Any:
        return getattr(self._index, name)


class IndexRig:
    """One run. Use as a context manager: its folder, threads and indices are gone behind it.

    Parameters
    ----------
    server_url
        The server itself, for counting.
    settings
        The driver's; its url may name a proxy.
    calls, seconds
        So many calls are sent, evenly over so many seconds.
    workers
        Members of the indexer's group, each with connections of its own.
    """

    def __init__(
        self, server_url: str, settings: ElasticIndexSettings, calls: int, seconds: float, workers: int = 1
    ) -> None:
        self._server_url = server_url
        self.settings = settings
        self._calls = calls
        self._seconds = seconds
        self._workers = workers
        self._folder = Path(tempfile.mkdtemp(prefix="callwarden-index-faults-"))
        self._keys = KeyStore(self._folder / "keys", MasterKey(bytes(range(32))))
        self._sealer = Sealer(self._keys, SystemClock())
        self._log = SqliteLog(self._folder / "log")
        self._stop = threading.Event()
        self._sent_all = threading.Event()
        self._threads: list[threading.Thread] = []
        self._stored_at: list[float] = []
        self._condition = threading.Condition()
        self.putting = threading.Event()
        self.sending = threading.Event()
        """Cleared, no calls are sent until it is set again."""
        self.sending.set()
        self.heard: Counter[str] = Counter()
        """Sentences of the driver, with how often."""
        self.stops: Counter[str] = Counter()
        """Sentences with which the stage ended; it is started again, as the supervisor does."""

    def __enter__(self) -> IndexRig:
        self._stored_at.append(time.monotonic())
        for number in range(self._workers):
            self._begin(self._work, f"indexer-{number}")
        self._begin(self._send, "sender")
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
        self._log.close()
        self._keys.close()
        shutil.rmtree(self._folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            for name in ask(self._server_url, "GET", f"/{self.settings.prefix}*/_settings?expand_wildcards=all"):
                ask(self._server_url, "DELETE", f"/{name}")
            ask(self._server_url, "DELETE", f"/_index_template/{self.settings.prefix}*")

    def stored(self) -> None:
        with self._condition:
            self._stored_at.append(time.monotonic())
            self._condition.notify_all()

    def wait_for_puts(self, count: int, within_s: float = 60.0) -> None:
        """Wait until so many more puts were acknowledged."""
        with self._condition:
            wanted = len(self._stored_at) + count
            if not self._condition.wait_for(lambda: len(self._stored_at) >= wanted, within_s):
                raise AssertionError(f"No put came through in {within_s:g} s; heard: {dict(self.heard)}")

    def wait_for_heard(self, words: str, within_s: float = 60.0) -> str:
        """Wait until the driver or the stage said a sentence with these words; return it."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            for sentence in [*self.heard, *self.stops]:
                if words in sentence:
                    return sentence
            self._stop.wait(0.02)
        raise AssertionError(f"Nobody said {words!r}; heard: {[*self.heard, *self.stops]}")

    def mid_bulk(self) -> None:
        """Wait until a put is under way."""
        self.wait_for_puts(2)
        assert self.putting.wait(30), "No put is under way."

    def rebuild_from_log(self) -> Rebuilt:
        """What `callwarden index rebuild` does, beside the stage."""
        with contextlib.closing(ElasticIndex(self.settings)) as index:
            return LogRebuild(lambda: SqliteLog(self._folder / "log"), self._sealer, index).run()

    def verdict(self, fault: str, note: str = "", within_s: float = 120.0) -> Verdict:
        """Wait until everything sent is committed, then count what the server holds."""
        self._wait_until_done(within_s)
        counted = Counter(call for call, _ in self._held())
        wanted = {number: call_id(number) for number in range(1, self._calls + 1)}
        index = ElasticIndex(replace(self.settings, url=self._server_url, api_key_secret="", ca_file=None))
        stale = 0
        for number, call in wanted.items():
            found = index.get(call)
            stale += found is not None and replace(found, revision=0) != replace(
                document_of(made_records(number)), revision=0
            )
        index.close()
        gaps = [after - before for before, after in zip(self._stored_at, self._stored_at[1:], strict=False)]
        return Verdict(
            fault,
            self._calls,
            len(counted),
            sum(call not in counted for call in wanted.values()),
            counted.total() - len(counted),
            stale,
            max(gaps, default=0.0),
            note,
        )

    def _held(self) -> Iterator[tuple[CallId, int]]:
        pattern = f"{self.settings.prefix}calls-*"
        ask(self._server_url, "POST", f"/{pattern}/_refresh")
        body = {"size": 10_000, "_source": ["call", "revision"], "query": {"match_all": {}}}
        answer = ask(self._server_url, "POST", f"/{pattern}/_search", body)
        for hit in answer["hits"]["hits"]:
            yield CallId(hit["_source"]["call"]), hit["_source"].get("revision", 0)

    def _wait_until_done(self, within_s: float) -> None:
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            # Right at the start the positions' file is being made, and the log says so.
            with contextlib.suppress(LogUnavailable):
                lag = self._log.lag(Group(IndexerStage.name), IndexerStage.topics)
                if self._sent_all.is_set() and not any(lag.values()):
                    return
            self._stop.wait(0.1)
        raise AssertionError(
            f"Not everything was indexed within {within_s:g} s; heard {dict(self.heard)}, stops {dict(self.stops)}."
        )

    def _begin(self, work: Any, name: str) -> None:
        thread = threading.Thread(target=work, name=name, daemon=True)
        thread.start()
        self._threads.append(thread)

    def _send(self) -> None:
        """Append ten calls at a time, their records interleaved."""
        began = time.monotonic()
        for first in range(1, self._calls + 1, 10):
            numbers = range(first, min(first + 10, self._calls + 1))
            calls = [made_records(number) for number in numbers]
            self._keys.create_many([call_id(number) for number in numbers])
            for turn in range(max(map(len, calls))):
                batch = [call[turn] for call in calls if turn < len(call)]
                for topic in dict.fromkeys(map(topic_of, batch)):
                    events = [self._sealer.event(topic, item) for item in batch if topic_of(item) is topic]
                    self._log.append(topic, events)
            self.sending.wait(60)
            due = began + self._seconds * (numbers[-1] / self._calls)
            if self._stop.wait(max(0.0, due - time.monotonic())):
                return
        self._sent_all.set()

    def _work(self) -> None:
        """One indexer process: log, index and stage of its own; ended by StopConsumer, it is started again."""
        while not self._stop.is_set():
            log = SqliteLog(self._folder / "log")
            index: CallIndex | None = None
            try:
                index = ElasticIndex(self.settings)
                stage = IndexerStage(_Watched(index, self), WORKER)  # type: ignore[arg-type]
                settings = ConsumerSettings(most_records=100, longest_back_off_s=1.0)
                run_stage(log, self._sealer, stage, Group(stage.name), settings, self._stop)
            except CallwardenError as error:
                self.stops[str(error)] += 1
                self._stop.wait(0.5)
            finally:
                log.close()
                if index is not None:
                    index.close()
