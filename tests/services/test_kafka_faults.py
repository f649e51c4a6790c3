"""Faults of real brokers, and of processes that use them: nothing lost, nothing doubled (a quick share of them).

All of them, for as long as they last in a contact centre: `python -m tests.services.faults.kafka_faults`.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator

import pytest

from events.errors import LogUnavailable
from events.identity import RecordId
from events.log import Event, EventLog, Group
from tests.services.faults.kafka_faults import (
    Outcome,
    broker_killed_once,
    consumer_killed,
    leader_killed,
    leader_stopped,
    rebalance,
    site,
    under_load,
)
from tests.services.faults.kafka_faults_load import BLOCKS, until
from tests.services.needed import own_servers, services
from tests.services.servers import KafkaCluster

pytestmark = services
QUICK = 0.2
HASTY = 1.0
"""Seconds after which an append counts as failed: so soon that faults make many of them come again."""


@pytest.fixture(scope="module")
def one_broker() -> Iterator[KafkaCluster]:
    own_servers()
    with KafkaCluster(1) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def three_brokers() -> Iterator[KafkaCluster]:
    own_servers()
    with KafkaCluster(3) as cluster:
        yield cluster


def check(outcome: Outcome, doubled: int = 0) -> None:
    found = outcome.account
    assert found.sent > 1000
    assert (found.lost, outcome.missed, found.contradictory, found.out_of_order) == (0, 0, 0, 0)
    assert found.doubled <= doubled


def test_a_killed_broker(one_broker: KafkaCluster) -> None:
    check(under_load("killed", broker_killed_once, site(one_broker, QUICK, append_within_s=HASTY)))


def test_a_stage_that_is_killed_in_the_middle_of_a_batch(one_broker: KafkaCluster) -> None:
    outcome = consumer_killed("killed", site(one_broker, QUICK))
    # The results of one batch were in the log, its positions not committed: they come again, under the same ids.
    check(outcome, doubled=256)
    assert outcome.account.doubled > 0


def test_members_that_join_and_leave_during_calls(one_broker: KafkaCluster) -> None:
    outcome = rebalance("rebalance", site(one_broker, QUICK))
    check(outcome)
    assert outcome.handled_twice == 0


def test_one_of_three_brokers_hangs_and_is_killed(three_brokers: KafkaCluster) -> None:
    at = site(three_brokers, QUICK, append_within_s=HASTY)
    # Its partitions are not written to while it hangs, others are: appends are acknowledged in part.
    check(under_load("stopped", leader_stopped, at))
    check(under_load("killed", leader_killed, at))


def test_positions_are_told_when_the_broker_that_kept_them_is_gone(three_brokers: KafkaCluster) -> None:
    at = site(three_brokers)
    group = Group("positions")
    with contextlib.closing(at.open_log()) as log:
        log.append(BLOCKS, [Event(RecordId(str(number)), str(number), "block", 1, b"x") for number in range(50)])
        until(lambda: log.read([BLOCKS], group, 50, 0.5), "events are read")
        assert sum(log.lag(group, [BLOCKS]).values()) == 50
        keeper = at.keeper(group)
        three_brokers.signal_node(keeper, signal.SIGKILL)
        try:
            until(lambda: told(log, group), "another broker tells the positions")
            assert sum(log.lag(group, [BLOCKS]).values()) == 50
        finally:
            three_brokers.start_node(keeper)


def told(log: EventLog, group: Group) -> bool:
    try:
        return bool(log.lag(group, [BLOCKS]))
    except LogUnavailable:
        return False
