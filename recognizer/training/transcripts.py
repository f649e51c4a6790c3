"""Words for recordings that came without: a table of ids and texts beside the audio, as speech corpora publish it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from recognizer.training.corpora.reading import CorpusError
from recognizer.training.corpora.recording import Recording, TranscriptKind


def with_transcripts(recordings: Sequence[Recording], table: Path) -> list[Recording]:
    """Give words to the untranscribed recordings that `table` names, and make them part of the training split.

    Parameters
    ----------
    recordings : sequence of Recording
    table : Path
        One ``id word word ...`` per line; the id is the name of the audio file without its ending (the form of
        LibriSpeech's ``*.trans.txt`` and Kaldi's ``text``).

    Raises
    ------
    CorpusError
        The table cannot be read.
    """
    try:
        lines = table.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CorpusError("The table of transcripts could not be read.") from error
    words = {key: tuple(text.lower().split()) for key, _, text in (line.partition(" ") for line in lines)}
    given = []
    for recording in recordings:
        found = words.get(recording.path.stem, ())
        if found and not recording.words and recording.split == "untranscribed":
            recording = replace(recording, words=found, split="train", kind=TranscriptKind.VERBATIM)
        given.append(recording)
    return given
