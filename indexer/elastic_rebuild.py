"""Every month written anew under this program's mapping, while others search and put.

A month is copied into a new index that nobody sees, in passes: each takes what was written since the one before,
by sequence number. The last pass is short and runs while the old index takes no writes (writers wait and try
again); then one request moves the aliases and removes the old index. Nothing is ever deleted from a month but
all of it, forgotten calls leave tombstones, so a copy of what is there is a copy of what happened. A copy carries
the sequence number of what it was made from as its external version, so that an older one never replaces a newer.

Two rebuilds at once do no harm: a rebuild begins by removing unfinished copies, which may be those of one that was
killed, and would otherwise keep words that nobody searches and nobody forgets. A copy is written through an alias of
its own, which is what tells it apart, so one whose copy was removed is told so instead of making it again.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from indexer.elastic_connection import ElasticConnection, ElasticRefused, ElasticUnavailable, RequestFailed
from indexer.elastic_document import RecordDamaged, index_document, unpack_document
from indexer.elastic_layout import Layout
from indexer.elastic_schema import Names
from indexer.elastic_settings import ElasticIndexSettings
from indexer.index import Progress

_LOG: Final = logging.getLogger(__name__)
_FEW: Final = 500
"""A pass that copied no more is short enough to be the one before the last."""
_MOST_PASSES: Final = 20
_PER_READ: Final = 100


@dataclass(slots=True)
class _Counts:
    done: int
    total: int
    written: int = 0


class Rebuild:
    def __init__(
        self, connection: ElasticConnection, names: Names, settings: ElasticIndexSettings, layout: Layout
    ) -> None:
        self._connection = connection
        self._names = names
        self._settings = settings
        self._layout = layout

    def run(self, progress: Progress) -> int:
        """Rebuild every month; return how many calls were written.

        Raises
        ------
        ElasticUnavailable
            A month could not be finished; those before it are, and running again does the rest.
        ElasticRefused
            A document does not fit the mapping.
        """
        self._drop_unfinished()
        months = self._layout.months()
        counts = _Counts(0, sum(self._documents(month.index) for month in months))
        progress(0, counts.total)
        for month in months:
            new = self._names.index(month.slot, self._names.generation(month.index) + 1, secrets.token_hex(3))
            try:
                self._month(month.slot, month.index, new, counts, progress)
            except RequestFailed as failed:
                self._drop(new)
                if failed.status != 404:
                    raise
                _LOG.info("A month was rebuilt by another process or let go meanwhile.")
            except BaseException:
                self._drop(new)
                raise
        self._layout.look_again()
        return counts.written

    def _month(self, slot: str, old: str, new: str, counts: _Counts, progress: Progress) -> None:
        copy = f"{self._names.prefix}copy-{secrets.token_hex(6)}"
        body = {"settings": {"index": {"refresh_interval": "-1"}}, "aliases": {copy: {"is_write_index": True}}}
        self._connection.ask("PUT", f"/{new}", body)
        copied_to = dict.fromkeys(range(self._shards(old)), -1)
        for _ in range(_MOST_PASSES):
            if self._copy(old, copy, copied_to, counts, progress) <= _FEW:
                break
        self._connection.ask("PUT", f"/{old}/_block/write")
        try:
            self._copy(old, copy, copied_to, counts, progress)
            interval = {"index": {"refresh_interval": None}}
            self._connection.ask("PUT", f"/{new}/_settings", interval)
            self._connection.ask("POST", f"/{new}/_refresh")
            actions: list[dict[str, Any]] = [
                {"add": {"index": new, "alias": self._names.calls}},
                {"add": {"index": new, "alias": self._names.slot(slot), "is_write_index": True}},
                {"remove": {"index": new, "alias": copy}},
                {"remove_index": {"index": old}},
            ]
            self._connection.ask("POST", "/_aliases", {"actions": actions})
        except BaseException:
            self._unblock(old)
            raise

    def _copy(self, old: str, copy: str, copied_to: dict[int, int], counts: _Counts, progress: Progress) -> int:
        """Copy what was written behind `copied_to` of each shard, and move that up; return how many."""
        self._connection.ask("POST", f"/{old}/_refresh")
        copied = 0
        for shard in copied_to:
            for hits in self._read(old, shard, copied_to):
                lines: list[bytes] = []
                for hit in hits:
                    version = hit["sort"][0] + 1
                    where = {"_index": copy, "_id": hit["_id"], "version": version, "version_type": "external"}
                    lines.append(msgspec.json.encode({"index": where}))
                    lines.append(msgspec.json.encode(_anew(hit["_source"])))
                self._write(lines)
                copied += len(hits)
                counts.done += len(hits)
                counts.total = max(counts.total, counts.done)
                counts.written += sum(not hit["_source"].get("forgotten") for hit in hits)
                progress(counts.done, counts.total)
        return copied

    def _read(self, old: str, shard: int, copied_to: dict[int, int]) -> Iterator[list[dict[str, Any]]]:
        while True:
            answer = self._connection.ask(
                "POST",
                f"/{old}/_search",
                {
                    "size": _PER_READ,
                    "query": {"range": {"_seq_no": {"gt": copied_to[shard]}}},
                    "sort": [{"_seq_no": "asc"}],
                },
                parameters={"preference": f"_shards:{shard}", "allow_partial_search_results": "false"},
            )
            hits = answer["hits"]["hits"]
            if not hits:
                return
            yield hits
            copied_to[shard] = hits[-1]["sort"][0]

    def _write(self, lines: list[bytes]) -> None:
        for start in range(0, len(lines), 2 * self._settings.bulk_documents):
            some = lines[start : start + 2 * self._settings.bulk_documents]
            try:
                # 409: a newer one is there. 404: the copy was removed.
                outcomes = self._connection.bulk_all(some, {"require_alias": "true"}, answers=(404, 409))
            except RequestFailed as failed:
                raise ElasticRefused(
                    f"A call does not fit the new mapping ({failed.kind}); nothing was changed in its month."
                ) from None
            if any(outcome["status"] == 404 for outcome in outcomes):
                raise RequestFailed(404, "index_not_found_exception")

    def _documents(self, index: str) -> int:
        try:
            answer = self._connection.ask("POST", f"/{index}/_search", {"size": 0, "track_total_hits": True})
        except RequestFailed:
            return 0
        return int(answer["hits"]["total"]["value"])

    def _shards(self, index: str) -> int:
        found = self._connection.ask("GET", f"/{index}/_settings")[index]
        return int(found["settings"]["index"]["number_of_shards"])

    def _unblock(self, index: str) -> None:
        try:
            self._connection.ask("PUT", f"/{index}/_settings", {"index": {"blocks": {"write": None}}})
        except (RequestFailed, ElasticUnavailable):
            _LOG.error("The index %s may take no writes; run `callwarden index rebuild` again.", index)

    def _drop_unfinished(self) -> None:
        for index in self._connection.ask("GET", f"/_alias/{self._names.prefix}copy-*"):
            self._drop(index)

    def _drop(self, index: str) -> None:
        try:
            self._connection.ask("DELETE", f"/{index}", parameters={"ignore_unavailable": "true"})
        except (RequestFailed, ElasticUnavailable):
            _LOG.error("The unfinished index %s is left; it holds copies only and can be deleted.", index)


def _anew(source: dict[str, Any]) -> dict[str, Any]:
    """Return the document as this program writes it; what cannot be read stays as it is."""
    if "record" not in source:
        return source
    try:
        return index_document(unpack_document(source["record"]))
    except RecordDamaged:
        return source
