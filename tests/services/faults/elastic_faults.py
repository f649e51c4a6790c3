"""What becomes of calls when Elasticsearch fails under the indexer.

``python -m tests.services.faults.elastic_faults [--calls 600] [--only kill ...]`` starts a server of its own and prints
a Markdown table. Each fault falls into the middle of a steady stream of calls, and ends by itself or by what an
operator would do.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import secrets
import signal
import sys
import threading
import time
import urllib.error
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[3]))

from events.errors import CallwardenError, RetryLater
from indexer.elastic_index import ElasticIndex
from indexer.elastic_settings import ElasticIndexSettings
from tests.services.faults.index_rig import HEAD, IndexRig, Verdict, ask
from tests.services.proxy import Asked, Fate, Proxy
from tests.services.servers import ElasticServer

SERVER_SETTINGS = (
    "thread_pool.write.size: 1",
    "thread_pool.write.queue_size: 2",
    "cluster.info.update.interval: 10s",
)
"""A write queue so short that a few writers fill it: rejections are the server's own."""
_NEVER = threading.Event()


@dataclass(frozen=True)
class Run:
    server: ElasticServer
    calls: int
    seconds: float
    """Over which the calls of a fault are sent."""
    kills: int = 2
    hang_s: float = 20.0

    def settings(self, url: str | None = None) -> ElasticIndexSettings:
        """A request that gets no answer is given up early, so that a hung server means doubtful writes too."""
        return ElasticIndexSettings(
            url=url or self.server.url,
            prefix=f"fault-{secrets.token_hex(4)}-",
            replicas=0,
            request_timeout_s=4.0,
            patience_s=2.0,
        )

    def rig(self, settings: ElasticIndexSettings | None = None, workers: int = 1) -> IndexRig:
        return IndexRig(self.server.url, settings or self.settings(), self.calls, self.seconds, workers)


def nothing(run: Run) -> Verdict:
    """No fault: what the others compare with."""
    with run.rig() as rig:
        return rig.verdict("none")


def kill(run: Run) -> Verdict:
    """kill -9 while a bulk request is under way; started again each time."""
    with run.rig(workers=2) as rig:
        for _ in range(run.kills):
            rig.mid_bulk()
            run.server.kill()
            rig.wait_for_heard("No Elasticsearch answers")
            run.server.start()
        return rig.verdict(
            f"kill -9 mid-bulk, {run.kills} ×", f"{sum(rig.heard.values())} puts failed, {_stops(rig)}"
        )


def hang(run: Run) -> Verdict:
    """SIGSTOP while a bulk request is under way: it is done in the end, but the driver has given it up."""
    with run.rig() as rig:
        rig.mid_bulk()
        os.kill(run.server.pid(), signal.SIGSTOP)
        try:
            _NEVER.wait(run.hang_s)
        finally:
            os.kill(run.server.pid(), signal.SIGCONT)
        return rig.verdict(
            f"SIGSTOP {run.hang_s:g} s mid-bulk", f"{sum(rig.heard.values())} puts gave up, {_stops(rig)}"
        )


def full_disk(run: Run) -> Verdict:
    """The disk's flood stage: Elasticsearch makes its indices read-only, and lifts that by itself."""
    url = run.server.url
    with run.rig() as rig:
        rig.wait_for_puts(2)
        rig.sending.clear()
        try:
            _watermarks(url, "100tb")
            blocked = _blocks(url, rig.settings.prefix)
            deadline = time.monotonic() + 30
            while not blocked and time.monotonic() < deadline:
                _NEVER.wait(0.1)
                blocked = _blocks(url, rig.settings.prefix)
            assert blocked, "The flood stage was never reached."
            rig.sending.set()
            rig.wait_for_heard("takes no writes")
        finally:
            rig.sending.set()
            _watermarks(url, None)
        return rig.verdict(
            "disk flood stage",
            f"{blocked} indices read-only, {sum(rig.heard.values())} puts failed, {_stops(rig)}",
        )


def foreign_index(run: Run) -> Verdict:
    """Somebody's index has the name that a month needs; the operator removes it after the sentence."""
    settings = run.settings()
    url, name = run.server.url, f"{settings.prefix}calls-2025-07"
    ask(url, "PUT", f"/{name}", {"mappings": {"properties": {"call": {"type": "long"}}}})
    with run.rig(settings) as rig:
        sentence = rig.wait_for_heard("prefix")
        ask(url, "DELETE", f"/{name}")
        return rig.verdict("somebody else's index in the way", f"“{sentence}”; {_stops(rig)}")


