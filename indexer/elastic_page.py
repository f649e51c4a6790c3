"""Elasticsearch's answers as hits, facets and highlights; and the mark from which the next page goes on."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

import msgspec

from events.call_document import CallState
from events.finding import Severity
from events.identity import RecordId, Role
from events.lifecycle import CallSourceKind
from events.transcript import PiiKind
from indexer.elastic_document import MARK, UNMARK, unpack_summary
from indexer.index import BadQuery, CallQuery, Facets, Highlight, SearchHit

_T = TypeVar("_T")
_LONGEST_CURSOR: Final = 400
_LONGEST_MS: Final = 2**62


@dataclass(frozen=True, slots=True)
class Behind:
    """The last call of a page: the next page begins behind it."""

    value: float
    """Its score, or its start in UTC epoch milliseconds."""
    call: str


def write_cursor(query: CallQuery, behind: Behind) -> str:
    packed = msgspec.msgpack.encode((_fingerprint(query), behind.value, behind.call))
    return base64.urlsafe_b64encode(packed).decode().rstrip("=")


def read_cursor(query: CallQuery) -> Behind:
    """Raises BadQuery when the mark is damaged or was made for another search."""
    text = query.cursor
    try:
        if len(text) > _LONGEST_CURSOR:
            raise ValueError
        packed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        asked, value, call = msgspec.msgpack.decode(packed, type=tuple[bytes, int | float, str])
        if not -_LONGEST_MS < value < _LONGEST_MS:
            raise ValueError
    except (binascii.Error, ValueError, msgspec.DecodeError):
        raise BadQuery("The search's page mark is damaged; start again at the first page.") from None
    if asked != _fingerprint(query):
        raise BadQuery("The search's page mark belongs to another search; start again at the first page.")
    return Behind(value, call)


def _fingerprint(query: CallQuery) -> bytes:
    asked = msgspec.msgpack.encode(replace(query, cursor="", page_size=1))
    return hashlib.blake2b(asked, digest_size=6).digest()


def behind(hit: Mapping[str, Any]) -> Behind:
    value, call = hit["sort"]
    return Behind(value, call)


def search_hits(
    hits: Iterable[Mapping[str, Any]], highlights: Mapping[str, tuple[Highlight, ...]]
) -> tuple[SearchHit, ...]:
    found = []
    for hit in hits:
        summary = unpack_summary(hit["fields"]["summary"][0])
        found.append(SearchHit(summary, hit.get("_score") or 0.0, highlights.get(summary.call, ())))
    return tuple(found)


def facets(aggregations: Mapping[str, Any]) -> Facets:
    def counts(name: str, kind: Callable[[str], _T]) -> tuple[tuple[_T, int], ...]:
        buckets = aggregations[name]["buckets"]
        found = [(bucket["key"], bucket["doc_count"]) for bucket in buckets]
        found.sort(key=lambda item: (-item[1], item[0]))
        return tuple((kind(value), count) for value, count in found)

    roles = list(Role)
    spoken_by = counts("speakers", Role)
    return Facets(
        rules=counts("rules", str),
        severities=counts("severities", Severity),
        states=counts("state", CallState),
        sources=counts("source", CallSourceKind),
        entities=counts("entities", PiiKind),
        spoken_by=tuple(sorted(spoken_by, key=lambda item: (-item[1], roles.index(item[0])))),
    )


def highlights(hit: Mapping[str, Any], most: int) -> tuple[Highlight, ...]:
    """Return the first `most` segments that hold a mark, in call order, and behind them facts that do."""
    segments = [
        inner
        for found in hit.get("inner_hits", {}).values()
        for inner in found["hits"]["hits"]
        if inner.get("highlight")
    ]
    segments.sort(key=lambda inner: int(inner["_source"]["place"]))
    shown = [_segment_highlight(inner) for inner in segments[:most]]
    facts: dict[str, set[tuple[int, int]]] = {}
    for marked in (text for texts in hit.get("highlight", {}).values() for text in texts):
        text, marks = _unmarked(marked)
        facts.setdefault(text, set()).update(marks)
    shown += [Highlight(text, _joined(marks)) for text, marks in facts.items()]
    return tuple(shown[:most])


def _segment_highlight(inner: Mapping[str, Any]) -> Highlight:
    text = ""
    found: set[tuple[int, int]] = set()
    for marked in (text for texts in inner["highlight"].values() for text in texts):
        text, marks = _unmarked(marked)
        found.update(marks)
    marks = _joined(found)
    source = inner["_source"]
    starts = source.get("word_starts_ms", [])
    first_word = text.count(" ", 0, marks[0][0])
    start_ms = starts[first_word] if first_word < len(starts) else source["start_ms"]
    return Highlight(text, marks, RecordId(source["id"]), source["leg"], Role(source["role"]), start_ms)


def _joined(marks: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Return marks in order, those that overlap joined."""
    joined: list[tuple[int, int]] = []
    for begin, end in sorted(marks):
        if joined and begin < joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((begin, end))
    return tuple(joined)


def _unmarked(marked: str) -> tuple[str, tuple[tuple[int, int], ...]]:
    """Return the text without marks, and where they were."""
    marks: list[tuple[int, int]] = []
    text, *rest = marked.split(MARK)
    for part in rest:
        inside, _, outside = part.partition(UNMARK)
        marks.append((len(text), len(text) + len(inside)))
        text += inside + outside
    return text, tuple(marks)
