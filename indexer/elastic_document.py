"""A CallDocument as the index holds it, and back.

`record` is the whole document, packed, and the only field that is ever read back into one; all others exist to
be searched and are made from it anew by a rebuild.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from events.call_document import CallDocument
from indexer.index import CallSummary
from indexer.summary import facts_of, speakers_of, summarize

MARK: Final = "\ue001"
UNMARK: Final = "\ue002"
"""Stand around what matched in highlighted texts; they are not in any indexed text."""
_NOT_IN_TEXT: Final = {ord(MARK): " ", ord(UNMARK): " "}
_LONGEST_FACT: Final = 10_000

_DOCUMENT: Final = msgspec.msgpack.Decoder(CallDocument)
_SUMMARY: Final = msgspec.msgpack.Decoder(CallSummary)
_LONGEST_INT: Final = 2**31 - 1


class RecordDamaged(ValueError):
    """The stored record is not what this program wrote."""


def plain(text: str) -> str:
    """Return `text` without the characters that mean something here; its length stays."""
    return text.translate(_NOT_IN_TEXT)


def index_document(document: CallDocument) -> dict[str, Any]:
    """Return the fields of calls.json."""
    summary = summarize(document)
    return {
        "call": document.call,
        "revision": document.revision,
        "state": document.state.value,
        "started_at_ms": document.started_at_ms,
        "duration_ms": document.duration_ms,
        "source": None if document.source is None else document.source.value,
        "rules": sorted({item.rule for item in document.findings}),
        "severities": sorted({item.severity.value for item in document.findings}),
        "findings": len(document.findings),
        "entities": [kind.value for kind in summary.entities],
        "speakers": sorted(role.value for role in speakers_of(document)),
        "about": [plain(fact)[:_LONGEST_FACT] for fact in facts_of(document)],
        "segments": [
            {
                "place": place,
                "id": segment.id,
                "leg": segment.leg,
                "role": segment.role.value,
                "start_ms": min(segment.start_ms, _LONGEST_INT),
                "word_starts_ms": [word.start_ms for word in segment.words],
                "text": plain(segment.text),
            }
            for place, segment in enumerate(document.segments)
        ],
        "summary": _packed(msgspec.msgpack.encode(summary)),
        "record": _packed(zlib.compress(msgspec.msgpack.encode(document), 1)),
    }


def only_known(fields: Mapping[str, Any], properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return `fields` without those that `properties` of a mapping do not name, at any depth."""
    kept: dict[str, Any] = {}
    for name, value in fields.items():
        if name not in properties:
            continue
        within = properties[name].get("properties")
        if within is not None and isinstance(value, list):
            value = [only_known(item, within) for item in value]
        kept[name] = value
    return kept


def tombstone(call: str) -> dict[str, Any]:
    """What stands in the place of a forgotten call."""
    return {"call": call, "forgotten": True}


def unpack_document(record: str) -> CallDocument:
    """Raises RecordDamaged."""
    try:
        return _DOCUMENT.decode(zlib.decompress(base64.b64decode(record)))
    except (binascii.Error, zlib.error, ValueError):
        raise RecordDamaged("A call's record in the index is damaged.") from None


def unpack_summary(packed: str) -> CallSummary:
    """Raises RecordDamaged."""
    try:
        return _SUMMARY.decode(base64.b64decode(packed))
    except (binascii.Error, ValueError):
        raise RecordDamaged("A call's summary in the index is damaged.") from None


def _packed(data: bytes) -> str:
    return base64.b64encode(data).decode()
