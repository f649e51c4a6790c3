"""What the Kafka driver promises beyond the laws, on a real broker."""

from __future__ import annotations

import logging
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaProducer
from kafka.admin import MemberToRemove

from events import metrics
from events.clock import SystemClock
from events.errors import LogUnavailable, NeverRetry
from events.kafka_log import KafkaLog
from events.kafka_settings import KafkaRefused, KafkaSettings
from events.kafka_topics import KafkaCluster, compare_clocks, prepare_topics
from events.log import Delivery, Group, StartAt, TopicPartition
from events.topics import TOPICS, Topic
from tests.contracts.event_log_laws import KEYED, SINGLE, until
from tests.contracts.event_log_workers import make_event
from tests.services.needed import fresh_prefix, kafka_bootstrap, own_servers, services
from tests.services.servers import KafkaCluster as Brokers

pytestmark = services

SESSION_S = 6.0  # brokers allow no less


@pytest.fixture
def settings() -> Iterator[KafkaSettings]:
    settings = KafkaSettings(
        bootstrap=kafka_bootstrap(),
        prefix=fresh_prefix(),
        replication=1,
        min_in_sync=1,
        session_s=SESSION_S,
        heartbeat_s=0.3,
    )
    yield settings
    admin = KafkaAdminClient(bootstrap_servers=settings.bootstrap)
    ours = [name for name in admin.list_topics() if name.startswith(settings.prefix)]
    if ours:
        admin.delete_topics(ours)
    admin.close()


@pytest.fixture
def opened(settings: KafkaSettings) -> Iterator[Callable[..., KafkaLog]]:
    with ExitStack() as stack:
        yield lambda **change: stack.enter_context(closing(KafkaLog(replace(settings, **change))))


def make_topic(settings: KafkaSettings, topic: Topic, partitions: int, **config: str) -> None:
    admin = KafkaAdminClient(bootstrap_servers=settings.bootstrap)
    configs = {name.replace("_", "."): value for name, value in config.items()}
    name = settings.prefix + topic.name
    admin.create_topics(
        {name: {"num_partitions": partitions, "replication_factor": 1, "configs": configs}}, wait_for_metadata=True
    )
    admin.close()


def read_all(log: KafkaLog, group: Group, count: int, topic: Topic = KEYED) -> list[Delivery]:
    got: list[Delivery] = []
    until(lambda: (got.extend(log.read([topic], group, 1000, 0.1)), len(got) >= count)[-1])
    return got


# Members that are busy


def test_a_busy_reader_is_not_disturbed_and_hands_over_what_it_is_done_with(
    opened: Callable[..., KafkaLog],
) -> None:
    group = Group("busy")
    busy, other = opened(), opened()
    busy.append(KEYED, [make_event(str(i), str(i)) for i in range(200)])
    seen: list[Delivery] = []
    until(lambda: (seen.extend(busy.read([KEYED], group, 10, 1.0)), bool(seen))[-1])
    # Joins, and is let in, while the first reader works on its batch for longer than a session lasts.
    for _ in range(round(SESSION_S / 0.5) + 4):
        assert other.read([KEYED], group, 10, 0.5) == []
    assert other.assignment(group) == frozenset()

    def both() -> bool:
        for log in (busy, other):
            for delivery in log.read([KEYED], group, 20, 0.05):
                seen.append(delivery)
                log.commit(group, delivery.after)
        return len(other.assignment(group)) == 8 and len(seen) >= 200

    for delivery in seen:
        busy.commit(group, delivery.after)
    until(both)
    assert set(Counter(delivery.event.id for delivery in seen).values()) == {1}


def test_a_reader_that_never_ends_loses_its_share_in_the_end(opened: Callable[..., KafkaLog]) -> None:
    group = Group("stuck")
    stuck, other = opened(hand_over_within_s=SESSION_S), opened()
    stuck.append(KEYED, [make_event(str(i), str(i)) for i in range(100)])
    first = read_all(stuck, group, 100)
    got: list[Delivery] = []
    until(lambda: (got.extend(other.read([KEYED], group, 100, 0.2)), len(other.assignment(group)) == 8)[-1])
    mine = other.assignment(group)
    until(
        lambda: (
            got.extend(other.read([KEYED], group, 100, 0.2)),
            len(got) >= sum(d.partition in mine for d in first),
        )[-1]
    )
    for delivery in first:
        stuck.commit(group, delivery.after)
    behind = other.lag(group, [KEYED])
    for where in mine:
        assert behind[where] == sum(delivery.partition == where for delivery in first), (
            "Commits of others count not."
        )