def mapping_conflict(run: Run) -> Verdict:
    """A month's index was made meanwhile with somebody else's fields: every document of it is refused."""
    settings = run.settings()
    url = run.server.url
    with contextlib.closing(ElasticIndex(settings)) as index:
        index.get(next(iter(_some_call())))  # makes templates
    month = f"{settings.prefix}calls-2025-07"
    ask(url, "DELETE", f"/_index_template/{settings.prefix}calls")
    body = {
        "mappings": {
            "dynamic": "strict",
            "_meta": {"owner": "callwarden", "holds": "calls", "version": 1},
            "properties": {"call": {"type": "keyword"}, "revision": {"type": "date", "format": "yyyy-MM-dd"}},
        },
        "aliases": {f"{settings.prefix}calls": {}, month: {"is_write_index": True}},
    }
    ask(url, "PUT", f"/{month}-v1-000001", body)
    with run.rig(settings) as rig:
        rig.wait_for_heard("refused")
        ask(url, "DELETE", f"/{month}-v1-000001")
        return rig.verdict(
            "mapping refuses the documents", f"{rig.heard['documents refused']} refusals, {_stops(rig)}"
        )


def storm_of_its_own(run: Run) -> Verdict:
    """The server's write queue is full of others' bulks for a while: it rejects ours, whole or in part."""
    url = run.server.url
    noise = f"noise-{secrets.token_hex(4)}"
    before = _rejected(url)
    with run.rig(workers=3) as rig:
        rig.wait_for_puts(1)
        with _noise(url, noise):
            _NEVER.wait(run.seconds)
        rejected = _rejected(url) - before
        verdict = rig.verdict(f"429 storm: write queue full for {run.seconds:g} s, 3 indexers")
    ask(url, "DELETE", f"/{noise}")
    return _noted(verdict, f"{rejected} writes rejected by the server, {_stops(rig)}")


def storm(run: Run) -> Verdict:
    """Four of five requests are refused with 429, by a proxy, for as long as calls are sent."""
    over = 0.0

    def decide(asked: Asked) -> Fate:
        nonlocal over
        over = over or time.monotonic() + run.seconds
        return Fate.PASS if asked.number % 5 == 0 or time.monotonic() > over else Fate.TOO_MANY

    return _behind_proxy(run, f"429 for 4 of 5 requests, {run.seconds:g} s, 3 indexers", decide, workers=3)


def not_ready(run: Run) -> Verdict:
    """503 to everything for five seconds."""
    over = 0.0

    def decide(asked: Asked) -> Fate:
        nonlocal over
        over = over or time.monotonic() + 5.0
        return Fate.NOT_READY if time.monotonic() < over else Fate.PASS

    return _behind_proxy(run, "503 for 5 s", decide)


def lost_answers(run: Run) -> Verdict:
    """Every third bulk is done, but its answer never comes; every seventh never arrives."""
    bulks = 0

    def decide(asked: Asked) -> Fate:
        nonlocal bulks
        if not asked.path.startswith("/_bulk"):
            return Fate.PASS
        bulks += 1
        return Fate.LOSE_ANSWER if bulks % 3 == 0 else Fate.CUT if bulks % 7 == 0 else Fate.PASS

    return _behind_proxy(run, "answers of bulks lost", decide, workers=2)


def rebuilt(run: Run) -> Verdict:
    """No fault but an operator: the index is made anew in both ways while calls come in and go to its months."""
    with run.rig(workers=2) as rig:
        rig.wait_for_puts(3)
        anew = 0
        # A command is patient: the server's short write queue is full of the indexers' bulks.
        with contextlib.closing(ElasticIndex(replace(rig.settings, patience_s=60.0))) as index:
            for _ in range(2):
                anew += index.rebuild(lambda done, total: None)
                from_log = rig.rebuild_from_log()
        note = (
            f"{anew} documents rewritten; from the log {from_log.unchanged} unchanged, {from_log.written} written"
        )
        return rig.verdict("index rebuilt meanwhile, twice in both ways", f"{note}; {_stops(rig)}")


def killed_rebuild(run: Run) -> Verdict:
    """kill -9 in the middle of a rebuild, which is run again."""
    with run.rig() as rig, contextlib.closing(ElasticIndex(rig.settings)) as index:
        rig.wait_for_puts(5)
        killed = 0

        def kill_once(done: int, total: int) -> None:
            nonlocal killed
            if done and not killed:
                killed = done
                run.server.kill()

        try:
            index.rebuild(kill_once)
        except RetryLater:
            pass
        else:
            raise AssertionError("The rebuild did not notice.")
        finally:
            run.server.start()
        index.rebuild(lambda done, total: None)
        return rig.verdict(
            "kill -9 mid-rebuild, rebuilt again", f"killed behind {killed} documents; {_stops(rig)}"
        )


