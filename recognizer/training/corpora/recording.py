"""One stretch of speech with its words, and how its samples are read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recognizer.evaluation.audio_file import AudioFileError, to_telephone_rate

Float32 = NDArray[np.float32]

_WHOLE_FORMATS: Final = frozenset({".mp3"})
"""libsndfile seeks after every part of an MP3, which disturbs its decoding: these are read whole."""


class TranscriptKind(StrEnum):
    """How far the words of a recording may be trusted."""

    VERBATIM = "verbatim"
    """Somebody wrote down, or read out, just these words."""
    LABEL = "label"
    """Part of the file's name or of a form: likely, nobody checked it."""
    MACHINE = "machine"
    """A recogniser's guess."""
    NONE = "none"
    """There are no words: for self-training and speaker models."""


@dataclass(frozen=True, slots=True)
class Recording:
    """A stretch of one channel of a file.

    Attributes
    ----------
    path : Path
    channel : int
        From 0.
    start_s, end_s : float
        Within the file; seconds.
    words : tuple of str
        In the lexicon's spelling (:func:`~recognizer.training.corpora.spoken_form.spoken_words`).
    speaker : str
        ``<family>-<id>``; empty where unknown. Site calls have one per call and channel.
    corpus, split, licence : str
        Split is ``train``, ``dev``, ``test`` or ``untranscribed``.
    kind : TranscriptKind
    """

    path: Path
    channel: int
    start_s: float
    end_s: float
    words: tuple[str, ...]
    speaker: str
    corpus: str
    split: str
    licence: str
    kind: TranscriptKind

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.end_s - self.start_s


@dataclass
class LeftOut:
    """What a reader could not use: how much for which reason. A bad file never ends the reading of the others.

    Attributes
    ----------
    reasons : Counter
        Recordings (or files) by reason.
    first : dict
        The first file of each reason, for the person who mends it; names of files may hold personal data, so they
        are no part of `sentence`.
    """

    reasons: Counter[str] = field(default_factory=Counter)
    first: dict[str, Path] = field(default_factory=dict)

    def note(self, reason: str, path: Path) -> None:
        """Count `path` under `reason`, a noun phrase such as "no transcript"."""
        self.reasons[reason] += 1
        self.first.setdefault(reason, path)

    def sentence(self) -> str:
        """Return one sentence that names every reason; empty when nothing was left out."""
        if not self.reasons:
            return ""
        total = sum(self.reasons.values())
        named = ", ".join(f"{count:,} for {reason}" for reason, count in self.reasons.most_common())
        return f"{total:,} {'recording was' if total == 1 else 'recordings were'} left out: {named}."


@dataclass(frozen=True, slots=True)
class AudioShape:
    """What the header of an audio file says."""

    channels: int
    seconds: float


def audio_shape(path: Path) -> AudioShape | None:
    """Return channels and length of an audio file; None when it is missing, broken or empty."""
    import soundfile

    try:
        info = soundfile.info(path)
    except (OSError, RuntimeError, TypeError, ValueError):  # soundfile's errors are RuntimeErrors
        return None
    if info.frames < 1 or info.samplerate < 1 or info.channels < 1:
        return None
    return AudioShape(int(info.channels), info.frames / info.samplerate)


def read_samples(recording: Recording, *, telephone_rate: bool = True) -> tuple[Float32, int]:
    """Return the recording's samples, float32[n] in [-1, 1], and their rate: 8 kHz, or the file's own if asked.

    Raises
    ------
    AudioFileError
        The file is missing or damaged, or ends before the recording begins; the sentence names no file.
    """
    import soundfile

    whole = recording.path.suffix.lower() in _WHOLE_FORMATS
    try:
        rate = int(soundfile.info(recording.path).samplerate)
        first, last = round(recording.start_s * rate), round(recording.end_s * rate)
        bounds = {} if whole else {"start": first, "stop": last}
        samples, rate = soundfile.read(recording.path, dtype="float32", always_2d=True, **bounds)
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        raise AudioFileError("The recording is missing, damaged or of an unknown format.") from error
    if whole:
        samples = samples[first:last]
    if not len(samples) or recording.channel >= samples.shape[1]:
        raise AudioFileError("The recording has no such channel, or ends before the stretch that was asked for.")
    mono = np.ascontiguousarray(samples[:, recording.channel])
    if not np.isfinite(mono).all():
        raise AudioFileError("The recording holds values that are no numbers.")
    np.clip(mono, -1, 1, out=mono)
    return (to_telephone_rate(mono, int(rate)), 8000) if telephone_rate else (mono, int(rate))


def with_samples(recordings: Iterable[Recording], left_out: LeftOut) -> Iterator[tuple[Recording, Float32]]:
    """Yield each recording with its samples at 8 kHz; what cannot be read is counted in `left_out`."""
    for recording in recordings:
        try:
            samples, _ = read_samples(recording)
        except AudioFileError:
            left_out.note("unreadable audio", recording.path)
            continue
        yield recording, samples
