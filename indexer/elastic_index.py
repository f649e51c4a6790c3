"""The distributed CallIndex: monthly Elasticsearch indices behind one alias."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from events import metrics
from events.call_document import CallDocument
from events.errors import StopConsumer
from events.identity import CallId
from indexer.elastic_connection import REQUIRE_ALIAS, ElasticConnection, RequestFailed, part
from indexer.elastic_document import RecordDamaged, tombstone, unpack_document
from indexer.elastic_expunge import Expunger
from indexer.elastic_layout import Layout
from indexer.elastic_places import NOWHERE, Place, Places
from indexer.elastic_schema import Names, slot_of
from indexer.elastic_search import Searcher
from indexer.elastic_settings import ElasticIndexSettings
from indexer.elastic_writer import Seen, SeenRevisions, Writer
from indexer.index import CallQuery, PutOutcome, SearchPage


class ElasticIndex:
    """See `index.CallIndex`. Safe to use from several threads; nothing is sent before the first use."""

    def __init__(self, settings: ElasticIndexSettings | None = None, state_folder: Path | None = None) -> None:
        """Prepare the index.

        Parameters
        ----------
        state_folder
            Where the cluster's identity is remembered; None not to care.

        Raises
        ------
        ElasticRefused
            The CA file cannot be read.
        """
        self._settings = settings or ElasticIndexSettings()
        self._names = Names(self._settings.prefix)
        self._connection = ElasticConnection(self._settings)
        self._layout = Layout(self._connection, self._names, self._settings, state_folder)
        self._places = Places(self._connection, self._names)
        self._seen = SeenRevisions()
        self._writer = Writer(self._connection, self._names, self._settings, self._seen)
        self._searcher = Searcher(self._connection, self._names, self._settings)
        self._expunger = Expunger(self._connection, self._settings)

    def check(self) -> None:
        """Look at server, cluster, clock and indices, and change nothing.

        Raises
        ------
        ElasticUnavailable
            No server answers now.
        ElasticRefused
            Something has to be set otherwise. One sentence names the setting.
        """
        self._layout.check()

    def put(self, document: CallDocument, onto: int | None = None) -> PutOutcome:
        return self.put_all([(document, onto)])[0]

    def put_all(self, documents: Sequence[tuple[CallDocument, int | None]]) -> list[PutOutcome]:
        if not documents:
            return []
        self._layout.ready()
        wanted = {document.call: Place(slot_of(document.started_at_ms)) for document, _ in documents}
        for slot in {place.slot for place in wanted.values()}:
            self._layout.ensure_slot(slot)
        places = self._places.claim(wanted)
        outcomes = self._writer.put_all([(document, onto, places[document.call]) for document, onto in documents])
        metrics.count(metrics.DOCUMENTS_INDEXED, outcomes.count(PutOutcome.STORED))
        return outcomes

    def get(self, call: CallId) -> CallDocument | None:
        self._layout.ready()
        patience_s = self._settings.search_patience_s
        place = self._places.find(call, patience_s)
        if place is None or place.forgotten:
            return None
        path = f"/{self._names.slot(place.slot)}/_doc/{part(call)}"
        try:
            found = self._connection.ask(
                "GET", path, patience_s=patience_s, parameters={"_source_includes": "record,revision,forgotten"}
            )
        except RequestFailed as failed:
            if failed.status == 404:
                return None
            raise
        source = found["_source"]
        if source.get("forgotten"):
            return None
        try:
            document = unpack_document(source["record"])
        except RecordDamaged as damaged:
            raise StopConsumer(f"{damaged} Build the index anew from the log.") from None
        self._seen.note(call, Seen(source["revision"], found["_seq_no"], found["_primary_term"]))
        return document

    def search(self, query: CallQuery) -> SearchPage:
        self._layout.ready()
        return self._searcher.search(query)

    def forget(self, call: CallId) -> None:
        self.forget_all([call])

    def forget_all(self, calls: Sequence[CallId]) -> None:
        """Forget several calls at once; see `forget`.

        A tombstone takes the place of each document, so that no write can come between: they are gone from every
        answer at once. Then the files that hold them are rewritten, which waits for Elasticsearch (some 30 s, the
        same for one call and for thousands).
        """
        if not calls:
            return
        self._layout.ready()
        places = self._places.claim({call: Place(NOWHERE, forgotten=True) for call in calls})
        indexed = {call: place for call, place in places.items() if place.slot != NOWHERE}
        if not indexed:
            return
        self._places.mark_forgotten(indexed)
        lines: list[bytes] = []
        for call, place in indexed.items():
            lines.append(msgspec.json.encode({"index": {"_index": self._names.slot(place.slot), "_id": call}}))
            lines.append(msgspec.json.encode(tombstone(call)))
        for outcome in self._connection.bulk(lines, parameters=REQUIRE_ALIAS):
            try:
                self._connection.check_item(outcome)
            except RequestFailed as failed:
                if failed.status != 404:  # Else retention has removed the month already.
                    raise
        for call in indexed:
            self._seen.drop(call)
        self._expunger.expunge(sorted({self._names.slot(place.slot) for place in indexed.values()}))

    def is_forgotten(self, call: CallId) -> bool:
        self._layout.ready()
        place = self._places.find(call, self._settings.search_patience_s, fresh=True)
        return place is not None and place.forgotten

    def close(self) -> None:
        self._searcher.close()
        self._connection.close()
