"""The driver of the event log on Kafka: one producer, and for each group a member and a reader.

``kafka_writer`` appends, ``kafka_membership`` takes part in a group on a thread of its own, ``kafka_reader`` fetches
what its member was given and keeps positions, ``kafka_positions`` and ``kafka_topics`` ask the cluster. Membership
and fetching are apart because the client library gives no events and takes no positions while a group rebalances,
and a rebalance lasts as long as its slowest member's handler.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from events import metrics
from events.kafka_positions import KafkaPositions
from events.kafka_reader import KafkaReader
from events.kafka_settings import KafkaSettings
from events.kafka_topics import KafkaCluster
from events.kafka_writer import KafkaWriter
from events.log import Delivery, Event, Group, Position, TopicPartition
from events.topics import Topic


class KafkaLog:
    """EventLog on Kafka; see `events.log` for the laws.

    Parameters
    ----------
    settings
        See `KafkaSettings`.
    state_folder
        Where the id of the cluster is remembered that was used first, so that events never go to another one by
        mistake; None: it is not remembered.

    Nothing is connected before it is needed, so that it can be made while no broker is there. Make it after a
    fork, never before.
    """

    def __init__(self, settings: KafkaSettings, state_folder: Path | None = None) -> None:
        self._settings = settings
        self._cluster = KafkaCluster(settings, state_folder)
        self._positions = KafkaPositions(self._cluster)
        self._writer = KafkaWriter(settings, self._cluster)
        self._readers: dict[str, KafkaReader] = {}
        self._lock = threading.Lock()
        self._closed = False

    def append(self, topic: Topic, events: Sequence[Event]) -> None:
        """Make `events` durable, in order.

        Raises LogUnavailable when they are not acknowledged within ``append_within_s``. Those under way stay
        under way, so the same events appended again are not doubled; others of the same key come after them.
        """
        if events:
            self._writer.append(topic, events)
            metrics.count(metrics.EVENTS_APPENDED, len(events), topic=topic.name)

    def read(self, topics: Sequence[Topic], group: Group, most: int, wait_s: float) -> list[Delivery]:
        """Return up to `most` events. The first read of a group waits to be let in, up to ``join_within_s``."""
        return self._reader(topics, group).read(most, wait_s)

    def commit(self, group: Group, position: Position) -> None:
        """Note a position; it is durable when the group reads or is asked for its lag again, or at `close`."""
        reader = self._readers.get(group.name)
        if reader is not None:
            reader.commit(position)

    def assignment(self, group: Group) -> frozenset[TopicPartition]:
        reader = self._readers.get(group.name)
        return frozenset() if reader is None else reader.assignment()

    def lag(self, group: Group, topics: Sequence[Topic]) -> Mapping[TopicPartition, int]:
        reader = self._readers.get(group.name)
        if reader is not None:
            reader.flush()
        self._cluster.ensure(topics)
        return self._positions.lag(group, topics)

    def trim(self, topic: Topic, before_ms: int) -> int:
        """Remove what lies before each partition's first event that was not made before `before_ms`."""
        self._cluster.ensure([topic])
        return self._positions.trim(topic, before_ms)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            readers, self._readers = list(self._readers.values()), {}
        for reader in readers:
            reader.close()
        self._writer.close()
        self._cluster.close()

    def _reader(self, topics: Sequence[Topic], group: Group) -> KafkaReader:
        reader = self._readers.get(group.name)
        wanted = frozenset(topic.name for topic in topics)
        if reader is not None and reader.topic_names == wanted:
            return reader
        self._cluster.ensure(topics)
        if reader is not None:
            reader.close()
        with self._lock:
            assert not self._closed, "The event log was closed."
            self._readers[group.name] = reader = KafkaReader(self._settings, self._positions, group, topics)
        return reader
