"""Searches: the page and its facets in one request, the places that matched in a second for this page alone.

The first page refreshes the index, so that everything put before is found; pages 2 and later share a snapshot
(point in time). Its id grows with the number of months and says things about the cluster, so it stays in this
process and the page mark holds only what the page ended with. Where the snapshot is gone, because it expired or
another process made it, the next one is made and the search goes on behind the same call.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from indexer.elastic_connection import NO_PARAMETERS, ElasticConnection, RequestFailed
from indexer.elastic_page import behind, facets, highlights, read_cursor, search_hits, write_cursor
from indexer.elastic_query import highlight_body, search_body
from indexer.elastic_schema import Names
from indexer.elastic_settings import ElasticIndexSettings
from indexer.index import BadQuery, CallQuery, Highlight, SearchOrder, SearchPage
from indexer.query_text import Condition, check_depth, parse, positive

_MOST_SNAPSHOTS: Final = 100


@dataclass(frozen=True, slots=True)
class _Snapshot:
    id: str
    until: float


class Searcher:
    def __init__(self, connection: ElasticConnection, names: Names, settings: ElasticIndexSettings) -> None:
        self._connection = connection
        self._names = names
        self._settings = settings
        self._lock = threading.Lock()
        self._snapshots: OrderedDict[str, _Snapshot] = OrderedDict()
        """By the page mark that goes on in them."""

    def search(self, query: CallQuery) -> SearchPage:
        """See `CallIndex.search`. Raises BadQuery, ElasticUnavailable."""
        tree = parse(query.text, query.spoken_by)
        condition, negated = positive(tree) if tree is not None else (None, False)
        if condition is not None:
            check_depth(condition)
        by_score = query.order is SearchOrder.RELEVANCE and condition is not None and not negated
        body = search_body(query, condition, negated, by_score)
        if query.cursor:
            last = read_cursor(query)
            body["search_after"] = [last.value if by_score else int(last.value), last.call]
            answer, snapshot = self._on_snapshot(query.cursor, body)
        else:
            if self._settings.refresh == "search":
                self._ask("POST", f"/{self._names.calls}/_refresh")
            answer, snapshot = self._search(body), None
        hits = answer["hits"]["hits"]
        more = len(hits) > query.page_size
        hits = hits[: query.page_size]
        next_cursor = write_cursor(query, behind(hits[-1])) if more else None
        marked: dict[str, tuple[Highlight, ...]] = {}
        if condition is not None and not negated and hits and self._settings.highlights_per_call:
            marked = self._highlights(condition, [hit["sort"][1] for hit in hits], snapshot)
        if snapshot is not None:
            self._go_on(snapshot, next_cursor)
        return SearchPage(
            search_hits(hits, marked),
            answer["hits"]["total"]["value"],
            next_cursor,
            facets(answer["aggregations"]),
        )

    def close(self) -> None:
        with self._lock:
            snapshots = list(self._snapshots.values())
            self._snapshots.clear()
        for snapshot in snapshots:
            self._close(snapshot.id)

    def _on_snapshot(self, cursor: str, body: dict[str, Any]) -> tuple[dict[str, Any], str]:
        with self._lock:
            known = self._snapshots.pop(cursor, None)
        if known is not None and known.until > time.monotonic():
            try:
                answer = self._search(body, known.id)
                return answer, answer["pit_id"]
            except RequestFailed as failed:
                if failed.status != 404:
                    raise
        fresh = self._ask("POST", f"/{self._names.calls}/_pit", parameters={"keep_alive": self._keep_alive})["id"]
        answer = self._search(body, fresh)
        return answer, answer["pit_id"]

    def _search(self, body: dict[str, Any], snapshot: str | None = None) -> dict[str, Any]:
        # Counting words over all months first makes scores of different months comparable.
        parameters = {"search_type": "dfs_query_then_fetch", "allow_partial_search_results": "false"}
        try:
            if snapshot is None:
                return self._on_alias(body, parameters)
            pit = {"id": snapshot, "keep_alive": self._keep_alive}
            return self._ask("POST", "/_search", {**body, "pit": pit}, parameters)
        except RequestFailed as failed:
            if failed.status == 400:
                raise BadQuery(
                    "The search is too large or too deep to be answered; make its text simpler."
                ) from None
            raise

    def _on_alias(self, body: dict[str, Any], parameters: Mapping[str, str]) -> dict[str, Any]:
        try:
            return self._ask("POST", f"/{self._names.calls}/_search", body, parameters)
        except RequestFailed as failed:
            if failed.status != 404:
                raise
        # A month was rebuilt or let go between two steps of the search.
        return self._ask("POST", f"/{self._names.calls}/_search", body, parameters)

    def _highlights(
        self, condition: Condition, calls: list[str], snapshot: str | None
    ) -> dict[str, tuple[Highlight, ...]]:
        most = self._settings.highlights_per_call
        answer = self._search(highlight_body(condition, calls, most), snapshot)
        return {hit["fields"]["call"][0]: highlights(hit, most) for hit in answer["hits"]["hits"]}

    def _go_on(self, snapshot: str, next_cursor: str | None) -> None:
        if next_cursor is None:
            self._close(snapshot)
            return
        until = time.monotonic() + self._settings.page_snapshot_s
        with self._lock:
            self._snapshots[next_cursor] = _Snapshot(snapshot, until)
            if len(self._snapshots) > _MOST_SNAPSHOTS:
                self._snapshots.popitem(last=False)

    def _close(self, snapshot: str) -> None:
        try:
            self._connection.ask("DELETE", "/_pit", {"id": snapshot}, patience_s=0.0)
        except Exception:
            return  # It expires by itself.

    @property
    def _keep_alive(self) -> str:
        return f"{self._settings.page_snapshot_s}s"

    def _ask(
        self, method: str, path: str, body: object = None, parameters: Mapping[str, str] = NO_PARAMETERS
    ) -> dict[str, Any]:
        return self._connection.ask(
            method, path, body, parameters=parameters, patience_s=self._settings.search_patience_s
        )
