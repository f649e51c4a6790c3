"""Events as Kafka records: key, value, time, and two headers. Anything else in a topic is not ours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from events.identity import RecordId
from events.log import Event

ID_HEADER: Final = "id"
KIND_HEADER: Final = "kind"

Headers = list[tuple[str, bytes]]


def headers_of(event: Event) -> Headers:
    return [(ID_HEADER, event.id.encode()), (KIND_HEADER, event.kind.encode())]


def event_of(record: Any) -> Event | None:
    """Return the event in a consumed record, None when the record is not one of ours."""
    headers: Sequence[tuple[str, bytes]] = record.headers
    if len(headers) != 2 or headers[0][0] != ID_HEADER or headers[1][0] != KIND_HEADER:
        return None
    key, value = record.key, record.value
    if key is None or value is None:
        return None
    try:
        return Event(
            RecordId(headers[0][1].decode()), key.decode(), headers[1][1].decode(), record.timestamp, value
        )
    except (UnicodeDecodeError, AttributeError):
        return None
