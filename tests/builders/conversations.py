"""Made conversations of two known speakers: who speaks when is known, because it was put there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dsp.speech_level import block_levels_dbm0
from recognizer.diarization.turns import Turn

Float32 = NDArray[np.float32]

_BLOCK = 80
_JOIN_BLOCKS = 30


def spoken_spans(samples: Float32) -> list[tuple[int, int]]:
    """Spans of speech in a clean recording of one speaker, in samples: within 35 dB of its loudest 10 ms."""
    levels = block_levels_dbm0(samples, _BLOCK)
    if not levels.size:
        return []
    loud = np.flatnonzero(levels > max(np.quantile(levels, 0.98) - 35, -60))
    if not loud.size:
        return []
    cuts = np.flatnonzero(np.diff(loud) > _JOIN_BLOCKS)
    starts, ends = np.concatenate((loud[:1], loud[cuts + 1])), np.concatenate((loud[cuts], loud[-1:]))
    return [(int(start) * _BLOCK, (int(end) + 1) * _BLOCK) for start, end in zip(starts, ends, strict=True)]


def conversation(
    first: Sequence[Float32],
    second: Sequence[Float32],
    rng: np.random.Generator,
    seconds: float = 90.0,
    overlap_share: float = 0.15,
) -> tuple[Float32, list[Turn]]:
    """Two speakers take turns of one to three utterances with pauses of up to a second, some turns overlapping.

    Returns the sum of both, clean, and the turns. Speaker 1 is up to 6 dB softer or louder than speaker 0.
    """
    mixed = np.zeros(round(seconds * 8000), np.float32)
    turns: list[Turn] = []
    gains = (1.0, 10 ** (rng.uniform(-6, 6) / 20))
    waiting = [list(rng.permutation(len(said))) for said in (first, second)]
    at, speaker = round(rng.uniform(0.2, 1.0) * 8000), 0
    while True:
        for _ in range(int(rng.integers(1, 4))):
            said = (first, second)[speaker]
            if not waiting[speaker]:
                waiting[speaker] = list(rng.permutation(len(said)))
            utterance = said[waiting[speaker].pop()]
            spans = spoken_spans(utterance)
            if not spans:
                continue
            begin, end = spans[0][0], spans[-1][1]
            if at + end - begin > mixed.size:
                return mixed, sorted(turns, key=lambda turn: turn.start_s)
            mixed[at : at + end - begin] += np.float32(gains[speaker]) * utterance[begin:end]
            turns += [Turn(speaker, (at + s - begin) / 8000, (at + e - begin) / 8000) for s, e in spans]
            at += end - begin + round(rng.uniform(0.1, 0.5) * 8000)
        if rng.random() < overlap_share:
            at -= round(rng.uniform(0.5, 1.5) * 8000)
        else:
            at += round(rng.uniform(-0.05, 0.8) * 8000)
        at = max(at, 0)
        speaker = 1 - speaker
