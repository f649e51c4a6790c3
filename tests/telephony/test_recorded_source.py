from __future__ import annotations

import hashlib
import os
import struct
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from events.audio import AudioBlock, CallAudioEnded, Encoding, LegAudioEnded
from events.errors import KeyDestroyed
from events.identity import Role
from events.lifecycle import CallEnded, CallStarted, EndReason, LegAdded
from events.metrics import IMPORT_REFUSED, counted
from telephony.recorded_source import (
    ImportedCall,
    ImportStopped,
    RecordedSource,
    RecordedSourceSettings,
    import_recording,
)
from telephony.recorded_wav import RecordingRefused
from telephony.source import SourceRecord

GOLDEN = Path(__file__).parents[1] / "golden" / "audio"
STEREO = GOLDEN / "pcm16_stereo.wav"


class ListSink:
    def __init__(self) -> None:
        self.records: list[SourceRecord] = []
        self.largest_write = 0

    def write(self, records: Sequence[SourceRecord]) -> None:
        self.records += records
        self.largest_write = max(self.largest_write, len(records))

    def blocks(self, leg: int) -> list[AudioBlock]:
        return [r for r in self.records if isinstance(r, AudioBlock) and r.leg == leg]

    def payload(self, leg: int) -> bytes:
        return b"".join(block.payload for block in self.blocks(leg))

    def of(self, kind: type) -> list[SourceRecord]:
        return [r for r in self.records if isinstance(r, kind)]


def taken(path: Path, **arguments: object) -> tuple[ListSink, ImportedCall]:
    sink = ListSink()
    return sink, import_recording(path, sink, **arguments)  # type: ignore[arg-type]


def wav(
    data: bytes, tag: int = 1, channels: int = 1, rate: int = 8000, bits: int = 16, data_bytes: int | None = None
) -> bytes:
    align = channels * bits // 8
    fmt = struct.pack("<HHIIHH", tag, channels, rate, rate * align & 0xFFFFFFFF, align & 0xFFFF, bits)
    size = len(data) if data_bytes is None else data_bytes
    body = b"WAVEfmt " + struct.pack("<I", 16) + fmt + b"data" + struct.pack("<I", size) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


def original() -> np.ndarray:
    return np.frombuffer(STEREO.read_bytes()[44:], "<i2").reshape(-1, 2)


def test_the_records_come_in_the_order_that_a_sink_is_promised() -> None:
    sink, imported = taken(STEREO, started_at_ms=1_700_000_000_000)
    kinds = [type(record).__name__ for record in sink.records]
    assert kinds == (
        ["CallStarted", "LegAdded", "LegAdded"]
        + ["AudioBlock"] * 10
        + ["LegAudioEnded", "LegAudioEnded", "CallAudioEnded", "CallEnded"]
    )
    assert imported == ImportedCall(sink.records[0].call, 500, 2)
    for leg in (0, 1):
        starts = [(block.start_sample, block.samples) for block in sink.blocks(leg)]
        assert starts == [(first, 800) for first in range(0, 4000, 800)]
    assert [r.end_sample for r in sink.of(LegAudioEnded)] == [4000, 4000]  # type: ignore[union-attr]
    (audio_end,) = sink.of(CallAudioEnded)
    assert isinstance(audio_end, CallAudioEnded)
    assert (audio_end.legs, audio_end.end_ms) == ((0, 1), 500)
    (end,) = sink.of(CallEnded)
    assert isinstance(end, CallEnded)
    assert (end.ended_at_ms, end.duration_ms, end.reason) == (1_700_000_000_500, 500, EndReason.IMPORTED)


def test_the_channels_are_the_parties_that_the_settings_name_and_nobody_verified_it() -> None:
    sink, _ = taken(STEREO)
    assert [(leg.role, leg.role_verified) for leg in sink.of(LegAdded)] == [  # type: ignore[union-attr]
        (Role.CUSTOMER, False),
        (Role.AGENT, False),
    ]
    swapped = RecordedSourceSettings(left_role=Role.AGENT, right_role=Role.CUSTOMER)
    sink, _ = taken(STEREO, settings=swapped)
    assert [block.role for block in (sink.blocks(0)[0], sink.blocks(1)[0])] == [Role.AGENT, Role.CUSTOMER]
    sink, _ = taken(GOLDEN / "a_law_mono.wav")
    assert [(leg.leg, leg.role) for leg in sink.of(LegAdded)] == [(0, Role.MIXED)]  # type: ignore[union-attr]


