"""Reading for one group: fetching what the membership has been given, keeping places, committing them."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from kafka import TopicPartition as KafkaPartition

from events import metrics
from events.kafka_connection import in_our_words, new_reader
from events.kafka_membership import KafkaMembership
from events.kafka_positions import KafkaPositions
from events.kafka_record import event_of
from events.kafka_settings import KafkaSettings
from events.log import Delivery, Group, Position, StartAt, TopicPartition
from events.topics import Topic

_log = logging.getLogger(__name__)

_SLICE_S: Final = 0.2
"""A waiting read looks for changes of its partitions this often."""
_COMMIT_S: Final = 10.0
_LAST_COMMIT_S: Final = 5.0


class KafkaReader:
    """One group's reader in this process; for one thread."""

    def __init__(
        self, settings: KafkaSettings, positions: KafkaPositions, group: Group, topics: Sequence[Topic]
    ) -> None:
        self._settings = settings
        self._positions = positions
        self._group = group
        self._topics = {settings.prefix + topic.name: topic for topic in topics}
        self.topic_names = frozenset(topic.name for topic in topics)
        self._places = {
            KafkaPartition(name, number): TopicPartition(topic.name, number)
            for name, topic in self._topics.items()
            for number in range(topic.partitions)
        }
        self._consumer: Any = None
        self._held: frozenset[KafkaPartition] = frozenset()
        self._assignment: frozenset[TopicPartition] = frozenset()
        self._fetched: list[Delivery] = []
        self._committed: dict[TopicPartition, int] = {}
        self._noted: dict[TopicPartition, int] = {}
        """Positions that are to be committed with the next read."""
        self._skipped: dict[TopicPartition, tuple[int, int]] = {}
        """The last run of foreign records of a partition: its first offset, and the one behind it."""
        self._membership = KafkaMembership(settings, settings.prefix + group.name, list(self._topics))
        self._losses = 0

    def read(self, most: int, wait_s: float) -> list[Delivery]:
        deadline = time.monotonic() + wait_s
        if self._consumer is None:
            with in_our_words(self._settings, "take connections"):
                self._consumer = new_reader(self._settings)
        self._membership.wait_until_joined(self._settings.join_within_s)
        if self._membership.at_rest:  # else later: a rebalance is no reason to wait with reading
            self._flush(_COMMIT_S)
        while True:
            self._settle()
            if not self._fetched:
                self._fetch(min(_SLICE_S, max(0.0, deadline - time.monotonic())))
            if self._fetched or time.monotonic() >= deadline:
                break
        if not self._fetched:
            self._membership.check()
        taken = self._fetched[:most]
        del self._fetched[:most]
        return taken

    def commit(self, position: Position) -> None:
        """Note a position; it is durable after the next read, or when this reader is closed."""
        where, offset = position.partition, position.offset
        if where not in self._assignment or self._losses != self._membership.losses:
            return
        first, behind = self._skipped.get(where, (-1, -1))
        if offset == first:
            offset = behind
        if offset > max(self._committed.get(where, 0), self._noted.get(where, 0)):
            self._noted[where] = offset

    def assignment(self) -> frozenset[TopicPartition]:
        return self._assignment

    def flush(self) -> None:
        """Make the positions durable that were committed. Raises LogUnavailable."""
        self._flush(_COMMIT_S)

    def close(self) -> None:
        try:
            self._flush(_LAST_COMMIT_S)
        except Exception as error:
            _log.warning("The last positions of group %s were not committed: %s", self._group.name, error)
        self._membership.close()
        if self._consumer is not None:
            self._consumer.close(autocommit=False, timeout_ms=1000)

    # Partitions that come and go

    def _settle(self) -> None:
        if self._losses != self._membership.losses:
            self._losses = self._membership.losses
            self._noted.clear()
            self._let_go(self._held)
        assigned = self._membership.assigned()
        if assigned == self._held:
            return
        lost = self._held - assigned
        if lost:
            self._flush(_COMMIT_S)
            self._let_go(lost)
        added = assigned - self._held
        places = self._begin(added) if added else {}
        self._take(added, places)

    def _let_go(self, lost: frozenset[KafkaPartition]) -> None:
        gone = {self._places[where] for where in lost}
        self._fetched = [delivery for delivery in self._fetched if delivery.partition not in gone]
        for where in gone:
            for state in (self._committed, self._skipped):
                state.pop(where, None)
        self._hold(self._membership.reads(self._held - lost))

    def _begin(self, added: Iterable[KafkaPartition]) -> dict[TopicPartition, int]:
        """Return where reading begins in partitions that are new here; a group's first places are made durable."""
        wanted = [self._places[where] for where in added]
        committed = self._positions.committed(self._group)
        fresh = [where for where in wanted if where not in committed]
        places = {where: committed[where] for where in wanted if where in committed}
        if self._group.start is StartAt.FIRST:
            places |= self._positions.starts(fresh)
            return places
        ends = self._positions.ends(fresh)
        self._membership.commit(self._named(ends), _COMMIT_S)
        return places | ends

    def _take(self, added: frozenset[KafkaPartition], places: dict[TopicPartition, int]) -> None:
        held = self._membership.reads(self._held | added)
        self._hold(held)
        for where in added & held:
            place = self._places[where]
            self._consumer.seek(where, places[place])
            self._committed[place] = places[place]

    def _hold(self, held: frozenset[KafkaPartition]) -> None:
        self._held = held
        self._assignment = frozenset(self._places[where] for where in held)
        self._consumer.assign(sorted(held))

    # Fetching and committing

    def _fetch(self, wait_s: float) -> None:
        with in_our_words(self._settings, "give events"):
            batches = self._consumer.poll(timeout_ms=round(wait_s * 1000))
        for source, records in batches.items():
            topic, where = self._topics[source.topic], self._places[source]
            for record in records:
                event = event_of(record)
                if event is None:
                    self._skip(where, record.offset)
                else:
                    self._fetched.append(Delivery(topic, where, record.offset, event))

    def _skip(self, where: TopicPartition, offset: int) -> None:
        """Pass over a foreign record: whoever is done with what lies before it is done with it too."""
        metrics.count(metrics.FOREIGN_RECORDS, topic=where.topic)
        _log.warning(
            "Topic %s, partition %d, offset %d holds a record that callwarden did not write; it is passed over.",
            self._settings.prefix + where.topic,
            where.partition,
            offset,
        )
        first, behind = self._skipped.get(where, (-1, -1))
        if offset != behind:
            first = offset
        self._skipped[where] = (first, offset + 1)
        if max(self._committed.get(where, 0), self._noted.get(where, 0)) in (first, offset):
            self._noted[where] = offset + 1

    def _flush(self, within_s: float) -> None:
        if self._losses != self._membership.losses:
            self._noted.clear()  # others may be further by now
        if not self._noted:
            return
        noted, self._noted = self._noted, {}
        try:
            self._membership.commit(self._named(noted), within_s)
        except BaseException:
            self._noted = noted | self._noted
            raise
        for where, offset in noted.items():
            if where in self._committed:
                self._committed[where] = offset

    def _named(self, offsets: Mapping[TopicPartition, int]) -> dict[KafkaPartition, int]:
        prefix = self._settings.prefix
        return {KafkaPartition(prefix + where.topic, where.partition): offset for where, offset in offsets.items()}