def test_a_member_that_was_thrown_out_begins_again_at_what_was_committed(
    settings: KafkaSettings, opened: Callable[..., KafkaLog]
) -> None:
    group, log = Group("thrown-out"), opened()
    log.append(SINGLE, [make_event(str(i), "") for i in range(20)])
    got = log.read([SINGLE], group, 10, 20.0)
    log.commit(group, got[2].after)
    assert sum(log.lag(group, [SINGLE]).values()) == 17
    admin = KafkaAdminClient(bootstrap_servers=settings.bootstrap)
    name = settings.prefix + group.name
    members = [MemberToRemove(member["member_id"]) for member in admin.describe_groups([name])[name]["members"]]
    admin.remove_group_members(name, members)
    admin.close()
    again: list[str] = []
    until(lambda: (again.extend(d.event.id for d in log.read([SINGLE], group, 100, 0.1)), "3" in again)[-1])
    log.commit(group, got[1].after)
    again += [delivery.event.id for delivery in log.read([SINGLE], group, 100, 0.5)]
    assert again[again.index("3") :] == [str(i) for i in range(3, 20)]
    assert sum(log.lag(group, [SINGLE]).values()) == 17


# Appends that are not acknowledged


def test_what_was_not_acknowledged_is_not_sent_twice(tmp_path: Path) -> None:
    own_servers()
    with Brokers(1) as brokers:
        settings = KafkaSettings(
            bootstrap=brokers.bootstrap, replication=1, min_in_sync=1, append_within_s=1.0, most_pending=100
        )
        with closing(KafkaLog(settings, tmp_path)) as log:
            until(lambda: _appended(log, [make_event("0", "key")]))
            batches = [[make_event(f"{b * 20 + i}", "key") for i in range(1, 21)] for b in range(6)]
            brokers.signal_node(1, signal.SIGSTOP)
            status = Path(f"/proc/{brokers.pid()}/stat")
            until(lambda: ") T " in status.read_text())
            try:
                for batch in batches[:5]:
                    with pytest.raises(LogUnavailable, match="No Kafka broker answers"):
                        log.append(KEYED, batch)
                with pytest.raises(LogUnavailable, match="100 events wait for the Kafka brokers"):
                    log.append(KEYED, batches[5])
            finally:
                brokers.signal_node(1, signal.SIGCONT)
            for batch in batches:
                until(lambda batch=batch: _appended(log, batch))  # type: ignore[misc]
            got = read_all(log, Group("reader"), 121)
            assert [int(delivery.event.id) for delivery in got] == list(range(121))
        _another_cluster_is_refused(tmp_path, settings)


def _appended(log: KafkaLog, batch: Sequence[Any]) -> bool:
    try:
        log.append(KEYED, batch)
    except LogUnavailable:
        return False
    return True


def _another_cluster_is_refused(state_folder: Path, used: KafkaSettings) -> None:
    elsewhere = replace(used, bootstrap=kafka_bootstrap(), prefix=fresh_prefix())
    for attempt in (
        lambda: prepare_topics(elsewhere, [SINGLE], state_folder),
        lambda: KafkaLog(elsewhere, state_folder).append(SINGLE, [make_event("1", "")]),
    ):
        with pytest.raises(KafkaRefused, match=r"this engine's events lie in cluster .* set \[kafka\] bootstrap"):
            attempt()


def test_an_event_that_is_too_large_is_said_to_be_so(opened: Callable[..., KafkaLog]) -> None:
    with pytest.raises(NeverRetry, match="larger than its Kafka topic takes"):
        opened().append(SINGLE, [make_event("large", "", b"x" * (5 << 20))])


def test_nobody_there_is_said_soon_and_connected_to_later() -> None:
    with closing(KafkaLog(KafkaSettings(bootstrap="127.0.0.1:1", connect_within_s=0.3))) as log:
        for attempt in (
            lambda: log.append(SINGLE, [make_event("1", "")]),
            lambda: log.read([SINGLE], Group("reader"), 1, 0.0),
            lambda: log.lag(Group("reader"), [SINGLE]),
            lambda: log.trim(SINGLE, 0),
        ):
            with pytest.raises(
                LogUnavailable, match=r"No Kafka broker answers at 127.0.0.1:1; .* \[kafka\] bootstrap"
            ):
                attempt()


# Records that are not ours