FAULTS: dict[str, Callable[[Run], Verdict]] = {
    "none": nothing,
    "kill": kill,
    "hang": hang,
    "full-disk": full_disk,
    "foreign-index": foreign_index,
    "mapping-conflict": mapping_conflict,
    "own-storm": storm_of_its_own,
    "storm": storm,
    "not-ready": not_ready,
    "lost-answers": lost_answers,
    "rebuilt": rebuilt,
    "killed-rebuild": killed_rebuild,
}


def _behind_proxy(run: Run, fault: str, decide: Callable[[Asked], Fate], workers: int = 1) -> Verdict:
    with Proxy(run.server.url) as proxy:
        with run.rig(run.settings(proxy.url), workers) as rig:
            rig.wait_for_puts(2)
            proxy.decide = decide
            verdict = rig.verdict(fault)
        others = {fate: count for fate, count in proxy.fates.items() if fate is not Fate.PASS}
    assert others, "The fault never happened."
    told = ", ".join(f"{count} × {fate.value}" for fate, count in others.items())
    return _noted(verdict, f"{told} of {proxy.fates.total()} requests; {_stops(rig)}")


def _noted(verdict: Verdict, note: str) -> Verdict:
    return Verdict(**{**{name: getattr(verdict, name) for name in verdict.__dataclass_fields__}, "note": note})


def _stops(rig: IndexRig) -> str:
    count = sum(rig.stops.values())
    return "stage not restarted" if not count else f"stage restarted {count} ×"


def _some_call() -> Iterator[Any]:
    from tests.indexer.call_records import call_id

    yield call_id(1)


def _watermarks(url: str, free: str | None) -> None:
    """Ask for so much free space that there is too little; None: as usual in these tests, which is no threshold."""
    disk = "cluster.routing.allocation.disk"
    wanted: dict[str, Any] = {f"{disk}.watermark.{name}": free for name in ("low", "high", "flood_stage")}
    if free is None:
        # The server looks at its disk with the threshold on once more, and lifts the block; then it may rest.
        wanted |= {f"{disk}.watermark.{name}": value for name, value in _EASY.items()}
    ask(url, "PUT", "/_cluster/settings", {"persistent": {**wanted, f"{disk}.threshold_enabled": True}})


_EASY = {"low": "3mb", "high": "2mb", "flood_stage": "1mb"}


def _blocks(url: str, prefix: str) -> int:
    found = ask(url, "GET", f"/{prefix}*/_settings/index.blocks.*?flat_settings=true")
    return sum("true" in json.dumps(one["settings"]) for one in found.values())


def _rejected(url: str) -> int:
    stats = ask(url, "GET", "/_nodes/stats/thread_pool?filter_path=nodes.*.thread_pool.write.rejected")
    return sum(node["thread_pool"]["write"]["rejected"] for node in stats["nodes"].values())


@contextlib.contextmanager
def _noise(url: str, index: str) -> Iterator[None]:
    """Six clients that write without looking at what they are told."""
    over = threading.Event()
    lines: list[Any] = []
    for number in range(400):
        lines += [{"index": {"_index": index}}, {"text": f"some words {number} " * 20}]

    def write() -> None:
        while not over.is_set():
            with contextlib.suppress(urllib.error.HTTPError):
                ask(url, "POST", "/_bulk", lines)

    threads = [threading.Thread(target=write, daemon=True) for _ in range(6)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join(60)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=600)
    parser.add_argument("--seconds", type=float, default=12.0, help="over which the calls of a fault are sent")
    parser.add_argument("--only", nargs="+", choices=FAULTS, default=list(FAULTS))
    given = parser.parse_args()
    logging.disable(logging.ERROR)  # What the stage says is counted and shown in the table.
    bad = Counter[str]()
    with ElasticServer(settings=SERVER_SETTINGS) as server:
        run = Run(server, given.calls, given.seconds)
        print(HEAD, flush=True)
        for name in given.only:
            try:
                verdict = FAULTS[name](run)
            except (AssertionError, CallwardenError, OSError) as error:
                print(f"| {name} | {given.calls} | | | | | | FAILED: {error} |", flush=True)
                bad[name] += 1
                continue
            print(verdict.row(), flush=True)
            bad[name] += not verdict.clean
    return int(bad.total() > 0)


if __name__ == "__main__":
    raise SystemExit(main())