def test_g711_payload_stays_as_it_is() -> None:
    sink, _ = taken(GOLDEN / "mu_law_stereo.wav")
    data = (GOLDEN / "mu_law_stereo.wav").read_bytes()[58:]
    assert [sink.payload(leg) for leg in (0, 1)] == [data[0::2], data[1::2]]
    assert {block.encoding for block in sink.blocks(0)} == {Encoding.PCMU}
    sink, _ = taken(GOLDEN / "a_law_mono.wav")
    assert sink.payload(0) == (GOLDEN / "a_law_mono.wav").read_bytes()[58:]
    assert {block.encoding for block in sink.blocks(0)} == {Encoding.PCMA}


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [
        ("pcm16_stereo.wav", 0),
        ("pcm24_stereo.wav", 0),
        ("pcm32_stereo.wav", 0),
        ("float32_stereo.wav", 0),
        ("piped_stereo.wav", 0),
        ("pcm8_stereo.wav", 128),
    ],
)
def test_pcm_and_float_become_the_sixteen_bit_samples_they_were_made_from(name: str, tolerance: int) -> None:
    sink, _ = taken(GOLDEN / name)
    for leg in (0, 1):
        samples = np.frombuffer(sink.payload(leg), "<i2").astype(int)
        assert np.abs(samples - original()[:, leg]).max() <= tolerance
        assert {(b.encoding, b.sample_rate) for b in sink.blocks(leg)} == {(Encoding.L16, 8000)}


def test_other_rates_are_kept() -> None:
    sink, imported = taken(GOLDEN / "rate44100_stereo.wav")
    assert {(b.sample_rate, b.samples) for b in sink.blocks(0)} == {(44100, 4410)}
    assert imported.duration_ms == 500


@pytest.mark.parametrize(
    "name", ["mp3_stereo.mp3", "vorbis_stereo.ogg", "opus_stereo.ogg", "au_stereo.au", "gsm_mono.wav"]
)
def test_compressed_recordings_are_decoded_by_ffmpeg(name: str) -> None:
    sink, imported = taken(GOLDEN / name)
    assert imported.legs == (1 if name.startswith("gsm") else 2)
    assert 500 <= imported.duration_ms <= 620
    for leg, hertz in list(enumerate((440, 1000)))[: imported.legs]:
        samples = np.frombuffer(sink.payload(leg), "<i2").astype(float)
        spectrum = np.abs(np.fft.rfft(samples * np.hanning(samples.size)))
        assert abs(np.argmax(spectrum) * sink.blocks(leg)[0].sample_rate / samples.size - hertz) < 4


def test_without_ffmpeg_one_sentence_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RecordingRefused, match=r"need ffmpeg, which is not installed .*apt-get"):
        taken(GOLDEN / "mp3_stereo.mp3")
    taken(STEREO)


def test_the_same_bytes_give_the_same_call_under_any_name(tmp_path: Path) -> None:
    copy = tmp_path / "another name.wav"
    copy.write_bytes(STEREO.read_bytes())
    _, first = taken(STEREO)
    _, again = taken(copy)
    assert first.call == again.call
    _, other = taken(GOLDEN / "mu_law_stereo.wav")
    assert other.call != first.call


def test_the_external_id_holds_no_file_name_unless_told_to(tmp_path: Path) -> None:
    copy = tmp_path / "mary jones 0172-555 01 99 refund.wav"
    copy.write_bytes(STEREO.read_bytes())

    def external_id(**arguments: object) -> str:
        (started,) = taken(copy, **arguments)[0].of(CallStarted)
        assert isinstance(started, CallStarted)
        return started.external_id

    assert external_id() == "sha256-" + hashlib.sha256(STEREO.read_bytes()).hexdigest()[:16]
    assert external_id(name="case 17") == "case 17"
    kept = external_id(settings=RecordedSourceSettings(keep_file_names=True))
    assert kept == "mary jones refund"


def test_a_call_ends_when_its_file_was_last_changed(tmp_path: Path) -> None:
    copy = tmp_path / "call.wav"
    copy.write_bytes(STEREO.read_bytes())
    os.utime(copy, (1_600_000_000, 1_600_000_000))
    (started,) = taken(copy)[0].of(CallStarted)
    assert isinstance(started, CallStarted)
    assert started.started_at_ms == 1_600_000_000_000 - 500


BAD = {
    "empty": (b"", "The file is empty."),
    "not_audio": (b"PK\x03\x04 this is no sound at all", "none of WAV, MP3, OGG"),
    "not_wav": (b"RIFF\x10\0\0\0AVI LIST", "does not begin with a WAV header"),
    "no_data": (wav(b"")[:30], "ends before any samples"),
    "no_samples": (wav(b""), "has no samples"),
    "truncated": (wav(b"\0\0" * 100, data_bytes=400), "cut off; 200 bytes"),
    "rate": (wav(b"\0\0" * 100, rate=4_000_000_000), "4,000,000,000 samples a second"),
    "rate ": (wav(b"\0\0" * 100, rate=0), "0 samples a second"),
    "channels": (wav(b"\0\0" * 100, channels=0), "0 channels"),
    "channels ": (wav(b"\0\0" * 100, channels=6), "6 channels"),
    "bits": (wav(b"\0\0" * 100, bits=12), "12 bits"),
    "bad_header": (b"RIFF\x40\0\0\0WAVEdata\x04\0\0\0abcd", "samples come before their format"),
    "bad_header ": (b"RIFF\x40\0\0\0WAVEfmt \x04\0\0\0abcddata\x04\0\0\0abcd", "format chunk is too short"),
    "undecodable": (b"OggS" + b"\xff" * 200, "ffmpeg cannot decode it"),
    "undecodable ": (b"ID3\x04\0\0\0\0\0\x0a" + b"#EXTM3U\n/etc/hostname\n" * 9, "ffmpeg cannot decode it"),
}


