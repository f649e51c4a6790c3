"""A stage on a server that is not what it must be: it does not work, says why in one sentence, and lives on."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from kafka import KafkaAdminClient
from kafka.admin import NewTopic

from console.data_folder import DataFolder
from console.signs_of_life import LifeState, Sign, read_signs
from console.vitals import judge
from events.topics import CALL_LIFECYCLE
from tests.builders.engine import ROOT, until
from tests.builders.kafka_logs import forget_topics
from tests.builders.real_parts import (
    ask_elasticsearch,
    elastic_environment,
    kafka_environment,
    remove_indices,
)
from tests.services.needed import elasticsearch_url, fresh_prefix, kafka_bootstrap, services

pytestmark = services


@dataclass
class Alone:
    folder: DataFolder
    process: subprocess.Popen[bytes]

    def sign(self) -> Sign | None:
        return next(iter(read_signs(self.folder.processes)), None)

    def refusal(self) -> str:
        """The sentence with which the stage waits; it is alive all the same, and stays so."""
        until(lambda: (sign := self.sign()) and sign.state is LifeState.WAITING, "the stage says what is wrong")
        sign = self.sign()
        assert sign is not None
        assert judge(self.folder.processes, sign.stage, 30, alive_only=True).problems == ()
        assert judge(self.folder.processes, sign.stage, 30, alive_only=False).problems
        assert self.process.poll() is None
        return sign.note


@contextmanager
def alone(stage: str, folder: Path, environment: dict[str, str]) -> Iterator[Alone]:
    """`callwarden run STAGE`, which must end in order when it is told to."""
    data = DataFolder.at(folder)
    process = subprocess.Popen(
        [sys.executable, "-m", "console.cli", "run", stage, "--data", str(folder)],
        env={**os.environ, **environment},
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield Alone(data, process)
        process.terminate()
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def kafka() -> Iterator[dict[str, str]]:
    bootstrap, prefix = kafka_bootstrap(), fresh_prefix()
    yield kafka_environment(bootstrap, prefix)
    forget_topics(bootstrap, prefix)


@pytest.fixture
def elastic() -> Iterator[dict[str, str]]:
    url, prefix = elasticsearch_url(), fresh_prefix()
    yield elastic_environment(url, prefix)
    remove_indices(url, prefix)


def make_topic(environment: dict[str, str], partitions: int) -> str:
    name = environment["CALLWARDEN_KAFKA__PREFIX"] + CALL_LIFECYCLE.name
    admin = KafkaAdminClient(bootstrap_servers=environment["CALLWARDEN_KAFKA__BOOTSTRAP"])
    admin.create_topics([NewTopic(name=name, num_partitions=partitions, replication_factor=1)])
    admin.close()
    return name


def test_a_topic_of_one_partition(tmp_path: Path, kafka: dict[str, str]) -> None:
    name = make_topic(kafka, 1)
    with alone("rules", tmp_path, kafka) as stage:
        sentence = stage.refusal()
    assert sentence.startswith(f"Topic {name} has 1 partitions where 16 are needed;")
    assert "[kafka] prefix" in sentence


def test_another_cluster_than_the_one_of_this_data_folder(tmp_path: Path, kafka: dict[str, str]) -> None:
    folder = DataFolder.at(tmp_path)
    (folder.state / "kafka-cluster-id").write_text("another-cluster\n")
    with alone("rules", tmp_path, kafka) as stage:
        sentence = stage.refusal()
    assert "but this engine's events lie in cluster another-cluster" in sentence
    assert "set [kafka] bootstrap" in sentence


def test_more_copies_than_there_are_brokers(tmp_path: Path, kafka: dict[str, str]) -> None:
    with alone("rules", tmp_path, kafka | {"CALLWARDEN_KAFKA__REPLICATION": "3"}) as stage:
        assert "set [kafka] replication and min_in_sync." in stage.refusal()


def test_a_stage_begins_by_itself_once_the_topic_is_mended(tmp_path: Path, kafka: dict[str, str]) -> None:
    make_topic(kafka, 1)
    with alone("rules", tmp_path, kafka) as stage:
        stage.refusal()
        forget_topics(kafka["CALLWARDEN_KAFKA__BOOTSTRAP"], kafka["CALLWARDEN_KAFKA__PREFIX"])
        until(lambda: (sign := stage.sign()) and sign.state is LifeState.READY, "the stage is at work", 90)


def test_credentials_that_no_broker_knows(tmp_path: Path, kafka: dict[str, str]) -> None:
    wrong = {
        "CALLWARDEN_KAFKA__SASL_MECHANISM": "PLAIN",
        "CALLWARDEN_KAFKA__SASL_USERNAME": "callwarden",
        "CALLWARDEN_KAFKA__SASL_PASSWORD": "not the right one",
    }
    with alone("rules", tmp_path, kafka | wrong) as stage:
        sentence = stage.refusal()
    assert "[kafka]" in sentence
    assert "not the right one" not in sentence


def test_capture_spills_while_the_cluster_is_the_wrong_one(tmp_path: Path, kafka: dict[str, str]) -> None:
    """Proved with a call in test_services_journey_away.py; here: it is at work although the others are not."""
    folder = DataFolder.at(tmp_path)
    (folder.state / "kafka-cluster-id").write_text("another-cluster\n")
    sockets = {
        "CALLWARDEN_SOCKETS__SIP_HOST": "127.0.0.1",
        "CALLWARDEN_SOCKETS__SIP_PORT": "0",
        "CALLWARDEN_SOCKETS__RTP_FIRST_PORT": "0",
        "CALLWARDEN_SOCKETS__LEGS": "2",
    }
    with alone("capture", tmp_path, kafka | sockets) as stage:
        until(lambda: (sign := stage.sign()) and sign.state is LifeState.READY, "capture is at work")


def test_an_index_with_somebody_elses_mapping(
    tmp_path: Path, kafka: dict[str, str], elastic: dict[str, str]
) -> None:
    url, prefix = elastic["CALLWARDEN_ELASTICSEARCH__URL"], elastic["CALLWARDEN_ELASTICSEARCH__PREFIX"]
    mapping = {"mappings": {"properties": {"title": {"type": "text"}}}, "settings": {"number_of_replicas": 0}}
    assert ask_elasticsearch(url, "PUT", f"/{prefix}calls-2024", mapping)
    with alone("indexer", tmp_path, kafka | elastic) as stage:
        sentence = stage.refusal()
    assert sentence == (
        f"The index {prefix}calls-2024 holds somebody else's mapping; set [elasticsearch] prefix to one of your own."
    )


def test_another_elasticsearch_than_the_one_of_this_data_folder(
    tmp_path: Path, kafka: dict[str, str], elastic: dict[str, str]
) -> None:
    with alone("indexer", tmp_path, kafka | elastic) as stage:
        until(lambda: (sign := stage.sign()) and sign.state is LifeState.READY, "the indexer is at work", 90)
    (known,) = [file for file in DataFolder.at(tmp_path).state.iterdir() if "elastic" in file.name]
    known.write_text("another cluster\n")
    with alone("indexer", tmp_path, kafka | elastic) as stage:
        assert "is another cluster than before; set [elasticsearch] url" in stage.refusal()