def test_foreign_records_are_passed_over(
    settings: KafkaSettings, opened: Callable[..., KafkaLog], caplog: pytest.LogCaptureFixture
) -> None:
    log, group = opened(), Group("reader")
    log.append(SINGLE, [make_event("1", "")])
    producer = KafkaProducer(bootstrap_servers=settings.bootstrap)
    name = settings.prefix + SINGLE.name
    two = [("id", b"x"), ("kind", b"thing")]
    for key, value, headers in (
        (None, b"no key", []),
        (b"key", b"no headers", []),
        (b"\xff\xfe", b"bytes for a key", two),
        (b"key", b"bytes for an id", [("id", b"\xff"), ("kind", b"thing")]),
        (b"key", None, two),
        (b"key", b"headers of others", [("trace", b"1"), ("id", b"x")]),
    ):
        producer.send(name, value, key, headers).get(10)
    producer.close()
    before = metrics.counted(metrics.FOREIGN_RECORDS, topic=SINGLE.name)
    (only,) = read_all(log, group, 1, SINGLE)
    assert log.read([SINGLE], group, 10, 0.3) == []
    assert metrics.counted(metrics.FOREIGN_RECORDS, topic=SINGLE.name) == before + 6
    assert "callwarden did not write" in caplog.text
    log.commit(group, only.after)
    assert log.lag(group, [SINGLE]) == {TopicPartition(SINGLE.name, 0): 0}, "They are done with, too."
    log.append(SINGLE, [make_event("2", "")])
    assert [delivery.event.id for delivery in read_all(log, group, 1, SINGLE)] == ["2"]


# Topics


def test_topics_of_the_table_are_made_by_several_at_once(settings: KafkaSettings) -> None:
    errors: list[Exception] = []

    def prepare() -> None:
        try:
            prepare_topics(settings, TOPICS, None)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=prepare) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    admin = KafkaAdminClient(bootstrap_servers=settings.bootstrap)
    made = {name.removeprefix(settings.prefix) for name in admin.list_topics() if name.startswith(settings.prefix)}
    admin.close()
    assert made == {each.name for topic in TOPICS for each in (topic, topic.dead_letter)} | {"clock"}


@pytest.mark.parametrize(
    ("partitions", "config", "sentence"),
    [
        (1, {}, "has 1 partitions where 16 are needed"),
        (16, {"cleanup_policy": "compact"}, "has a cleanup.policy that compacts"),
        (16, {"retention_ms": "1000"}, "keeps events for 1000 ms where 3153600000000 are needed"),
        (16, {"retention_bytes": "1000000", "retention_ms": "-1"}, "has a retention.bytes"),
        (16, {"unclean_leader_election_enable": "true", "retention_ms": "-1"}, "set it to false"),
        (16, {"message_timestamp_type": "LogAppendTime", "retention_ms": "-1"}, "set it to CreateTime"),
    ],
)
def test_a_weak_topic_is_named(
    settings: KafkaSettings,
    opened: Callable[..., KafkaLog],
    partitions: int,
    config: dict[str, str],
    sentence: str,
) -> None:
    make_topic(settings, KEYED, partitions, **config)
    with pytest.raises(KafkaRefused) as refused:
        prepare_topics(settings, [KEYED], None)
    assert str(refused.value).startswith(f"Topic {settings.prefix}laws.keyed ")
    assert sentence in str(refused.value)
    with pytest.raises(KafkaRefused):
        opened().append(KEYED, [make_event("1", "a")])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"replication": 3}, "has 1 copies where [kafka] replication asks for 3"),
        ({"replication": 3, "prefix": "other-"}, "cannot have 3 copies on this Kafka cluster"),
        (
            {"create_topics": False, "prefix": "other-"},
            "is missing; create it, or set [kafka] create_topics to true",
        ),
    ],
)
def test_what_the_cluster_lacks_is_named(settings: KafkaSettings, change: dict[str, Any], sentence: str) -> None:
    make_topic(settings, SINGLE, 1, retention_ms="-1")
    prepare_topics(replace(settings, create_topics=False), [], None)
    wrong = replace(settings, **change)
    with pytest.raises(KafkaRefused) as refused:
        KafkaCluster(wrong, None).ensure([SINGLE])
    assert sentence in str(refused.value)


# Clocks


class _Wrong(SystemClock):
    def now_ms(self) -> int:
        return super().now_ms() - 3_600_000


def test_a_clock_an_hour_off_is_said(settings: KafkaSettings, caplog: pytest.LogCaptureFixture) -> None:
    cluster = KafkaCluster(settings, None)
    with caplog.at_level(logging.WARNING):
        assert abs(compare_clocks(settings, cluster)) < 60
        assert "clock" not in caplog.text
        assert compare_clocks(settings, cluster, _Wrong()) == pytest.approx(-3600, abs=60)
    assert "clock is 3600 s behind that of the Kafka brokers; set both by NTP" in caplog.text
    assert metrics.counted(metrics.KAFKA_CLOCK_OFFSET) == pytest.approx(-3600, abs=60)
    cluster.close()


# Tails


def test_a_tail_begins_at_its_first_read_even_when_nothing_was_committed_by_hand(
    opened: Callable[..., KafkaLog],
) -> None:
    group = Group("tail", StartAt.LAST)
    writer = opened()
    writer.append(SINGLE, [make_event("old", "")])
    first = opened()
    assert first.read([SINGLE], group, 10, 0.0) == []
    first.close()
    writer.append(SINGLE, [make_event("new", "")])
    assert [delivery.event.id for delivery in read_all(opened(), group, 1, SINGLE)] == ["new"]
