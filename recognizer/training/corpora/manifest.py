"""A table of recordings, ``audio.tsv``: one line each, tab-separated, no quoting.

Columns: corpus, split, speaker, path (relative to the table), seconds, sample_rate, text, transcript_kind, licence;
more are ignored.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Final

from recognizer.training.corpora.recording import LeftOut, Recording, TranscriptKind, audio_shape
from recognizer.training.corpora.spoken_form import NoSpokenForm, spoken_words

NAME: Final = "audio.tsv"
COLUMNS: Final = ("corpus", "split", "speaker", "path", "seconds", "text", "transcript_kind", "licence")


def is_manifest(folder: Path) -> bool:
    """Whether `folder` holds a manifest."""
    return (folder / NAME).is_file()


def read_manifest(folder: Path, left_out: LeftOut, known: Container[str] | None = None) -> Iterator[Recording]:
    """Yield the recordings of ``folder/audio.tsv`` in its order; see :func:`spoken_words` for `known`."""
    table = folder / NAME
    try:
        with table.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    except (OSError, UnicodeDecodeError, csv.Error):
        left_out.note("a manifest that is no tab-separated UTF-8 text", table)
        return
    for row in rows:
        if any(not isinstance(row.get(column), str) for column in COLUMNS):
            left_out.note("a manifest line without all columns", table)
            continue
        path = folder / row["path"]
        try:
            kind = TranscriptKind(row["transcript_kind"])
            seconds = float(row["seconds"])
            words = spoken_words(row["text"], known)
        except NoSpokenForm:
            left_out.note("a transcript without a single spoken form", path)
            continue
        except ValueError:
            left_out.note("a manifest line with a wrong value", path)
            continue
        if not words and kind is not TranscriptKind.NONE:
            left_out.note("no transcript", path)
            continue
        shape = audio_shape(path)
        if shape is None:
            left_out.note("unreadable audio", path)
            continue
        # The table's length may be rounded up; nothing is asked for beyond the file's end.
        end = min(seconds, shape.seconds) if math.isfinite(seconds) and seconds > 0 else shape.seconds
        yield Recording(
            path, 0, 0.0, end, words, row["speaker"], row["corpus"], row["split"], row["licence"], kind
        )
