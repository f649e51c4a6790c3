"""The Elasticsearch driver under the laws of CallIndex, and what is its own."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from indexer.elastic_connection import ElasticConnection
from indexer.elastic_index import ElasticIndex
from indexer.elastic_settings import ElasticIndexSettings
from indexer.index import CallIndex, CallQuery
from tests.builders.swept_index import sweep
from tests.contracts.call_index_laws import CallIndexLaws
from tests.services.needed import ELASTICSEARCH_VARIABLE, elasticsearch_url, services

pytestmark = services


def prefix_of(folder: Path) -> str:
    """One index a test: the same folder names the same one in every process."""
    test = next((part for part in (folder, *folder.parents) if part.parent.name.startswith("pytest-")), folder)
    return f"test-{hashlib.blake2b(str(test).encode(), digest_size=8).hexdigest()}-"


def settings_for(folder: Path) -> ElasticIndexSettings:
    return ElasticIndexSettings(
        url=os.environ[ELASTICSEARCH_VARIABLE], prefix=prefix_of(folder), replicas=0, expunge_within_s=0
    )


def open_index(folder: Path) -> CallIndex:
    return ElasticIndex(settings_for(folder))


def open_thorough_index(folder: Path) -> CallIndex:
    return ElasticIndex(replace(settings_for(folder), expunge_within_s=90))


@pytest.fixture(autouse=True)
def _swept(tmp_path: Path) -> Iterator[None]:
    elasticsearch_url()
    yield
    sweep(settings_for(tmp_path))


class TestElasticIndex(CallIndexLaws):
    opener = staticmethod(open_index)
    thorough_opener = staticmethod(open_thorough_index)

    def files_hold(self, folder: Path, word: str) -> bool:
        """The files lie on the server. They hold documents that can be found, and replaced ones until they are
        rewritten without them."""
        index = ElasticIndex(settings_for(folder))
        found = index.search(CallQuery(word)).total
        index.close()
        return found > 0 or replaced_documents(folder) > 0


def replaced_documents(folder: Path) -> int:
    """How many replaced or deleted documents are still in files of the index."""
    connection = ElasticConnection(settings_for(folder))
    answer = connection.ask("GET", f"/{prefix_of(folder)}calls/_segments")
    connection.close()
    return sum(
        segment["deleted_docs"]
        for index in answer["indices"].values()
        for copies in index["shards"].values()
        for shard in copies
        for segment in shard["segments"].values()
    )
