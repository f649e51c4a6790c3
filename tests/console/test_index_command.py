"""`callwarden index` on both drivers: what it does, prints, audits, and how it fails."""

from __future__ import annotations

import contextlib
import json
import urllib.error
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kafka import KafkaAdminClient

from compliance.audit.audit_log import AuditFilter
from console.cli import main
from console.data_folder import DataFolder
from console.settings import load_settings
from console.wiring import Wiring
from events.audit_entry import Action, Outcome
from events.finding import Severity
from indexer.index import CallQuery
from tests.indexer.call_records import call_id, call_records, document_of
from tests.indexer.topic_of import topic_of
from tests.services.faults.index_rig import ask
from tests.services.needed import elasticsearch_url, fresh_prefix, kafka_bootstrap, services

Run = Callable[..., tuple[int, str, str]]
CALLS = 5


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run `callwarden index ARGUMENTS` on the data folder; return exit status and what was printed."""

    def callwarden(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["callwarden", "index", *arguments, "--data", str(tmp_path / "data")])
        try:
            main()
            status = 0
        except SystemExit as ended:
            status = int(ended.code or 0)
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return callwarden


@pytest.fixture(params=["sqlite", pytest.param("elasticsearch", marks=services)])
def driver(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    name: str = request.param
    if name == "sqlite":
        yield name
        return
    url, prefix = elasticsearch_url(), fresh_prefix()
    monkeypatch.setenv("CALLWARDEN_ENGINE__INDEX", name)
    monkeypatch.setenv("CALLWARDEN_ELASTICSEARCH__URL", url)
    monkeypatch.setenv("CALLWARDEN_ELASTICSEARCH__PREFIX", prefix)
    monkeypatch.setenv("CALLWARDEN_ELASTICSEARCH__REPLICAS", "0")
    monkeypatch.setenv("CALLWARDEN_ELASTICSEARCH__EXPUNGE_WITHIN_S", "0")  # The laws look at that.
    yield name
    for index in ask(url, "GET", f"/{prefix}*/_settings?expand_wildcards=all"):
        ask(url, "DELETE", f"/{index}")
    with contextlib.suppress(urllib.error.HTTPError):  # 404 where there is none
        ask(url, "DELETE", f"/_index_template/{prefix}*")


@pytest.fixture
def wiring(driver: str, tmp_path: Path) -> Iterator[Wiring]:
    """An engine's folder with calls in its log that no indexer has seen."""
    wiring = Wiring(DataFolder.at(tmp_path / "data"), load_settings())
    for number in range(1, CALLS + 1):
        wiring.keys.create(call_id(number))
        for record in records(number):
            wiring.log.append(topic_of(record), [wiring.sealer.event(topic_of(record), record)])
    yield wiring
    wiring.close()


def records(number: int):  # type: ignore[no-untyped-def]
    return call_records(
        call_id(number), [(0, f"hello call{number}"), (1, "hi")], findings=[("R", 9, Severity.LOW)]
    )


def audited(wiring: Wiring) -> list[tuple[Action, Outcome, str]]:
    entries = [logged.entry for logged in reversed(wiring.audit_log.page(AuditFilter(), None, 50))]
    return [(entry.action, entry.outcome, entry.reason) for entry in entries]


def test_an_index_is_made_from_the_log_and_then_nothing_is_left_to_do(run: Run, wiring: Wiring) -> None:
    status, printed, told = run("rebuild")
    assert (status, printed) == (0, f"{CALLS} calls written, 0 unchanged, 0 forgotten, 0 failed.\n")
    assert f"{CALLS} of {CALLS} calls compared" in told
    for number in range(1, CALLS + 1):
        found = wiring.index.get(call_id(number))
        assert found is not None
        assert found.segments == document_of(records(number)).segments
    assert run("rebuild", "--from", "log")[1] == f"0 calls written, {CALLS} unchanged, 0 forgotten, 0 failed.\n"
    assert audited(wiring) == [(Action.REBUILD_INDEX, Outcome.ALLOWED, "from the log")] * 2


