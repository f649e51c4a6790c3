"""A CallQuery in Elasticsearch's query language, as plain data.

Words of any role are looked for in `spoken` and `about` of the call, which hold one value a segment or fact with
a gap of positions between, so that no phrase reaches over it; rank then counts the call as one text. Words of
one role are looked for in `segments`, one small document a segment, where role and words are true of one of them.
What a person typed travels as the text of match queries only.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from events.identity import Role
from indexer.elastic_document import MARK, UNMARK
from indexer.index import CallQuery
from indexer.query_text import Condition, Every, Said, Some, Without

Query = dict[str, Any]

# Knowing a name or an address says less about a call than what was said in it.
_ABOUT_WEIGHT: Final = 0.5
# `how_often` gives each saying one part in 1,000 of what BM25 gives the first; see calls.json.
_SEGMENT_WEIGHT: Final = 455.0
_MOST_EXPANSIONS: Final = 20_000

FACETS: Final = ("rules", "severities", "state", "source", "entities", "speakers")
_MOST_VALUES: Final = 10_000


def condition_query(condition: Condition) -> Query:
    """Return `condition`, as `query_text.positive` leaves it and `query_text.check_depth` has let it pass."""
    match condition:
        case Said():
            return _said_query(condition)
        case Some(parts):
            return {"bool": {"should": [condition_query(part) for part in parts], "minimum_should_match": 1}}
        case Every(parts):
            wanted = [condition_query(part) for part in parts if not isinstance(part, Without)]
            unwanted = [condition_query(part.part) for part in parts if isinstance(part, Without)]
            assert wanted, "A negation stands beside something to look for."
            return {"bool": {"must": wanted, "must_not": unwanted}} if unwanted else {"bool": {"must": wanted}}
        case Without():
            raise AssertionError("A negation stands inside of a conjunction.")
    raise AssertionError(condition)


def _said_query(said: Said) -> Query:
    if said.role is None:
        return _words(said, ["spoken", "about"], _ABOUT_WEIGHT)
    return {
        "nested": {
            "path": "segments",
            "score_mode": "sum",
            "query": {
                "bool": {
                    "must": [_words(said, ["segments.text"])],
                    "filter": [{"term": {"segments.role": said.role.value}}],
                    "boost": _SEGMENT_WEIGHT,
                }
            },
        }
    }


def _words(said: Said, fields: list[str], second_weight: float = 1.0) -> Query:
    """The words next to each other in one value of one of the fields."""
    weights = ["", f"^{second_weight}"]
    if not said.prefix:
        named = [field + weight for field, weight in zip(fields, weights, strict=False)]
        return {"multi_match": {"query": said.words, "type": "phrase", "fields": named, "tie_breaker": 1.0}}
    # A beginning of a word, and a beginning of its stem: stems alone would not find "happyland" by "happy*".
    named = [
        name + weight for field, weight in zip(fields, weights, strict=False) for name in (f"{field}.exact", field)
    ]
    if _is_one_word(said.words):
        return {"multi_match": {"query": said.words, "type": "bool_prefix", "fields": named}}
    return {
        "multi_match": {
            "query": said.words,
            "type": "phrase_prefix",
            "fields": named,
            "max_expansions": _MOST_EXPANSIONS,
        }
    }


def _is_one_word(words: str) -> bool:
    """The analyser cuts at everything that is no letter, digit or underscore."""
    return len("".join(char if char.isalnum() or char == "_" else " " for char in words).split()) == 1


def filters(query: CallQuery, has_text: bool) -> list[Query]:
    """Return what must be true of a call besides the text."""
    found: list[Query] = []

    def one_of(field: str, allowed: tuple[str, ...]) -> None:
        if allowed:
            found.append({"terms": {field: [str(value) for value in allowed]}})

    def between(field: str, **limits: int | None) -> None:
        given = {name: value for name, value in limits.items() if value is not None}
        if given:
            found.append({"range": {field: given}})

    if query.spoken_by is not None and not has_text:
        one_of("speakers", (query.spoken_by.value,))
    one_of("rules", query.rules)
    one_of("severities", query.severities)
    one_of("entities", query.entities)
    one_of("state", query.states)
    one_of("source", query.sources)
    if query.has_findings is not None:
        between("findings", **({"gt": 0} if query.has_findings else {"lte": 0}))
    between("started_at_ms", gte=query.started_from_ms, lt=query.started_before_ms)
    if query.started_before_ms is not None:
        # A call whose start is not known yet (0) has not started before anything.
        between("started_at_ms", gt=0)
    between("duration_ms", gte=query.shortest_ms, lte=query.longest_ms)
    return found


def search_body(query: CallQuery, condition: Condition | None, negated: bool, by_score: bool) -> dict[str, Any]:
    """Return the request for one page and one hit more, without a cursor.

    Parameters
    ----------
    condition, negated
        As `query_text.positive` gives them; None without text.
    by_score
        Best match first; else newest first.
    """
    clauses: dict[str, Any] = {
        "filter": filters(query, has_text=condition is not None),
        "must_not": [{"term": {"forgotten": True}}],
    }
    if condition is not None:
        wanted = condition_query(condition)
        if negated:
            clauses["must_not"].append(wanted)
        else:
            clauses["must"] = [wanted]
    return {
        "query": {"bool": clauses},
        "size": query.page_size + 1,
        "sort": [{"_score": "desc"} if by_score else {"started_at_ms": "desc"}, {"call": "asc"}],
        "track_scores": condition is not None and not negated,
        "track_total_hits": True,
        "_source": False,
        "docvalue_fields": ["summary"],
        "aggs": {name: {"terms": {"field": name, "size": _MOST_VALUES}} for name in FACETS},
    }


def highlight_body(condition: Condition, calls: list[str], most: int) -> dict[str, Any]:
    """Return the request for the places in which these calls match."""
    wanted = list(sayings(condition))
    roles: tuple[Role | None, ...] = tuple(Role) if any(said.role is not None for said in wanted) else (None,)
    shoulds: list[Query] = []
    for role in roles:
        fitting = [said for said in wanted if role is None or said.role in (None, role)]
        if fitting:
            shoulds.append(_segments_of(role, fitting, most))
    about = [_words(said, ["about"]) for said in wanted if said.role is None]
    body: dict[str, Any] = {
        "query": {"bool": {"filter": [{"terms": {"call": calls}}], "should": shoulds}},
        "size": len(calls),
        "_source": False,
        "docvalue_fields": ["call"],
    }
    if about:
        body["highlight"] = _highlight("about", {"bool": {"should": about}})
    return body


def sayings(condition: Condition) -> Iterator[Said]:
    """Yield what is looked for, without what must not be there."""
    match condition:
        case Said():
            yield condition
        case Every(parts) | Some(parts):
            for part in parts:
                yield from sayings(part)


def _segments_of(role: Role | None, wanted: list[Said], most: int) -> Query:
    clauses: dict[str, Any] = {
        "should": [_words(said, ["segments.text"]) for said in wanted],
        "minimum_should_match": 1,
    }
    if role is not None:
        clauses["filter"] = [{"term": {"segments.role": role.value}}]
    return {
        "nested": {
            "path": "segments",
            "query": {"bool": clauses},
            "score_mode": "none",
            "inner_hits": {
                "name": "any" if role is None else role.value,
                "size": most,
                "sort": [{"segments.place": "asc"}],
                "_source": {"excludes": ["segments.text"]},
                "highlight": _highlight("segments.text"),
            },
        }
    }


def _highlight(field: str, query: Query | None = None) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "type": "unified",
        "number_of_fragments": 0,
        "pre_tags": [MARK],
        "post_tags": [UNMARK],
        "fields": {field: {}, f"{field}.exact": {}},
    }
    if query is not None:
        settings["highlight_query"] = query
    return settings
