"""An event log behind a gate: a real one, that can be made to be away."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence

from events.errors import LogUnavailable
from events.log import Delivery, Event, EventLog, Group, Position, TopicPartition
from events.topics import Topic

AWAY = "No broker answers at the gate; set [kafka] bootstrap."


class GatedLog:
    """EventLog that refuses to append while its gate is shut.

    Parameters
    ----------
    log
        What lies behind the gate.
    refuses
        Asked before each append besides the gate; True refuses it.
    """

    def __init__(self, log: EventLog, refuses: Callable[[Topic], bool] = lambda topic: False) -> None:
        self._log = log
        self._refuses = refuses
        self._open = threading.Event()
        self._open.set()
        self.refused = 0

    def shut(self) -> None:
        self._open.clear()

    def open(self) -> None:
        self._open.set()

    def append(self, topic: Topic, events: Sequence[Event]) -> None:
        if not self._open.is_set() or self._refuses(topic):
            self.refused += 1
            raise LogUnavailable(AWAY)
        self._log.append(topic, events)

    def read(self, topics: Sequence[Topic], group: Group, most: int, wait_s: float) -> list[Delivery]:
        return self._log.read(topics, group, most, wait_s)

    def commit(self, group: Group, position: Position) -> None:
        self._log.commit(group, position)

    def assignment(self, group: Group) -> frozenset[TopicPartition]:
        return self._log.assignment(group)

    def lag(self, group: Group, topics: Sequence[Topic]) -> Mapping[TopicPartition, int]:
        return self._log.lag(group, topics)

    def trim(self, topic: Topic, before_ms: int) -> int:
        return self._log.trim(topic, before_ms)

    def close(self) -> None:
        self._log.close()
