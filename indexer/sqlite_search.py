"""A query as SQL, rows as hits."""

from __future__ import annotations

import base64
import binascii
import hashlib
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final, TypeVar

import msgspec

from events.call_document import CallDocument, CallState
from events.finding import Severity
from events.lifecycle import CallSourceKind
from events.transcript import PiiKind, RedactedSegment
from indexer.index import BadQuery, CallQuery, Facets, Highlight, SearchHit, SearchOrder, SearchPage
from indexer.query_text import Condition, Every, Said, Some, Without, check_depth, parse, positive
from indexer.sqlite_schema import (
    ABOUT,
    BREAK,
    MARK,
    ROLE_COLUMNS,
    UNMARK,
    plain,
    unpack_document,
    unpack_summary,
)

# What is known about a call (names, addresses) says less about it than what was said in it.
_WEIGHTS: Final = ", ".join([*("1.0" for _ in ROLE_COLUMNS), "0.5"])

_FOUND: Final = (
    "CREATE TEMP TABLE IF NOT EXISTS found (id INTEGER PRIMARY KEY, call TEXT, started_at_ms INTEGER, score REAL)"
)
_AND: Final = " AND "
_T = TypeVar("_T")


def search(connection: sqlite3.Connection, query: CallQuery, most_highlights: int) -> SearchPage:
    """Return one page. The caller holds a read transaction, so that page, total and facets agree.

    Raises
    ------
    BadQuery
    """
    tree = parse(query.text, query.spoken_by)
    condition, negated = positive(tree) if tree is not None else (None, False)
    if condition is not None:
        check_depth(condition)
    expression = None if condition is None else fts_expression(condition)
    connection.execute(_FOUND)
    connection.execute("DELETE FROM found")
    where, values = _filters(query, has_text=tree is not None)
    if expression is None or negated:
        if expression is not None:
            where.append("calls.id NOT IN (SELECT rowid FROM spoken WHERE spoken MATCH ?)")
            values.append(expression)
        connection.execute(
            "INSERT INTO found SELECT calls.id, calls.call, calls.started_at_ms, 0.0 FROM calls "
            f"WHERE {' AND '.join(where) or 'TRUE'}",
            values,
        )
    else:
        # CROSS JOIN fixes the order: the full-text index first, each call after it by its row number.
        where.insert(0, "spoken MATCH ?")
        connection.execute(
            f"INSERT INTO found SELECT calls.id, calls.call, calls.started_at_ms, -bm25(spoken, {_WEIGHTS}) "
            f"FROM spoken CROSS JOIN calls ON calls.id = spoken.rowid WHERE {' AND '.join(where)}",
            [expression, *values],
        )
    by_score = query.order is SearchOrder.RELEVANCE and expression is not None and not negated
    rows, next_cursor = _page(connection, query, by_score)
    marked = None if negated else expression
    return SearchPage(
        hits=tuple(_hit(connection, row, score, marked, most_highlights) for row, _, _, score in rows),
        total=connection.execute("SELECT count(*) FROM found").fetchone()[0],
        next_cursor=next_cursor,
        facets=_facets(connection),
    )


def fts_expression(condition: Condition) -> str:
    """Return `condition`, as `positive` leaves it, in FTS5's language. Words travel as quoted strings only."""
    match condition:
        case Said(words, prefix, role):
            text = plain(words).replace('"', " ")
            column = "" if role is None else f"{{{role.value}}} : "
            return f'{column}"{text}"{" *" if prefix else ""}'
        case Some(parts):
            return f"({' OR '.join(map(fts_expression, parts))})"
        case Every(parts):
            wanted = [fts_expression(part) for part in parts if not isinstance(part, Without)]
            unwanted = [fts_expression(part.part) for part in parts if isinstance(part, Without)]
            assert wanted, "A negation stands beside something to look for."
            return f"({' NOT '.join([f'({_AND.join(wanted)})', *unwanted])})"
        case Without():
            raise AssertionError("A negation stands inside of a conjunction.")
    raise AssertionError(condition)


def _filters(query: CallQuery, has_text: bool) -> tuple[list[str], list[Any]]:
    where: list[str] = []
    values: list[Any] = []

    def add(sql: str, *given: Any) -> None:
        where.append(sql)
        values.extend(given)

    def one_of(sql: str, allowed: Sequence[str]) -> None:
        if allowed:
            add(sql.format(", ".join("?" * len(allowed))), *(str(value) for value in allowed))

    if query.spoken_by is not None and not has_text:
        add(f"calls.said_{query.spoken_by.value} = 1")
    one_of("calls.id IN (SELECT id FROM call_rules WHERE rule IN ({}))", query.rules)
    one_of("calls.id IN (SELECT id FROM call_rules WHERE severity IN ({}))", query.severities)
    one_of("calls.id IN (SELECT id FROM call_entities WHERE kind IN ({}))", query.entities)
    one_of("calls.state IN ({})", query.states)
    one_of("calls.source IN ({})", query.sources)
    if query.has_findings is not None:
        add("calls.findings > 0" if query.has_findings else "calls.findings = 0")
    if query.started_from_ms is not None:
        add("calls.started_at_ms >= ?", query.started_from_ms)
    if query.started_before_ms is not None:
        # A call whose start is not known yet (0) has not started before anything.
        add("calls.started_at_ms < ? AND calls.started_at_ms > 0", query.started_before_ms)
    if query.shortest_ms is not None:
        add("calls.duration_ms >= ?", query.shortest_ms)
    if query.longest_ms is not None:
        add("calls.duration_ms <= ?", query.longest_ms)
    return where, values


