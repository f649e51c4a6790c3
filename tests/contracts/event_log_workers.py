"""What other processes do in the laws of the event log. Started with `spawn`, killed by the laws."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event as StopEvent

from events.identity import RecordId
from events.log import Event, EventLog, Group
from events.topics import Topic

OpenLog = Callable[[], EventLog]
"""Opens the store that a test uses; has to travel to other processes, so a partial of a class or function."""


def make_event(identity: str, key: str, value: bytes = b"value", at_ms: int = 1_700_000_000_000) -> Event:
    return Event(RecordId(identity), key, "thing", at_ms, value)


def append_and_tell(
    open_log: OpenLog, topic: Topic, writer: str, batch: int, batches: int, tell: Connection
) -> None:
    """Append batches and tell after each how many events the log has acknowledged; `batches` < 0 never ends."""
    log = open_log()
    number = 0
    while batches < 0 or number < batches * batch:
        ids = range(number, number + batch)
        log.append(topic, [make_event(f"{writer}:{i}", f"{writer}-key-{i % 7}", b"%d" % i * 100) for i in ids])
        number += batch
        tell.send(number)
    log.close()


def read_and_tell(
    open_log: OpenLog, topics: Sequence[Topic], group: Group, commit: bool, stop: StopEvent, tell: Connection
) -> None:
    """Read until told to stop; tell after each read the partitions held and the ids got, commit or not."""
    log = open_log()
    while not stop.is_set():
        deliveries = log.read(topics, group, 50, 0.05)
        tell.send((log.assignment(group), [delivery.event.id for delivery in deliveries]))
        if commit:
            for delivery in deliveries:
                log.commit(group, delivery.after)
    log.close()
