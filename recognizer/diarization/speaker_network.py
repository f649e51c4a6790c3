"""What a voice sounds like: a small x-vector network (Snyder et al., ICASSP 2018) in numpy.

Three time-delay layers and a wide one see about half a second around each 30 ms frame; mean and deviation of the wide
layer's rows over any stretch of speech, projected, are the stretch's *embedding*. Stretches of one voice lie in one
direction. It was trained on simulated telephone speech, one random line per stretch, so that it hears the voice rather
than the line (:mod:`recognizer.training.speaker_embedding`).
"""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recognizer.log_mel import BINS, SHIFT_SAMPLES, log_mel

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

STACK: Final = 3
"""Feature frames (10 ms) stacked into one row."""
ROW_SAMPLES: Final = STACK * SHIFT_SAMPLES
ROW_S: Final = ROW_SAMPLES / 8000
TAPS: Final = ((-1, 0, 1), (-2, 0, 2), (-3, 0, 3), (0,))
"""Rows that each layer sees around its own."""
MODEL_FILE: Final = Path(__file__).with_name("voices.npz")
_LOUD_BELOW_PEAK: Final = 6.0
_BLOCK_ROWS: Final = 4000
_BLOCK_STRETCHES: Final = 2000
_MARGIN_ROWS: Final = sum(max(taps) for taps in TAPS)
_DEVIATION_FLOOR: Final = 1e-4


class SpeakerNetworkError(ValueError):
    """The file does not hold a network of this kind."""


def stacked_features(samples: Float32) -> Float32:
    """Return log-mel energies float32[rows, 120] of float32[n] at 8 kHz, less the recording's loudness.

    Only one number is taken off for all of it: the mean energy of its loud frames. So a soft recording looks like a
    loud one, while two lines within one recording stay different, which helps to tell their speakers apart.
    """
    frames = log_mel(np.ascontiguousarray(samples, np.float32))
    rows = len(frames) // STACK
    if not rows:
        return np.zeros((0, STACK * BINS), np.float32)
    loudness = frames.mean(axis=1)
    loud = loudness > np.quantile(loudness, 0.99) - _LOUD_BELOW_PEAK
    frames = frames - np.float32(loudness[loud].mean() if loud.any() else loudness.mean())
    return np.ascontiguousarray(frames[: rows * STACK].reshape(rows, STACK * BINS), np.float32)


def spliced(rows: Float32, taps: tuple[int, ...]) -> Float32:
    """Return each row with those `taps` away from it side by side; beyond the ends the first and last row repeat."""
    if taps == (0,):
        return rows
    places = np.arange(len(rows))[:, None] + np.array(taps)
    return np.asarray(rows[np.clip(places, 0, len(rows) - 1)].reshape(len(rows), -1), np.float32)


