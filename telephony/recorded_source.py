"""Recorded calls as if they had just been captured, as fast as the sink takes them.

One channel is both parties on one leg; two channels are two legs. Which party is on which channel is a setting
(Amazon Connect, for one, puts the customer left), so the roles are never called verified. G.711 payload stays as
it is; everything else becomes 16-bit samples at the file's own rate. What is not WAV, or is a compressed WAV, is
decoded by ffmpeg through pydub.

Importing the same bytes twice gives the same call, because the call's id is made from them. File names often
hold names and telephone numbers of customers: a call's `external_id` is therefore the name that the user gave,
else the beginning of the file's SHA-256; the file's own name is kept only where the settings say so, and then
without its folders and with runs of four or more digits taken out.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np

from events.audio import AudioBlock, CallAudioEnded, Encoding, LegAudioEnded
from events.errors import CallwardenError, KeyDestroyed
from events.identity import CallId, Role, call_id_from_content
from events.lifecycle import CallEnded, CallSourceKind, CallStarted, EndReason, LegAdded, LegStatistics
from events.metrics import CALLS_ENDED, CALLS_STARTED, count
from telephony.recorded_wav import (
    OtherCodec,
    RecordingRefused,
    check_rate_and_channels,
    leg_payloads,
    parse_wav_header,
)
from telephony.source import AudioSink, SourceRecord

_log = logging.getLogger(__name__)

_SLICE_S: Final = 5
"""So much audio is in memory, and goes to the sink at once."""

# What may be handed to ffmpeg, and as what. Its own guess is never asked for: it would follow a playlist that
# calls itself audio to other files and to the network.
_DECODERS: Final = (
    (re.compile(rb"OggS"), "ogg"),
    (re.compile(rb"[.]snd"), "au"),
    (re.compile(rb"fLaC"), "flac"),
    (re.compile(rb"#!AMR"), "amr"),
    (re.compile(rb"....ftyp", re.DOTALL), "mp4"),
    (re.compile(rb"ID3|\xff[\xe2-\xe7\xf2-\xf7\xfa-\xff]"), "mp3"),
)


@dataclass(frozen=True, slots=True)
class RecordedSourceSettings:
    left_role: Role = Role.CUSTOMER
    right_role: Role = Role.AGENT
    block_ms: int = 100
    longest_hours: float = 12.0
    most_decoded_mb: int = 512
    """Compressed recordings are decoded whole in memory, which takes about three times this at the worst. It is
    4.4 hours of two channels at 16 kHz, and 44 minutes of two channels at 48 kHz."""
    keep_file_names: bool = False
    """Keep the file's name, less digits, as the call's external id."""

    def __post_init__(self) -> None:
        if not 20 <= self.block_ms <= 1000:
            raise ValueError("block_ms of recorded calls lies between 20 and 1,000.")
        if self.longest_hours <= 0 or self.most_decoded_mb < 1:
            raise ValueError("longest_hours and most_decoded_mb of recorded calls are positive.")


@dataclass(frozen=True, slots=True)
class ImportedCall:
    call: CallId
    duration_ms: int
    legs: int
    known_before: bool = False
    """The same recording was imported before, and its call has been processed or erased; no audio was written."""


class ImportStopped(CallwardenError):
    """The import was told to stop in the middle of a call; importing the file again completes that call."""


@dataclass(frozen=True, slots=True)
class _Sound:
    """What is common to all formats: payloads of all legs, slice by slice."""

    encoding: Encoding
    sample_rate: int
    legs: int
    samples: int
    slices: Iterator[list[bytes]]


class RecordedSource:
    """A `CallSource` of recorded files, one call each, one after the other.

    Parameters
    ----------
    files
        In the order in which they are to be read.
    on_call, on_refused
        Told what became of each file. A refused file does not keep the others from being imported.
    on_progress
        Told after each slice of a file which share of it, 0 to 1, is written.
    """

    def __init__(
        self,
        files: Sequence[Path],
        settings: RecordedSourceSettings | None = None,
        on_call: Callable[[Path, ImportedCall], None] | None = None,
        on_refused: Callable[[Path, RecordingRefused], None] | None = None,
        on_progress: Callable[[Path, float], None] | None = None,
    ) -> None:
        self._files = files
        self._settings = settings or RecordedSourceSettings()
        self._on_call = on_call
        self._on_refused = on_refused
        self._on_progress = on_progress

    def run(self, sink: AudioSink, stop: threading.Event) -> None:
        """Write every file's call. Returns early when `stop` is set. Raises what the sink raises."""
        for path in self._files:
            if stop.is_set():
                return
            try:
                imported = import_recording(
                    path, sink, self._settings, stop=stop, on_progress=self._progress_of(path)
                )
            except RecordingRefused as error:
                _log.warning("A recorded file was refused (%s).", error.cause)
                if self._on_refused:
                    self._on_refused(path, error)
            except ImportStopped:
                return
            else:
                if self._on_call:
                    self._on_call(path, imported)

    def _progress_of(self, path: Path) -> Callable[[float], None] | None:
        told = self._on_progress
        return None if told is None else lambda share: told(path, share)


