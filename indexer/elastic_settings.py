"""Settings of the Elasticsearch driver. This module knows nothing of the client library."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

_PREFIX: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,60}")


@dataclass(frozen=True, slots=True)
class ElasticIndexSettings:
    """Section ``[elasticsearch]``."""

    url: str = "http://127.0.0.1:9200"
    """Scheme, host and port; several nodes of one cluster are separated by commas."""
    prefix: str = "callwarden-"
    """Begins the name of every index, alias and template that is made; two engines on one cluster differ here."""
    api_key_secret: str = ""
    """API key as Elasticsearch gives it out (base64 of id and key), empty where the cluster asks for none."""
    ca_file: Path | None = None
    """Certificates (PEM) that vouch for the server; None for the system's own."""
    verify: bool = True
    """False takes any certificate: for a trial only, because anybody on the way can then read every call."""
    shards: int = 1
    """Primary shards of each month; one holds some 10 million calls well."""
    replicas: int = 1
    """Copies of each shard. A cluster of one node keeps none, and works."""
    refresh: Literal["search", "write"] = "search"
    """When what was put becomes findable: `search` has every first page ask for it, which costs writers nothing;
    `write` has every put wait for it, which is for clusters whose console may not refresh."""
    request_timeout_s: float = 30.0
    patience_s: float = 10.0
    """How long a write is tried again by itself, with growing pauses, before the stage is told to wait."""
    search_patience_s: float = 2.0
    """The same for reads: a person waits."""
    bulk_documents: int = 200
    bulk_bytes: int = 8_000_000
    """A bulk request is sent when it holds so many documents or bytes."""
    highlights_per_call: int = 3
    page_snapshot_s: int = 60
    """How long the snapshot behind pages 2 and later is kept from one page to the next (point in time)."""
    expunge_within_s: float = 90.0
    """`forget` returns when no file of the index holds the words any more, which takes Elasticsearch some 30 s, and
    gives up after this; 0 leaves the files to Elasticsearch's own merges, in which case they may hold the words for
    months."""
    clock_tolerance_s: float = 300.0
    """A server's clock that differs by more than this is reported."""
    connections: int = 10
    """Open connections to each node."""

    def __post_init__(self) -> None:
        for url in self.urls:
            parts = urlsplit(url)
            if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
                raise ValueError(
                    "[elasticsearch] url is like https://host:9200, without a user or password in it."
                )
        if not _PREFIX.fullmatch(self.prefix):
            raise ValueError("[elasticsearch] prefix begins with a-z or 0-9 and holds only a-z, 0-9, - and _.")
        if self.shards < 1 or self.replicas < 0 or self.connections < 1:
            raise ValueError("[elasticsearch] needs 1 or more shards and connections and 0 or more replicas.")
        if self.request_timeout_s <= 0 or self.patience_s < 0 or self.search_patience_s < 0:
            raise ValueError(
                "[elasticsearch] waits longer than 0 s for an answer and is patient for 0 s or longer."
            )
        if self.bulk_documents < 1 or self.bulk_bytes < 1:
            raise ValueError("[elasticsearch] bulk requests hold at least one document and one byte.")
        if not 0 <= self.highlights_per_call <= 100 or self.page_snapshot_s < 1:
            raise ValueError("[elasticsearch] shows 0 to 100 highlights a call and keeps pages for 1 s or longer.")
        if self.clock_tolerance_s <= 0 or self.expunge_within_s < 0:
            raise ValueError(
                "[elasticsearch] clock_tolerance_s is longer than 0 s and expunge_within_s 0 s or longer."
            )

    @property
    def urls(self) -> tuple[str, ...]:
        return tuple(part.strip().rstrip("/") for part in self.url.split(",") if part.strip()) or ("",)

    @property
    def shown_url(self) -> str:
        """The address as sentences name it."""
        return ", ".join(self.urls)
