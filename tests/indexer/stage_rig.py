"""A real event log with real keys around one stage, stepped by hand: the test decides where a crash falls."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from events.clock import ManualClock
from events.codec import Record
from events.consumer import ConsumerSettings, StageHandler, StageLoop
from events.identity import CallId
from events.key_store import KeyStore, MasterKey
from events.log import Group
from events.sealing import Sealer
from events.sqlite_log import SqliteLog
from events.topics import Topic

GROUP_READING_ALL = "test-reader"


class StageRig:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = ManualClock()
        self.keys = KeyStore(folder / "keys", MasterKey(bytes(range(32))))
        self.sealer = Sealer(self.keys, self.clock)
        self._writer = SqliteLog(folder / "log")
        self._running: list[SqliteLog] = [self._writer]

    def append(self, topic: Topic, records: Iterable[Record]) -> None:
        records = list(records)
        for call in {CallId(record.call) for record in records}:  # type: ignore[union-attr]
            self.keys.create(call)
        self._writer.append(topic, [self.sealer.event(topic, record) for record in records])

    def start(self, handler: StageHandler, most_records: int = 256) -> StageLoop:
        """A member of the stage's group. A crash is: forget it without another step."""
        log = SqliteLog(self.folder / "log")
        self._running.append(log)
        settings = ConsumerSettings(most_records=most_records, wait_s=0.01)
        return StageLoop(log, self.sealer, handler, Group(handler.name), settings, clock=self.clock)

    def crash(self) -> None:
        """Let the group's partitions go, as the death of the process does."""
        while len(self._running) > 1:
            self._running.pop().close()

    def step_until(self, loop: StageLoop, done: Callable[[], bool], most: int = 500) -> None:
        for _ in range(most):
            if done():
                return
            loop.step()
            self.clock.advance(200)
        raise AssertionError("The stage did not get there.")

    def lag(self, handler: StageHandler) -> int:
        return sum(self._writer.lag(Group(handler.name), handler.topics).values())

    def records(self, topic: Topic) -> list[Record]:
        """Everything that lies in a topic."""
        log = SqliteLog(self.folder / "log")
        found: list[Record] = []
        while deliveries := log.read([topic], Group(f"{GROUP_READING_ALL}-{topic.name}"), 1000, 0.0):
            found += [self.sealer.record(topic, delivery.event) for delivery in deliveries]
        log.close()
        return found

    def close(self) -> None:
        self.crash()
        self._writer.close()
        self.keys.close()