@dataclass(frozen=True)
class SpeakerNetwork:
    """The trained network, batch normalisation folded away.

    Attributes
    ----------
    mean, deviation : float32[120]
        Of the training data's features.
    layers : tuple of (float32[inputs, width], float32[width])
        One for each of `TAPS`, each with a ReLU.
    projection, offset : float32[2 * width, size], float32[size]
        From mean and deviation to the embedding.
    """

    mean: Float32
    deviation: Float32
    layers: tuple[tuple[Float32, Float32], ...]
    projection: Float32
    offset: Float32

    @classmethod
    def load(cls, path: Path = MODEL_FILE) -> SpeakerNetwork:
        """Read a network.

        Raises
        ------
        SpeakerNetworkError
            The file is missing, damaged, or holds something else.
        """
        try:
            with np.load(path, allow_pickle=False) as arrays:
                held: dict[str, Any] = {name: arrays[name].astype(np.float32) for name in arrays.files}
            layers = tuple((held[f"{i}.W"], held[f"{i}.b"]) for i in range(len(TAPS)))
            network = cls(held["mean"], held["deviation"], layers, held["p.W"], held["p.b"])
        except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error) as error:
            raise SpeakerNetworkError(
                "The network of voices could not be read; install the package anew."
            ) from error
        width = STACK * BINS
        for (weights, bias), taps in zip(network.layers, TAPS, strict=True):
            if weights.shape != (width * len(taps), len(bias)):
                raise SpeakerNetworkError("The network of voices has layers that do not fit each other.")
            width = len(bias)
        if network.projection.shape != (2 * width, len(network.offset)):
            raise SpeakerNetworkError("The network of voices has a projection that does not fit its layers.")
        return network

    def save(self, path: Path) -> None:
        """Write the network in half precision."""
        arrays = {"mean": self.mean, "deviation": self.deviation, "p.W": self.projection, "p.b": self.offset}
        for i, (weights, bias) in enumerate(self.layers):
            arrays |= {f"{i}.W": weights, f"{i}.b": bias}
        np.savez_compressed(path, **{name: array.astype(np.float16) for name, array in arrays.items()})  # type: ignore[arg-type]

    def rows(self, features: Float32) -> Float32:
        """Return the wide layer's output float32[rows, width] for features float32[rows, 120], block by block."""
        normal = (features - self.mean) / self.deviation
        done = []
        for begin in range(0, len(normal), _BLOCK_ROWS):
            first = max(0, begin - _MARGIN_ROWS)
            x = normal[first : begin + _BLOCK_ROWS + _MARGIN_ROWS]
            for (weights, bias), taps in zip(self.layers, TAPS, strict=True):
                x = np.maximum(spliced(x, taps) @ weights + bias, 0)
            done.append(x[begin - first :][:_BLOCK_ROWS])
        return np.concatenate(done) if done else np.zeros((0, len(self.offset)), np.float32)

    def embeddings(self, rows: Float32, weights: Float32, first: NDArray[Any], last: NDArray[Any]) -> Float32:
        """Return one embedding of length 1 for each stretch.

        Parameters
        ----------
        rows : float32[rows, width]
            What :meth:`rows` gave.
        weights : float32[rows]
            How much each row counts: 1 for speech, 0 for silence.
        first, last : int[stretches]
            Rows ``first`` up to ``last`` of each stretch; one without speech gets zeros.
        """
        found = [np.zeros((0, len(self.offset)), np.float32)]
        for begin in range(0, len(first), _BLOCK_STRETCHES):
            block = slice(begin, begin + _BLOCK_STRETCHES)
            low, high = int(first[block].min()), int(last[block].max())
            # Running sums take eight times a row's memory, so they are made for the rows of a block alone.
            sums = _sums(rows[low:high], weights[low:high], first[block] - low, last[block] - low)
            found.append(self._embedded(*sums))
        return np.concatenate(found)

    def voice(self, rows: Float32, weights: Float32) -> Float32:
        """Return the embedding float32[size] of all of `rows` as one stretch."""
        count, sums, squares = np.zeros(1), np.zeros((1, rows.shape[1])), np.zeros((1, rows.shape[1]))
        for begin in range(0, len(rows), _BLOCK_ROWS):
            some = rows[begin : begin + _BLOCK_ROWS].astype(np.float64)
            weighted = some * weights[begin : begin + _BLOCK_ROWS, None]
            count += weights[begin : begin + _BLOCK_ROWS].sum(dtype=np.float64)
            sums += weighted.sum(axis=0)
            squares += (weighted * some).sum(axis=0)
        return np.asarray(self._embedded(count, sums, squares)[0], np.float32)

    def _embedded(self, count: Float64, sums: Float64, squares: Float64) -> Float32:
        """Return float32[n, size] of float64[n] weights, and float64[n, width] weighted sums of rows and of squares."""
        share = 1 / np.maximum(count, 1e-3)[:, None]
        mean = sums * share
        variance = squares * share - mean**2
        pooled = np.concatenate((mean, np.sqrt(np.maximum(variance, 0) + _DEVIATION_FLOOR)), axis=1)
        found = pooled @ self.projection + self.offset
        found /= np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-9)
        found[count <= 0] = 0
        return np.asarray(found, np.float32)


def _sums(
    rows: Float32, weights: Float32, first: NDArray[Any], last: NDArray[Any]
) -> tuple[Float64, Float64, Float64]:
    """Return the weight of each stretch, the weighted sum of its rows, and that of their squares."""
    weighted = rows * weights[:, None]
    total, sums, squares = _running(weights[:, None]), _running(weighted), _running(weighted * rows)
    return (total[last] - total[first])[:, 0], sums[last] - sums[first], squares[last] - squares[first]


def _running(values: Float32) -> NDArray[np.float64]:
    return np.concatenate((np.zeros((1, values.shape[1])), np.cumsum(values, axis=0, dtype=np.float64)))
