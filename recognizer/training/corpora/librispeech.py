"""LibriSpeech as OpenSLR 12 packs it: ``SET/SPEAKER/CHAPTER/SPEAKER-CHAPTER-NNNN.flac`` with ``.trans.txt`` tables."""

from __future__ import annotations

from collections.abc import Container, Iterator
from pathlib import Path
from typing import Final

from recognizer.training.corpora.held_out import LIBRISPEECH_DEV_SPEAKERS, LIBRISPEECH_SETS
from recognizer.training.corpora.recording import LeftOut, Recording, TranscriptKind, audio_shape
from recognizer.training.corpora.spoken_form import NoSpokenForm, spoken_words

LICENCE: Final = "CC-BY-4.0"
_SETS: Final = ("train-clean-*", "train-other-*", "dev-clean", "dev-other", "test-clean", "test-other")
_SUFFIXES: Final = (".flac", ".wav", ".mp3")


def is_librispeech(folder: Path) -> bool:
    """Whether `folder` is the corpus (or its parent, or one of its sets)."""
    return bool(_sets(folder))


def read_librispeech(folder: Path, left_out: LeftOut, known: Container[str] | None = None) -> Iterator[Recording]:
    """Yield the utterances of all sets in `folder`, sorted by path.

    dev-clean's speakers are ``train`` but for the two of the development set; dev-other and the test sets are
    ``test`` and so held out.
    """
    for subset in _sets(folder):
        for table in sorted(subset.glob("*/*/*.trans.txt")):
            yield from _chapter(table, subset.name, left_out, known)


def _sets(folder: Path) -> list[Path]:
    if any(folder.match(name) for name in _SETS):
        return [folder]
    for base in (folder, folder / "LibriSpeech"):
        found = sorted({path for name in _SETS for path in base.glob(name) if path.is_dir()})
        if found:
            return found
    return []


def _split(subset: str, speaker: str) -> str:
    if subset in LIBRISPEECH_SETS:
        return "test"
    return "dev" if speaker in LIBRISPEECH_DEV_SPEAKERS else "train"


def _chapter(table: Path, subset: str, left_out: LeftOut, known: Container[str] | None) -> Iterator[Recording]:
    try:
        lines = table.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        left_out.note("a chapter whose table of transcripts cannot be read", table)
        return
    speaker = table.parent.parent.name
    for line in lines:
        utterance, _, text = line.strip().partition(" ")
        if not utterance:
            continue
        candidates = [table.parent / f"{utterance}{suffix}" for suffix in _SUFFIXES]
        path = next((candidate for candidate in candidates if candidate.is_file()), candidates[0])
        if path.parent != table.parent:
            left_out.note("a transcript that names a file elsewhere", table)
            continue
        if not text.strip():
            left_out.note("no transcript", path)
            continue
        try:
            words = spoken_words(text, known)
        except NoSpokenForm:
            left_out.note("a transcript without a single spoken form", path)
            continue
        shape = audio_shape(path)
        if shape is None:
            left_out.note("unreadable audio", path)
            continue
        yield Recording(
            path, 0, 0.0, shape.seconds, words, f"librispeech-{speaker}", f"librispeech-{subset}",
            _split(subset, speaker), LICENCE, TranscriptKind.VERBATIM,
        )  # fmt: skip
