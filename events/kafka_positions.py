"""Positions on a Kafka cluster: where topics begin and end, how far groups are, and moving the beginning."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kafka import TopicPartition as KafkaPartition

from events.kafka_topics import KafkaCluster, topic_name
from events.log import Group, StartAt, TopicPartition
from events.topics import Topic

_LATEST, _EARLIEST = -1, -2


class KafkaPositions:
    """Questions about offsets, asked through the administrator's connection."""

    def __init__(self, cluster: KafkaCluster) -> None:
        self._cluster = cluster
        self._prefix = cluster.settings.prefix

    def committed(self, group: Group) -> dict[TopicPartition, int]:
        """Return every position that `group` has committed."""
        name = self._prefix + group.name

        def question(admin: Any) -> Any:
            try:
                return admin.list_group_offsets({name: None})
            except Exception:
                # The library asks the broker that it once learnt of for ever, also when another one took over.
                admin._manager.cluster._coordinators.clear()
                raise

        answer = self._cluster.ask(f"tell the positions of group {name}", question)
        return {
            self._ours(where): position.offset
            for where, position in answer.get(name, {}).items()
            if where.topic.startswith(self._prefix) and position.offset >= 0
        }

    def starts(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        return self._offsets(dict.fromkeys(partitions, _EARLIEST))

    def ends(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        return self._offsets(dict.fromkeys(partitions, _LATEST))

    def lag(self, group: Group, topics: Sequence[Topic]) -> dict[TopicPartition, int]:
        """Events behind the committed positions; where nothing was committed, behind where the group starts."""
        partitions = partitions_of(topics)
        committed = self.committed(group)
        ends = self.ends(partitions)
        starts = self.starts(partitions)
        behind = {}
        for where in partitions:
            if where in committed:
                position = max(committed[where], starts[where])
            else:
                position = starts[where] if group.start is StartAt.FIRST else ends[where]
            behind[where] = max(0, ends[where] - position)
        return behind

    def trim(self, topic: Topic, before_ms: int) -> int:
        """Move each partition's beginning up to its first event that was not made before `before_ms`."""
        partitions = partitions_of([topic])
        starts, ends = self.starts(partitions), self.ends(partitions)
        kept = self._offsets(dict.fromkeys(partitions, before_ms))
        upto = {where: kept[where] if kept[where] >= 0 else ends[where] for where in partitions}
        upto = {where: offset for where, offset in upto.items() if offset > starts[where]}
        if upto:
            wanted = {self._theirs(where): offset for where, offset in upto.items()}
            self._cluster.ask(
                f"remove events of topic {topic_name(self._cluster.settings, topic)}",
                lambda admin: admin.delete_records(wanted),
            )
        return sum(offset - starts[where] for where, offset in upto.items())

    def _offsets(self, wanted: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        if not wanted:
            return {}
        theirs = {self._theirs(where): point for where, point in wanted.items()}
        answer = self._cluster.ask("tell offsets", lambda admin: admin.list_partition_offsets(theirs))
        return {self._ours(where): found.offset for where, found in answer.items()}

    def _theirs(self, where: TopicPartition) -> KafkaPartition:
        return KafkaPartition(self._prefix + where.topic, where.partition)

    def _ours(self, where: KafkaPartition) -> TopicPartition:
        return TopicPartition(where.topic.removeprefix(self._prefix), where.partition)


def partitions_of(topics: Iterable[Topic]) -> list[TopicPartition]:
    return [TopicPartition(topic.name, number) for topic in topics for number in range(topic.partitions)]
