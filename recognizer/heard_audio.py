"""A leg's latest samples, kept for whoever wants to hear an utterance again."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]


class HeardAudio:
    """Samples from some moment on, by their place on the call's timeline (8 kHz).

    Whoever uses it says what is not needed any more; an utterance of 20 s takes 0.6 MB.
    """

    def __init__(self) -> None:
        self._blocks: deque[tuple[int, Float32]] = deque()

    @property
    def samples(self) -> int:
        """How many samples are kept."""
        return sum(len(block) for _, block in self._blocks)

    def append(self, first_sample: int, samples: Float32) -> None:
        """Keep a copy of `samples` (float32[n]), which follow those before."""
        if len(samples):
            self._blocks.append((first_sample, samples.copy()))

    def forget_before(self, sample: int) -> None:
        """Let go of the blocks that end at `sample` or before it."""
        while self._blocks and self._blocks[0][0] + len(self._blocks[0][1]) <= sample:
            self._blocks.popleft()

    def between(self, first_sample: int, end_sample: int) -> Float32:
        """Return float32[end_sample - first_sample]; zeros where nothing is kept."""
        found = np.zeros(max(0, end_sample - first_sample), np.float32)
        for start, block in self._blocks:
            begin, end = max(start, first_sample), min(start + len(block), end_sample)
            if begin < end:
                found[begin - first_sample : end - first_sample] = block[begin - start : end - start]
        return found
