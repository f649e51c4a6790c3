from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compliance.recordings.reader import OpenedRecording, RecordingMissing, RecordingReader
from compliance.recordings.sealed_recording import (
    CHUNK_SAMPLES,
    SealedRecording,
    Version,
    write_recording,
)
from events.errors import KeyDestroyed, RetryLater, SealBroken
from events.identity import CallId
from events.topics import Key

CALL, OTHER = CallId("a" * 32), CallId("b" * 32)
KEY = bytes(range(32))
SAMPLES = 2 * CHUNK_SAMPLES + 1234


class OneKey:
    def key(self, call: CallId, key: Key) -> bytes:
        if key is Key.CAPTURE:
            raise KeyDestroyed("The capture key of this call was destroyed.")
        return KEY


def legs_of(samples: int, legs: int = 2, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-32768, 32768, (legs, samples)).astype(np.int16)


def windows(leg: np.ndarray) -> Iterator[np.ndarray]:
    for first in range(0, leg.size, CHUNK_SAMPLES):
        yield leg[first : first + CHUNK_SAMPLES]


def written(folder: Path, sound: np.ndarray, call: CallId = CALL) -> tuple[Path, str]:
    path = folder / "2024-05" / Version.BLEEPED.file_name(call)
    legs = ((3 + leg, windows(samples)) for leg, samples in enumerate(sound))
    return path, write_recording(path, KEY, call, Version.BLEEPED, sound.shape[1], 8000, legs)


def opened(folder: Path) -> OpenedRecording:
    return RecordingReader(folder, OneKey()).open(CALL)


def test_a_recording_reads_as_a_wav_file_with_one_channel_a_leg(tmp_path: Path) -> None:
    sound = legs_of(SAMPLES)
    written(tmp_path, sound)
    with opened(tmp_path) as recording:
        assert recording.legs == (3, 4)
        assert recording.duration_ms == SAMPLES // 8
        assert recording.wav_length == 44 + 4 * SAMPLES
        content = recording.read(0, recording.wav_length - 1)
    assert content[:4] + content[8:16] == b"RIFFWAVEfmt "
    assert struct.unpack("<HHIIHH", content[20:36]) == (1, 2, 8000, 32000, 4, 16)
    assert struct.unpack("<I", content[40:44])[0] == 4 * SAMPLES == len(content) - 44
    np.testing.assert_array_equal(np.frombuffer(content[44:], "<i2").reshape(-1, 2), sound.T)


@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_any_range_of_bytes_is_that_range_of_the_whole(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.getbasetemp() / "ranges"
    written(folder, legs_of(SAMPLES))
    with opened(folder) as recording:
        whole = recording.read(0, recording.wav_length - 1)
        first = data.draw(st.integers(0, recording.wav_length + 10))
        last = data.draw(st.integers(first, recording.wav_length + 100))
        assert recording.read(first, last) == whole[first : last + 1]


def test_playing_a_byte_opens_only_its_chunk(tmp_path: Path) -> None:
    path, _ = written(tmp_path, legs_of(SAMPLES))
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    with opened(tmp_path) as recording:
        far = 44 + 4 * CHUNK_SAMPLES
        assert len(recording.read(far, far + 99)) == 100
        with pytest.raises(SealBroken):
            recording.read(44, 44)


def test_every_flipped_bit_and_every_cut_is_noticed(tmp_path: Path) -> None:
    sound = legs_of(50)
    path, _ = written(tmp_path, sound)
    good = path.read_bytes()

    def content() -> bytes:
        with opened(tmp_path) as recording:
            return recording.read(0, recording.wav_length)

    wanted = content()
    for at in range(len(good)):
        damaged = bytearray(good)
        damaged[at] ^= 1 << at % 8
        path.write_bytes(damaged)
        with pytest.raises(SealBroken):
            content()
    for length in range(len(good)):
        path.write_bytes(good[:length])
        with pytest.raises(SealBroken):
            content()
    path.write_bytes(good + b"\0")
    with pytest.raises(SealBroken):
        content()
    path.write_bytes(good)
    assert content() == wanted


def test_chunks_cannot_change_places_or_come_from_another_file(tmp_path: Path) -> None:
    path, _ = written(tmp_path, legs_of(2 * CHUNK_SAMPLES))
    older = path.read_bytes()
    path.unlink()
    written(tmp_path, legs_of(2 * CHUNK_SAMPLES, seed=1))
    newer = path.read_bytes()
    with SealedRecording(path, KEY, CALL, Version.BLEEPED) as recording:
        footer = recording.footer
    size = footer.chunk_bytes(0)
    places = [footer.chunk_offset(channel, number) for channel in (0, 1) for number in (0, 1)]

    def with_chunk(place: int, chunk: bytes) -> None:
        path.write_bytes(newer[:place] + chunk + newer[place + size :])

    for place in places:
        for source, other in [(newer, p) for p in places if p != place] + [(older, place)]:
            with_chunk(place, source[other : other + size])
            with opened(tmp_path) as recording, pytest.raises(SealBroken):
                recording.read(0, recording.wav_length)


def test_a_file_does_not_open_as_another_calls_or_version(tmp_path: Path) -> None:
    path, _ = written(tmp_path, legs_of(100))
    for call, version in ((OTHER, Version.BLEEPED), (CALL, Version.UNBLEEPED)):
        with pytest.raises(SealBroken):
            SealedRecording(path, KEY, call, version)


def test_writing_the_same_again_keeps_the_file_and_other_sound_replaces_it(tmp_path: Path) -> None:
    path, first = written(tmp_path, legs_of(5000))
    content = path.read_bytes()
    assert written(tmp_path, legs_of(5000))[1] == first
    assert path.read_bytes() == content
    assert written(tmp_path, legs_of(5000, seed=1))[1] != first
    path.write_bytes(b"damaged")
    assert written(tmp_path, legs_of(5000))[1] != first
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_failing_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("compliance.recordings.sealed_recording.os.fsync", full)
        with pytest.raises(RetryLater, match="disk is full"):
            written(tmp_path, legs_of(100))
    assert list((tmp_path / "2024-05").iterdir()) == []


def test_what_a_killed_writer_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / "2024-05").mkdir()
    leftover = tmp_path / "2024-05" / f"{CALL}.cwr.part-00000000"
    leftover.write_bytes(b"half")
    written(tmp_path, legs_of(100))
    assert not leftover.exists()


def test_a_call_without_audio_plays_as_an_empty_file(tmp_path: Path) -> None:
    written(tmp_path, np.zeros((0, 0), np.int16))
    with opened(tmp_path) as recording:
        assert recording.wav_length == 44
        assert len(recording.read(0, 1000)) == 44


def test_missing_and_erased_recordings_are_told_apart(tmp_path: Path) -> None:
    reader = RecordingReader(tmp_path, OneKey())
    with pytest.raises(RecordingMissing, match="No recording of this call is kept"):
        reader.open(CALL)
    path, _ = written(tmp_path, legs_of(10))
    (path.parent / Version.UNBLEEPED.file_name(CALL)).write_bytes(b"x")
    with pytest.raises(KeyDestroyed):
        reader.open(CALL, Version.UNBLEEPED)
