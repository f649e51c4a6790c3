"""Words for recordings without: what a model hears in them, kept where it is sure of them (self-training).

The line ``id word word ...`` is what ``--transcripts`` takes. Beside the table lies ``TABLE.heard``, which has the
confidence of everything that was heard, so that a run that was broken off goes on where it was and another bound
costs no second hearing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import numpy as np

from recognizer.evaluation.audio_file import AudioFileError
from recognizer.evaluation.systems import Callwarden
from recognizer.training.channel import reference_channel
from recognizer.training.corpora.recording import Recording, TranscriptKind, read_samples

_FEWEST_WORDS: Final = 3
_BLOCK: Final = 32
_HEARD: Final = ".heard"


@dataclass(frozen=True, slots=True)
class Heard:
    """What a model made of a recording.

    Attributes
    ----------
    key : str
        Name of the audio file without its ending.
    words : tuple of str
    confidence : float
        Mean over the words; 0 without any.
    """

    key: str
    words: tuple[str, ...]
    confidence: float


def write_machine_transcripts(
    table: Path,
    recordings: Iterable[Recording],
    pack: Path,
    *,
    least_confidence: float = 0.75,
    jobs: int = 2,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> int:
    """Let `pack` hear the untranscribed among `recordings` and write what it is sure of to `table`.

    Parameters
    ----------
    table : Path
    recordings : iterable of Recording
        Those that have words, or are not of the split ``untranscribed``, are passed over.
    pack : Path
        A model pack.
    least_confidence : float
        Mean confidence of the words from which a recording is kept, if it has three words or more.
    jobs : int
        Processes.
    progress : callable
        Told how many were heard and how many there are.

    Returns
    -------
    int
        Recordings in the table.
    """
    untold = [each for each in recordings if each.kind is TranscriptKind.NONE and each.split == "untranscribed"]
    journal = table.with_name(table.name + _HEARD)
    heard = {each.key: each for each in _read(journal)}
    left = [each for each in untold if each.path.stem not in heard]
    progress(len(untold) - len(left), len(untold))
    blocks = [(left[at : at + _BLOCK], pack) for at in range(0, len(left), _BLOCK)]
    table.parent.mkdir(parents=True, exist_ok=True)
    with journal.open("a", encoding="utf-8") as file, ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        for block in pool.map(_hear, blocks):
            for each in block:
                file.write(json.dumps([each.key, each.confidence, *each.words]) + "\n")
                heard[each.key] = each
            file.flush()
            progress(len(heard), len(untold))
    told = [heard[each.path.stem] for each in untold if each.path.stem in heard]
    kept = [each for each in told if len(each.words) >= _FEWEST_WORDS and each.confidence >= least_confidence]
    new = table.with_name(table.name + ".new")
    new.write_text("".join(f"{each.key} {' '.join(each.words)}\n" for each in kept), "utf-8")
    new.replace(table)
    return len(kept)


def _read(journal: Path) -> Iterator[Heard]:
    """Yield the whole lines of `journal`; a run that was killed may have left half a one, which is cut off."""
    if not journal.exists():
        return
    text = journal.read_bytes()
    whole = text[: text.rfind(b"\n") + 1]
    if len(whole) < len(text):
        journal.write_bytes(whole)
    for line in whole.splitlines():
        key, confidence, *words = json.loads(line)
        yield Heard(key, tuple(words), confidence)


@lru_cache(maxsize=1)
def _system(pack: Path) -> Callwarden:
    return Callwarden(pack)


def _hear(block: tuple[Sequence[Recording], Path]) -> list[Heard]:
    recordings, pack = block
    found = []
    for each in recordings:
        try:
            samples, rate = read_samples(each)
        except AudioFileError:
            found.append(Heard(each.path.stem, (), 0.0))
            continue
        said = _system(pack).listen(reference_channel(samples, rate))
        confidence = float(np.mean(said.confidences)) if said.confidences else 0.0
        found.append(Heard(each.path.stem, said.words, round(confidence, 4)))
    return found
