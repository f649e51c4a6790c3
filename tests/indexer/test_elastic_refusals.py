"""What is wrong with a cluster or a setting is said in one sentence that names the setting."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from events.errors import RetryLater, StopConsumer
from indexer.elastic_connection import ElasticConnection, ElasticRefused, ElasticUnavailable
from indexer.elastic_index import ElasticIndex
from indexer.elastic_layout import CLUSTER_FILE
from indexer.elastic_settings import ElasticIndexSettings
from indexer.index import CallQuery
from tests.builders.swept_index import sweep
from tests.contracts.call_index_laws import document
from tests.services.needed import elasticsearch_url, fresh_prefix, services

ONE_SENTENCE = r"^[A-Z][^\n]*\.$"


@pytest.fixture
def real() -> Iterator[ElasticIndexSettings]:
    settings = ElasticIndexSettings(
        elasticsearch_url(), fresh_prefix(), replicas=0, patience_s=0.2, search_patience_s=0.2, expunge_within_s=0
    )
    yield settings
    sweep(settings)


@contextmanager
def answering(status: int, body: object, **headers: str) -> Iterator[str]:
    """Something that listens and gives one answer to everything."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            sent = json.dumps(body).encode()
            self.send_response_only(status)
            for name, value in {"Content-Type": "application/json", **headers}.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent)

        do_POST = do_PUT = do_GET  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def refusal(settings: ElasticIndexSettings, state_folder: Path | None = None) -> str:
    index = ElasticIndex(settings, state_folder)
    try:
        with pytest.raises(StopConsumer, match=ONE_SENTENCE) as refused:
            index.check()
    finally:
        index.close()
    return str(refused.value)


def test_nothing_answers() -> None:
    index = ElasticIndex(ElasticIndexSettings("http://127.0.0.1:1", patience_s=0.1, search_patience_s=0.1))
    with pytest.raises(
        RetryLater, match=r"^No Elasticsearch answers at http://127.0.0.1:1; set \[elasticsearch\] url\.$"
    ):
        index.search(CallQuery("hello"))
    with pytest.raises(ElasticUnavailable):
        index.put(document(1, [(0, "hello")]))
    index.close()


def test_something_else_answers() -> None:
    with answering(200, {"hello": "world"}) as url:
        assert refusal(ElasticIndexSettings(url)) == (
            f"What answers at {url} is not Elasticsearch; set [elasticsearch] url."
        )


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, {"version": {"number": "7.17.9"}, "cluster_uuid": "x"}),
        (400, {"error": {"type": "media_type_header_exception"}, "status": 400}),
    ],
)
def test_a_server_that_is_too_old(status: int, body: object) -> None:
    with answering(status, body, X_Elastic_Product="Elasticsearch") as url:
        said = refusal(ElasticIndexSettings(url))
    assert "version 7" in said
    assert "set [elasticsearch] url" in said


@pytest.mark.parametrize(
    ("status", "says"), [(401, "does not know the API key"), (403, "does not let this API key do its work")]
)
def test_a_key_without_rights(status: int, says: str) -> None:
    error = {"type": "security_exception", "reason": "secret reason"}
    with answering(status, {"error": error, "status": status}, X_Elastic_Product="Elasticsearch") as url:
        said = refusal(ElasticIndexSettings(url, api_key_secret="aGVsbG86d29ybGQ="))
    assert says in said
    assert "api_key_secret" in said
    assert "secret reason" not in said
    assert "aGVsbG86" not in said


def test_a_certificate_file_that_is_none(tmp_path: Path) -> None:
    for content in (None, "not a certificate"):
        file = tmp_path / "ca.pem"
        if content is not None:
            file.write_text(content)
        with pytest.raises(ElasticRefused, match=r"ca_file.*\.$"):
            ElasticIndex(ElasticIndexSettings("https://127.0.0.1:1", ca_file=file))


