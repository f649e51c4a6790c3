"""Names and shapes of what the driver makes in a cluster.

<prefix>calls                           alias of all months: searches go here
<prefix>calls-2026-11                   alias of one month: everything of its calls is written and read here
<prefix>calls-2026-11-v1-000001         its index: mapping version and generation (rebuilding makes the next)
<prefix>calls-undated-...               calls whose words came before their start was known
<prefix>places                          in which of these each call is, decided once (see elastic_places)
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from typing import Any, Final

import msgspec

from indexer.elastic_settings import ElasticIndexSettings

OWNER: Final = "callwarden"
UNDATED: Final = "undated"
_EARLIEST_MS: Final = 946_684_800_000  # the year 2000
_LATEST_MS: Final = 4_102_444_800_000  # the year 2100


@dataclass(frozen=True, slots=True)
class Names:
    """The names below one prefix."""

    prefix: str

    @property
    def calls(self) -> str:
        return f"{self.prefix}calls"

    @property
    def places(self) -> str:
        return f"{self.prefix}places"

    def slot(self, slot: str) -> str:
        """The alias of one month."""
        return f"{self.calls}-{slot}"

    def index(self, slot: str, generation: int, copy: str = "") -> str:
        """The name of a month's index; `copy` tells apart those that are made at the same time."""
        return f"{self.calls}-{slot}-v{mapping_version()}-{generation:06d}{copy and '-'}{copy}"

    @property
    def index_pattern(self) -> str:
        return f"{self.calls}-*-v*"

    def generation(self, index: str) -> int:
        """The generation in the name of an index, 0 where it has none."""
        match = re.search(r"-v\d+-(\d{6,})(-[0-9a-f]+)?$", index)
        return int(match[1]) if match else 0


def slot_of(started_at_ms: int) -> str:
    """Return the month (UTC) of a call's start; `UNDATED` where it is not known or no time of a call."""
    if not _EARLIEST_MS <= started_at_ms < _LATEST_MS:
        return UNDATED
    return datetime.fromtimestamp(started_at_ms / 1000, UTC).strftime("%Y-%m")


def end_of_slot_ms(slot: str) -> int | None:
    """Return the first moment behind a month, UTC epoch milliseconds; None for `UNDATED`."""
    if slot == UNDATED:
        return None
    year, month = map(int, slot.split("-"))
    behind = datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC)
    return int(behind.timestamp() * 1000)


@cache
def _file(name: str) -> bytes:
    return (resources.files("indexer") / "mappings" / name).read_bytes()


def mapping_version() -> int:
    """The version of calls.json; it grows with every change of that file."""
    return int(msgspec.json.decode(_file("calls.json"))["template"]["mappings"]["_meta"]["version"])


def calls_template(names: Names, settings: ElasticIndexSettings) -> dict[str, Any]:
    """The index template of the months."""
    return _template("calls.json", names.index_pattern, settings)


def places_template(names: Names, settings: ElasticIndexSettings) -> dict[str, Any]:
    return _template("places.json", f"{names.places}-v*", settings)


def _template(file: str, pattern: str, settings: ElasticIndexSettings) -> dict[str, Any]:
    body: dict[str, Any] = msgspec.json.decode(_file(file))
    body["index_patterns"] = [pattern]
    # A write to an index that is gone must fail, not make an empty one without aliases.
    body["allow_auto_create"] = False
    index = body["template"]["settings"]["index"]
    index["number_of_shards"] = settings.shards if file == "calls.json" else 1
    index["number_of_replicas"] = settings.replicas
    return body
