"""What a test says when it needs a real server: its address, or the reason for a skip and the command that helps."""

from __future__ import annotations

import importlib.util
import os
import secrets

import pytest

from tests.services.servers import missing_programs

KAFKA_VARIABLE = "CALLWARDEN_TEST_KAFKA"
ELASTICSEARCH_VARIABLE = "CALLWARDEN_TEST_ELASTICSEARCH"
_HOW = "`make test-services` starts one, or set {} to one that runs."

services = pytest.mark.services
"""Marks a test that needs a real Kafka, Elasticsearch or pjsua2."""


def kafka_bootstrap() -> str:
    """Return ``host:port`` of a broker that tests may make topics on; skip without one."""
    return _address(KAFKA_VARIABLE, "a Kafka broker")


def elasticsearch_url() -> str:
    """Return the URL of a server that tests may make indices on; skip without one."""
    return _address(ELASTICSEARCH_VARIABLE, "an Elasticsearch server")


def own_servers() -> None:
    """Skip a test that starts, kills and restarts servers of its own unless `make test-services` runs it."""
    if not (os.environ.get(KAFKA_VARIABLE) or os.environ.get(ELASTICSEARCH_VARIABLE)):
        pytest.skip("This test starts servers of its own, which takes a while: `make test-services` runs it.")
    sentence = missing_programs()
    if sentence:
        pytest.skip(sentence)


def pjsua2_module() -> None:
    """Skip without the module."""
    if importlib.util.find_spec("pjsua2") is None:
        pytest.skip("The module pjsua2 is not installed: `make pjsua2` builds it (about 5 minutes).")


def fresh_prefix() -> str:
    """Return a prefix for topics or indices that no other test uses."""
    return f"test-{secrets.token_hex(5)}-"


def _address(variable: str, what: str) -> str:
    address = os.environ.get(variable, "")
    if not address:
        pytest.skip(f"This test needs {what}: {_HOW.format(variable)}")
    return address
