"""The recording's file: channels of 16-bit samples in sealed chunks that can be opened one by one.

    "CWREC1\\0\\0" | 16 random bytes, this file's own
    for each leg, in order: chunks of `CHUNK_SAMPLES` samples (the last one shorter), each
        nonce (12) | AES-256-GCM ciphertext of little-endian int16 | tag (16)
    footer: nonce | ciphertext of a msgpack map | tag
    length of the footer, 4 bytes little-endian
    "CWREC1\\0\\0"

A chunk's associated data is the file's random bytes, the call, which of the call's two recordings this is, the leg,
the chunk's number and the length of the whole. So a chunk that is moved, left out, or taken from another file (also
from an older one of the same call) does not open; nor does the footer of another file.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from events.errors import RetryLater, SealBroken
from events.identity import CallId
from events.sealing import NONCE_BYTES, seal, unseal

CHUNK_SAMPLES: Final = 32_768
"""About four seconds at 8 kHz: what is decrypted to play one byte."""

_MAGIC: Final = b"CWREC1\0\0"
_FILE_ID_BYTES: Final = 16
_DATA_START: Final = len(_MAGIC) + _FILE_ID_BYTES
_OVERHEAD: Final = NONCE_BYTES + 16
_MOST_FOOTER: Final = 65_536

Int16 = NDArray[np.int16]


class Version(StrEnum):
    BLEEPED = "bleeped"
    UNBLEEPED = "unbleeped"

    def file_name(self, call: CallId) -> str:
        return f"{call}.cwr" if self is Version.BLEEPED else f"{call}.unbleeped.cwr"


@dataclass(frozen=True, slots=True)
class Footer:
    call: CallId
    version: Version
    sample_rate: int
    samples: int
    """Of each leg."""
    legs: tuple[int, ...]
    content_sha256: bytes
    """Of the plain samples, leg after leg: tells whether two files hold the same recording."""

    @property
    def chunks_per_leg(self) -> int:
        return -(-self.samples // CHUNK_SAMPLES)

    def chunk_bytes(self, number: int) -> int:
        """Length of a chunk in the file."""
        return 2 * min(CHUNK_SAMPLES, self.samples - number * CHUNK_SAMPLES) + _OVERHEAD

    def chunk_offset(self, channel: int, number: int) -> int:
        per_leg = 2 * self.samples + self.chunks_per_leg * _OVERHEAD
        return _DATA_START + channel * per_leg + number * (2 * CHUNK_SAMPLES + _OVERHEAD)


def _chunk_name(
    file_id: bytes, call: CallId, version: Version, leg: int, number: int, samples: int, legs: int
) -> bytes:
    return file_id + f"|{call}|{version.value}|{leg}|{number}|{samples}|{legs}".encode()


def _footer_name(file_id: bytes, call: CallId, version: Version) -> bytes:
    return file_id + f"|{call}|{version.value}|footer".encode()


def write_recording(
    path: Path,
    key: bytes,
    call: CallId,
    version: Version,
    samples: int,
    sample_rate: int,
    legs: Iterable[tuple[int, Iterable[Int16]]],
) -> str:
    """Write a recording under its final name, whole or not at all, and return the file's SHA-256 in hex.

    A file that is there already and holds the same samples stays as it is, so that doing this again after a crash
    gives the same SHA-256.

    Parameters
    ----------
    legs
        (leg, windows): int16 windows of `CHUNK_SAMPLES` samples, the last one shorter, `samples` together.

    Raises
    ------
    RetryLater
        The disk is full or cannot be written; nothing is left behind.
    """
    with _disk_errors():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        for leftover in path.parent.glob(f"{path.name}.part-*"):
            leftover.unlink(missing_ok=True)
        part = path.parent / f"{path.name}.part-{secrets.token_hex(4)}"
        try:
            digest, content = _write_part(part, key, call, version, samples, sample_rate, list(legs))
            if _holds(path, key, call, version, content):
                part.unlink()
                with path.open("rb") as file:
                    return hashlib.file_digest(file, "sha256").hexdigest()
            os.replace(part, path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)
        return digest


def _write_part(
    part: Path,
    key: bytes,
    call: CallId,
    version: Version,
    samples: int,
    sample_rate: int,
    legs: list[tuple[int, Iterable[Int16]]],
) -> tuple[str, bytes]:
    digest, content = hashlib.sha256(), hashlib.sha256()
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:

        def put(data: bytes) -> None:
            file.write(data)
            digest.update(data)

        file_id = os.urandom(_FILE_ID_BYTES)
        put(_MAGIC + file_id)
        for leg, windows in legs:
            written = 0
            for number, window in enumerate(windows):
                assert window.size == min(CHUNK_SAMPLES, samples - written)
                plain = window.astype("<i2").tobytes()
                content.update(plain)
                put(seal(key, plain, _chunk_name(file_id, call, version, leg, number, samples, len(legs))))
                written += window.size
            assert written == samples
        footer = Footer(call, version, sample_rate, samples, tuple(leg for leg, _ in legs), content.digest())
        sealed = seal(key, msgspec.msgpack.encode(footer), _footer_name(file_id, call, version))
        put(sealed + len(sealed).to_bytes(4, "little") + _MAGIC)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest(), content.digest()


def _holds(path: Path, key: bytes, call: CallId, version: Version, content: bytes) -> bool:
    try:
        with SealedRecording(path, key, call, version) as there:
            return there.footer.content_sha256 == content
    except (FileNotFoundError, SealBroken):
        return False


class SealedRecording:
    """A recording's file, open for reading.

    Raises
    ------
    SealBroken
        The file is damaged, cut off, or belongs to another call, version or key.
    OSError
    """

    def __init__(self, path: Path, key: bytes, call: CallId, version: Version) -> None:
        self._key = key
        self._file: BinaryIO = path.open("rb")
        try:
            self.footer = self._read_footer(call, version)
        except BaseException:
            self._file.close()
            raise

    def _read_footer(self, call: CallId, version: Version) -> Footer:
        head = self._file.read(_DATA_START)
        self._file_id = head[len(_MAGIC) :]
        end = self._file.seek(0, os.SEEK_END)
        tail_bytes = 4 + len(_MAGIC)
        if end < _DATA_START + tail_bytes or not head.startswith(_MAGIC):
            raise SealBroken("The recording's file is cut off, or is no recording.")
        self._file.seek(end - tail_bytes)
        tail = self._file.read(tail_bytes)
        length = int.from_bytes(tail[:4], "little")
        start = end - tail_bytes - length
        if tail[4:] != _MAGIC or length > _MOST_FOOTER or start < _DATA_START:
            raise SealBroken("The recording's file is cut off or damaged at its end.")
        self._file.seek(start)
        plain = unseal(self._key, self._file.read(length), _footer_name(self._file_id, call, version))
        footer = msgspec.msgpack.decode(plain, type=Footer)
        if footer.chunk_offset(len(footer.legs), 0) != start:
            raise SealBroken("The recording's file does not have the length that it should have.")
        return footer

    def chunk(self, channel: int, number: int) -> bytes:
        """Return a chunk's samples as little-endian int16. Raises SealBroken, OSError."""
        footer = self.footer
        self._file.seek(footer.chunk_offset(channel, number))
        sealed = self._file.read(footer.chunk_bytes(number))
        leg = footer.legs[channel]
        name = _chunk_name(
            self._file_id, footer.call, footer.version, leg, number, footer.samples, len(footer.legs)
        )
        return unseal(self._key, sealed, name)

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> SealedRecording:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def sync_folder(folder: Path) -> None:
    """Make names that were just put into a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _disk_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        what = "the disk is full" if error.errno == 28 else type(error).__name__
        raise RetryLater(f"The recording cannot be written now ({what}).") from None
