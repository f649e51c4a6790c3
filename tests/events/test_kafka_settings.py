"""Settings of the Kafka driver that do not fit together are refused in a sentence that names them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from events.kafka_settings import KafkaSettings


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"bootstrap": "broker"}, "bootstrap is host:port"),
        ({"bootstrap": "a:9092,"}, "bootstrap is host:port"),
        ({"prefix": "a b"}, "prefix is made of letters"),
        ({"min_in_sync": 4}, "min_in_sync <= replication"),
        ({"sasl_mechanism": "PLAIN", "sasl_username": "a"}, "sasl_mechanism needs"),
        ({"sasl_username": "a"}, "sasl_username needs sasl_mechanism"),
        ({"tls_ca_file": Path("ca.pem")}, "count only with tls = true"),
        ({"tls": True, "tls_key": Path("key.pem")}, "tls_key needs tls_certificate"),
        ({"batch_kb": 2000}, "batch_kb lies between"),
        ({"most_pending": 1}, "most_pending is at least 100"),
        ({"append_within_s": 0.0}, "are positive"),
        ({"heartbeat_s": 8.0}, "heartbeat_s <= session_s"),
    ],
)
def test_what_does_not_fit_is_named(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        KafkaSettings(**change)


@pytest.mark.parametrize("bootstrap", ["a:9092", "a.example:1, b:2", "[::1]:9092", "10.0.0.1:65535"])
def test_addresses_of_every_kind_are_taken(bootstrap: str) -> None:
    assert KafkaSettings(bootstrap=bootstrap).bootstrap == bootstrap


def test_settings_are_read_without_the_client_library() -> None:
    code = "import sys, events.kafka_settings; sys.exit('kafka' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
