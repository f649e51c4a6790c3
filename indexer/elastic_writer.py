"""Puts documents in bounded bulks, each only onto the revision that it may replace.

Elasticsearch offers two guards against writers that undo each other, and refuses to combine them: external
versions ("only if newer") and sequence numbers ("only if nothing was written since I looked"). `CallIndex.put`
promises the second (`onto`), which includes the first once the revision that was looked at is compared. So every
write here names the sequence number that it replaces, or creates. The numbers come from our last write or look;
a wrong one costs a look and a second try, never a document. A tombstone is a document like others in this respect
and stands for good, so a late write meets it however late it comes.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from events import metrics
from events.call_document import CallDocument
from events.identity import CallId
from indexer.elastic_connection import ElasticConnection, ElasticUnavailable, RequestFailed
from indexer.elastic_document import RecordDamaged, index_document, only_known, unpack_document
from indexer.elastic_layout import Layout
from indexer.elastic_places import Place
from indexer.elastic_schema import Names
from indexer.elastic_settings import ElasticIndexSettings
from indexer.index import PutOutcome

_LOG: Final = logging.getLogger(__name__)
_MOST_KEPT: Final = 50_000
_MOST_CONFLICTS: Final = 10
_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Seen:
    """What stood in a call's place when we looked last."""

    revision: int
    """0 where nothing was."""
    seq_no: int = -1
    primary_term: int = -1
    index: str = ""
    """Sequence numbers are of this very index: after a rebuild they mean nothing."""


NOTHING: Final = Seen(0)


class SeenRevisions:
    """The newest that this process knows of each call; a hint that Elasticsearch checks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: OrderedDict[CallId, Seen] = OrderedDict()

    def get(self, call: CallId) -> Seen | None:
        with self._lock:
            return self._seen.get(call)

    def note(self, call: CallId, seen: Seen) -> None:
        with self._lock:
            self._seen[call] = seen
            self._seen.move_to_end(call)
            while len(self._seen) > _MOST_KEPT:
                self._seen.popitem(last=False)

    def drop(self, call: CallId) -> None:
        with self._lock:
            self._seen.pop(call, None)


@dataclass(slots=True)
class _Put:
    document: CallDocument
    onto: int | None
    alias: str
    seen: Seen | None = None
    """None: look first."""
    outcome: PutOutcome | None = None
    misplaced: bool = False
    """The month is gone."""
    conflicts: int = 0
    reduced: bool = False
    """It holds only the fields that the month's older mapping knows."""
    encoded: bytes = b""

    @property
    def waits(self) -> bool:
        return self.outcome is None and not self.misplaced


