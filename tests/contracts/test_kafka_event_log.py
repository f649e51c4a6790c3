"""The laws of the event log, on its Kafka driver and a real broker."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kafka import KafkaAdminClient

from events.kafka_log import KafkaLog
from events.kafka_settings import KafkaSettings
from tests.contracts.event_log_laws import EventLogLaws
from tests.contracts.event_log_workers import OpenLog
from tests.services.needed import fresh_prefix, kafka_bootstrap, services

pytestmark = services


class TestKafkaLog(EventLogLaws):
    all_or_none = False
    quiet_s = 0.75

    @pytest.fixture
    def open_log(self) -> Iterator[OpenLog]:
        bootstrap, prefix = kafka_bootstrap(), fresh_prefix()
        yield partial(
            KafkaLog,
            KafkaSettings(
                bootstrap=bootstrap, prefix=prefix, replication=1, min_in_sync=1, session_s=6.0, heartbeat_s=0.3
            ),
        )
        admin = KafkaAdminClient(bootstrap_servers=bootstrap)
        ours = [name for name in admin.list_topics() if name.startswith(prefix)]
        if ours:
            admin.delete_topics(ours)
        admin.close()

    # Each example joins and leaves groups on a real broker, which takes seconds.
    @settings(
        max_examples=10,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
    )
    @given(data=st.data())
    def test_any_order_of_doings_agrees_with_a_list_per_partition(
        self, open_log: OpenLog, data: st.DataObject
    ) -> None:
        self.do_anything(open_log, data)
