"""The same calls in both indexes, the same questions, the same answers.

Both cut words at the same characters, ignore case and accents, and know the same stems, so whatever is found,
counted and shown is the same, call for call. What cannot be the same is how much better one call answers than
another: scores are made of how rare a word is and how long a call, and each engine has its own formula. There the
law is weaker: of two calls equally long, of which one says some of the words more often and none less often, that
one comes first (see `test_more_of_what_was_asked_comes_first`). Beginnings of words (``refun*``) are beginnings of
stems in SQLite; Elasticsearch finds those and, in addition, words that really begin so.
"""

from __future__ import annotations

import lzma
import re
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from events.identity import Role
from indexer.elastic_connection import ElasticConnection
from indexer.elastic_index import ElasticIndex
from indexer.elastic_settings import ElasticIndexSettings
from indexer.index import CallIndex, CallQuery, PutOutcome, SearchHit, SearchOrder, SearchPage
from indexer.sqlite_index import SqliteIndex
from tests.builders.generated_calls import (
    DAY_MS,
    MARKERS,
    generated_call,
    generated_query,
    measured_calls,
    prefix_queries,
)
from tests.builders.swept_index import sweep
from tests.indexer.call_records import STARTED_AT_MS
from tests.services.needed import elasticsearch_url, fresh_prefix, services

pytestmark = services

CALLS = 2_700
MEASURED = 300
QUERIES = 220
Both = tuple[CallIndex, CallIndex]


@pytest.fixture(scope="module")
def settings() -> Iterator[ElasticIndexSettings]:
    made = ElasticIndexSettings(url=elasticsearch_url(), prefix=fresh_prefix(), replicas=0, expunge_within_s=0)
    yield made
    sweep(made)


