"""Whole calls in a repository, cut into utterances of one file each.

The rules are those of the reader of a checkout (:mod:`recognizer.training.corpora.harper_valley`): it is given one
call's files at a time.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from recognizer.evaluation.audio_file import AudioFileError
from recognizer.training.corpora.harper_valley import read_harper_valley
from recognizer.training.corpora.recording import LeftOut, Recording, read_samples
from recognizer.training.public.git_mirror import AbsentFile, Archive
from recognizer.training.public.sound import pcm_16_bit, wav_16_bit

_FILES: Final = ("transcript/{}.json", "metadata/{}.json", "audio/agent/{}.wav", "audio/caller/{}.wav")


def call_segments(call: str, archive: Archive, left_out: LeftOut) -> Iterator[tuple[str, Recording, bytes]]:
    """Yield name (below the corpus's folder), description and WAV file of every utterance of a HarperValleyBank call.

    Parameters
    ----------
    call : str
        The name of its files.
    archive : Archive
    left_out : LeftOut
        Counts files and segments that cannot be used.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for form in _FILES:
            place = folder / "data" / form.format(call)
            place.parent.mkdir(parents=True, exist_ok=True)
            try:
                place.write_bytes(archive.read(f"data/{form.format(call)}"))
            except AbsentFile as error:
                left_out.note(str(error), place)
        for recording in read_harper_valley(folder, left_out):
            try:
                samples, rate = read_samples(recording, telephone_rate=False)
            except AudioFileError:
                left_out.note("unreadable audio", recording.path)
                continue
            first_ms = round(recording.start_s * 1000)
            place_in_call = f"{recording.path.parent.name}/{call}-{first_ms:07d}"
            yield place_in_call, recording, wav_16_bit(pcm_16_bit(samples), rate)