def import_recording(
    path: Path,
    sink: AudioSink,
    settings: RecordedSourceSettings | None = None,
    *,
    name: str = "",
    started_at_ms: int | None = None,
    stop: threading.Event | None = None,
    on_progress: Callable[[float], None] | None = None,
) -> ImportedCall:
    """Write one recorded file to `sink` as a call.

    Parameters
    ----------
    name
        The user's own name of the call, kept as its external id. It should hold no personal data.
    started_at_ms
        UTC epoch milliseconds of the call's start. Absent, the file was last changed when the call ended.

    Raises
    ------
    RecordingRefused
        The file is no recording that can be read. Nothing was written.
    ImportStopped
        `stop` was set. What was written is an unfinished call until the file is imported again.
    """
    chosen = settings or RecordedSourceSettings()
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            digest = hashlib.file_digest(file, "sha256").digest()
            sound = _sound(file, path, status.st_size, chosen)
            duration_ms = -(-sound.samples * 1000 // sound.sample_rate)
            if started_at_ms is None:
                started_at_ms = status.st_mtime_ns // 1_000_000 - duration_ms
            started = CallStarted(
                call_id_from_content(digest),
                max(0, started_at_ms),
                CallSourceKind.IMPORT,
                external_id=name or _external_id(path, digest, chosen),
            )
            return _write(sink, started, sound, duration_ms, chosen, stop, on_progress)
    except OSError as error:
        raise RecordingRefused("unreadable", f"The file cannot be read: {error.strerror or 'unknown'}.") from None


def _external_id(path: Path, digest: bytes, settings: RecordedSourceSettings) -> str:
    if settings.keep_file_names:
        kept = re.sub(r"\d(?:[\s().+-]?\d){3,}", "", path.stem)
        kept = " ".join("".join(c if c.isprintable() else " " for c in kept).split())[:80]
        if kept:
            return kept
    return f"sha256-{digest.hex()[:16]}"


def _sound(file: BinaryIO, path: Path, file_bytes: int, settings: RecordedSourceSettings) -> _Sound:
    if file_bytes == 0:
        raise RecordingRefused("empty", "The file is empty.")
    file.seek(0)
    beginning = file.read(12)
    if beginning[:4] in (b"RIFF", b"RF64"):
        try:
            sound = _wav_sound(file, file_bytes)
        except OtherCodec:
            return _decoded_sound(path, "wav", settings)
        if sound.samples > settings.longest_hours * 3600 * sound.sample_rate:
            raise RecordingRefused("too_long", f"The recording is longer than {settings.longest_hours:g} hours.")
        return sound
    for pattern, decoder in _DECODERS:
        if pattern.match(beginning):
            return _decoded_sound(path, decoder, settings)
    raise RecordingRefused("not_audio", "The file is none of WAV, MP3, OGG, FLAC, M4A, AMR and AU audio.")


def _wav_sound(file: BinaryIO, file_bytes: int) -> _Sound:
    header = parse_wav_header(file, file_bytes)

    def slices() -> Iterator[list[bytes]]:
        file.seek(header.data_offset)
        left = header.frames
        while left:
            frames = min(left, _SLICE_S * header.sample_rate)
            data = file.read(frames * header.frame_bytes)
            if len(data) < frames * header.frame_bytes:
                raise RecordingRefused("changed", "The file was cut off while it was read; import it again.")
            yield leg_payloads(header, data)
            left -= frames

    return _Sound(header.encoding, header.sample_rate, header.channels, header.frames, slices())


def _decoded_sound(path: Path, decoder: str, settings: RecordedSourceSettings) -> _Sound:
    if shutil.which("ffmpeg") is None or shutil.which("ffprobe") is None:
        raise RecordingRefused(
            "no_ffmpeg",
            "Compressed recordings need ffmpeg, which is not installed (Debian, Ubuntu: apt-get install ffmpeg).",
        )
    # Here, because pydub warns at import where there is no ffmpeg.
    from pydub import AudioSegment
    from pydub.utils import mediainfo_json

    try:
        streams = mediainfo_json(str(path)).get("streams", [])
        stream = next(stream for stream in streams if stream.get("codec_type") == "audio")
        rate, channels = int(stream["sample_rate"]), int(stream["channels"])
    except Exception as error:
        raise _undecodable(error) from None
    check_rate_and_channels(rate, channels)
    longest_s = int(min(settings.longest_hours * 3600, settings.most_decoded_mb * 1e6 / (2 * rate * channels)))
    try:
        # A bound on the length bounds the memory, whatever a small file claims to unpack to.
        segment = AudioSegment.from_file(path, format=decoder, duration=longest_s + 1)
        rate, channels, samples = segment.frame_rate, segment.channels, int(segment.frame_count())
        data = segment.set_sample_width(2).raw_data
    except Exception as error:
        raise _undecodable(error) from None
    check_rate_and_channels(rate, channels)
    if samples == 0:
        raise RecordingRefused("no_samples", "The recording has no samples.")
    if samples > longest_s * rate:
        raise RecordingRefused(
            "too_long",
            f"The compressed recording is longer than {longest_s:,} s, too much for its rate.",
        )

    def slices() -> Iterator[list[bytes]]:
        width = _SLICE_S * rate * 2 * channels
        for first in range(0, len(data), width):
            frames = np.frombuffer(data[first : first + width], "<i2").reshape(-1, channels)
            yield [frames[:, channel].tobytes() for channel in range(channels)]

    return _Sound(Encoding.L16, rate, channels, samples, slices())


def _undecodable(error: Exception) -> RecordingRefused:
    # pydub raises its own, ffmpeg's and the standard library's errors, and their texts hold the path.
    _log.info("ffmpeg could not decode a recorded file (%s).", type(error).__name__)
    return RecordingRefused("undecodable", "The file is damaged; ffmpeg cannot decode it.")


def _write(
    sink: AudioSink,
    started: CallStarted,
    sound: _Sound,
    duration_ms: int,
    settings: RecordedSourceSettings,
    stop: threading.Event | None,
    on_progress: Callable[[float], None] | None,
) -> ImportedCall:
    call = started.call
    roles = [Role.MIXED] if sound.legs == 1 else [settings.left_role, settings.right_role]
    opening: list[SourceRecord] = [started]
    for leg, role in enumerate(roles):
        opening.append(LegAdded(call, leg, 0, role, False, encoding=sound.encoding.value))
    try:
        sink.write(opening)
        done = 0
        for payloads in sound.slices:
            if stop is not None and stop.is_set():
                raise ImportStopped("The import was stopped in the middle of a call.")
            records: list[SourceRecord] = list(_blocks(call, roles, sound, done, payloads, settings.block_ms))
            sink.write(records)
            done += len(payloads[0]) // sound.encoding.bytes_per_sample
            if on_progress:
                on_progress(done / sound.samples)
        legs = tuple(range(sound.legs))
        closing: list[SourceRecord] = [
            LegAudioEnded(call, leg, role, sound.sample_rate, done) for leg, role in enumerate(roles)
        ]
        closing.append(CallAudioEnded(call, legs, duration_ms))
        statistics = tuple(LegStatistics(leg, samples=done) for leg in legs)
        ended_at_ms = started.started_at_ms + duration_ms
        closing.append(CallEnded(call, ended_at_ms, duration_ms, EndReason.IMPORTED, statistics))
        sink.write(closing)
    except KeyDestroyed:
        return ImportedCall(call, duration_ms, sound.legs, known_before=True)
    count(CALLS_STARTED, source=CallSourceKind.IMPORT.value)
    count(CALLS_ENDED, reason=EndReason.IMPORTED.value)
    return ImportedCall(call, duration_ms, sound.legs)


def _blocks(
    call: CallId, roles: Sequence[Role], sound: _Sound, start: int, payloads: list[bytes], block_ms: int
) -> Iterator[AudioBlock]:
    """Yield the blocks of one slice, in order of time."""
    width = sound.encoding.bytes_per_sample
    samples = len(payloads[0]) // width
    step = sound.sample_rate * block_ms // 1000
    for first in range(0, samples, step):
        size = min(step, samples - first)
        for leg, role in enumerate(roles):
            payload = payloads[leg][first * width : (first + size) * width]
            yield AudioBlock(call, leg, role, sound.encoding, sound.sample_rate, start + first, size, payload)
