"""Settings that put an engine on real servers, under names of its own that are removed again."""

from __future__ import annotations

import contextlib
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from tests.builders.kafka_logs import forget_topics
from tests.services.needed import elasticsearch_url, fresh_prefix, kafka_bootstrap, pjsua2_module

Environment = dict[str, str]


def kafka_environment(bootstrap: str, prefix: str) -> Environment:
    """Settings for a cluster of one broker."""
    return {
        "CALLWARDEN_ENGINE__EVENT_LOG": "kafka",
        "CALLWARDEN_KAFKA__BOOTSTRAP": bootstrap,
        "CALLWARDEN_KAFKA__PREFIX": prefix,
        "CALLWARDEN_KAFKA__REPLICATION": "1",
        "CALLWARDEN_KAFKA__MIN_IN_SYNC": "1",
    }


def elastic_environment(url: str, prefix: str) -> Environment:
    """Settings for a cluster of one node."""
    return {
        "CALLWARDEN_ENGINE__INDEX": "elasticsearch",
        "CALLWARDEN_ELASTICSEARCH__URL": url,
        "CALLWARDEN_ELASTICSEARCH__PREFIX": prefix,
        "CALLWARDEN_ELASTICSEARCH__REPLICAS": "0",
    }


PJSUA_ENVIRONMENT: Environment = {"CALLWARDEN_ENGINE__ENDPOINT": "pjsua2"}


@contextmanager
def real_parts(*, kafka: bool = False, elasticsearch: bool = False, pjsua2: bool = False) -> Iterator[Environment]:
    """Yield the settings; remove topics and indices at the end. Skips without the servers."""
    bootstrap = kafka_bootstrap() if kafka else ""
    url = elasticsearch_url() if elasticsearch else ""
    prefix = fresh_prefix()
    environment: Environment = {}
    if kafka:
        environment |= kafka_environment(bootstrap, prefix)
    if elasticsearch:
        environment |= elastic_environment(url, prefix)
    if pjsua2:
        pjsua2_module()
        environment |= PJSUA_ENVIRONMENT
    try:
        yield environment
    finally:
        if kafka:
            forget_topics(bootstrap, prefix)
        if elasticsearch:
            remove_indices(url, prefix)


def remove_indices(url: str, prefix: str) -> None:
    for name in ask_elasticsearch(url, "GET", f"/{prefix}*?expand_wildcards=all") or {}:
        ask_elasticsearch(url, "DELETE", f"/{name}")
    found = ask_elasticsearch(url, "GET", f"/_index_template/{prefix}*") or {}
    for template in found.get("index_templates", ()):
        ask_elasticsearch(url, "DELETE", f"/_index_template/{template['name']}")


def ask_elasticsearch(url: str, method: str, path: str, body: object = None) -> dict[str, object] | None:
    """Return the answer, None for 404."""
    request = urllib.request.Request(
        f"{url}{path}",
        data=None if body is None else json.dumps(body).encode(),
        method=method,
        headers={"Content-Type": "application/json"},
    )
    with contextlib.suppress(urllib.error.HTTPError), urllib.request.urlopen(request, timeout=60) as answer:
        return dict(json.loads(answer.read()))
    return None
