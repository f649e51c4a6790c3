"""Records that could not be handled: put aside with the reason, still sealed as they came."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec

from events.errors import NeverRetry
from events.identity import RecordId
from events.log import Delivery, Event

KIND_PREFIX: Final = "dead:"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """`value` is the record's original, sealed value; everything else is free of personal data."""

    topic: str
    partition: int
    offset: int
    id: RecordId
    key: str
    kind: str
    at_ms: int
    stage: str
    reason: str
    value: bytes


def dead_letter_event(delivery: Delivery, stage: str, reason: str, at_ms: int) -> Event:
    """Return the event for the source topic's dead-letter topic; the same record and stage give the same id."""
    event = delivery.event
    where = delivery.partition
    letter = DeadLetter(
        where.topic,
        where.partition,
        delivery.offset,
        event.id,
        event.key,
        event.kind,
        event.at_ms,
        stage,
        reason,
        event.value,
    )
    identity = RecordId(f"{event.id}:dead:{stage}")
    return Event(identity, event.key, KIND_PREFIX + event.kind, at_ms, msgspec.msgpack.encode(letter))


def read_dead_letter(event: Event) -> DeadLetter:
    """Return the letter in an event of a dead-letter topic. Raises NeverRetry when it holds none."""
    try:
        return msgspec.msgpack.decode(event.value, type=DeadLetter)
    except (msgspec.DecodeError, ValueError):
        raise NeverRetry("An event of a dead-letter topic does not hold a dead letter.") from None
