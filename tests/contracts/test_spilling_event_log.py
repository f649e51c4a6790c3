"""The laws of the event log, with the spill in front: of a log that is there, and of one that comes and goes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest

from events.errors import LogUnavailable
from events.log import Delivery, EventLog, Group
from events.spill_state import SpillMode
from events.spilling_log import SpillingLog, SpillSettings
from events.sqlite_log import SqliteLog
from events.topics import Topic
from tests.builders.capture_bench import until
from tests.builders.gated_log import GatedLog
from tests.contracts.event_log_laws import ALSO_KEYED, KEYED, SEALED, SINGLE, EventLogLaws
from tests.contracts.event_log_workers import OpenLog
from tests.services.needed import fresh_prefix, kafka_bootstrap, services

TOPICS = (KEYED, ALSO_KEYED, SEALED, SEALED.dead_letter, SINGLE)
QUICK = SpillSettings(most_mb=64, segment_mb=8, first_retry_s=0.002, longest_retry_s=0.01)


def open_spilling(folder: Path, every: int = 0) -> SpillingLog:
    """Open the one log of `folder` behind a spill that nobody else has; refuse every so many appends."""
    main: EventLog = SqliteLog(folder / "log")
    if every:
        numbers = itertools.count(1)
        main = GatedLog(main, lambda topic: next(numbers) % every == 0)
    return in_free_spill(folder, main)


def in_free_spill(folder: Path, main: EventLog) -> SpillingLog:
    for number in itertools.count():
        try:
            return SpillingLog(main, folder / f"spill-{number}", SqliteLog, QUICK, TOPICS)
        except LogUnavailable:
            continue
    raise AssertionError


def open_spilling_on_kafka(folder: Path, bootstrap: str, prefix: str) -> SpillingLog:
    from tests.builders.kafka_logs import kafka_log

    return in_free_spill(folder, kafka_log(bootstrap, prefix))


class TestSpillingLog(EventLogLaws):
    @pytest.fixture
    def open_log(self, tmp_path: Path) -> OpenLog:
        return partial(open_spilling, tmp_path)


class TestSpillingLogThatSpills(EventLogLaws):
    """Appends are acknowledged once they are on the disk, so readers get some a little later."""

    @pytest.fixture
    def open_log(self, tmp_path: Path) -> OpenLog:
        return partial(open_spilling, tmp_path, 5)

    def drain(self, log: EventLog, topics: Sequence[Topic], group: Group, most: int = 500) -> list[Delivery]:
        assert isinstance(log, SpillingLog)
        until(lambda: log.state.mode is SpillMode.DIRECT)
        return super().drain(log, topics, group, most)

    # What a process leaves on its disk waits for its successor: tests/events/test_spilling_log.py.
    test_a_killed_writer_loses_nothing_acknowledged_and_tears_no_batch = None  # type: ignore[assignment]
    test_processes_may_append_at_once = None  # type: ignore[assignment]


class TestSpillingLogOnKafka(EventLogLaws):
    """Of the laws, those that appending can break; everything else goes to the Kafka log as it is."""

    pytestmark = services
    all_or_none = False
    quiet_s = 0.75

    @pytest.fixture
    def open_log(self, tmp_path: Path) -> Iterator[OpenLog]:
        from tests.builders.kafka_logs import forget_topics

        bootstrap, prefix = kafka_bootstrap(), fresh_prefix()
        yield partial(open_spilling_on_kafka, tmp_path, bootstrap, prefix)
        forget_topics(bootstrap, prefix)


_APPENDING = (
    "test_what_was_appended_is_read_as_it_was",
    "test_a_key_keeps_its_order_and_its_partition_number_over_topics",
    "test_a_large_batch_goes_in_as_one",
    "test_threads_may_append_through_one_object",
    "test_processes_may_append_at_once",
    "test_a_killed_writer_loses_nothing_acknowledged_and_tears_no_batch",
)
for _law in vars(EventLogLaws):
    if _law.startswith("test_") and _law not in _APPENDING:
        setattr(TestSpillingLogOnKafka, _law, None)