@pytest.mark.parametrize("case", BAD)
def test_files_that_are_no_recording_are_refused_in_one_sentence_and_counted(case: str, tmp_path: Path) -> None:
    content, sentence = BAD[case]
    path = tmp_path / "private name.wav"
    path.write_bytes(content)
    before = counted(IMPORT_REFUSED, cause=case.strip())
    sink = ListSink()
    with pytest.raises(RecordingRefused, match=sentence) as refused:
        import_recording(path, sink)
    assert "private" not in str(refused.value)
    assert refused.value.cause == case.strip()
    assert sink.records == []
    assert counted(IMPORT_REFUSED, cause=case.strip()) == before + 1


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordingRefused, match="cannot be read: No such file"):
        taken(tmp_path / "missing.wav")
    with pytest.raises(RecordingRefused, match="cannot be read: Is a directory"):
        taken(tmp_path)


def test_a_refused_file_does_not_keep_the_others_from_being_imported(tmp_path: Path) -> None:
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"RIFF")
    calls: list[Path] = []
    refused: list[tuple[Path, str]] = []
    shares: list[float] = []
    source = RecordedSource(
        [bad, STEREO],
        on_call=lambda path, imported: calls.append(path),
        on_refused=lambda path, error: refused.append((path, error.cause)),
        on_progress=lambda path, share: shares.append(share),
    )
    sink = ListSink()
    source.run(sink, threading.Event())
    assert calls == [STEREO]
    assert refused == [(bad, "not_wav")]
    assert shares == [1.0]


def test_too_long_recordings_are_refused() -> None:
    short = RecordedSourceSettings(longest_hours=0.0001)
    with pytest.raises(RecordingRefused, match=r"longer than 0[.]0001 hours"):
        taken(STEREO, settings=short)
    with pytest.raises(RecordingRefused, match="compressed recording is longer than 0 s"):
        taken(GOLDEN / "mp3_stereo.mp3", settings=short)


def test_a_long_recording_goes_to_the_sink_in_slices(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    path.write_bytes(wav(bytes(2 * 8000 * 31), bits=16))
    sink, imported = taken(path)
    assert imported.duration_ms == 31_000
    assert sink.largest_write == 50


def test_stopping_leaves_the_call_unfinished(tmp_path: Path) -> None:
    stop = threading.Event()
    path = tmp_path / "long.wav"
    path.write_bytes(wav(bytes(2 * 8000 * 31), bits=16))
    sink = ListSink()
    with pytest.raises(ImportStopped):
        import_recording(path, sink, stop=stop, on_progress=lambda share: stop.set())
    assert len(sink.blocks(0)) == 50
    assert sink.of(CallEnded) == []
    RecordedSource([path]).run(sink, stop)
    assert len(sink.of(CallStarted)) == 1


def test_a_call_that_was_processed_before_is_told_apart() -> None:
    class Processed(ListSink):
        def write(self, records: Sequence[SourceRecord]) -> None:
            if any(isinstance(record, AudioBlock) for record in records):
                raise KeyDestroyed("The capture key of this call was destroyed.")
            super().write(records)

    assert import_recording(STEREO, Processed()).known_before


def test_extreme_samples_do_not_wrap(tmp_path: Path) -> None:
    path = tmp_path / "loud.wav"
    floats = np.array([2.0, -2.0, 1.0, -1.0, np.nan, np.inf, -np.inf, 0.5], "<f4")
    path.write_bytes(wav(floats.tobytes(), tag=3, bits=32))
    wanted = [32767, -32768, 32767, -32768, 0, 32767, -32768, 16384]
    assert np.frombuffer(taken(path)[0].payload(0), "<i2").tolist() == wanted
    path.write_bytes(wav(np.array([2**31 - 1, -(2**31), 2**15, -(2**15) - 1], "<i4").tobytes(), bits=32))
    assert np.frombuffer(taken(path)[0].payload(0), "<i2").tolist() == [32767, -32768, 1, -1]
    path.write_bytes(wav(b"\xff\xff\x7f\x00\x00\x80\x80\x00\x00", bits=24))
    assert np.frombuffer(taken(path)[0].payload(0), "<i2").tolist() == [32767, -32768, 1]


@settings(max_examples=150, deadline=None)
@given(at=st.integers(0, 43), value=st.binary(min_size=1, max_size=4), cut=st.integers(0, 400))
def test_a_damaged_header_is_taken_or_refused_but_never_crashes(
    tmp_path_factory: pytest.TempPathFactory, at: int, value: bytes, cut: int
) -> None:
    content = bytearray(wav(bytes(range(200)) * 2))
    content[at : at + len(value)] = value
    path = tmp_path_factory.getbasetemp() / "damaged.wav"
    path.write_bytes(content[: len(content) - cut])
    try:
        sink, imported = taken(path)
    except RecordingRefused:
        return
    assert sum(block.samples for block in sink.blocks(0)) > 0
    assert imported.duration_ms > 0
