"""Phones with times for the training data: the transcripts laid over the recordings by a network that exists already.

The first network of all was trained from another recogniser's alignments; since then the shipped pack aligns. After a
training the new network may align anew (`--align-with`), which is worth doing when it is much better.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recognizer.forced_alignment import Alignment, AlignmentError, ForcedAligner

_SILENCE = 1
_FRAME_MS = 10


@dataclass(frozen=True)
class PhoneSegments:
    """The phones of an utterance, silence included, without gaps; times in feature frames of 10 ms.

    Attributes
    ----------
    phone : int16[phones]
        Labels from 1; 1 is silence.
    start, end : float32[phones]
    """

    phone: NDArray[np.int16]
    start: NDArray[np.float32]
    end: NDArray[np.float32]

    @classmethod
    def of(cls, alignment: Alignment, phones: tuple[str, ...]) -> PhoneSegments:
        """Flatten `alignment`; what lies between words is silence."""
        label = {name: i for i, name in enumerate(phones, 1)}
        rows: list[tuple[int, float, float]] = []
        told = 0
        for word in alignment.words:
            for spoken in word.phones:
                if spoken.start_ms > told:
                    rows.append((_SILENCE, told / _FRAME_MS, spoken.start_ms / _FRAME_MS))
                rows.append((label[spoken.phone], spoken.start_ms / _FRAME_MS, spoken.end_ms / _FRAME_MS))
                told = spoken.end_ms
        if told < alignment.duration_ms:
            rows.append((_SILENCE, told / _FRAME_MS, alignment.duration_ms / _FRAME_MS))
        columns = np.array(rows, np.float32).reshape(-1, 3)
        return cls(columns[:, 0].astype(np.int16), columns[:, 1].copy(), columns[:, 2].copy())

    def leaves(self, leaf: NDArray[np.integer[Any]]) -> NDArray[np.int32]:
        """Return the leaf of each phone after its left neighbour; before the first one lies silence."""
        left = np.concatenate(([_SILENCE], self.phone[:-1]))
        return np.asarray(leaf[left, self.phone], np.int32)


def mean_score(alignment: Alignment) -> float:
    """Return the mean score of the words, the measure by which badly transcribed utterances are left out."""
    lengths = [max(1, word.end_ms - word.start_ms) for word in alignment.words]
    return float(np.average([word.score for word in alignment.words], weights=lengths))


def align(
    aligner: ForcedAligner, words: tuple[str, ...], samples: NDArray[np.float32], phones: tuple[str, ...]
) -> tuple[PhoneSegments, float] | None:
    """Return phones and score of an utterance in the reference channel, or None if its words do not fit."""
    try:
        alignment = aligner.align(words, lambda: [samples])
    except AlignmentError:
        return None
    segments = PhoneSegments.of(alignment, phones)
    return (segments, mean_score(alignment)) if len(segments.phone) > 1 else None
