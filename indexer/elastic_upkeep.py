"""What keeps the months in shape: old ones are let go, and an operator is told what there is."""

from __future__ import annotations

from typing import Final

from indexer.elastic_connection import ElasticConnection, RequestFailed
from indexer.elastic_layout import Layout
from indexer.elastic_schema import UNDATED, Names, end_of_slot_ms, mapping_version
from indexer.elastic_settings import ElasticIndexSettings
from indexer.index import IndexPart, IndexStatus

_EXPIRED_AT_ONCE: Final = 500
_FORGOTTEN: Final = {"term": {"forgotten": True}}


class Upkeep:
    def __init__(
        self, connection: ElasticConnection, names: Names, settings: ElasticIndexSettings, layout: Layout
    ) -> None:
        self._connection = connection
        self._names = names
        self._settings = settings
        self._layout = layout

    def expire(self, before_ms: int) -> int:
        """See `CallIndex.expire`: the oldest month that ended before, or some of the undated calls."""
        for month in self._layout.months():
            end_ms = end_of_slot_ms(month.slot)
            if end_ms is not None and end_ms <= before_ms:
                calls = self._calls(month.index)
                self._let_go(month.slot, month.index)
                if calls:
                    return calls
        return self._expire_undated(before_ms)

    def status(self) -> IndexStatus:
        """See `CallIndex.status`."""
        months = self._layout.months()
        self._connection.ask("POST", f"/{self._names.places}/_refresh")
        sizes = self._connection.ask("GET", f"/{self._names.calls}/_stats/store")["indices"]
        parts = tuple(
            IndexPart(
                month.index,
                self._calls(month.index),
                int(sizes.get(month.index, {}).get("total", {}).get("store", {}).get("size_in_bytes", 0)),
                str(month.version),
            )
            for month in months
        )
        forgotten = self._count(self._names.places, {"query": _FORGOTTEN})
        return IndexStatus(
            "elasticsearch",
            f"{self._settings.shown_url}, {self._names.calls}",
            str(mapping_version()),
            forgotten,
            parts,
        )

    def _let_go(self, slot: str, index: str) -> None:
        try:
            self._connection.ask("DELETE", f"/{index}")
        except RequestFailed as failed:
            if failed.status != 404:
                raise
        self._layout.look_again()
        # Places of this month stay until the next one goes, so that nobody who still writes to it is misled.
        older = {"bool": {"filter": [{"range": {"slot": {"gt": "", "lt": slot}}}], "must_not": [_FORGOTTEN]}}
        self._connection.ask(
            "POST",
            f"/{self._names.places}/_delete_by_query",
            {"query": older},
            parameters={"conflicts": "proceed", "wait_for_completion": "false"},
        )

    def _expire_undated(self, before_ms: int) -> int:
        alias = self._names.slot(UNDATED)
        self._connection.ask("POST", f"/{alias}/_refresh")
        old = {"range": {"started_at_ms": {"gt": 0, "lt": before_ms}}}
        answer = self._connection.ask(
            "POST",
            f"/{alias}/_delete_by_query",
            {"query": {"bool": {"filter": [old], "must_not": [_FORGOTTEN]}}, "max_docs": _EXPIRED_AT_ONCE},
            parameters={"conflicts": "proceed", "refresh": "true"},
        )
        return int(answer["deleted"])

    def _calls(self, index: str) -> int:
        self._connection.ask("POST", f"/{index}/_refresh")
        return self._count(index, {"query": {"bool": {"must_not": [_FORGOTTEN]}}})

    def _count(self, index: str, body: dict[str, object]) -> int:
        answer = self._connection.ask("POST", f"/{index}/_search", {**body, "size": 0, "track_total_hits": True})
        return int(answer["hits"]["total"]["value"])
