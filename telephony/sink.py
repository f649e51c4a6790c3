"""Sinks for call records: straight into the event log, and a counting one for benches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from events.audio import AudioBlock
from events.identity import CallId
from events.lifecycle import CallStarted
from events.log import Event, EventLog
from events.metrics import AUDIO_BLOCKS, count
from events.sealing import Sealer
from events.topics import Topic
from telephony.source import SourceRecord, topic_of


class KeyMaker(Protocol):
    """What a sink asks of the key store."""

    def create(self, call: CallId) -> None:
        """Make the call's two keys durable; again does nothing."""
        ...


class LogSink:
    """Seals records and appends them; `write` returns once they are durable.

    Used where the source can wait (recorded files). Capture has its own journal before the log, because a live
    call does not wait.
    """

    def __init__(self, log: EventLog, sealer: Sealer, keys: KeyMaker) -> None:
        self._log = log
        self._sealer = sealer
        self._keys = keys

    def write(self, records: Sequence[SourceRecord]) -> None:
        batches = sealed_batches(self._sealer, self._keys, records)
        for topic, events in batches:
            self._log.append(topic, events)
        count(AUDIO_BLOCKS, sum(isinstance(record, AudioBlock) for record in records))


class CountingSink:
    """Counts and forgets: what capture carries when the log is not the limit."""

    def __init__(self) -> None:
        self.records = 0
        self.blocks = 0
        self.payload_bytes = 0
        self.gap_samples = 0

    def write(self, records: Sequence[SourceRecord]) -> None:
        self.records += len(records)
        for record in records:
            if isinstance(record, AudioBlock):
                self.blocks += 1
                self.payload_bytes += len(record.payload)
                self.gap_samples += sum(gap.samples for gap in record.gaps)


def sealed_batches(
    sealer: Sealer, keys: KeyMaker, records: Sequence[SourceRecord]
) -> list[tuple[Topic, list[Event]]]:
    """Return `records` as events, one batch a topic, lifecycle first, each in the order given.

    Keys are made where a call starts, so they are durable before anything sealed with them.
    """
    by_topic: dict[str, tuple[Topic, list[Event]]] = {}
    for record in records:
        if isinstance(record, CallStarted):
            keys.create(record.call)
        topic = topic_of(record)
        by_topic.setdefault(topic.name, (topic, []))[1].append(sealer.event(topic, record))
    return sorted(by_topic.values(), key=lambda batch: batch[0].name, reverse=True)
