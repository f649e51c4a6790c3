"""The bytes of a leaf: one entry as canonical JSON, the same in the log, in the tree and in an export.

A leaf is a JSON object with sorted keys, no white space, UTF-8, integers and strings only (a subset of RFC 8785).
Beside the entry's own fields it holds its `index` in the log, and `appended_ms`, the log's own clock when it was
written; the entry's `at_ms` is the clock of whoever acted, so the two together show clock skew and late entries.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from events.audit_entry import AuditEntry

FORMAT: Final = "callwarden-audit-entry/1"


class LeafRefused(ValueError):
    """Bytes are not the canonical encoding of an entry."""


@dataclass(frozen=True, slots=True)
class LoggedEntry:
    """An entry as it stands in the log."""

    index: int
    appended_ms: int
    """UTC epoch milliseconds."""
    entry: AuditEntry


@dataclass(frozen=True, slots=True)
class _Wrapped:
    format: str
    index: int
    appended_ms: int
    entry: AuditEntry


def canonical_json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def encode_leaf(logged: LoggedEntry) -> bytes:
    entry = logged.entry
    return canonical_json(
        {
            "format": FORMAT,
            "index": logged.index,
            "appended_ms": logged.appended_ms,
            "entry": {
                "id": entry.id,
                "at_ms": entry.at_ms,
                "actor": entry.actor,
                "actor_role": entry.actor_role,
                "action": entry.action.value,
                "subject": entry.subject,
                "outcome": entry.outcome.value,
                "reason": entry.reason,
                "via": entry.via,
                "address": entry.address,
                "sealed_detail": base64.b64encode(entry.sealed_detail).decode(),
            },
        }
    )


_DECODER: Final = msgspec.json.Decoder(_Wrapped)


def decode_leaf(leaf: bytes) -> LoggedEntry:
    """Read a leaf back, and insist that it has no second reading.

    Raises
    ------
    LeafRefused
        It is not an entry, or not in canonical form (spaces, other key order, a key twice).
    """
    try:
        wrapped = _DECODER.decode(leaf)
    except (msgspec.DecodeError, ValueError):
        raise LeafRefused("does not hold an audit entry") from None
    logged = LoggedEntry(wrapped.index, wrapped.appended_ms, wrapped.entry)
    if wrapped.format != FORMAT or encode_leaf(logged) != leaf:
        raise LeafRefused("is not in the canonical form of an audit entry")
    return logged