@pytest.fixture(scope="module")
def both(settings: ElasticIndexSettings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    documents = [generated_call(number) for number in range(1, CALLS + 1)]
    documents += measured_calls(CALLS + 1, MEASURED)[0]
    indexes = SqliteIndex(tmp_path_factory.mktemp("corpus")), ElasticIndex(settings)
    for index in indexes:
        outcomes = index.put_all([(document, 0) for document in documents])
        assert outcomes == [PutOutcome.STORED] * len(documents)
    yield indexes
    for index in indexes:
        index.close()


@pytest.fixture(scope="module")
def unmarked(both: Both, settings: ElasticIndexSettings) -> Iterator[Both]:
    """The same without highlights, for tests that turn many pages."""
    sqlite, _ = both
    elastic = ElasticIndex(replace(settings, highlights_per_call=0))
    yield sqlite, elastic
    elastic.close()


def calls(hits: tuple[SearchHit, ...]) -> list[str]:
    return [hit.summary.call for hit in hits]


def all_pages(index: CallIndex, query: CallQuery, most: int = 100) -> list[SearchPage]:
    pages = [index.search(query)]
    while pages[-1].next_cursor is not None and len(pages) < most:
        pages.append(index.search(replace(query, cursor=pages[-1].next_cursor)))
    return pages


@pytest.mark.parametrize("first", range(0, QUERIES, 20))
def test_the_same_question_has_the_same_answer(both: Both, first: int) -> None:
    found = 0
    for number in range(first, first + 20):
        query = generated_query(number)
        newest = replace(query, order=SearchOrder.NEWEST, page_size=200)
        ours, theirs = (index.search(newest) for index in both)
        assert theirs.total == ours.total, query
        assert theirs.facets == ours.facets, query
        assert calls(theirs.hits) == calls(ours.hits), query
        assert [hit.summary for hit in theirs.hits] == [hit.summary for hit in ours.hits], query
        if " OR " not in query.text:
            # Of alternatives, SQLite marks those that made the call match, Elasticsearch all that are there.
            assert [hit.highlights for hit in theirs.hits] == [hit.highlights for hit in ours.hits], query
        assert (theirs.next_cursor is None) == (ours.next_cursor is None), query
        found += ours.total > 0
    assert found >= 10, "Questions without answers prove little."


@pytest.mark.parametrize("first", range(0, 60, 20))
def test_the_best_matches_are_the_same_calls_in_their_own_order(unmarked: Both, first: int) -> None:
    for number in range(first, first + 20):
        query = replace(generated_query(number), order=SearchOrder.RELEVANCE, page_size=200)
        ours, theirs = (all_pages(index, query, most=1) for index in unmarked)
        assert {page.total for page in theirs} == {page.total for page in ours}, query
        if ours[-1].next_cursor is None:
            ordered = [calls(tuple(hit for page in pages for hit in page.hits)) for pages in (ours, theirs)]
            assert sorted(ordered[0]) == sorted(ordered[1]), query
        if all(hit.score == 0 for page in ours for hit in page.hits):
            assert [calls(page.hits) for page in theirs] == [calls(page.hits) for page in ours], query


def test_small_pages_are_the_same_pages(unmarked: Both) -> None:
    for number in range(0, 60, 6):
        query = replace(generated_query(number + number % 4), order=SearchOrder.NEWEST, page_size=7)
        ours, theirs = (all_pages(index, query, most=5) for index in unmarked)
        assert [calls(page.hits) for page in theirs] == [calls(page.hits) for page in ours], query


@pytest.mark.parametrize("text", prefix_queries())
def test_beginnings_of_words_find_at_least_what_beginnings_of_stems_do(unmarked: Both, text: str) -> None:
    query = CallQuery(text, started_before_ms=STARTED_AT_MS + 30 * DAY_MS, page_size=200)
    ours, theirs = ({call for page in all_pages(index, query) for call in calls(page.hits)} for index in unmarked)
    if "-" not in text:
        assert ours <= theirs
    assert theirs, "Questions without answers prove little."
    literal = re.fullmatch(r"([a-z]+)\*", text)
    if literal is None:
        return
    for call in theirs - ours:
        document = unmarked[1].get(call)  # type: ignore[arg-type]
        assert document is not None
        said = " ".join(item.text for item in document.segments).lower()
        assert re.search(rf"\b{literal[1]}", said), "What is found in addition begins so to the letter."


def counted(said: tuple[tuple[int, ...], ...], marker: str, role: Role | None) -> int:
    place = MARKERS.index(marker)
    agent, customer = said[0][place], said[1][place]
    return {None: agent + customer, Role.AGENT: agent, Role.CUSTOMER: customer}[role]


@pytest.mark.parametrize("role", [None, Role.AGENT, Role.CUSTOMER])
@pytest.mark.parametrize("joined", [" ", " OR "])
@pytest.mark.parametrize("markers", [MARKERS[:1], MARKERS[1:], MARKERS])
def test_more_of_what_was_asked_comes_first(
    unmarked: Both, markers: tuple[str, ...], joined: str, role: Role | None
) -> None:
    _, said = measured_calls(CALLS + 1, MEASURED)
    for index in unmarked:
        (page, *more) = all_pages(index, CallQuery(joined.join(markers), spoken_by=role, page_size=200))
        hits = [hit for each in (page, *more) for hit in each.hits]
        often = [tuple(counted(said[hit.summary.call], marker, role) for marker in markers) for hit in hits]
        assert len(often) > 5
        for place, better in enumerate(often):
            for worse in often[:place]:
                assert not (worse != better and all(a <= b for a, b in zip(worse, better, strict=True))), joined
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


_SUFFIXES_ALONE = {"eed", "ies"}
"""Fragments of words broken at a line's end in old books; Porter's rules leave open what a suffix without a stem is."""


def test_both_know_the_same_stem_of_every_word_that_is_recognised(
    settings: ElasticIndexSettings, both: Both
) -> None:
    lexicon = Path(__file__).parents[2] / "recognizer/models/general-8k/lexicon.txt.xz"
    with lzma.open(lexicon, "rt", encoding="utf-8") as lines:
        words = sorted({line.split()[0].lower() for line in lines if line.strip()})
    words = [word for word in words if re.fullmatch(r"[a-z]+", word)]
    assert len(words) > 50_000
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE VIRTUAL TABLE said USING fts5(word, tokenize = 'porter unicode61')")
    connection.execute("CREATE VIRTUAL TABLE terms USING fts5vocab(said, 'instance')")
    connection.executemany("INSERT INTO said (rowid, word) VALUES (?, ?)", enumerate(words))
    ours = {words[row]: term for term, row in connection.execute("SELECT term, doc FROM terms")}
    connection.close()
    elastic = ElasticConnection(settings)
    theirs: dict[str, str] = {}
    for first in range(0, len(words), 5_000):
        some = words[first : first + 5_000]
        body = {"field": "spoken", "text": " ".join(some)}
        tokens = elastic.ask("GET", f"/{settings.prefix}calls-undated/_analyze", body)["tokens"]
        theirs |= {word: token["token"] for word, token in zip(some, tokens, strict=True)}
    elastic.close()
    assert len(theirs) == len(words)
    assert {word for word in words if theirs[word] != ours[word]} == _SUFFIXES_ALONE
