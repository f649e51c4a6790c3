"""Chunks of utterances in batches, changed a little more each time they are drawn.

Chunks have one of a few lengths, so that a batch is a rectangle; long utterances are cut at random places, so each
pass over the data cuts elsewhere. What the copies cannot hold because it must never be twice the same is done here,
on the features: another vocal tract length, another slope of the line, bands and stretches that are blotted out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recognizer.acoustic_model import STACK
from recognizer.log_mel import BINS
from recognizer.training.lane_kernels import LANES
from recognizer.training.network import INPUT, NetworkShape
from recognizer.training.numerator import Chunk, Transcript

LENGTHS: Final = (33, 45, 60, 78)
"""Output frames of a chunk: 1 to 2.3 s."""
_WARPS: Final = 21
_LOW_HZ, _HIGH_HZ = 100.0, 3700.0


@dataclass(frozen=True)
class Example:
    """An utterance in one copy: features float16[frames, 40], normalised, and its phones."""

    features: NDArray[np.float16]
    transcript: Transcript


@dataclass(frozen=True)
class Distortion:
    """How features are changed when they are drawn.

    Attributes
    ----------
    warp : float
        Frequencies are scaled by up to so much either way (vocal tract length).
    tilt : float
        Standard deviation of slope, bow and wave added over the bands, constant through the chunk.
    band_share, most_bands : float, int
        How often a stretch of bands is set to the mean, and how many at most.
    time_share, most_frames : float, int
        The same for feature frames.
    """

    warp: float = 0.11
    tilt: float = 0.1
    band_share: float = 0.7
    most_bands: int = 13
    time_share: float = 0.5
    most_frames: int = 30


class Batches:
    """Draws batches of one process.

    Parameters
    ----------
    examples : sequence of Example
    shape : NetworkShape
        Says how much context a chunk needs.
    sequences : int
        Of a batch, a multiple of 16.
    tolerance : (int, int)
        Output frames by which a phone may come before and after its aligned time.
    distortion : Distortion, optional
        None for measuring: chunks are then cut evenly and always the same.
    seed : int
    """

    def __init__(
        self,
        examples: Sequence[Example],
        shape: NetworkShape,
        sequences: int,
        tolerance: tuple[int, int],
        distortion: Distortion | None,
        seed: int,
    ) -> None:
        if sequences % LANES:
            raise ValueError(f"A batch has a multiple of {LANES} sequences.")
        self._examples = examples
        self._shape = shape
        self._sequences = sequences
        self._tolerance = tolerance
        self._distortion = distortion
        self._rng = np.random.default_rng(seed)
        if distortion is not None:
            factors = np.linspace(1 - distortion.warp, 1 + distortion.warp, _WARPS)
            self._warps = [warp_matrix(float(factor)) for factor in factors]

    def one_pass(self) -> list[tuple[int, list[tuple[int, int]]]]:
        """Return (length, [(example, first frame)]) of the batches of one pass over the examples."""
        places: dict[int, list[tuple[int, int]]] = {length: [] for length in LENGTHS}
        for number, example in enumerate(self._examples):
            for length, first in self._cuts(example.transcript.frames):
                places[length].append((number, first))
        batches = []
        for length, chunks in places.items():
            if self._distortion is not None:
                self._rng.shuffle(chunks)
            n = self._sequences
            batches += [(length, chunks[i : i + n]) for i in range(0, len(chunks) - n + 1, n)]
        if self._distortion is not None:
            order = self._rng.permutation(len(batches))
            batches = [batches[i] for i in order]
        return batches

    def _cuts(self, frames: int) -> list[tuple[int, int]]:
        """Lengths and first frames of an utterance's chunks."""
        moving = self._distortion is not None
        if frames < LENGTHS[0] + 2:
            return [(LENGTHS[0], 0)]
        if frames <= LENGTHS[-1]:
            length = max(each for each in LENGTHS if each <= frames)
            return [(length, int(self._rng.integers(frames - length + 1)) if moving else 0)]
        length = int(self._rng.choice(LENGTHS[2:])) if moving else LENGTHS[2]
        count = max(1, int(frames / length + 0.5))
        if count == 1:
            return [(length, int(self._rng.integers(frames - length + 1)) if moving else 0)]
        firsts = np.linspace(0, frames - length, count)
        if moving:
            firsts = np.clip(firsts + self._rng.integers(-length // 4, length // 4 + 1, count), 0, frames - length)
        return [(length, int(first)) for first in firsts]

    def load(self, length: int, places: Sequence[tuple[int, int]]) -> tuple[Tensor, list[Chunk]]:
        """Return features float32[past + length + future, sequences, 120] and the chunks' phones."""
        span = self._shape.past + length + self._shape.future
        out = np.empty((span, len(places), INPUT), np.float32)
        chunks = []
        for lane, (number, first) in enumerate(places):
            example = self._examples[number]
            jitter = int(self._rng.integers(-1, 2)) if self._distortion is not None else 0
            begin = STACK * (first - self._shape.past) + jitter
            rows = np.clip(np.arange(begin, begin + STACK * span), 0, len(example.features) - 1)
            features = example.features[rows].astype(np.float32)
            if self._distortion is not None:
                features = self._distorted(features, self._distortion)
            out[:, lane] = features.reshape(span, INPUT)
            chunks.append(example.transcript.chunk(first, length, *self._tolerance))
        return torch.from_numpy(out), chunks

    def _distorted(self, features: NDArray[np.float32], how: Distortion) -> NDArray[np.float32]:
        rng = self._rng
        features = features @ self._warps[int(rng.integers(_WARPS))]
        features += (rng.standard_normal(len(_WAVES)) * how.tilt).astype(np.float32) @ _WAVES
        if rng.random() < how.band_share:
            count = int(rng.integers(1, how.most_bands + 1))
            first = int(rng.integers(BINS - count))
            features[:, first : first + count] = 0
        if rng.random() < how.time_share:
            count = int(rng.integers(STACK, how.most_frames + 1))
            first = int(rng.integers(len(features) - count))
            features[first : first + count] = 0
        return features


_WAVES: Final = np.stack([np.cos(np.pi * k * (np.arange(BINS) + 0.5) / BINS) for k in (1, 2, 3)]).astype(
    np.float32
)


def warp_matrix(factor: float) -> NDArray[np.float32]:
    """Return float32[40, 40] such that ``features @ matrix`` has in each band what lay `factor` times as high.

    Straight-line interpolation between the bands' centres; beyond the edge the last band is repeated.
    """
    edges = 1127.0 * np.log(1.0 + np.array([_LOW_HZ, _HIGH_HZ]) / 700.0)
    centres = np.linspace(edges[0], edges[1], BINS + 2)[1:-1]
    hertz = 700.0 * (np.exp(centres / 1127.0) - 1.0)
    source = 1127.0 * np.log(1.0 + hertz * factor / 700.0)
    place = np.clip((source - centres[0]) / (centres[1] - centres[0]), 0, BINS - 1)
    below = np.minimum(place.astype(int), BINS - 2)
    matrix = np.zeros((BINS, BINS), np.float32)
    matrix[below, np.arange(BINS)] += 1 - (place - below)
    matrix[below + 1, np.arange(BINS)] += place - below
    return matrix
