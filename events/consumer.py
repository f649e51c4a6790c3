"""The loop that every consuming stage runs in, and what a stage must offer to it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from events.codec import Record
from events.log import Delivery, Position, TopicPartition
from events.topics import Topic


@dataclass(frozen=True, slots=True)
class Opened:
    """A delivery whose event has been unsealed and decoded."""

    delivery: Delivery
    record: Record


Output = tuple[Topic, Record]


class StageHandler(Protocol):
    """A stage's work, without any knowledge of logs, threads or processes.

    The loop hands over one record after the other, appends what the handler gives back, and then commits, per
    partition, the smallest position that the handler still needs. Because delivery is at least once, handlers
    are idempotent: they ignore an `Event.id` they have seen, or make the same output again with the same id.
    """

    name: str
    topics: Sequence[Topic]

    def handle(self, opened: Opened) -> Iterable[Output]:
        """Take one record. Raises RetryLater, NeverRetry, StopConsumer; anything else counts as poison."""
        ...

    def after_batch(self) -> Iterable[Output]:
        """Called after each batch of records, and about ten times a second when there are none."""
        ...

    def made_durable(self) -> None:
        """Called when everything given back so far is in the log, before positions are committed."""
        ...

    def unfinished(self, partition: TopicPartition) -> Position | None:
        """Smallest position of the partition that a successor would need; None when all is done with."""
        ...

    def revoked(self, partitions: frozenset[TopicPartition]) -> None:
        """These partitions belong to another member now: forget the state of their calls."""
        ...
