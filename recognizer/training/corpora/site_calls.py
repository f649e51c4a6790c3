"""A site's own calls: a folder of audio with transcripts beside it, in whichever of these forms they lie there.

For ``call.wav`` (any format that libsndfile reads; one or two channels), the first that is there:

==================  ====================================================================================================
``call.json``       a list of segments, or an object with it under ``segments``; a segment has ``text``, a start and an
                    end (``start_s``/``end_s``, ``start_ms``/``end_ms`` or ``start``/``end`` in seconds) and, of a
                    two-channel file, ``channel`` (from 0)
``call.tsv``        the same as a table with a header line
``call.stm``        NIST STM lines ``file channel speaker start end [<label>] text``; channels 1, 2 or A, B
``call.ctm``        NIST CTM lines ``file channel start duration word``; words less than half a second apart are joined
``call.0.txt``,     the whole text of one channel
``call.1.txt``
``call.txt``        the whole text of a recording with one channel
==================  ====================================================================================================

Whole texts of long calls are one long `Recording`: cut them by forced alignment (``callwarden align``) before training.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from recognizer.training.corpora.recording import AudioShape, LeftOut, Recording, TranscriptKind, audio_shape
from recognizer.training.corpora.spoken_form import NoSpokenForm, spoken_words

AUDIO_SUFFIXES: Final = frozenset({".wav", ".flac", ".ogg", ".opus", ".mp3", ".au", ".aiff"})
LICENCE: Final = "the site's own"
DEV_SHARE: Final = 0.1
_JOIN_S: Final = 0.5
_LONGEST_TRANSCRIPT: Final = 64 << 20
_CHANNELS: Final = {"1": 0, "2": 1, "a": 0, "b": 1}


class _Unusable(ValueError):
    """The transcript does not have the form that its name says."""


@dataclass(frozen=True, slots=True)
class _Segment:
    channel: int
    start_s: float
    end_s: float | None
    text: str


def is_site_folder(folder: Path) -> bool:
    """Whether `folder` holds audio at all, at any depth."""
    return next(_audio_files(folder), None) is not None


def read_site_calls(
    folder: Path, left_out: LeftOut, known: Container[str] | None = None, dev_share: float = DEV_SHARE
) -> Iterator[Recording]:
    """Yield the transcribed stretches of all calls in `folder`, sorted by path.

    About `dev_share` of the calls, chosen by a checksum of their names so that a growing folder keeps its split, are
    ``dev``; all parties of a call are in one split. Speakers are named by call and channel, never by what a file says.
    """
    for path in _audio_files(folder):
        digest = hashlib.sha256(str(path.relative_to(folder)).encode("utf-8", "surrogateescape")).digest()
        split = "dev" if digest[0] < 256 * dev_share else "train"
        shape = audio_shape(path)
        if shape is None:
            left_out.note("unreadable audio", path)
            continue
        try:
            segments = _segments(path, shape)
        except _Unusable:
            left_out.note("a transcript that is damaged or lacks a field", path)
            continue
        except OSError:
            left_out.note("an unreadable transcript", path)
            continue
        if segments is None:
            left_out.note("no transcript", path)
            continue
        for segment in segments:
            end = shape.seconds if segment.end_s is None else min(segment.end_s, shape.seconds)
            if not (0 <= segment.start_s < end and 0 <= segment.channel < shape.channels):
                left_out.note("a segment outside of its audio", path)
                continue
            try:
                words = spoken_words(segment.text, known)
            except NoSpokenForm:
                left_out.note("a transcript without a single spoken form", path)
                continue
            if not words:
                left_out.note("no words", path)
                continue
            yield Recording(
                path, segment.channel, segment.start_s, end, words, f"site-{digest.hex()[:10]}-{segment.channel}",
                "site", split, LICENCE, TranscriptKind.VERBATIM,
            )  # fmt: skip


def _audio_files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in AUDIO_SUFFIXES and path.is_file():
            yield path


def _segments(audio: Path, shape: AudioShape) -> list[_Segment] | None:
    for suffix, read in _FORMS.items():
        path = audio.with_suffix(suffix)
        if path.is_file():
            return read(_text(path), audio.stem)
    whole = [(channel, audio.with_suffix(f".{channel}.txt")) for channel in range(shape.channels)]
    found = [_Segment(channel, 0.0, None, _text(path)) for channel, path in whole if path.is_file()]
    single = audio.with_suffix(".txt")
    if not found and shape.channels == 1 and single.is_file():
        found = [_Segment(0, 0.0, None, _text(single))]
    return found or None


def _text(path: Path) -> str:
    if path.stat().st_size > _LONGEST_TRANSCRIPT:
        raise _Unusable
    try:
        return path.read_text("utf-8-sig")
    except UnicodeDecodeError:
        raise _Unusable from None


def _time(row: dict[str, Any], name: str) -> float:
    for key, scale in ((f"{name}_s", 1.0), (f"{name}_ms", 0.001), (name, 1.0)):
        if row.get(key) is not None:
            return float(row[key]) * scale
    raise _Unusable


def _row(row: Any) -> _Segment:
    try:
        if not isinstance(row, dict) or not isinstance(row.get("text"), str):
            raise _Unusable
        return _Segment(int(row.get("channel") or 0), _time(row, "start"), _time(row, "end"), row["text"])
    except (TypeError, ValueError, OverflowError):
        raise _Unusable from None


def _from_json(text: str, _: str) -> list[_Segment]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise _Unusable from None
    segments = document.get("segments") if isinstance(document, dict) else document
    if not isinstance(segments, list):
        raise _Unusable
    return [_row(segment) for segment in segments]


def _from_tsv(text: str, _: str) -> list[_Segment]:
    return [_row(row) for row in csv.DictReader(io.StringIO(text), delimiter="\t", quoting=csv.QUOTE_NONE)]


def _channel(name: str) -> int:
    if name.lower() not in _CHANNELS:
        raise _Unusable
    return _CHANNELS[name.lower()]


def _from_stm(text: str, stem: str) -> list[_Segment]:
    found = []
    for line in text.splitlines():
        fields = line.split(None, 5)
        if line.startswith(";;") or not fields or fields[0] != stem:
            continue
        said = fields[5] if len(fields) > 5 else ""
        if said.startswith("<"):
            said = said.partition(">")[2]
        if said.strip().lower() == "ignore_time_segment_in_scoring":
            continue
        try:
            found.append(_Segment(_channel(fields[1]), float(fields[3]), float(fields[4]), said))
        except (IndexError, ValueError):
            raise _Unusable from None
    return found


def _from_ctm(text: str, stem: str) -> list[_Segment]:
    words = []
    for line in text.splitlines():
        fields = line.split()
        if line.startswith(";;") or not fields or fields[0] != stem:
            continue
        try:
            start = float(fields[2])
            words.append((_channel(fields[1]), start, start + float(fields[3]), fields[4]))
        except (IndexError, ValueError):
            raise _Unusable from None
    joined: list[_Segment] = []
    for channel, start, end, word in sorted(words):
        last = joined[-1] if joined else None
        if (
            last is not None
            and last.end_s is not None
            and last.channel == channel
            and start - last.end_s < _JOIN_S
        ):
            joined[-1] = _Segment(channel, last.start_s, end, f"{last.text} {word}")
        else:
            joined.append(_Segment(channel, start, end, word))
    return joined


_FORMS: Final[dict[str, Callable[[str, str], list[_Segment]]]] = {
    ".json": _from_json,
    ".tsv": _from_tsv,
    ".stm": _from_stm,
    ".ctm": _from_ctm,
}
