"""Mozilla Common Voice: ``train.tsv``, ``dev.tsv``, ``test.tsv`` beside a folder ``clips`` of MP3 files."""

from __future__ import annotations

import csv
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Final

from recognizer.training.corpora.recording import LeftOut, Recording, TranscriptKind, audio_shape
from recognizer.training.corpora.spoken_form import NoSpokenForm, spoken_words

LICENCE: Final = "CC0-1.0"
_SPLITS: Final = ("train", "dev", "test")
_ID_LETTERS: Final = 12
"""Of a client id's 128 hexadecimal digits: enough to tell speakers apart."""


def is_common_voice(folder: Path) -> bool:
    """Whether `folder` is one language of a release."""
    return (folder / "clips").is_dir() and any((folder / f"{split}.tsv").is_file() for split in _SPLITS)


def read_common_voice(folder: Path, left_out: LeftOut, known: Container[str] | None = None) -> Iterator[Recording]:
    """Yield the clips of the three official splits, in the order of the tables."""
    csv.field_size_limit(1 << 20)
    for split in _SPLITS:
        table = folder / f"{split}.tsv"
        if not table.is_file():
            continue
        try:
            with table.open(encoding="utf-8", newline="") as file:
                rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
        except (OSError, UnicodeDecodeError, csv.Error):
            left_out.note("a table that is no tab-separated UTF-8 text", table)
            continue
        for row in rows:
            name, text, client = row.get("path"), row.get("sentence"), row.get("client_id")
            if not name or client is None or Path(name).name != name:
                left_out.note("a table line without a clip", table)
                continue
            path = folder / "clips" / (name if Path(name).suffix else f"{name}.mp3")
            try:
                words = spoken_words(text or "", known)
            except NoSpokenForm:
                left_out.note("a transcript without a single spoken form", path)
                continue
            if not words:
                left_out.note("no transcript", path)
                continue
            shape = audio_shape(path)
            if shape is None:
                left_out.note("unreadable audio", path)
                continue
            speaker = f"commonvoice-{client[:_ID_LETTERS]}" if client else ""
            yield Recording(
                path, 0, 0.0, shape.seconds, words, speaker, "commonvoice", split, LICENCE, TranscriptKind.VERBATIM
            )
