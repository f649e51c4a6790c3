"""Topics on a Kafka cluster: made from the table of topics, and checked against it before anything is written."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from kafka import errors as kafka_errors
from kafka.admin import ConfigResource, ConfigResourceType
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from events import metrics
from events.clock import Clock, SystemClock
from events.kafka_connection import MOST_EVENT_BYTES, OLDEST_BROKER, in_our_words, new_admin, new_producer
from events.kafka_diagnosis import nobody_there
from events.kafka_settings import KafkaRefused, KafkaSettings
from events.topics import Topic

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

_CLUSTER_FILE: Final = "kafka-cluster-id"
_CLOCK_TOPIC: Final = "clock"
_CLOCK_TOLERANCE_S: Final = 60
_FOREVER: Final = str(2**63 - 1)
_UNKNOWN: Final = kafka_errors.UnknownTopicOrPartitionError.errno
_AGAIN_S: Final = 0.1
_FAIL_FAST_S: Final = 1.0


def topic_name(settings: KafkaSettings, topic: Topic) -> str:
    return settings.prefix + topic.name


def prepare_topics(settings: KafkaSettings, topics: Sequence[Topic], state_folder: Path | None) -> None:
    """Make sure that the cluster is the right one and that `topics` and their dead letters are as they must be.

    Missing topics are created (``create_topics``); several processes may do so at once. The broker's clock is
    compared with ours, and a difference is said in the log and in the gauge `kafka_clock_offset_seconds`.

    Raises
    ------
    KafkaRefused
        A person has to change something: wrong cluster, credentials or version, or a topic that is missing or
        weaker than the table of topics asks for.
    LogUnavailable
        No broker answers.
    """
    cluster = KafkaCluster(settings, state_folder)
    try:
        cluster.ensure([each for topic in topics for each in (topic, topic.dead_letter)])
        compare_clocks(settings, cluster)
    finally:
        cluster.close()


class KafkaCluster:
    """An administrator's connection, opened when it is first needed. Safe to use from several threads.

    Parameters
    ----------
    state_folder
        Where the id of the cluster is remembered that was used first; None: nothing is remembered.
    """

    def __init__(self, settings: KafkaSettings, state_folder: Path | None) -> None:
        self.settings = settings
        self._state_folder = state_folder
        self._lock = threading.Lock()
        self._admin: Any = None
        self._failed_at = float("-inf")
        self._known: set[str] = set()

    def ask(self, what: str, question: Callable[[Any], _T]) -> _T:
        """Return `question` of the administrator's connection, asked again while the cluster is settling.

        Raises LogUnavailable; `what` completes "Kafka cannot ...".
        """
        admin = self._opened()
        with in_our_words(self.settings, what):
            return self._patiently(lambda: question(admin))

    def _patiently(self, question: Callable[[], _T]) -> _T:
        again = Retrying(
            retry=retry_if_exception_type((kafka_errors.RetriableError, kafka_errors.UnknownBrokerIdError)),
            stop=stop_after_delay(self.settings.request_within_s),
            wait=wait_fixed(_AGAIN_S),
            reraise=True,
        )
        return again(question)

    def ensure(self, topics: Iterable[Topic]) -> None:
        """Create those of `topics` that are missing, and check the others. Each is looked at once."""
        unknown = {topic_name(self.settings, topic): topic for topic in topics}
        unknown = {name: topic for name, topic in unknown.items() if name not in self._known}
        if not unknown:
            return
        found = self.ask("list topics", lambda admin: admin.describe_topics(list(unknown)))
        missing = [each["name"] for each in found if each["error_code"] == _UNKNOWN]
        if missing:
            self._create({name: unknown[name] for name in missing})
            found = self.ask("list topics", lambda admin: admin.describe_topics(list(unknown)))
        resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in unknown]
        configs = self.ask(
            "read topics' settings", lambda admin: admin.describe_configs(resources, config_filter="all")
        )["topic"]
        for each in found:
            name = each["name"]
            config = {key: entry["value"] for key, entry in configs[name].items()}
            weak = weakness(self.settings, unknown[name], each["partitions"], config)
            if weak:
                raise KafkaRefused(f"Topic {name} {weak}")
        self._known.update(unknown)

    def close(self) -> None:
        with self._lock:
            admin, self._admin = self._admin, None
        if admin is not None:
            admin.close()

    def _opened(self) -> Any:
        with self._lock:
            if self._admin is not None:
                return self._admin
            if time.monotonic() - self._failed_at < _FAIL_FAST_S:
                raise nobody_there(self.settings)
            try:
                with in_our_words(self.settings, "take connections"):
                    admin = new_admin(self.settings)
                    self._check(admin)
            except Exception:
                self._failed_at = time.monotonic()
                raise
            self._admin = admin
            return admin

    def _check(self, admin: Any) -> None:
        try:
            version = admin.config["api_version"] or admin._manager.broker_version
            if version < OLDEST_BROKER:
                raise kafka_errors.UnrecognizedBrokerVersion
            self._remember(str(self._patiently(admin.describe_cluster)["cluster_id"]))
        except BaseException:
            admin.close()
            raise

    def _remember(self, cluster_id: str) -> None:
        if self._state_folder is None:
            return
        file = self._state_folder / _CLUSTER_FILE
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            made = file.with_name(f"{file.name}.{os.getpid()}.{threading.get_ident()}")
            made.write_text(cluster_id + "\n")
            try:
                os.link(made, file)
            except FileExistsError:
                pass
            finally:
                made.unlink()
            first = file.read_text().strip()
        except OSError:
            raise KafkaRefused(
                f"The id of the Kafka cluster cannot be kept in {file}; make its folder writable."
            ) from None
        if first != cluster_id:
            raise KafkaRefused(
                f"The brokers at {self.settings.bootstrap} belong to Kafka cluster {cluster_id}, but this engine's "
                f"events lie in cluster {first}; set [kafka] bootstrap, or remove {file} to begin anew."
            )

    def _create(self, missing: dict[str, Topic]) -> None:
        settings = self.settings
        if not settings.create_topics:
            raise KafkaRefused(
                f"Topic {min(missing)} is missing; create it, or set [kafka] create_topics to true."
            )
        wanted = {
            name: {
                "num_partitions": topic.partitions,
                "replication_factor": settings.replication,
                "configs": topic_config(settings, topic),
            }
            for name, topic in missing.items()
        }
        made = self.ask("create topics", lambda admin: admin.create_topics(wanted, raise_errors=False))
        for each in made["topics"]:
            code = each["error_code"]
            if code == kafka_errors.InvalidReplicationFactorError.errno:
                raise KafkaRefused(
                    f"Topic {each['name']} cannot have {settings.replication} copies on this Kafka cluster; "
                    "start more brokers, or set [kafka] replication and min_in_sync."
                )
            if code not in (0, kafka_errors.TopicAlreadyExistsError.errno):
                error = kafka_errors.for_code(code)
                with in_our_words(settings, f"create topic {each['name']}"):
                    raise error()
        self.ask("create topics", lambda admin: admin.wait_for_topics(list(wanted), timeout_ms=10_000))


def topic_config(settings: KafkaSettings, topic: Topic) -> dict[str, str]:
    retention_ms = round(topic.keep_days * 86_400_000)
    return {
        "cleanup.policy": "delete",
        "retention.ms": str(retention_ms),
        "retention.bytes": "-1",
        # Kafka removes whole segments; short ones let it keep to the retention within an eighth.
        "segment.ms": str(min(max(retention_ms // 8, 600_000), 86_400_000)),
        "min.insync.replicas": str(settings.min_in_sync),
        "unclean.leader.election.enable": "false",
        "max.message.bytes": str(MOST_EVENT_BYTES + 65_536),
        "message.timestamp.type": "CreateTime",
        # The time of an event is a statement, not a reason to refuse it.
        "message.timestamp.after.max.ms": _FOREVER,
        "message.timestamp.before.max.ms": _FOREVER,
    }


def weakness(
    settings: KafkaSettings, topic: Topic, partitions: Sequence[dict[str, Any]], config: dict[str, str]
) -> str:
    """Return what is weak about an existing topic and what to change, empty when nothing is."""
    if len(partitions) != topic.partitions:
        return (
            f"has {len(partitions)} partitions where {topic.partitions} are needed; remove it so that it is created "
            "anew, or set [kafka] prefix to one under which no such topic exists."
        )
    copies = min(len(partition["replica_nodes"]) for partition in partitions)
    if copies < settings.replication:
        return (
            f"has {copies} copies where [kafka] replication asks for {settings.replication}; "
            "reassign its partitions to more brokers, or lower that setting."
        )
    in_sync = int(config.get("min.insync.replicas", "1"))
    if in_sync < settings.min_in_sync:
        return (
            f"has min.insync.replicas={in_sync} where [kafka] min_in_sync asks for {settings.min_in_sync}; "
            "raise the topic's, or lower that setting."
        )
    if "compact" in config.get("cleanup.policy", "delete"):
        return "has a cleanup.policy that compacts, which removes events of a call; set it to delete."
    needed_ms = round(topic.keep_days * 86_400_000)
    kept_ms = int(config.get("retention.ms", "-1"))
    if 0 <= kept_ms < needed_ms:
        return f"keeps events for {kept_ms} ms where {needed_ms} are needed; raise its retention.ms."
    if int(config.get("retention.bytes", "-1")) >= 0:
        return "has a retention.bytes, by which events go before their time; set it to -1."
    if config.get("unclean.leader.election.enable") == "true":
        return (
            "has unclean.leader.election.enable=true, by which acknowledged events can be lost; set it to false."
        )
    if config.get("message.timestamp.type") == "LogAppendTime":
        return "has message.timestamp.type=LogAppendTime, which changes the times of events; set it to CreateTime."
    return ""


def compare_clocks(settings: KafkaSettings, cluster: KafkaCluster, clock: Clock | None = None) -> float:
    """Return by how many seconds our clock is ahead of the broker's, and say so when it matters.

    A record is written to a topic of its own whose records get the broker's time; its acknowledgement tells it.
    """
    name = settings.prefix + _CLOCK_TOPIC
    config = {"message.timestamp.type": "LogAppendTime", "retention.ms": "3600000", "cleanup.policy": "delete"}
    wanted = {name: {"num_partitions": 1, "replication_factor": settings.replication, "configs": config}}
    found = cluster.ask("list topics", lambda admin: admin.describe_topics([name]))
    if found[0]["error_code"] != 0:
        if not settings.create_topics:
            return 0.0
        cluster.ask("create topics", lambda admin: admin.create_topics(wanted, raise_errors=False))
        cluster.ask("create topics", lambda admin: admin.wait_for_topics([name], timeout_ms=10_000))
    clock = clock or SystemClock()
    with in_our_words(settings, "tell its time"):
        producer = new_producer(settings)
        try:
            producer.partitions_for(name)
            before = clock.now_ms()
            sent = producer.send(name, b"", partition=0).get(settings.append_within_s)
            ours_ms = (before + clock.now_ms()) / 2
        finally:
            close_producer(producer, 1.0)
    offset_s: float = (ours_ms - sent.timestamp) / 1000
    metrics.gauge(metrics.KAFKA_CLOCK_OFFSET, offset_s)
    if abs(offset_s) > _CLOCK_TOLERANCE_S:
        _log.warning(
            "This machine's clock is %.0f s %s that of the Kafka brokers; set both by NTP, "
            "because how long events are kept goes by their times.",
            abs(offset_s),
            "ahead of" if offset_s > 0 else "behind",
        )
    return offset_s


def close_producer(producer: Any, within_s: float) -> None:
    """Stop a producer even when records of it are pending.

    kafka-python 3.0.12 leaves its thread running for good when `close` finds that it cannot flush in time.
    """
    try:
        producer.close(timeout=within_s)
    except kafka_errors.KafkaTimeoutError:
        producer._unregister_cleanup()
        producer._sender.force_close()
        producer._sender.join(within_s)
        producer._closed = True
