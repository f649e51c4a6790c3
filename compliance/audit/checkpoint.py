"""Signed checkpoints: what the log's size and root were at a time, signed with the log's own key.

The text is a C2SP tlog-checkpoint (https://c2sp.org/tlog-checkpoint) in a signed note
(https://c2sp.org/signed-note), Ed25519, so that other tools can check it too::

    callwarden-audit-1f2e3d4c            origin: also the name of the key
    1234                                 size
    q1mc2v...=                           root, base64
    at_ms 1700000000000                  extension lines: time of the checkpoint, and how often one
    heartbeat_ms 600000                  is made even when nothing happens

    — callwarden-audit-1f2e3d4c Hz0uPA...=
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from compliance.audit.merkle import HASH_BYTES
from events.errors import CallwardenError

SIGNING_KEY_FILE: Final = "signing.key"
PUBLIC_KEY_FILE: Final = "public.key"
_ED25519: Final = b"\x01"
_MOST_NOTE_BYTES: Final = 16_384
_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,17}")


class CheckpointRefused(CallwardenError):
    """A checkpoint or key cannot be trusted; the text says why."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A tree head, signed. `note` is the whole text as it was signed and is shown to others."""

    origin: str
    size: int
    root: bytes
    at_ms: int
    heartbeat_ms: int
    note: str


@dataclass(frozen=True, slots=True)
class PublicKey:
    """The verifier's key: written ``name+id+base64`` as in C2SP signed-note."""

    name: str
    raw: bytes

    @property
    def id(self) -> bytes:
        """First four bytes of SHA-256(name, line feed, key type, key)."""
        return hashlib.sha256(self.name.encode() + b"\n" + _ED25519 + self.raw).digest()[:4]

    @property
    def text(self) -> str:
        return f"{self.name}+{self.id.hex()}+{base64.b64encode(_ED25519 + self.raw).decode()}"

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the raw key in groups of four digits, to be read out or printed."""
        digest = hashlib.sha256(self.raw).hexdigest()[:32]
        return " ".join(digest[i : i + 4] for i in range(0, 32, 4))


class SigningKey:
    """The log's private key."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        raw = private.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        name = f"callwarden-audit-{hashlib.sha256(raw).hexdigest()[:8]}"
        self.public = PublicKey(name, raw)

    @classmethod
    def generate(cls) -> SigningKey:
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def load_or_create(cls, folder: Path) -> SigningKey:
        """Read ``signing.key`` of `folder`, or make it and ``public.key`` at first start.

        Raises
        ------
        CheckpointRefused
            The file does not hold a private key, or the two files do not belong together.
        """
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / SIGNING_KEY_FILE
        if not path.exists():
            _write_new_key(path)
        try:
            private = serialization.load_pem_private_key(path.read_bytes(), password=None)
        except ValueError:
            raise CheckpointRefused(f"{path} does not hold a private key.") from None
        if not isinstance(private, Ed25519PrivateKey):
            raise CheckpointRefused(f"{path} does not hold an Ed25519 key.")
        key = cls(private)
        public = folder / PUBLIC_KEY_FILE
        if not public.exists():
            temporary = folder / f".{PUBLIC_KEY_FILE}.{os.getpid()}"
            temporary.write_text(key.public.text + "\n")
            temporary.replace(public)
        elif read_public_key(public) != key.public:
            raise CheckpointRefused(f"{public} does not belong to {path}: a key was exchanged.")
        return key

    def sign(self, size: int, root: bytes, at_ms: int, heartbeat_ms: int) -> Checkpoint:
        name = self.public.name
        root64 = base64.b64encode(root).decode()
        text = f"{name}\n{size}\n{root64}\nat_ms {at_ms}\nheartbeat_ms {heartbeat_ms}\n"
        signature = base64.b64encode(self.public.id + self._private.sign(text.encode())).decode()
        return Checkpoint(name, size, root, at_ms, heartbeat_ms, f"{text}\n— {name} {signature}\n")


def _write_new_key(path: Path) -> None:
    pem = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(pem)
        file.flush()
        os.fsync(file.fileno())
    try:
        # A link fails where a rename would overwrite: of two first starts at once, one key stays.
        os.link(temporary, path)
    except FileExistsError:
        pass
    finally:
        temporary.unlink()


def parse_public_key(text: str) -> PublicKey:
    """Read ``name+id+base64``. Raises CheckpointRefused."""
    parts = text.strip().split("+", 2)
    try:
        name, key_id, encoded = parts
        typed = base64.b64decode(encoded, validate=True)
    except (ValueError, binascii.Error):
        raise CheckpointRefused("A public key does not have the form name+id+base64.") from None
    key = PublicKey(name, typed[1:])
    if typed[:1] != _ED25519 or len(typed) != 33 or key.id.hex() != key_id:
        raise CheckpointRefused("A public key is not an Ed25519 key, or its id does not fit.")
    return key


def read_public_key(path: Path) -> PublicKey:
    """Read a key from its file. Raises CheckpointRefused, also when the file is not there."""
    return parse_public_key(_read_text(path, "The public key"))


def read_checkpoint(path: Path, key: PublicKey) -> Checkpoint:
    """Read a checkpoint that was kept in a file. Raises CheckpointRefused."""
    return open_checkpoint(_read_text(path, "The checkpoint"), key)


def _read_text(path: Path, what: str) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_MOST_NOTE_BYTES + 1).decode()
    except (OSError, UnicodeDecodeError):
        raise CheckpointRefused(f"{what} cannot be read from {path}.") from None


def open_checkpoint(note: str, key: PublicKey) -> Checkpoint:
    """Check a checkpoint's signature, then read it.

    Raises
    ------
    CheckpointRefused
        It was not signed by `key`, was changed, or is not a checkpoint.
    """
    text, separator, signatures = note.rpartition("\n\n")
    if not separator or len(note) > _MOST_NOTE_BYTES:
        raise CheckpointRefused("A checkpoint has no signature.")
    text += "\n"
    _check_signature(text, signatures, key)
    lines = text.split("\n")
    try:
        origin, size, root64, at, heartbeat = lines[:5]
        root = base64.b64decode(root64, validate=True)
    except (ValueError, binascii.Error):
        raise CheckpointRefused("A signed note is not a checkpoint.") from None
    if origin != key.name or len(root) != HASH_BYTES:
        raise CheckpointRefused("A signed note is a checkpoint of another log.")
    return Checkpoint(
        origin, _number(size), root, _extension(at, "at_ms"), _extension(heartbeat, "heartbeat_ms"), note
    )


def _check_signature(text: str, signatures: str, key: PublicKey) -> None:
    for line in signatures.splitlines():
        mark, _, rest = line.partition(" ")
        name, _, encoded = rest.partition(" ")
        if mark != "—" or name != key.name:
            continue
        try:
            blob = base64.b64decode(encoded, validate=True)
        except (ValueError, binascii.Error):
            continue
        if blob[:4] != key.id:
            continue
        try:
            Ed25519PublicKey.from_public_bytes(key.raw).verify(blob[4:], text.encode())
        except InvalidSignature:
            raise CheckpointRefused("A checkpoint was changed after it was signed.") from None
        return
    raise CheckpointRefused("A checkpoint was signed with another key than the one given.")


def _number(text: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise CheckpointRefused("A checkpoint holds a number in another form than decimal.")
    return int(text)


def _extension(line: str, name: str) -> int:
    key, _, value = line.partition(" ")
    if key != name:
        raise CheckpointRefused(f"A checkpoint lacks the line {name}.")
    return _number(value)
