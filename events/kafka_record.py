"""Events as Kafka records: key, value, time, and two headers. Anything else in a topic is not ours."""

from __future__ import annotations

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
    try:
        (id_name, identity), (kind_name, kind) = record.headers
        if id_name != ID_HEADER or kind_name != KIND_HEADER or record.value is None:
            return None
        return Event(
            RecordId(identity.decode()), record.key.decode(), kind.decode(), record.timestamp, record.value
        )
    except (ValueError, AttributeError):  # other headers, no key, or bytes that are no text
        return None
