"""AES-256-GCM under a call's keys: records into sealed events and back."""

from __future__ import annotations

import os
from typing import Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from events import codec
from events.clock import Clock, SystemClock
from events.errors import SealBroken
from events.identity import CallId, RecordId, record_id
from events.log import Event
from events.topics import Key, Topic

NONCE_BYTES: Final = 12
KEY_BYTES: Final = 32


class CallKeys(Protocol):
    """What sealing asks of the key store."""

    def key(self, call: CallId, key: Key) -> bytes:
        """Return the 32-byte data key. Raises KeyDestroyed, or NeverRetry for a call that is not known."""
        ...


def seal(key: bytes, plaintext: bytes, associated: bytes) -> bytes:
    """Return nonce || ciphertext || tag (NIST SP 800-38D), with a fresh random 96-bit nonce."""
    nonce = os.urandom(NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, plaintext, associated)


def unseal(key: bytes, sealed: bytes, associated: bytes) -> bytes:
    """Return the plaintext. Raises SealBroken when anything does not belong together."""
    if len(sealed) < NONCE_BYTES + 16:
        raise SealBroken("A sealed value is too short to hold a nonce and a tag.")
    try:
        return AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], associated)
    except InvalidTag:
        raise SealBroken("A sealed value does not fit its key and record id.") from None


class Sealer:
    """Turns records into events of a topic and back. The record id and kind are the associated data."""

    def __init__(self, keys: CallKeys, clock: Clock | None = None) -> None:
        self._keys = keys
        self._clock = clock or SystemClock()

    def event(self, topic: Topic, record: codec.Record) -> Event:
        """Encode `record`, and seal it where the topic says so.

        Raises
        ------
        KeyDestroyed
            The call has been processed or erased; nothing of it may be written any more.
        """
        kind = codec.kind_of(record)
        identity = id_of(record)
        call = getattr(record, "call", "")
        value = codec.encode(record)
        if topic.sealed_with is not None:
            value = seal(self._keys.key(CallId(call), topic.sealed_with), value, _associated(identity, kind))
        return Event(identity, call, kind, self._clock.now_ms(), value)

    def record(self, topic: Topic, event: Event) -> codec.Record:
        """Open and decode an event.

        Raises
        ------
        KeyDestroyed, SealBroken, NeverRetry
        """
        value = event.value
        if topic.sealed_with is not None:
            key = self._keys.key(CallId(event.key), topic.sealed_with)
            value = unseal(key, value, _associated(event.id, event.kind))
        return codec.decode(event.kind, value)


def _associated(identity: RecordId, kind: str) -> bytes:
    return f"{identity}|{kind}".encode()


def id_of(record: codec.Record) -> RecordId:
    """Return the record's own id, or the one made from its content (call, kind, leg, time)."""
    own = getattr(record, "id", None)
    if own is not None:
        revision = getattr(record, "revision", 0)
        status = getattr(record, "status", None)
        if status == "partial":
            return RecordId(f"{own}:partial:{revision}")
        return RecordId(own)
    kind = codec.kind_of(record)
    call = CallId(getattr(record, "call", ""))
    parts: list[int | str] = []
    for name in ("leg", "start_sample", "at_ms", "up_to_ms", "from_ms", "end_ms", "size"):
        value = getattr(record, name, None)
        if value is not None:
            parts.append(value)
    return record_id(call, kind, *parts)