@services
def test_somebody_elses_index_is_left_alone(real: ElasticIndexSettings) -> None:
    connection = ElasticConnection(real)
    connection.ask("PUT", f"/{real.prefix}calls", {"mappings": {"properties": {"x": {"type": "keyword"}}}})
    assert "set [elasticsearch] prefix to one of your own" in refusal(real)
    index = ElasticIndex(real)
    with pytest.raises(ElasticRefused, match="somebody else's mapping"):
        index.put(document(1, [(0, "hello")]))
    index.close()
    assert list(connection.ask("GET", f"/{real.prefix}*")) == [f"{real.prefix}calls"]
    connection.close()


@services
def test_somebody_elses_template_is_left_alone(real: ElasticIndexSettings) -> None:
    connection = ElasticConnection(real)
    theirs = {"index_patterns": [f"{real.prefix}other-*"]}
    connection.ask("PUT", f"/_index_template/{real.prefix}calls", theirs)
    index = ElasticIndex(real)
    with pytest.raises(ElasticRefused, match=r"template .* is somebody else's; set \[elasticsearch\] prefix"):
        index.put(document(1, [(0, "hello")]))
    index.close()
    connection.close()


@services
def test_an_index_of_a_newer_program(real: ElasticIndexSettings) -> None:
    connection = ElasticConnection(real)
    meta = {"owner": "callwarden", "holds": "calls", "version": 99}
    body = {"mappings": {"_meta": meta}, "aliases": {f"{real.prefix}calls": {}}}
    connection.ask("PUT", f"/{real.prefix}calls-2026-11-v99-000001", body)
    assert "made by a newer callwarden (mapping version 99" in refusal(real)
    connection.close()


@services
def test_another_cluster_than_before(real: ElasticIndexSettings, tmp_path: Path) -> None:
    for _ in range(2):
        index = ElasticIndex(real, tmp_path)
        index.check()
        index.close()
    (tmp_path / CLUSTER_FILE).write_text("another-cluster\n")
    said = refusal(real, tmp_path)
    assert "is another cluster than before" in said
    assert CLUSTER_FILE in said


@pytest.mark.parametrize("ahead_s", [-3600, 3600])
def test_a_clock_an_hour_off_is_reported_and_no_refusal(
    ahead_s: float, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    import time

    told = {"version": {"number": "8.19.8"}, "cluster_uuid": "x"}
    date = formatdate(time.time() + ahead_s, usegmt=True)
    with answering(200, told, X_Elastic_Product="Elasticsearch", Date=date) as url:
        connection = ElasticConnection(ElasticIndexSettings(url))
        with caplog.at_level(logging.WARNING):
            for _ in range(3):
                connection.ask("GET", "/")
        connection.close()
    (record,) = [record for record in caplog.records if "clock" in record.getMessage()]
    assert abs(int(record.getMessage().split("by ")[1].split(" s")[0]) - ahead_s) < 60


@services
def test_the_servers_own_clock_is_read(real: ElasticIndexSettings, caplog: pytest.LogCaptureFixture) -> None:
    index = ElasticIndex(replace(real, clock_tolerance_s=1e-9))
    with caplog.at_level(logging.WARNING):
        index.check()
    index.close()
    assert [record for record in caplog.records if "clock of Elasticsearch" in record.getMessage()]


@pytest.mark.parametrize(
    ("wrong", "names"),
    [
        ({"url": "elastic:9200"}, "url"),
        ({"url": "http://me:secret@elastic:9200"}, "url"),
        ({"url": ""}, "url"),
        ({"prefix": "Calls-"}, "prefix"),
        ({"prefix": "_x"}, "prefix"),
        ({"prefix": "a,*"}, "prefix"),
        ({"shards": 0}, "shards"),
        ({"bulk_bytes": 0}, "bulk"),
        ({"request_timeout_s": 0}, "waits"),
        ({"highlights_per_call": 101}, "highlights"),
        ({"expunge_within_s": -1}, "expunge_within_s"),
    ],
)
def test_settings_are_checked(wrong: dict[str, object], names: str) -> None:
    with pytest.raises(ValueError, match=rf"\[elasticsearch\].*{names}.*\.$"):
        ElasticIndexSettings(**wrong)  # type: ignore[arg-type]
