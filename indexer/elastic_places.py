"""In which month each call is: decided by whoever puts or forgets it first, and never changed.

Elasticsearch knows no transaction over two indices, so a call that could move from month to month could be in
both, or in none. Here it cannot move. A call whose words came before its start was known stays among the undated
ones, whose calls retention removes one by one. The same entry says that a call was forgotten; it outlives the
month's index, so that a late write cannot bring back what retention or an erasure removed.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from events.identity import CallId
from indexer.elastic_connection import REQUIRE_ALIAS, ElasticConnection
from indexer.elastic_schema import Names

NOWHERE: Final = ""
"""The place of a call that was forgotten before anything of it came."""
_MOST_KEPT: Final = 100_000
_KEPT_S: Final = 600.0


@dataclass(frozen=True, slots=True)
class Place:
    slot: str
    forgotten: bool = False


class Places:
    """Entries are read from the server and kept for a while. Only `forgotten` changes behind our back, so it is
    also in the call's place itself (see `elastic_document.tombstone`); and when the call's month was let go, its
    writers ask anew."""

    def __init__(self, connection: ElasticConnection, names: Names) -> None:
        self._connection = connection
        self._names = names
        self._lock = threading.Lock()
        self._known: OrderedDict[CallId, tuple[Place, float]] = OrderedDict()
        """Place, and until when (monotonic) it is believed."""

    def find(self, call: CallId, patience_s: float | None = None, fresh: bool = False) -> Place | None:
        """Return where the call is; with `fresh`, ask the server in any case."""
        known = None if fresh else self._recall(call)
        return known or self._read([call], patience_s).get(call)

    def claim(self, wanted: Mapping[CallId, Place]) -> dict[CallId, Place]:
        """Return where each call is, after deciding for `wanted` where nothing was decided yet."""
        found = {call: place for call in wanted if (place := self._recall(call)) is not None}
        unknown = [call for call in wanted if call not in found]
        if not unknown:
            return found
        lines: list[bytes] = []
        for call in unknown:
            lines.append(msgspec.json.encode({"create": {"_index": self._names.places, "_id": call}}))
            lines.append(_encoded(wanted[call]))
        decided: list[CallId] = []
        for call, outcome in zip(unknown, self._connection.bulk(lines, parameters=REQUIRE_ALIAS), strict=True):
            if outcome["status"] == 409:
                decided.append(call)
            else:
                self._connection.check_item(outcome)
                found[call] = wanted[call]
        self._keep(found)
        if decided:
            found |= self._read(decided)
        return found

    def mark_forgotten(self, places: Mapping[CallId, Place]) -> None:
        """Note for good that these calls were forgotten."""
        lines: list[bytes] = []
        marked = {call: Place(place.slot, forgotten=True) for call, place in places.items()}
        for call, place in marked.items():
            lines.append(msgspec.json.encode({"index": {"_index": self._names.places, "_id": call}}))
            lines.append(_encoded(place))
        self._connection.bulk_all(lines, REQUIRE_ALIAS)
        self._keep(marked)

    def _read(self, calls: Sequence[CallId], patience_s: float | None = None) -> dict[CallId, Place]:
        answer = self._connection.ask(
            "POST", f"/{self._names.places}/_mget", {"ids": list(calls)}, patience_s=patience_s
        )
        found: dict[CallId, Place] = {}
        for item in answer["docs"]:
            if item.get("found"):
                source = item["_source"]
                found[CallId(item["_id"])] = Place(source["slot"], source["forgotten"])
        self._keep(found)
        return found

    def _recall(self, call: CallId) -> Place | None:
        with self._lock:
            place, until = self._known.get(call, (None, 0.0))
            return place if until > time.monotonic() else None

    def drop(self, calls: Iterable[CallId]) -> None:
        """Ask the server next time."""
        with self._lock:
            for call in calls:
                self._known.pop(call, None)

    def _keep(self, places: Mapping[CallId, Place]) -> None:
        until = time.monotonic() + _KEPT_S
        with self._lock:
            for call, place in places.items():
                self._known[call] = place, until
                self._known.move_to_end(call)
            while len(self._known) > _MOST_KEPT:
                self._known.popitem(last=False)


def _encoded(place: Place) -> bytes:
    return msgspec.json.encode({"slot": place.slot, "forgotten": place.forgotten})
