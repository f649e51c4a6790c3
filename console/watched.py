"""The event log and the index of a stage, telling the stage's signs of life how they do.

Both go through the calls that the working loop makes anyway: a loop that hangs tells nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeVar

from console.signs_of_life import SignsOfLife
from events.call_document import CallDocument
from events.errors import RetryLater
from events.identity import CallId
from events.log import Delivery, Event, EventLog, Group, Position, TopicPartition
from events.topics import Topic
from indexer.index import CallIndex, CallQuery, IndexStatus, Progress, PutOutcome, SearchPage

EVENT_LOG: Final = "event log"
INDEX: Final = "index"
_T = TypeVar("_T")


class _Watched:
    def __init__(self, signs: SignsOfLife, what: str) -> None:
        self._signs = signs
        self._what = what

    def _told(self, action: Callable[[], _T]) -> _T:
        try:
            result = action()
        except RetryLater as error:
            self._signs.missing(self._what, str(error))
            raise
        self._signs.found(self._what)
        return result


class WatchedLog(_Watched):
    """An event log whose reads are the heartbeat of the loop that reads."""

    def __init__(self, log: EventLog, signs: SignsOfLife) -> None:
        super().__init__(signs, EVENT_LOG)
        self._log = log

    def append(self, topic: Topic, events: Sequence[Event]) -> None:
        self._told(lambda: self._log.append(topic, events))
        self._signs.beat()

    def read(self, topics: Sequence[Topic], group: Group, most: int, wait_s: float) -> list[Delivery]:
        deliveries = self._told(lambda: self._log.read(topics, group, most, wait_s))
        self._signs.beat()
        return deliveries

    def commit(self, group: Group, position: Position) -> None:
        self._told(lambda: self._log.commit(group, position))

    def assignment(self, group: Group) -> frozenset[TopicPartition]:
        return self._log.assignment(group)

    def lag(self, group: Group, topics: Sequence[Topic]) -> Mapping[TopicPartition, int]:
        return self._log.lag(group, topics)

    def trim(self, topic: Topic, before_ms: int) -> int:
        return self._log.trim(topic, before_ms)

    def close(self) -> None:
        self._log.close()


class WatchedIndex(_Watched):
    """An index that says when it is away."""

    def __init__(self, index: CallIndex, signs: SignsOfLife) -> None:
        super().__init__(signs, INDEX)
        self._index = index

    def put(self, document: CallDocument, onto: int | None = None) -> PutOutcome:
        return self._told(lambda: self._index.put(document, onto))

    def put_all(self, documents: Sequence[tuple[CallDocument, int | None]]) -> list[PutOutcome]:
        return self._told(lambda: self._index.put_all(documents))

    def get(self, call: CallId) -> CallDocument | None:
        return self._told(lambda: self._index.get(call))

    def search(self, query: CallQuery) -> SearchPage:
        return self._told(lambda: self._index.search(query))

    def forget(self, call: CallId) -> None:
        self._told(lambda: self._index.forget(call))

    def is_forgotten(self, call: CallId) -> bool:
        return self._told(lambda: self._index.is_forgotten(call))

    def expire(self, before_ms: int) -> int:
        return self._told(lambda: self._index.expire(before_ms))

    def rebuild(self, progress: Progress) -> int:
        return self._told(lambda: self._index.rebuild(progress))

    def status(self) -> IndexStatus:
        return self._told(self._index.status)

    def close(self) -> None:
        self._index.close()
