"""Names of things: calls, legs, speaker roles, and ids made from content."""

from __future__ import annotations

import hashlib
import re
import secrets
from enum import StrEnum
from typing import Final, NewType

CallId = NewType("CallId", str)
RecordId = NewType("RecordId", str)

# Lower-case hex keeps a call id safe in file names, URLs, HTML ids and Kafka keys alike.
_CALL_ID: Final = re.compile(r"[0-9a-f]{32}")


class Role(StrEnum):
    """Who speaks on a leg, as far as it is known."""

    AGENT = "agent"
    CUSTOMER = "customer"
    UNKNOWN = "unknown"
    """One party whose role nobody named."""
    MIXED = "mixed"
    """Both parties on one leg (mono recordings, plain two-party calls)."""


def new_call_id() -> CallId:
    """Return a random call id of 128 bits."""
    return CallId(secrets.token_hex(16))


def call_id_from_content(content_sha256: bytes) -> CallId:
    """Return the call id of a recording, so that importing a file twice gives one call."""
    return CallId(hashlib.blake2b(content_sha256, digest_size=16, person=b"callwarden-call").hexdigest())


def parse_call_id(text: str) -> CallId:
    """Check a call id that came from outside.

    Raises
    ------
    ValueError
        `text` is not 32 lower-case hexadecimal digits.
    """
    if not _CALL_ID.fullmatch(text):
        raise ValueError("A call id is 32 lower-case hexadecimal digits.")
    return CallId(text)


def record_id(call: CallId, kind: str, *parts: int | str) -> RecordId:
    """Return the id of a record, the same whenever the same record is made again.

    Parameters
    ----------
    call
        The call the record belongs to.
    kind
        The record's kind, as `codec.kind_of` names it.
    parts
        What tells records of one kind and call apart: leg, first sample, rule id.
    """
    return RecordId(":".join((call, kind, *(str(part) for part in parts))))