def test_forgotten_calls_stay_forgotten_in_both_ways(run: Run, wiring: Wiring) -> None:
    run("rebuild")
    wiring.index.forget(call_id(1))
    status, printed, _ = run("rebuild", "--from", "index")
    assert (status, printed) == (0, f"{CALLS - 1} calls were written anew.\n")
    status, printed, _ = run("rebuild")
    assert (status, printed) == (0, f"0 calls written, {CALLS - 1} unchanged, 1 forgotten, 0 failed.\n")
    assert wiring.index.search(CallQuery()).total == CALLS - 1
    assert wiring.index.search(CallQuery("call2")).total == 1
    assert wiring.index.get(call_id(1)) is None


def test_calls_that_only_the_index_has_stay(run: Run, wiring: Wiring) -> None:
    older = document_of(call_records(call_id(99), [(0, "an older call")]))
    wiring.index.put(older)
    assert "1 calls of which the log has nothing any more stay as they are." in run("rebuild")[1]
    assert wiring.index.get(call_id(99)) == older
    assert run("rebuild", "--from", "index")[0] == 0
    assert wiring.index.get(call_id(99)) == older


def test_the_status_is_told_for_people_and_for_programs(run: Run, wiring: Wiring, driver: str) -> None:
    run("rebuild")
    wiring.index.forget(call_id(1))
    status, printed, _ = run("status")
    assert status == 0
    assert driver in printed
    assert f"{CALLS - 1} calls" in printed
    told = json.loads(run("status", "--json")[1])
    assert (told["driver"], told["calls"], told["forgotten"]) == (driver, CALLS - 1, 1)
    assert sum(part["calls"] for part in told["parts"]) == CALLS - 1
    assert told["size_bytes"] > 0


def test_a_server_that_is_away_is_said_in_one_sentence_and_audited(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    wiring = Wiring(DataFolder.at(tmp_path / "data"), load_settings())
    monkeypatch.setenv("CALLWARDEN_ENGINE__INDEX", "elasticsearch")
    monkeypatch.setenv("CALLWARDEN_ELASTICSEARCH__URL", "http://127.0.0.1:1")
    monkeypatch.setenv("CALLWARDEN_ELASTICSEARCH__PATIENCE_S", "0")
    monkeypatch.setenv("CALLWARDEN_ELASTICSEARCH__SEARCH_PATIENCE_S", "0")
    for arguments in (("rebuild", "--from", "index"), ("rebuild",), ("status",)):
        status, _, told = run(*arguments)
        assert status == 1
        assert told.startswith("callwarden: ")
        assert "[elasticsearch] url" in told
        assert told.count("\n") == 1
    assert [outcome for _, outcome, _ in audited(wiring)] == [Outcome.ALLOWED, Outcome.FAILED] * 2
    wiring.close()


@services
def test_a_log_on_kafka_is_read_to_its_end(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bootstrap, prefix = kafka_bootstrap(), fresh_prefix()
    monkeypatch.setenv("CALLWARDEN_ENGINE__EVENT_LOG", "kafka")
    monkeypatch.setenv("CALLWARDEN_KAFKA__BOOTSTRAP", bootstrap)
    monkeypatch.setenv("CALLWARDEN_KAFKA__PREFIX", prefix)
    monkeypatch.setenv("CALLWARDEN_KAFKA__REPLICATION", "1")
    monkeypatch.setenv("CALLWARDEN_KAFKA__MIN_IN_SYNC", "1")
    wiring = Wiring(DataFolder.at(tmp_path / "data"), load_settings())
    try:
        by_topic = defaultdict(list)
        for number in range(1, CALLS + 1):
            wiring.keys.create(call_id(number))
            for record in records(number):
                by_topic[topic_of(record)].append(wiring.sealer.event(topic_of(record), record))
        for topic, events in by_topic.items():
            wiring.log.append(topic, events)
        assert run("rebuild")[1] == f"{CALLS} calls written, 0 unchanged, 0 forgotten, 0 failed.\n"
        assert run("rebuild")[1] == f"0 calls written, {CALLS} unchanged, 0 forgotten, 0 failed.\n"
        assert wiring.index.search(CallQuery("call3")).total == 1
    finally:
        wiring.close()
        admin = KafkaAdminClient(bootstrap_servers=bootstrap)
        admin.delete_topics([name for name in admin.list_topics() if name.startswith(prefix)])
        admin.close()
