"""The Elasticsearch driver under the laws of CallIndex, and what is its own."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from events.transcript import PiiKind
from indexer.elastic_connection import ElasticConnection
from indexer.elastic_index import ElasticIndex
from indexer.elastic_settings import ElasticIndexSettings
from indexer.fold import fold
from indexer.index import CallIndex, CallQuery, PutOutcome, SearchOrder
from tests.builders.swept_index import sweep
from tests.contracts.call_index_laws import CallIndexLaws, document, found
from tests.indexer.call_records import STARTED_AT_MS, call_id, finding
from tests.services.needed import ELASTICSEARCH_VARIABLE, elasticsearch_url, services

pytestmark = services


def prefix_of(folder: Path) -> str:
    """One index a test: the same folder names the same one in every process."""
    test = next((part for part in (folder, *folder.parents) if part.parent.name.startswith("pytest-")), folder)
    return f"test-{hashlib.blake2b(str(test).encode(), digest_size=8).hexdigest()}-"


def settings_for(folder: Path) -> ElasticIndexSettings:
    return ElasticIndexSettings(
        url=os.environ[ELASTICSEARCH_VARIABLE], prefix=prefix_of(folder), replicas=0, expunge_within_s=0
    )


def open_index(folder: Path) -> CallIndex:
    return ElasticIndex(settings_for(folder))


def open_thorough_index(folder: Path) -> CallIndex:
    return ElasticIndex(replace(settings_for(folder), expunge_within_s=90))


@pytest.fixture(autouse=True)
def _swept(tmp_path: Path) -> Iterator[None]:
    elasticsearch_url()
    yield
    sweep(settings_for(tmp_path))


class TestElasticIndex(CallIndexLaws):
    opener = staticmethod(open_index)
    thorough_opener = staticmethod(open_thorough_index)

    def files_hold(self, folder: Path, word: str) -> bool:
        """The files lie on the server. They hold documents that can be found, and replaced ones until they are
        rewritten without them."""
        index = ElasticIndex(settings_for(folder))
        found = index.search(CallQuery(word)).total
        index.close()
        return found > 0 or replaced_documents(folder) > 0


def replaced_documents(folder: Path) -> int:
    """How many replaced or deleted documents are still in files of the index."""
    connection = ElasticConnection(settings_for(folder))
    answer = connection.ask("GET", f"/{prefix_of(folder)}calls/_segments")
    connection.close()
    return sum(
        segment["deleted_docs"]
        for index in answer["indices"].values()
        for copies in index["shards"].values()
        for shard in copies
        for segment in shard["segments"].values()
    )


@pytest.fixture
def index(tmp_path: Path) -> Iterator[ElasticIndex]:
    index = ElasticIndex(settings_for(tmp_path))
    yield index
    index.close()


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[ElasticConnection]:
    connection = ElasticConnection(settings_for(tmp_path))
    yield connection
    connection.close()


def months(connection: ElasticConnection, prefix: str) -> dict[str, list[str]]:
    """Return the month aliases of each index."""
    found = connection.ask("GET", f"/_alias/{prefix}calls-*")
    return {
        name: [alias for alias in held["aliases"] if alias != f"{prefix}calls"] for name, held in found.items()
    }


def test_a_call_lies_in_the_month_it_started_in(
    index: ElasticIndex, connection: ElasticConnection, tmp_path: Path
) -> None:
    prefix = prefix_of(tmp_path)
    month_end_ms = 1_751_328_000_000  # 2025-07-01T00:00:00Z
    index.put(document(1, [(0, "hello")], month_end_ms - 1))
    index.put(document(2, [(0, "hello")], month_end_ms))
    index.put(replace(document(3, [(0, "hello")]), started_at_ms=0))
    index.put(replace(document(4, [(0, "hello")]), started_at_ms=-5))
    assert sorted(name for names in months(connection, prefix).values() for name in names) == [
        f"{prefix}calls-2025-06",
        f"{prefix}calls-2025-07",
        f"{prefix}calls-undated",
    ]
    connection.ask("POST", f"/{prefix}calls/_refresh")
    held = connection.ask("POST", f"/{prefix}calls/_search", {"sort": "call", "_source": False})["hits"]["hits"]
    assert [hit["_index"].removeprefix(f"{prefix}calls-") for hit in held] == [
        "2025-06-v1-000001",
        "2025-07-v1-000001",
        "undated-v1-000001",
        "undated-v1-000001",
    ]


def test_a_document_that_is_refused_holds_up_no_other(index: ElasticIndex) -> None:
    good, bad, fine = (document(number, [(0, "hello")]) for number in (1, 2, 3))
    bad = replace(bad, segments=(replace(bad.segments[0], leg=2**40),))
    assert index.put_all([(good, 0), (bad, 0), (fine, 0)]) == [
        PutOutcome.STORED,
        PutOutcome.REFUSED,
        PutOutcome.STORED,
    ]
    assert found(index.search(CallQuery("hello"))) == [1, 3]


def test_bulks_are_bounded_and_one_larger_document_goes_alone(tmp_path: Path) -> None:
    index = ElasticIndex(replace(settings_for(tmp_path), bulk_documents=7, bulk_bytes=20_000))
    documents = [document(number, [(0, "hello")]) for number in range(1, 40)]
    documents.append(document(50, [(number % 2, f"hello word{number}") for number in range(500)]))
    assert index.put_all([(item, 0) for item in documents]) == [PutOutcome.STORED] * 40
    assert index.search(CallQuery("hello")).total == 40
    index.close()


def test_pages_behind_the_first_do_not_see_what_is_put_meanwhile(index: ElasticIndex) -> None:
    index.put_all([(document(number, [(0, "hello")], STARTED_AT_MS - number), 0) for number in range(1, 31)])
    query = CallQuery("hello", order=SearchOrder.NEWEST, page_size=10)
    first = index.search(query)
    second = index.search(replace(query, cursor=first.next_cursor or ""))
    index.forget(call_id(25))
    index.put(document(99, [(0, "hello")], STARTED_AT_MS - 29))
    third = index.search(replace(query, cursor=second.next_cursor or ""))
    assert (found(third), third.next_cursor) == (list(range(21, 31)), None)
    assert 25 not in found(index.search(replace(query, page_size=100)))


def test_a_page_mark_outlives_the_snapshot_and_the_process(index: ElasticIndex, tmp_path: Path) -> None:
    index.put_all([(document(number, [(0, "hello")], STARTED_AT_MS - number), 0) for number in range(1, 31)])
    query = CallQuery("hello", order=SearchOrder.NEWEST, page_size=10)
    second = index.search(replace(query, cursor=index.search(query).next_cursor or ""))
    cursor = second.next_cursor
    assert cursor is not None
    assert len(cursor) < 100, "It fits into an address."
    index.close()
    another = ElasticIndex(settings_for(tmp_path))
    assert found(another.search(replace(query, cursor=cursor))) == list(range(21, 31))
    another.close()


def test_no_snapshot_is_left_open(index: ElasticIndex, connection: ElasticConnection) -> None:
    def open_snapshots() -> int:
        nodes = connection.ask("GET", "/_nodes/stats/indices/search")["nodes"]
        return sum(node["indices"]["search"]["open_contexts"] for node in nodes.values())

    index.put_all([(document(number, [(0, "hello")], STARTED_AT_MS - number), 0) for number in range(1, 31)])
    query = CallQuery("hello", page_size=10)
    while (cursor := index.search(query).next_cursor) is not None:
        query = replace(query, cursor=cursor)
    half_way = index.search(replace(CallQuery("hello", page_size=10))).next_cursor
    index.search(CallQuery("hello", page_size=10, cursor=half_way or ""))
    before = open_snapshots()
    index.close()
    assert open_snapshots() < before


def test_an_older_mapping_goes_on_until_it_is_rebuilt(
    index: ElasticIndex, connection: ElasticConnection, tmp_path: Path
) -> None:
    """A month that a program of before made, which knew neither `about` nor the words' times."""
    prefix = prefix_of(tmp_path)
    index.put(document(1, [(0, "hello")], STARTED_AT_MS - 400 * 86_400_000))  # makes the templates
    body = connection.ask("GET", f"/_index_template/{prefix}calls")["index_templates"][0]["index_template"][
        "template"
    ]
    mappings = body["mappings"]
    mappings["_meta"]["version"] = 0
    del mappings["properties"]["entities"], mappings["properties"]["segments"]["properties"]["word_starts_ms"]
    old = f"{prefix}calls-2025-06-v0-000004"
    connection.ask("DELETE", f"/_index_template/{prefix}calls")
    aliases = {f"{prefix}calls": {}, f"{prefix}calls-2025-06": {}}
    connection.ask("PUT", f"/{old}", {"mappings": mappings, "settings": body["settings"], "aliases": aliases})
    again = ElasticIndex(settings_for(tmp_path))
    two = document(2, [(0, "goodbye my [SSN]")])
    assert again.put(two, onto=0) is PutOutcome.STORED
    newer = fold(two, finding(two.call, "R", 1))
    assert again.put(newer, onto=two.revision) is PutOutcome.STORED
    assert again.get(two.call) == newer
    assert found(again.search(CallQuery("goodbye"))) == [2]
    assert again.search(CallQuery(entities=(PiiKind.SSN,))).total == 0, "The old mapping does not know it."
    assert {part.mapping for part in again.status().parts} == {"0", "1"}
    assert again.rebuild(lambda done, total: None) == 2
    assert again.search(CallQuery(entities=(PiiKind.SSN,))).total == 1
    assert again.get(two.call) == newer
    assert {part.mapping for part in again.status().parts} == {"1"}
    assert f"{prefix}calls-2025-06" in {alias for names in months(connection, prefix).values() for alias in names}
    assert not [name for name in months(connection, prefix) if name == old]
    again.close()


