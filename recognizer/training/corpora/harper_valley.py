"""HarperValleyBank (Wu et al., 2020): bank calls at 8 kHz, one file for each party, JSON transcripts in segments.

``data/audio/{agent,caller}/CALL.wav``, ``data/transcript/CALL.json``, ``data/metadata/CALL.json``. A segment lies at
``offset_ms`` in its file; ``start_ms`` is its place in the conversation, which is another clock.
"""

from __future__ import annotations

import json
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Any, Final

from recognizer.training.corpora.recording import AudioShape, LeftOut, Recording, TranscriptKind, audio_shape
from recognizer.training.corpora.spoken_form import NoSpokenForm, spoken_words

LICENCE: Final = "CC-BY-4.0"
_ROLES: Final = {1: "caller", 2: "agent"}
_ROOM_S: Final = 0.15
"""Left standing on both sides of a segment: their bounds cut into words."""


def is_harper_valley(folder: Path) -> bool:
    """Whether `folder` is a checkout of the corpus, or its ``data`` folder."""
    return _data(folder) is not None


def _data(folder: Path) -> Path | None:
    for base in (folder / "data", folder):
        if (base / "transcript").is_dir() and (base / "audio").is_dir():
            return base
    return None


def read_harper_valley(
    folder: Path, left_out: LeftOut, known: Container[str] | None = None
) -> Iterator[Recording]:
    """Yield the segments of all calls that somebody transcribed, as split ``train``.

    There is no official split; callers choose speakers to tune on. Segments without words (empty, or nothing but
    tags) and those with ``<unk>`` are left out.
    """
    data = _data(folder)
    if data is None:
        return
    for transcript in sorted((data / "transcript").glob("*.json")):
        segments = _json(transcript)
        if not isinstance(segments, list):
            left_out.note("a transcript that is no JSON list", transcript)
            continue
        metadata = _json(data / "metadata" / transcript.name)
        shapes: dict[str, AudioShape | None] = {}
        for segment in segments:
            yield from _segment(segment, data, transcript.stem, metadata, shapes, left_out, known)


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def _segment(
    segment: Any,
    data: Path,
    call: str,
    metadata: Any,
    shapes: dict[str, AudioShape | None],
    left_out: LeftOut,
    known: Container[str] | None,
) -> Iterator[Recording]:
    transcript = data / "transcript" / f"{call}.json"
    try:
        role = _ROLES[segment["channel_index"]]
        begin, length = float(segment["offset_ms"]) / 1000, float(segment["duration_ms"]) / 1000
        text = segment["human_transcript"]
        if not (isinstance(text, str) and begin >= 0 and 0 < length < 3600):
            raise ValueError
    except (KeyError, TypeError, ValueError):
        left_out.note("a segment with a missing or wrong field", transcript)
        return
    path = data / "audio" / role / f"{call}.wav"
    try:
        words = spoken_words(text, known)
    except NoSpokenForm:
        left_out.note("a transcript with words that nobody understood", path)
        return
    if not words:
        left_out.note("no words", path)
        return
    if role not in shapes:
        shapes[role] = audio_shape(path)
    shape = shapes[role]
    if shape is None:
        left_out.note("unreadable audio", path)
        return
    if begin >= shape.seconds:
        left_out.note("a segment behind the end of its audio", path)
        return
    party = metadata.get(role) if isinstance(metadata, dict) else None
    speaker = party.get("speaker_id") if isinstance(party, dict) else None
    name = f"harpervalley-{speaker}" if isinstance(speaker, int | str) else f"harpervalley-{call}-{role}"
    yield Recording(
        path, 0, max(0.0, begin - _ROOM_S), min(begin + length + _ROOM_S, shape.seconds), words, name,
        "harpervalley", "train", LICENCE, TranscriptKind.VERBATIM,
    )  # fmt: skip
