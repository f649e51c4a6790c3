"""The distributed CallIndex: monthly Elasticsearch indices behind one alias."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from events import metrics
from events.call_document import CallDocument
from events.errors import StopConsumer
from events.identity import CallId
from indexer.elastic_connection import REQUIRE_ALIAS, ElasticConnection, ElasticUnavailable
from indexer.elastic_document import RecordDamaged, tombstone, unpack_document
from indexer.elastic_expunge import Expunger
from indexer.elastic_layout import Layout
from indexer.elastic_places import NOWHERE, Place, Places
from indexer.elastic_rebuild import Rebuild
from indexer.elastic_schema import Names, slot_of
from indexer.elastic_search import Searcher
from indexer.elastic_settings import ElasticIndexSettings
from indexer.elastic_upkeep import Upkeep
from indexer.elastic_writer import SeenRevisions, Writer, seen_in
from indexer.index import CallQuery, IndexStatus, Progress, PutOutcome, SearchPage

_MOST_MOVES: Final = 4


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
        self._writer = Writer(self._connection, self._names, self._settings, self._seen, self._layout)
        self._searcher = Searcher(self._connection, self._names, self._settings)
        self._expunger = Expunger(self._connection, self._settings)
        self._upkeep = Upkeep(self._connection, self._names, self._settings, self._layout)
        self._rebuild = Rebuild(self._connection, self._names, self._settings, self._layout)

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
        outcomes: dict[CallId, PutOutcome] = {}
        left = list(documents)
        for _ in range(_MOST_MOVES):
            wanted = {document.call: Place(slot_of(document.started_at_ms)) for document, _ in left}
            places = self._places.claim(wanted)
            for slot in {place.slot for place in places.values() if not place.forgotten}:
                self._layout.ensure_slot(slot)
            made = self._writer.put_all([(document, onto, places[document.call]) for document, onto in left])
            gone: list[tuple[CallDocument, int | None]] = []
            for item, outcome in zip(left, made, strict=True):
                if outcome is None:
                    gone.append(item)
                else:
                    outcomes[item[0].call] = outcome
            left = gone
            if not left:
                break
            # Their month was let go since we last looked: ask again where they belong.
            self._places.drop(document.call for document, _ in left)
            self._layout.look_again()
        else:
            raise ElasticUnavailable("Months of the index come and go; the documents are put again later.")
        metrics.count(metrics.DOCUMENTS_INDEXED, list(outcomes.values()).count(PutOutcome.STORED))
        return [outcomes[document.call] for document, _ in documents]

    def get(self, call: CallId) -> CallDocument | None:
        self._layout.ready()
        patience_s = self._settings.search_patience_s
        place = self._places.find(call, patience_s)
        if place is None or place.forgotten:
            return None
        wanted = {
            "_index": self._names.slot(place.slot),
            "_id": call,
            "_source": ["record", "revision", "forgotten"],
        }
        for _ in range(2):
            (found,) = self._connection.ask("POST", "/_mget", {"docs": [wanted]}, patience_s=patience_s)["docs"]
            if "error" not in found:  # A rebuild may just have put another index in place.
                break
        source = found.get("_source", {})
        if not found.get("found") or source.get("forgotten"):
            return None
        try:
            document = unpack_document(source["record"])
        except RecordDamaged as damaged:
            raise StopConsumer(f"{damaged} Build the index anew from the log.") from None
        self._seen.note(call, seen_in(found, source["revision"]))
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
        for _ in range(_MOST_MOVES):
            for slot in {place.slot for place in indexed.values()}:
                self._layout.ensure_slot(slot)  # Also where nothing is yet: a writer may just be about to put it.
            lines: list[bytes] = []
            for call, place in indexed.items():
                lines.append(msgspec.json.encode({"index": {"_index": self._names.slot(place.slot), "_id": call}}))
                lines.append(msgspec.json.encode(tombstone(call)))
            if all(outcome["status"] < 300 for outcome in self._connection.bulk_all(lines, REQUIRE_ALIAS)):
                break
            self._layout.look_again()
        else:
            raise ElasticUnavailable("Months of the index come and go; the calls are forgotten later.")
        for call in indexed:
            self._seen.drop(call)
        self._expunger.expunge(sorted({self._names.slot(place.slot) for place in indexed.values()}))

    def is_forgotten(self, call: CallId) -> bool:
        self._layout.ready()
        place = self._places.find(call, self._settings.search_patience_s, fresh=True)
        return place is not None and place.forgotten

    def expire(self, before_ms: int) -> int:
        """See `index.CallIndex`. Months go as a whole, so a call is kept for up to a month longer."""
        self._layout.ready()
        return self._upkeep.expire(before_ms)

    def rebuild(self, progress: Progress) -> int:
        """See `index.CallIndex` and `elastic_rebuild`."""
        self._layout.ready()
        return self._rebuild.run(progress)

    def status(self) -> IndexStatus:
        self._layout.ready()
        return self._upkeep.status()

    def close(self) -> None:
        self._searcher.close()
        self._connection.close()