def test_an_interrupted_rebuild_changes_nothing_and_can_be_run_again(
    index: ElasticIndex, connection: ElasticConnection, tmp_path: Path
) -> None:
    index.put_all([(document(number, [(0, "hello")]), 0) for number in range(1, 251)])
    before = months(connection, prefix_of(tmp_path))

    class Interrupted(Exception):
        pass

    def interrupt(done: int, total: int) -> None:
        if done >= 100:
            raise Interrupted

    with pytest.raises(Interrupted):
        index.rebuild(interrupt)
    assert months(connection, prefix_of(tmp_path)) == before
    assert index.put(document(300, [(0, "hello")])) is PutOutcome.STORED
    assert index.rebuild(lambda done, total: None) == 251
    assert index.search(CallQuery("hello")).total == 251
    indices = connection.ask("GET", f"/{prefix_of(tmp_path)}calls-*/_alias")
    assert all(held["aliases"] for held in indices.values()), "Nothing half-made is left."


def test_writing_may_wait_until_it_can_be_found(tmp_path: Path) -> None:
    """For consoles whose key may not refresh."""
    index = ElasticIndex(replace(settings_for(tmp_path), refresh="write"))
    for number in (1, 2):
        index.put(document(number, [(0, "hello")]))
        assert index.search(CallQuery("hello")).total == number
    index.close()


def _put_at_the_same_time(folder: Path, numbers: range, start: Barrier) -> None:
    index = open_index(folder)
    index.get(call_id(0))
    start.wait(60)
    for number in numbers:
        index.put(document(number, [(0, "hello")]))
    index.close()


def test_a_forget_and_a_put_at_the_same_time_leave_nothing(tmp_path: Path) -> None:
    """Whichever comes first: no call is found that was forgotten once."""
    index = open_index(tmp_path)
    index.put(document(1000, [(0, "hello")]))
    context = multiprocessing.get_context("spawn")
    start, numbers = context.Barrier(2), range(1, 80)
    writer = context.Process(target=_put_at_the_same_time, args=(tmp_path, numbers, start))
    writer.start()
    start.wait(60)
    for number in numbers:
        index.forget(call_id(number))
    writer.join(60)
    assert writer.exitcode == 0
    assert found(index.search(CallQuery("hello"))) == [1000]
    assert not any(index.get(call_id(number)) for number in numbers)
    index.close()
