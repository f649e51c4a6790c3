"""One system on one test set: word errors and the time they took."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dsp.resample import TELEPHONE_RATE
from recognizer.evaluation.audio_file import AudioFileError, read_audio
from recognizer.evaluation.systems import System
from recognizer.evaluation.test_set import Recording
from recognizer.evaluation.word_errors import WordErrors, count_errors, normalised_words

Float32 = NDArray[np.float32]
Channel = Callable[[Float32], Float32]


@dataclass(frozen=True)
class SetResult:
    """Figures of one system on one set.

    Attributes
    ----------
    name, system : str
    errors : WordErrors
    recordings, unreadable : int
        Measured, and left out because their audio could not be read.
    audio_s : float
        Length of what was measured.
    processor_s : float
        Processor time of the recognition, all threads; reading and channel simulation do not count.
    """

    name: str
    system: str
    errors: WordErrors
    recordings: int
    unreadable: int
    audio_s: float
    processor_s: float

    @property
    def real_time_factor(self) -> float:
        """Seconds of one processor per second of audio."""
        return self.processor_s / self.audio_s if self.audio_s else 0.0


def measure(
    name: str,
    recordings: Iterable[Recording],
    system: System,
    channel: Channel | None = None,
    complain: Callable[[str], None] = lambda sentence: None,
    pairs: list[tuple[str, str]] | None = None,
) -> SetResult:
    """Recognise every recording and count.

    Parameters
    ----------
    name : str
        Of the set.
    recordings : iterable of Recording
    system : System
    channel : callable, optional
        Applied to each recording's samples first.
    complain : callable
        Called with one sentence per recording that cannot be read; the run goes on.
    pairs : list, optional
        Takes up (said, recognised) per recording, as compared.
    """
    errors = WordErrors()
    measured = unreadable = samples_total = 0
    processor_s = 0.0
    for recording in recordings:
        try:
            samples = read_audio(recording.audio)
        except AudioFileError as error:
            complain(str(error))
            unreadable += 1
            continue
        if channel:
            samples = channel(samples)
        began = time.process_time()
        text = system.recognise(samples)
        processor_s += time.process_time() - began
        said, recognised = normalised_words(recording.text), normalised_words(text)
        errors += count_errors(said, recognised)
        if pairs is not None:
            pairs.append((" ".join(said), " ".join(recognised)))
        measured += 1
        samples_total += len(samples)
    return SetResult(name, system.name, errors, measured, unreadable, samples_total / TELEPHONE_RATE, processor_s)
