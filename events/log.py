"""The event log: what every stage reads and writes, and nothing else between stages.

Laws (tests/contracts/event_log_laws.py runs them on every driver):

1. `append` returns only once every event is durable. When it fails, or the process dies in the middle of it, the log
   has none of that call's events or, of each key, a leading part (a driver with one file takes all or none; one whose
   partitions lie on several machines cannot). Appending the same events again after a failure doubles nothing.
2. Within one partition events are read in the order in which they were appended; events of one key always
   share a partition, over all topics with equal partition counts.
3. Each partition of a topic is read by one member of a group at a time; a member that dies loses its
   partitions to others, a new member gets a fair share.
4. A group goes on at its committed positions; what was read and not committed is delivered again.
5. Delivery is at least once: readers tell records by `Event.id`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from events.identity import RecordId
from events.topics import Topic


@dataclass(frozen=True, slots=True)
class Event:
    """A record as it lies in the log."""

    id: RecordId
    key: str
    """Call id; empty on topics that are not keyed by call."""
    kind: str
    """The record's type, as `codec` names it."""
    at_ms: int
    """UTC epoch milliseconds at which the event was made; for delays, never for order."""
    value: bytes
    """Encoded, and sealed where the topic says so."""


@dataclass(frozen=True, slots=True, order=True)
class TopicPartition:
    topic: str
    partition: int


@dataclass(frozen=True, slots=True)
class Position:
    """A place between events: everything before `offset` of the partition lies behind it."""

    partition: TopicPartition
    offset: int


@dataclass(frozen=True, slots=True)
class Delivery:
    topic: Topic
    partition: TopicPartition
    offset: int
    event: Event

    @property
    def position(self) -> Position:
        """Before this event: committing it means that this event will be delivered again."""
        return Position(self.partition, self.offset)

    @property
    def after(self) -> Position:
        """Behind this event: committing it means that this event is done with."""
        return Position(self.partition, self.offset + 1)


class StartAt(StrEnum):
    FIRST = "first"
    LAST = "last"


@dataclass(frozen=True, slots=True)
class Group:
    """Who reads. Members of one name share the partitions; `start` counts where nothing was committed yet."""

    name: str
    start: StartAt = StartAt.FIRST


class EventLog(Protocol):
    """One object per process and group member; safe to `append` from several threads, to `read` from one."""

    def append(self, topic: Topic, events: Sequence[Event]) -> None:
        """Make `events` durable, in order. Raises LogUnavailable when it cannot: append the same ones again, first."""
        ...

    def read(self, topics: Sequence[Topic], group: Group, most: int, wait_s: float) -> list[Delivery]:
        """Return up to `most` events of this member's partitions; wait up to `wait_s` for the first one.

        A member goes on behind what it has read, whether committed or not. Joining the group is implied.
        """
        ...

    def commit(self, group: Group, position: Position) -> None:
        """Note that everything before `position` is done with. Ignored for a partition not assigned.

        The note is durable at the latest when this member reads again, is asked for its lag, or is closed.
        """
        ...

    def assignment(self, group: Group) -> frozenset[TopicPartition]:
        """Partitions that this member reads now, as of its last `read`."""
        ...

    def lag(self, group: Group, topics: Sequence[Topic]) -> Mapping[TopicPartition, int]:
        """Events behind each partition's committed position."""
        ...

    def trim(self, topic: Topic, before_ms: int) -> int:
        """Remove events made before `before_ms`; return how many."""
        ...

    def close(self) -> None:
        """Leave all groups and release files and connections."""
        ...