class Writer:
    def __init__(
        self,
        connection: ElasticConnection,
        names: Names,
        settings: ElasticIndexSettings,
        seen: SeenRevisions,
        layout: Layout,
    ) -> None:
        self._connection = connection
        self._names = names
        self._settings = settings
        self._seen = seen
        self._layout = layout

    def put_all(self, documents: Sequence[tuple[CallDocument, int | None, Place]]) -> list[PutOutcome | None]:
        """See `CallIndex.put_all`; each document comes with its place. The outcome is None where that month is gone.

        Raises
        ------
        ElasticUnavailable
            Some may be stored; putting all again gives the same as if this had not happened.
        """
        puts = [_Put(document, onto, self._names.slot(place.slot)) for document, onto, place in documents]
        for put, (*_, place) in zip(puts, documents, strict=True):
            if place.forgotten:
                put.outcome = PutOutcome.FORGOTTEN
            else:
                put.seen = self._expected(put)
        until = time.monotonic() + self._settings.patience_s
        pause_s = _PAUSE_S
        while waiting := [put for put in puts if put.waits]:
            self._look([put for put in waiting if put.seen is None])
            busy = False
            for bulk in self._bulks([put for put in waiting if put.waits]):
                busy |= self._send(bulk)
            if busy:
                if time.monotonic() + pause_s > until:
                    raise ElasticUnavailable(
                        f"Elasticsearch at {self._settings.shown_url} takes no writes for now; they are tried again."
                    )
                metrics.count(metrics.INDEX_RETRIES)
                time.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        return [put.outcome for put in puts]

    def _expected(self, put: _Put) -> Seen | None:
        """Return what is most likely in the call's place and would be replaced; None where one must look."""
        seen = self._seen.get(put.document.call)
        if put.onto == 0:
            return NOTHING
        if put.onto is None:
            return (seen or NOTHING) if seen is None or seen.revision < put.document.revision else None
        return seen if seen is not None and seen.revision == put.onto else None

    def _look(self, puts: Sequence[_Put]) -> None:
        """Read what is in these places, and decide about those that may not be written."""
        if not puts:
            return
        wanted = [
            {"_index": put.alias, "_id": put.document.call, "_source": ["revision", "forgotten", "record"]}
            for put in puts
        ]
        answer = self._connection.ask("POST", "/_mget", {"docs": wanted})
        for put, item in zip(puts, answer["docs"], strict=True):
            call = put.document.call
            if "error" in item:
                put.misplaced = True
                continue
            source = item.get("_source", {})
            if source.get("forgotten"):
                put.outcome = PutOutcome.FORGOTTEN
                continue
            found = seen_in(item, source["revision"]) if item["found"] else NOTHING
            self._seen.note(call, found)
            fits = found.revision < put.document.revision if put.onto is None else found.revision == put.onto
            if fits:
                put.seen = found
            else:
                put.outcome = _without_writing(put.document, source)

    def _bulks(self, puts: Sequence[_Put]) -> Iterator[list[_Put]]:
        """Cut into requests of bounded size; a document is encoded just before it is sent."""
        bulk: list[_Put] = []
        size = 0
        for put in puts:
            put.encoded = put.encoded or msgspec.json.encode(index_document(put.document))
            if bulk and (
                len(bulk) >= self._settings.bulk_documents or size + len(put.encoded) > self._settings.bulk_bytes
            ):
                yield bulk
                bulk, size = [], 0
            bulk.append(put)
            size += len(put.encoded)
        if bulk:
            yield bulk

    def _send(self, bulk: list[_Put]) -> bool:
        """Send one request and note the outcomes; return whether some have to be sent again after a pause."""
        lines = [line for put in bulk for line in (_action(put), put.encoded)]
        parameters = {"refresh": "wait_for"} if self._settings.refresh == "write" else {}
        try:
            outcomes = self._connection.bulk(lines, parameters=parameters)
        except RequestFailed as failed:
            if failed.status != 413:
                raise
            if len(bulk) == 1:
                self._refuse(bulk[0], failed.kind)
                return False
            half = len(bulk) // 2
            return bool(self._send(bulk[:half]) | self._send(bulk[half:]))
        busy = False
        for put, outcome in zip(bulk, outcomes, strict=True):
            busy |= self._note(put, outcome)
        return busy

    def _note(self, put: _Put, outcome: dict[str, Any]) -> bool:
        call = put.document.call
        status = outcome["status"]
        if status == 409:
            put.seen = None
            put.conflicts += 1
            self._seen.drop(call)
            if put.conflicts > _MOST_CONFLICTS:
                raise ElasticUnavailable(
                    "Other writers keep changing the same call; its document is put again later."
                )
            return False
        try:
            self._connection.check_item(outcome)
        except ElasticUnavailable:
            return True
        except RequestFailed as failed:
            if failed.status == 404:
                self._gone(put)
            elif put.reduced or not self._reduce(put, outcome["_index"]):
                self._refuse(put, failed.kind)
            return False
        put.outcome = PutOutcome.STORED
        put.encoded = b""
        self._seen.note(call, seen_in(outcome, put.document.revision))
        return False

    def _reduce(self, put: _Put, index: str) -> bool:
        """Leave out what the mapping of an older program does not know; return whether it is one.

        Until `callwarden index rebuild` the month cannot be searched by these fields; the record has them all.
        """
        known = self._layout.older_fields(index)
        if known is None:
            return False
        put.encoded = msgspec.json.encode(only_known(index_document(put.document), known))
        put.reduced = True
        return True

    def _gone(self, put: _Put) -> None:
        """The index is not there: look through its alias; without that, the month itself was let go."""
        self._seen.drop(put.document.call)
        if put.seen is not None and put.seen.index:
            put.seen = None
        else:
            put.misplaced = True

    def _refuse(self, put: _Put, kind: str) -> None:
        put.outcome = PutOutcome.REFUSED
        metrics.count(metrics.DOCUMENTS_REFUSED)
        _LOG.error("Elasticsearch refused the document of call %s for good (%s).", put.document.call, kind)


def _action(put: _Put) -> bytes:
    assert put.seen is not None
    where: dict[str, Any] = {"_id": put.document.call}
    if not put.seen.index:
        return msgspec.json.encode({"create": where | {"_index": put.alias, "require_alias": True}})
    where |= {"_index": put.seen.index, "if_seq_no": put.seen.seq_no, "if_primary_term": put.seen.primary_term}
    return msgspec.json.encode({"index": where})


def seen_in(answer: Mapping[str, Any], revision: int) -> Seen:
    """Return what an answer about one document says of it."""
    return Seen(revision, answer["_seq_no"], answer["_primary_term"], answer["_index"])


def _without_writing(document: CallDocument, source: dict[str, Any]) -> PutOutcome:
    """The place holds something that must stay: the same document, or another one."""
    try:
        same = "record" in source and unpack_document(source["record"]) == document
    except RecordDamaged:
        same = False
    return PutOutcome.STORED if same else PutOutcome.STALE
