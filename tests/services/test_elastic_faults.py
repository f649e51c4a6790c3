"""Nothing is lost, doubled or left old when Elasticsearch fails; TLS, API key and CA file end to end."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError

import pytest

from events.errors import CallwardenError, StopConsumer
from indexer.elastic_index import ElasticIndex
from indexer.elastic_settings import ElasticIndexSettings
from indexer.index import CallQuery, PutOutcome
from tests.indexer.call_records import call_id, call_records, document_of
from tests.services.certificates import Authority, make_authority
from tests.services.faults.elastic_faults import FAULTS, SERVER_SETTINGS, Run
from tests.services.faults.index_rig import ask
from tests.services.needed import elasticsearch_url, fresh_prefix, own_servers, services
from tests.services.proxy import Proxy
from tests.services.servers import ElasticServer

pytestmark = services

KEY = "c29tZWJvZHk6c29tZSBrZXk="


@pytest.fixture(scope="module")
def server() -> Iterator[ElasticServer]:
    own_servers()
    with ElasticServer(settings=SERVER_SETTINGS) as server:
        yield server


@pytest.mark.parametrize("fault", [name for name in FAULTS if name != "none"])
def test_everything_is_in_the_index_in_the_end_once(server: ElasticServer, fault: str) -> None:
    verdict = FAULTS[fault](Run(server, calls=100, seconds=2.5, kills=1, hang_s=6.0))
    assert verdict.clean, verdict.row()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def proxy(authority: Authority) -> Iterator[Proxy]:
    with Proxy(elasticsearch_url(), authority.server_context(), KEY) as proxy:
        yield proxy


@pytest.fixture
def prefix() -> Iterator[str]:
    prefix = fresh_prefix()
    yield prefix
    url = elasticsearch_url()
    for name in ask(url, "GET", f"/{prefix}*/_settings?expand_wildcards=all"):
        ask(url, "DELETE", f"/{name}")
    with contextlib.suppress(HTTPError):  # 404 where there is none
        ask(url, "DELETE", f"/_index_template/{prefix}*")


def test_over_tls_with_an_api_key_and_a_ca_file(proxy: Proxy, authority: Authority, prefix: str) -> None:
    settings = ElasticIndexSettings(
        url=proxy.url, prefix=prefix, replicas=0, api_key_secret=KEY, ca_file=authority.ca_file
    )
    index = ElasticIndex(settings)
    index.check()
    document = document_of(call_records(call_id(1), [(0, "hello over tls")]))
    assert index.put(document) is PutOutcome.STORED
    assert index.get(document.call) == document
    assert index.search(CallQuery("tls")).total == 1
    index.close()
    assert proxy.unauthorised == 0


def refused(settings: ElasticIndexSettings) -> str:
    index = ElasticIndex(settings)
    try:
        with pytest.raises(CallwardenError) as raised:
            index.check()
        with pytest.raises(StopConsumer):
            index.put(document_of(call_records(call_id(1), [(0, "hello")])))
    finally:
        index.close()
    assert KEY not in str(raised.value)
    assert str(raised.value).endswith(".")
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize("key", ["", "d3Jvbmc6a2V5"])
def test_a_wrong_key_is_said_in_one_sentence(proxy: Proxy, authority: Authority, prefix: str, key: str) -> None:
    sentence = refused(
        ElasticIndexSettings(url=proxy.url, prefix=prefix, api_key_secret=key, ca_file=authority.ca_file)
    )
    assert "[elasticsearch] api_key_secret" in sentence
    assert proxy.unauthorised > 0
    assert not key or key not in sentence


def test_a_wrong_authority_is_said_in_one_sentence(proxy: Proxy, prefix: str, tmp_path: Path) -> None:
    other = make_authority(tmp_path, "Another authority")
    for ca_file in (other.ca_file, None):
        sentence = refused(ElasticIndexSettings(url=proxy.url, prefix=prefix, api_key_secret=KEY, ca_file=ca_file))
        assert "[elasticsearch] ca_file" in sentence
    assert proxy.fates.total() == 0, "The key was sent to a server that nobody vouches for."


def test_a_ca_file_that_is_none_is_said_in_one_sentence(proxy: Proxy, prefix: str, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("this is no certificate")
    for file in (tmp_path / "ca.pem", tmp_path / "missing.pem"):
        with pytest.raises(StopConsumer, match=r"\[elasticsearch\] ca_file"):
            ElasticIndex(ElasticIndexSettings(url=proxy.url, prefix=prefix, ca_file=file)).check()


def test_plain_http_to_a_tls_port_is_said_in_one_sentence(proxy: Proxy, prefix: str) -> None:
    index = ElasticIndex(
        ElasticIndexSettings(
            url=proxy.url.replace("https", "http"), prefix=prefix, patience_s=0, search_patience_s=0
        )
    )
    with pytest.raises(CallwardenError, match=r"\[elasticsearch\] url"):
        index.check()
    index.close()
