"""One system on one test set: what was said and recognised, recording by recording, and the time it took."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from dsp.resample import TELEPHONE_RATE
from recognizer.evaluation.audio_file import AudioFileError, read_audio
from recognizer.evaluation.lattice_oracle import oracle_errors
from recognizer.evaluation.recognition import Recognition, Waits
from recognizer.evaluation.systems import StreamingSystem, System
from recognizer.evaluation.test_set import Recording
from recognizer.evaluation.word_errors import WordErrors, align_words, count_errors, normalised_words

Float32 = NDArray[np.float32]
Channel = Callable[[Float32], Float32]


@dataclass(frozen=True)
class Outcome:
    """One recording.

    Attributes
    ----------
    said, recognised : tuple of str
        Words as compared.
    confidences : tuple of float
        One per recognised word; empty where the system tells none.
    speaker : str
        Empty where the table does not tell.
    audio_s, processor_s : float
    waits : Waits
    oracle_errors : int, optional
        Of the best path through the lattices; None where they were not kept.
    """

    said: tuple[str, ...]
    recognised: tuple[str, ...]
    confidences: tuple[float, ...] = ()
    speaker: str = ""
    audio_s: float = 0.0
    processor_s: float = 0.0
    waits: Waits = field(default_factory=Waits)
    oracle_errors: int | None = None

    @cached_property
    def errors(self) -> WordErrors:
        return count_errors(self.said, self.recognised)

    @cached_property
    def edits(self) -> NDArray[np.int32]:
        """Said and recognised words opposite each other; see :func:`align_words`."""
        return align_words(self.said, self.recognised)


@dataclass(frozen=True)
class SetResult:
    """One system on one set.

    Attributes
    ----------
    name, system : str
    outcomes : tuple of Outcome
        In the set's order.
    unreadable : int
        Recordings left out because their audio could not be read.
    """

    name: str
    system: str
    outcomes: tuple[Outcome, ...]
    unreadable: int = 0

    @cached_property
    def errors(self) -> WordErrors:
        return sum((outcome.errors for outcome in self.outcomes), WordErrors())

    @property
    def recordings(self) -> int:
        return len(self.outcomes)

    @property
    def audio_s(self) -> float:
        """Length of what was measured."""
        return sum(outcome.audio_s for outcome in self.outcomes)

    @property
    def processor_s(self) -> float:
        """Processor time of the recognition, all threads; reading and channel simulation do not count."""
        return sum(outcome.processor_s for outcome in self.outcomes)

    @property
    def real_time_factor(self) -> float:
        """Seconds of one processor per second of audio."""
        return self.processor_s / self.audio_s if self.audio_s else 0.0

    @property
    def oracle_rate(self) -> float | None:
        """Errors per word of the best paths through the lattices; None where they were not kept."""
        errors = [outcome.oracle_errors for outcome in self.outcomes if outcome.oracle_errors is not None]
        return sum(errors) / self.errors.words if errors and self.errors.words else None

    @cached_property
    def waits(self) -> Waits:
        return sum((outcome.waits for outcome in self.outcomes), Waits())


def recognise_recording(recording: Recording, system: System, channel: Channel | None = None) -> Outcome:
    """Recognise one recording.

    Raises
    ------
    AudioFileError
        If its audio cannot be read.
    """
    samples = read_audio(recording.audio)
    if channel:
        samples = channel(samples)
    began = time.process_time()
    heard = (
        system.listen(samples)
        if isinstance(system, StreamingSystem)
        else Recognition(tuple(system.recognise(samples).split()))
    )
    processor_s = time.process_time() - began
    words: list[str] = []
    confidences: list[float] = []
    for place, word in enumerate(heard.words):
        compared = normalised_words(word)  # a hyphen makes two of one
        words += compared
        confidences += [heard.confidences[place]] * len(compared) if heard.confidences else []
    said = normalised_words(recording.text)
    kept = heard.lattices or (() if getattr(system, "keeps_lattices", False) else None)
    return Outcome(
        tuple(said),
        tuple(words),
        tuple(confidences),
        recording.speaker,
        len(samples) / TELEPHONE_RATE,
        processor_s,
        heard.waits,
        None if kept is None else oracle_errors(kept, heard.lattice_words, said),
    )


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
    outcomes, unreadable = [], 0
    for recording in recordings:
        try:
            outcomes.append(recognise_recording(recording, system, channel))
        except AudioFileError as error:
            complain(str(error))
            unreadable += 1
    result = SetResult(name, system.name, tuple(outcomes), unreadable)
    if pairs is not None:
        pairs += said_and_recognised(result)
    return result


def said_and_recognised(result: SetResult) -> list[tuple[str, str]]:
    """Return (said, recognised) per recording, as compared."""
    return [(" ".join(outcome.said), " ".join(outcome.recognised)) for outcome in result.outcomes]


def pooled(results: Sequence[SetResult]) -> SetResult:
    """Return several sets of one system as one, named ``all``."""
    outcomes = tuple(outcome for result in results for outcome in result.outcomes)
    return SetResult("all", results[0].system, outcomes, sum(result.unreadable for result in results))
