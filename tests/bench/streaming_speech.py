"""Legs of speech for the streaming benchmark: recorded sentences with pauses, and when each word of them ends.

The sentences are real read speech through the simulated telephone line (`tests/golden/speech`, or every ``*.tsv`` of
the folder in ``CALLWARDEN_SPEECH_SETS``, the first 40 of each);
words' ends come from a forced alignment of the known text.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dsp import g711
from recognizer.acoustic_model import AcousticModel
from recognizer.evaluation.audio_file import read_audio
from recognizer.evaluation.telephone_channel import telephone_speech
from recognizer.evaluation.test_set import read_test_set
from recognizer.evaluation.word_errors import normalised_words
from recognizer.model_pack import ModelPack

GOLDEN = Path(__file__).parent.parent / "golden" / "speech"
PAUSE_S = (0.8, 3.0)
MOST = 40
"""Sentences of a table."""
_FRAME_MS = 30


@dataclass(frozen=True)
class Sentence:
    """float32[n] samples at 8 kHz, and (word, end in ms) where the alignment found them."""

    samples: np.ndarray
    words: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class SpokenLeg:
    """mu-law codes at 8 kHz, and (word, end in ms of the leg's time)."""

    codes: bytes
    words: tuple[tuple[str, int], ...]
    speech: float
    """Share of the time in which a sentence is being said."""


def sentences(pack: ModelPack) -> list[Sentence]:
    """Read and align the sentences; a sentence with a word that the lexicon lacks has no words to compare with."""
    folder = Path(os.environ.get("CALLWARDEN_SPEECH_SETS") or GOLDEN)
    model = AcousticModel.load(pack.acoustic_model, pack.acoustic_scale)
    number = {word: i for i, word in enumerate(pack.graph.words)}
    made = []
    for table in sorted(folder.glob("*.tsv")):
        for recording in read_test_set(table)[:MOST]:
            samples = telephone_speech(read_audio(recording.audio))
            stream, features = model.stream(), model.features()
            scores = np.concatenate([stream.accept(features.accept(samples)), stream.finish()])
            words = normalised_words(recording.text)
            ids = [number.get(word, -1) for word in words]
            spans = pack.aligner.align(ids, scores) if min(ids, default=-1) >= 0 else None
            ends = zip(words, (span.end_frame * _FRAME_MS for span in spans), strict=True) if spans else ()
            made.append(Sentence(samples, tuple(ends)))
    return made


def legs(spoken: Sequence[Sentence], count: int, seconds: float, seed: int = 0) -> list[SpokenLeg]:
    """Put sentences in random order behind each other, with pauses between them and faint noise under everything."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        size = int(seconds * 8000)
        line = rng.standard_normal(size).astype(np.float32) * np.float32(10 ** (-60 / 20))
        words: list[tuple[str, int]] = []
        place, said = int(rng.uniform(0, 2) * 8000), 0
        while True:
            sentence = spoken[int(rng.integers(len(spoken)))]
            if place + len(sentence.samples) > size:
                break
            line[place : place + len(sentence.samples)] += sentence.samples
            words += [(word, place // 8 + end_ms) for word, end_ms in sentence.words]
            said += len(sentence.samples)
            place += len(sentence.samples) + int(rng.uniform(*PAUSE_S) * 8000)
        pcm = np.clip(np.rint(line * 32768), -32768, 32767).astype(np.int16)
        made.append(SpokenLeg(g711.encode_mu_law(pcm).tobytes(), tuple(words), said / size))
    return made
