"""The blocks of a live call until its transcript has ended: a little in memory, the rest sealed in a scratch file.

Scratch files hold nothing that the event log does not hold too: after a crash they are made again by replay, so
they are neither synced nor kept. They are sealed under the capture key, and dead when it is destroyed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from dsp.front_end import LONGEST_HOLE_S
from dsp.resample import RATES, TELEPHONE_RATE
from events.audio import AudioBlock
from events.errors import NeverRetry, RetryLater
from events.identity import CallId
from events.sealing import CallKeys, seal, unseal
from events.topics import Key

_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(list[AudioBlock])
_LATEST_JOIN_S: Final = 24 * 3600


class ScratchFolder:
    """A folder of this process's own; those of processes that have died are removed.

    Parameters
    ----------
    root
        Shared by all processes; made when absent.
    """

    def __init__(self, root: Path) -> None:
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        for other in root.iterdir():
            _remove_if_dead(other)
        self.path = root / secrets.token_hex(8)
        self.path.mkdir(mode=0o700)
        self._lock = os.open(self.path / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def close(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def _remove_if_dead(folder: Path) -> None:
    try:
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return  # Just being made, or no scratch folder at all.
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    except OSError:
        pass
    finally:
        os.close(descriptor)


@dataclass(slots=True)
class _LegAudio:
    end_sample: int = 0
    """At the rate of the leg's last block."""
    rate: int = 0
    end_8k: int = 0
    waiting: list[AudioBlock] = field(default_factory=list)
    waiting_bytes: int = 0
    spilled: list[tuple[int, int]] = field(default_factory=list)
    """(offset, length) of sealed batches in the scratch file."""


class CallAudio:
    """One call's blocks, leg by leg.

    Parameters
    ----------
    scratch
        Folder for the sealed overflow.
    memory_bytes
        Payload kept in memory per leg before it goes to the scratch file.
    """

    def __init__(self, call: CallId, keys: CallKeys, scratch: Path, memory_bytes: int) -> None:
        self._call = call
        self._keys = keys
        self._path = scratch / f"{call}.scratch"
        self._memory_bytes = memory_bytes
        self._legs: dict[int, _LegAudio] = {}

    @property
    def legs(self) -> tuple[int, ...]:
        return tuple(sorted(self._legs))

    @property
    def samples(self) -> int:
        """Length of the call's audio in 8 kHz samples: the end of the leg that ends last."""
        return max((leg.end_8k for leg in self._legs.values()), default=0)

    def add(self, block: AudioBlock) -> None:
        """Take a block. Blocks of a leg come in order; what was taken before may come again.

        Raises
        ------
        NeverRetry
            The block has a rate or a place in time that no call has.
        RetryLater
            The scratch file cannot be written now; the block was not taken.
        KeyDestroyed
            The call was erased.
        """
        if block.sample_rate not in RATES:
            raise NeverRetry(f"An audio block has {block.sample_rate} samples a second.")
        leg = self._legs.get(block.leg) or _LegAudio(rate=block.sample_rate)
        behind = block.start_sample / block.sample_rate - leg.end_sample / leg.rate
        if behind > (LONGEST_HOLE_S if leg.end_sample else _LATEST_JOIN_S):
            raise NeverRetry("An audio block starts many hours behind the one before it.")
        if leg.waiting_bytes >= self._memory_bytes:
            self._spill(block.leg, leg)
        self._legs[block.leg] = leg
        leg.waiting.append(block)
        leg.waiting_bytes += len(block.payload) + 64
        leg.rate, leg.end_sample = block.sample_rate, block.start_sample + block.samples
        leg.end_8k = max(leg.end_8k, -(-leg.end_sample * TELEPHONE_RATE // leg.rate))

    def blocks(self, leg: int) -> Iterator[AudioBlock]:
        """Yield a leg's blocks in order. Raises RetryLater, SealBroken, KeyDestroyed."""
        audio = self._legs.get(leg)
        if audio is None:
            return
        if audio.spilled:
            key = self._keys.key(self._call, Key.CAPTURE)
            with _scratch_errors(), self._path.open("rb") as file:
                for number, (offset, length) in enumerate(audio.spilled):
                    file.seek(offset)
                    yield from _DECODER.decode(unseal(key, file.read(length), self._name(leg, number)))
        yield from audio.waiting

    def close(self) -> None:
        """Remove the scratch file."""
        with contextlib.suppress(OSError):
            self._path.unlink()

    def _spill(self, number: int, leg: _LegAudio) -> None:
        key = self._keys.key(self._call, Key.CAPTURE)
        sealed = seal(key, _ENCODER.encode(leg.waiting), self._name(number, len(leg.spilled)))
        with _scratch_errors(), self._path.open("ab", buffering=0) as file:
            os.fchmod(file.fileno(), 0o600)
            offset = file.tell()
            written = file.write(sealed)
            if written < len(sealed):
                file.truncate(offset)
                raise OSError(28, "short write")
        leg.spilled.append((offset, len(sealed)))
        leg.waiting, leg.waiting_bytes = [], 0

    def _name(self, leg: int, number: int) -> bytes:
        return f"{self._call}|scratch|{leg}|{number}".encode()


@contextlib.contextmanager
def _scratch_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        what = "the disk is full" if error.errno == 28 else type(error).__name__
        raise RetryLater(f"The archive's scratch file cannot be used now ({what}).") from None
