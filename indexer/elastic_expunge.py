"""Drives words out of Elasticsearch's files.

A document that is replaced is only marked: it stays in its segment until a merge writes the segment anew, and in
the translog until a flush. A merge in turn keeps what a copy of the shard might still ask for as history (soft
deletes under a retention lease), and Elasticsearch moves these leases up every 30 seconds only. So: flush, wait for
the leases to pass the tombstones, merge. A reader's snapshot may hold a file open for its own short life.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Final

from indexer.elastic_connection import ElasticConnection, ElasticUnavailable, RequestFailed
from indexer.elastic_settings import ElasticIndexSettings

_LOOK_EVERY_S: Final = 1.0
_MERGE_WITHIN_S: Final = 600.0
Shard = tuple[str, str]


class Expunger:
    def __init__(
        self,
        connection: ElasticConnection,
        settings: ElasticIndexSettings,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._connection = connection
        self._settings = settings
        self._sleep = sleep

    def expunge(self, aliases: Iterable[str]) -> None:
        """Rewrite every file below these aliases that holds a document replaced before this call.

        Raises
        ------
        ElasticUnavailable
            It was not done within `expunge_within_s`; asking again goes on.
        """
        for alias in aliases:
            try:
                self._expunge(alias)
            except RequestFailed as failed:
                if failed.status != 404:  # Else retention removed the month with its files.
                    raise

    def _expunge(self, alias: str) -> None:
        self._connection.ask("POST", f"/{alias}/_refresh")
        if not self._settings.expunge_within_s:
            return
        targets = {shard: newest for shard, (newest, _) in self._history(alias).items()}
        until = time.monotonic() + self._settings.expunge_within_s
        # What is kept as history counts from the last commit, so commit first.
        self._connection.ask("POST", f"/{alias}/_flush", parameters={"force": "true"})
        while not self._passed(alias, targets):
            if time.monotonic() > until:
                raise ElasticUnavailable(
                    "The call is forgotten, but Elasticsearch still keeps its words as history in files of the index; "
                    "forget it again, or raise [elasticsearch] expunge_within_s."
                )
            self._sleep(_LOOK_EVERY_S)
        self._connection.ask(
            "POST", f"/{alias}/_forcemerge", parameters={"only_expunge_deletes": "true"}, timeout_s=_MERGE_WITHIN_S
        )
        self._connection.ask("POST", f"/{alias}/_flush", parameters={"force": "true"})

    def _passed(self, alias: str, targets: dict[Shard, int]) -> bool:
        history = self._history(alias)
        return all(history[shard][1] > newest for shard, newest in targets.items() if shard in history)

    def _history(self, alias: str) -> dict[Shard, tuple[int, int]]:
        """Return for each shard the number of its last write, and of the first that is kept as history."""
        answer = self._connection.ask("GET", f"/{alias}/_stats", parameters={"level": "shards"})
        found: dict[Shard, tuple[int, int]] = {}
        for index, stats in answer["indices"].items():
            for number, copies in stats["shards"].items():
                for place, copy in enumerate(copies):
                    leases = copy.get("retention_leases", {}).get("leases", [])
                    newest = int(copy["seq_no"]["max_seq_no"])
                    kept = min((int(lease["retaining_seq_no"]) for lease in leases), default=newest + 1)
                    found[index, f"{number}/{place}"] = newest, kept
        return found
