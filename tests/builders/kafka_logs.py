"""Event logs on a Kafka cluster of the tests, and the removal of what they leave there."""

from __future__ import annotations

from typing import Any

from kafka import KafkaAdminClient

from events.kafka_log import KafkaLog
from events.kafka_settings import KafkaSettings


def kafka_settings(bootstrap: str, prefix: str, **more: Any) -> KafkaSettings:
    """Return settings for a cluster of one node, or of three; dead members and brokers are noticed quickly."""
    nodes = bootstrap.count(",") + 1
    quick = {"session_s": 6.0, "heartbeat_s": 0.5, "connect_within_s": 2.0}
    return KafkaSettings(bootstrap, prefix, replication=nodes, min_in_sync=min(2, nodes), **(quick | more))


def kafka_log(bootstrap: str, prefix: str, **more: Any) -> KafkaLog:
    return KafkaLog(kafka_settings(bootstrap, prefix, **more))


def forget_topics(bootstrap: str, prefix: str) -> None:
    """Remove all topics whose names begin with `prefix`."""
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    ours = [name for name in admin.list_topics() if name.startswith(prefix)]
    if ours:
        admin.delete_topics(ours)
    admin.close()
