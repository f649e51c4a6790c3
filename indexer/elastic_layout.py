"""Makes templates and indices where there are none, and looks at what is there before anything is written."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from events import metrics
from indexer.elastic_connection import ElasticConnection, ElasticRefused, RequestFailed, part
from indexer.elastic_schema import (
    OWNER,
    UNDATED,
    Names,
    calls_template,
    mapping_version,
    places_template,
)
from indexer.elastic_settings import ElasticIndexSettings

CLUSTER_FILE: Final = "elasticsearch-cluster"
_LOG: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Month:
    slot: str
    index: str
    version: int
    """Of its mapping."""


class Layout:
    """The cluster's side of one prefix. Looked at once, when it is first needed."""

    def __init__(
        self,
        connection: ElasticConnection,
        names: Names,
        settings: ElasticIndexSettings,
        state_folder: Path | None = None,
    ) -> None:
        self._connection = connection
        self._names = names
        self._settings = settings
        self._state_folder = state_folder
        self._lock = threading.Lock()
        self._ready = False
        self._slots: set[str] = set()

    def ready(self) -> None:
        """Check and make everything, once; after a failure again at the next call.

        Raises
        ------
        ElasticUnavailable, ElasticRefused
            In one sentence that names the setting to change.
        """
        if self._ready:
            return
        with self._lock:
            if not self._ready:
                self.check()
                self._make()
                self._ready = True

    def check(self) -> None:
        """Look at server, cluster, clock and what is there below the prefix; change nothing. Raises as `ready`."""
        patience_s = self._settings.search_patience_s
        about = self._connection.ask("GET", "/", patience_s=patience_s)
        self._connection.check_version(about)
        self._check_cluster(str(about.get("cluster_uuid", "")))
        self._check_clock(patience_s)
        self._check_indices(patience_s)

    def ensure_slot(self, slot: str) -> None:
        """Make the index of a month where there is none."""
        if slot in self._slots:
            return
        alias = self._names.slot(slot)
        if not self._exists(f"/_alias/{alias}"):
            self._create(self._names.index(slot, 1), {self._names.calls: {}, alias: {"is_write_index": True}})
        self._slots.add(slot)

    def look_again(self) -> None:
        """Forget which months there are: some were made or removed."""
        self._slots.clear()

    def months(self) -> list[Month]:
        """Return all months, oldest first, the undated calls last."""
        aliases = self._connection.ask("GET", f"/_alias/{self._names.calls}-*")
        mappings = self._connection.ask("GET", f"/{self._names.calls}/_mapping")
        found: list[Month] = []
        for index, held in aliases.items():
            version = int(mappings.get(index, {}).get("mappings", {}).get("_meta", {}).get("version", 0))
            found += [
                Month(alias.removeprefix(self._names.slot("")), index, version)
                for alias in held["aliases"]
                if alias != self._names.calls
            ]
        return sorted(found, key=lambda month: month.slot)

    def older_fields(self, index: str) -> dict[str, Any] | None:
        """Return the fields of an index with an older mapping than this program's; None where it is not older."""
        mappings = self._connection.ask("GET", f"/{index}/_mapping")[index]["mappings"]
        if int(mappings.get("_meta", {}).get("version", 0)) >= mapping_version():
            return None
        properties: dict[str, Any] = mappings.get("properties", {})
        return properties

    def _check_cluster(self, identity: str) -> None:
        """Remember the first cluster; another one behind the same address would have none of our calls."""
        if self._state_folder is None or not identity:
            return
        file = self._state_folder / CLUSTER_FILE
        try:
            known = file.read_text().strip() if file.exists() else ""
            if not known:
                self._state_folder.mkdir(parents=True, exist_ok=True)
                file.write_text(identity + "\n")
        except OSError:
            raise ElasticRefused(
                f"The file {CLUSTER_FILE} in the data folder cannot be read or written."
            ) from None
        if known and known != identity:
            raise ElasticRefused(
                f"Elasticsearch at {self._settings.shown_url} is another cluster than before; set [elasticsearch] url, "
                f"or remove the file {CLUSTER_FILE} from the data folder if the change is meant."
            )

    def _check_clock(self, patience_s: float) -> None:
        try:
            asked = time.time()
            answer = self._connection.ask(
                "GET",
                "/_nodes/_local/stats/process",
                patience_s=patience_s,
                parameters={"filter_path": "nodes.*.timestamp"},
            )
        except (RequestFailed, ElasticRefused):
            return  # This key may not look at nodes; the Date header of a proxy remains.
        for node in answer.get("nodes", {}).values():
            self._connection.report_clock(node["timestamp"] / 1000 - (asked + time.time()) / 2)

    def _check_indices(self, patience_s: float) -> None:
        names = f"{self._names.calls},{self._names.calls}-*,{self._names.places}"
        answer = self._connection.ask(
            "GET",
            f"/{names}/_mapping",
            patience_s=patience_s,
            parameters={"ignore_unavailable": "true", "allow_no_indices": "true"},
        )
        outdated = 0
        for index, found in answer.items():
            meta = found.get("mappings", {}).get("_meta", {})
            if meta.get("owner") != OWNER:
                raise ElasticRefused(
                    f"The index {index} holds somebody else's mapping; set [elasticsearch] prefix to one of your own."
                )
            version = int(meta.get("version", 0))
            if meta.get("holds") == "calls" and version > mapping_version():
                raise ElasticRefused(
                    f"The index {index} was made by a newer callwarden (mapping version {version}, this program has "
                    f"{mapping_version()}); upgrade it, or set [elasticsearch] prefix to another one."
                )
            outdated += meta.get("holds") == "calls" and version < mapping_version()
        metrics.gauge(metrics.INDEX_OUTDATED, outdated)
        if outdated:
            _LOG.warning("%d months of the index have an old mapping; run `callwarden index rebuild`.", outdated)

    def _make(self) -> None:
        self._put_template(self._names.calls, calls_template(self._names, self._settings))
        self._put_template(self._names.places, places_template(self._names, self._settings))
        if not self._exists(f"/_alias/{self._names.places}"):
            self._create(f"{self._names.places}-v1", {self._names.places: {}})
        self.ensure_slot(UNDATED)

    def _put_template(self, name: str, body: dict[str, Any]) -> None:
        path = f"/_index_template/{part(name)}"
        try:
            (found,) = self._connection.ask("GET", path)["index_templates"]
        except RequestFailed as failed:
            if failed.status != 404:
                raise
        else:
            if found["index_template"].get("_meta", {}).get("owner") != OWNER:
                raise ElasticRefused(
                    f"The index template {name} is somebody else's; set [elasticsearch] prefix to one of your own."
                )
        try:
            self._connection.ask("PUT", path, body)
        except RequestFailed as failed:
            raise ElasticRefused(
                f"The index template {name} was refused ({failed.kind}); another template may claim the same names, so "
                "set [elasticsearch] prefix to one of your own."
            ) from None

    def _exists(self, path: str) -> bool:
        try:
            self._connection.ask("GET", path)
        except RequestFailed as failed:
            if failed.status == 404:
                return False
            raise
        return True

    def _create(self, index: str, aliases: dict[str, Any]) -> None:
        try:
            self._connection.ask("PUT", f"/{index}", {"aliases": aliases})
        except RequestFailed as failed:
            if failed.kind == "resource_already_exists_exception":
                return  # Another process was faster.
            raise ElasticRefused(
                f"The index {index} cannot be made ({failed.kind}); set [elasticsearch] prefix to one of your own."
            ) from None