Row = tuple[int, str, int, float]


def _page(connection: sqlite3.Connection, query: CallQuery, by_score: bool) -> tuple[list[Row], str | None]:
    key = "score" if by_score else "started_at_ms"
    behind: list[Any] = []
    where = ""
    if query.cursor:
        last, call = _read_cursor(query)
        where = f"WHERE {key} < ? OR ({key} = ? AND call > ?)"
        behind = [last, last, call]
    rows: list[Row] = connection.execute(
        f"SELECT id, call, started_at_ms, score FROM found {where} ORDER BY {key} DESC, call LIMIT ?",
        [*behind, query.page_size + 1],
    ).fetchall()
    if len(rows) <= query.page_size:
        return rows, None
    rows.pop()
    _, call, started_at_ms, score = rows[-1]
    return rows, _write_cursor(query, score if by_score else started_at_ms, call)


def _fingerprint(query: CallQuery) -> bytes:
    asked = msgspec.msgpack.encode(replace(query, cursor="", page_size=1))
    return hashlib.blake2b(asked, digest_size=6).digest()


def _write_cursor(query: CallQuery, last: float, call: str) -> str:
    packed = msgspec.msgpack.encode((_fingerprint(query), last, call))
    return base64.urlsafe_b64encode(packed).decode().rstrip("=")


def _read_cursor(query: CallQuery) -> tuple[float, str]:
    try:
        packed = base64.b64decode(query.cursor + "=" * (-len(query.cursor) % 4), altchars=b"-_", validate=True)
        asked, last, call = msgspec.msgpack.decode(packed, type=tuple[bytes, int | float, str])
    except (binascii.Error, ValueError, msgspec.DecodeError):
        raise BadQuery("The search's page mark is damaged; start again at the first page.") from None
    if asked != _fingerprint(query):
        raise BadQuery("The search's page mark belongs to another search; start again at the first page.")
    return last, call


def _facets(connection: sqlite3.Connection) -> Facets:
    def counts(sql: str, kind: Callable[[str], _T]) -> tuple[tuple[_T, int], ...]:
        rows = connection.execute(f"{sql} GROUP BY 1 ORDER BY 2 DESC, 1")
        return tuple((kind(value), count) for value, count in rows if value is not None)

    joined = "FROM found CROSS JOIN calls USING (id)"
    said = connection.execute(
        f"SELECT {', '.join(f'sum(said_{role})' for role in ROLE_COLUMNS)} {joined}"
    ).fetchone()
    spoken_by = [(role, count) for role, count in zip(ROLE_COLUMNS, said, strict=True) if count]
    return Facets(
        rules=counts("SELECT rule, count(DISTINCT id) FROM found CROSS JOIN call_rules USING (id)", str),
        severities=counts(
            "SELECT severity, count(DISTINCT id) FROM found CROSS JOIN call_rules USING (id)", Severity
        ),
        states=counts(f"SELECT state, count(*) {joined}", CallState),
        sources=counts(f"SELECT source, count(*) {joined}", CallSourceKind),
        entities=counts("SELECT kind, count(*) FROM found CROSS JOIN call_entities USING (id)", PiiKind),
        spoken_by=tuple(sorted(spoken_by, key=lambda item: -item[1])),
    )


def _hit(connection: sqlite3.Connection, row: int, score: float, expression: str | None, most: int) -> SearchHit:
    summary, document = connection.execute(
        "SELECT summary, document FROM documents WHERE id = ?", (row,)
    ).fetchone()
    highlights: tuple[Highlight, ...] = ()
    if expression is not None:
        columns = ", ".join(f"highlight(spoken, {place}, ?1, ?2)" for place in range(len(ROLE_COLUMNS) + 1))
        texts = connection.execute(
            f"SELECT {columns} FROM spoken WHERE spoken MATCH ?3 AND rowid = ?4", (MARK, UNMARK, expression, row)
        ).fetchone()
        highlights = _highlights(unpack_document(document), texts, most)
    return SearchHit(unpack_summary(summary), score, highlights)


def _highlights(document: CallDocument, texts: Sequence[str], most: int) -> tuple[Highlight, ...]:
    """Return the first `most` segments that hold a mark, in call order, and behind them facts that do."""
    parts = {
        name: iter(text.split(f" {BREAK} ")) for name, text in zip([*ROLE_COLUMNS, ABOUT], texts, strict=True)
    }
    found: list[Highlight] = []
    for segment in document.segments:
        text = next(parts[segment.role])
        if MARK in text and len(found) < most:
            found.append(_segment_highlight(segment, text))
    for fact in parts[ABOUT]:
        if MARK in fact and len(found) < most:
            found.append(Highlight(*_unmarked(fact)))
    return tuple(found)


def _segment_highlight(segment: RedactedSegment, marked: str) -> Highlight:
    text, marks = _unmarked(marked)
    first_word = text.count(" ", 0, marks[0][0])
    start_ms = segment.words[first_word].start_ms if first_word < len(segment.words) else segment.start_ms
    return Highlight(text, marks, segment.id, segment.leg, segment.role, start_ms)


def _unmarked(marked: str) -> tuple[str, tuple[tuple[int, int], ...]]:
    """Return the text without marks, and where they were."""
    text = ""
    marks: list[tuple[int, int]] = []
    first, *rest = marked.split(MARK)
    text = first
    for part in rest:
        inside, _, outside = part.partition(UNMARK)
        marks.append((len(text), len(text) + len(inside)))
        text += inside + outside
    return text, tuple(marks)
