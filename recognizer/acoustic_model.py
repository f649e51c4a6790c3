"""The acoustic network: features to log likelihoods of HMM states, streaming, in numpy.

A factored time-delay network (TDNN-F, Povey et al., Interspeech 2018): every layer looks a step to either side;
a step is three feature frames stacked (30 ms). Output ``t`` depends on steps ``t - 10`` to ``t + 10``; each layer
keeps the few rows that its next step will look back on, so nothing is computed twice.

At load, batch normalisation is folded away. A layer's scale goes into its weights, its offset into the biases of
the layers above it, and the residual weights 0.66 into a running gain of each layer's output, which leaves
``relu(a W + b) + x`` per layer.

Every product has the same shape, `STEP_FRAMES` rows, whatever arrives and however many legs there are: BLAS adds
up in an order that depends on the shape, and the same audio has to give the same bits when it is recognised again
after a crash. Batching legs would give that up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recognizer.features import FeatureBlock, FeatureStatistics
from recognizer.log_mel import BINS, SHIFT_SAMPLES

Float32 = NDArray[np.float32]

STACK: Final = 3
"""Feature frames per output frame."""
OUTPUT_SAMPLES: Final = STACK * SHIFT_SAMPLES
"""Samples per output frame: 240, which is 30 ms."""
STEP_FRAMES: Final = 4
"""Output frames computed at once, on a grid that is fixed to the leg's first frame: 120 ms."""
_RESIDUAL: Final = 0.66
_VARIANCE_FLOOR: Final = 1e-3


class AcousticModelError(ValueError):
    """The file does not hold a network that this version can run."""


@dataclass(frozen=True)
class _Layer:
    """relu(splice(splice(x) narrow) wide + bias) + x; each splice spans `reach` steps besides its own."""

    narrow: Float32
    wide: Float32
    bias: Float32
    reach: int


@dataclass(frozen=True)
class AcousticModel:
    """The folded network.

    Attributes
    ----------
    statistics : FeatureStatistics
        For the normalisation of its features.
    first, first_bias : float32[3 * 120, width], float32[width]
        First layer: steps t - 1, t, t + 1.
    layers : tuple of _Layer
    last, output, output_bias : float32[width, 192], float32[192, pdfs], float32[pdfs]
        Bottleneck and output, both linear; the acoustic scale is folded in.
    context : int
        Steps the output looks to either side.
    """

    statistics: FeatureStatistics
    first: Float32
    first_bias: Float32
    layers: tuple[_Layer, ...]
    last: Float32
    output: Float32
    output_bias: Float32
    context: int

    @property
    def pdfs(self) -> int:
        """Columns of the log likelihoods."""
        return len(self.output_bias)

    @classmethod
    def load(cls, path: Path, acoustic_scale: float) -> AcousticModel:
        """Read an ``acoustic.npz`` and fold it.

        Parameters
        ----------
        path : Path
            Weights by the names of the model card.
        acoustic_scale : float
            Factor of the log likelihoods against graph costs.

        Raises
        ------
        AcousticModelError
            The file is missing, damaged, or holds a network of another kind.
        """
        try:
            with np.load(path, allow_pickle=False) as archive:
                weights = {name: archive[name].astype(np.float64) for name in archive.files}
            return cls.fold(weights, acoustic_scale)
        except KeyError as error:
            raise AcousticModelError(f"The acoustic model lacks the array {error}.") from error
        except (OSError, EOFError, ValueError) as error:
            raise AcousticModelError(f"The acoustic model could not be read: {type(error).__name__}.") from error

    @classmethod
    def fold(cls, weights: Mapping[str, NDArray[np.float64]], acoustic_scale: float) -> AcousticModel:
        """Fold weights as trained (float64, names of the model card) into the form that runs.

        Raises
        ------
        KeyError
            An array is missing.
        ValueError
            An array has the wrong shape, or the acoustic scale is not positive.
        """
        if not (np.isfinite(acoustic_scale) and acoustic_scale > 0):
            raise AcousticModelError("The acoustic scale must be a positive number.")
        scale, offset = _normalisation(weights, "n0")
        first = _stacked(weights["i.W"]) * scale
        first_bias = weights["i.b"] * scale
        # A layer's true output is gain * (what is computed) + offset, per column.
        gain = 1.0
        layers: list[_Layer] = []
        while f"L.{len(layers)}.a.W" in weights:
            name = f"L.{len(layers)}"
            narrow, wide = weights[f"{name}.a.W"], weights[f"{name}.b.W"]
            if not len(narrow) == len(wide) <= 2:
                raise AcousticModelError(
                    f"Layer {len(layers)} of the acoustic model has splices of an unknown form."
                )
            scale, shift = _normalisation(weights, f"{name}.n")
            from_offset = offset @ narrow.sum(0) @ wide.sum(0)
            next_gain = gain * _RESIDUAL
            layers.append(
                _Layer(
                    _float32(_stacked(narrow) * gain),
                    _float32(_stacked(wide) * scale / next_gain),
                    _float32((weights[f"{name}.b.b"] + from_offset) * scale / next_gain),
                    len(narrow) - 1,
                )
            )
            gain = next_gain
            offset = shift + _RESIDUAL * offset
        scale, shift = _normalisation(weights, "pb")
        last = weights["p.W"][0]
        output = weights["o.W"][0]
        bias = weights["o.b"] + (offset @ last * scale + shift) @ output
        return cls(
            FeatureStatistics(_float32(weights["mean"]), _float32(weights["std"])),
            _float32(first),
            _float32(first_bias),
            tuple(layers),
            _float32(last * scale * gain),
            _float32(output * acoustic_scale),
            _float32(bias * acoustic_scale),
            1 + sum(layer.reach for layer in layers),
        )

    def first_feature(self, first_frame: int) -> int:
        """Return the first normalised feature frame that output `first_frame` and those after it depend on.

        A stream that starts there runs on the same grid as one that heard everything, and so gives the same bits.
        """
        return max(0, STACK * (first_frame // STEP_FRAMES * STEP_FRAMES - self.context))

    def stream(self, first_frame: int = 0) -> AcousticStream:
        """Return a new leg's inference, whose first output is `first_frame` (see :class:`AcousticStream`)."""
        return AcousticStream(self, first_frame)


def _normalisation(
    weights: Mapping[str, NDArray[np.float64]], name: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    scale = 1.0 / np.sqrt(weights[f"{name}.v"] + _VARIANCE_FLOOR)
    return scale, -weights[f"{name}.m"] * scale


def _stacked(taps: NDArray[np.float64]) -> NDArray[np.float64]:
    return taps.reshape(-1, taps.shape[-1])


def _float32(values: NDArray[np.float64]) -> Float32:
    return np.ascontiguousarray(values, np.float32)


class AcousticStream:
    """One leg's inference.

    Parameters
    ----------
    model : AcousticModel
    first_frame : int
        First output frame wanted.

    Notes
    -----
    Before a leg's first frame the network sees that frame repeated, after the last one the last (as in training).
    """

    def __init__(self, model: AcousticModel, first_frame: int = 0) -> None:
        self._model = model
        self.first_feature = model.first_feature(first_frame)
        """Index of the first normalised feature frame that `accept` wants; it wants all that follow."""
        self.frames = first_frame
        """Index of the next output frame."""
        self._step = self.first_feature // STACK if self.first_feature else -model.context
        self._features = self.first_feature
        self._pending: Float32 = np.empty((0, BINS), np.float32)
        self._last: Float32 | None = None
        width = model.first.shape[1]
        self._inputs = np.zeros((2 + STEP_FRAMES, STACK * BINS), np.float32)
        self._rows = [np.zeros((2 * layer.reach + STEP_FRAMES, width), np.float32) for layer in model.layers]
        self._narrow_rows = [
            np.zeros((layer.reach + STEP_FRAMES, layer.narrow.shape[1]), np.float32) for layer in model.layers
        ]

    def accept(self, features: FeatureBlock) -> Float32:
        """Return the log likelihoods that `features` (float32[frames, 40]) complete: scaled, float32[n, pdfs]."""
        if not len(features):
            return np.empty((0, self._model.pdfs), np.float32)
        self._features += len(features)
        if self._last is None and self._step < 0:
            features = np.concatenate((np.repeat(features[:1], STACK * -self._step, 0), features))
        self._last = features[-1:].copy()
        self._pending = np.concatenate((self._pending, features))
        return self._run()

    def finish(self) -> Float32:
        """Return the remaining log likelihoods, for the end of the leg; the stream is used up."""
        if self._last is None:
            return np.empty((0, self._model.pdfs), np.float32)
        frames = -(-self._features // STACK)
        wanted = frames - self.frames
        missing = STACK * (frames + self._model.context + STEP_FRAMES - 1) - self._features
        self._pending = np.concatenate((self._pending, np.repeat(self._last, missing, 0)))
        return self._run()[: max(0, wanted)]

    def _run(self) -> Float32:
        """Compute every whole grid step of what is pending."""
        taken = STEP_FRAMES * STACK
        steps = len(self._pending) // taken
        done = [self._advance(self._pending[i * taken : (i + 1) * taken]) for i in range(steps)]
        self._pending = self._pending[steps * taken :].copy()
        return np.concatenate([np.empty((0, self._model.pdfs), np.float32), *done])

    def _advance(self, features: FeatureBlock) -> Float32:
        model = self._model
        inputs = self._inputs
        inputs[:2] = inputs[-2:]
        inputs[2:] = features.reshape(STEP_FRAMES, -1)
        x: Float32 = np.matmul(_splice(inputs, 2), model.first)
        x += model.first_bias
        np.maximum(x, 0, out=x)
        for layer, rows, narrow_rows in zip(model.layers, self._rows, self._narrow_rows, strict=True):
            reach = layer.reach
            if reach:
                rows[: 2 * reach] = rows[-2 * reach :]
                narrow_rows[:reach] = narrow_rows[-reach:]
                rows[2 * reach :] = x
                np.matmul(_splice(rows[reach:], reach), layer.narrow, out=narrow_rows[reach:])
                x = np.matmul(_splice(narrow_rows, reach), layer.wide)
            else:
                rows[:] = x
                x = np.matmul(np.matmul(rows, layer.narrow), layer.wide)
            x += layer.bias
            np.maximum(x, 0, out=x)
            x += rows[reach : reach + STEP_FRAMES]
        first_output = self._step - model.context
        self._step += STEP_FRAMES
        known = self.frames - first_output
        if known >= STEP_FRAMES:
            return np.empty((0, model.pdfs), np.float32)
        scores: Float32 = np.matmul(np.matmul(x, model.last), model.output)
        scores += model.output_bias
        self.frames = first_output + STEP_FRAMES
        return scores[known:]


def _splice(rows: Float32, reach: int) -> Float32:
    """Return rows t .. t + reach side by side for each t: a copy, because BLAS takes no overlapping rows."""
    frames = len(rows) - reach
    spliced: Float32 = np.concatenate([rows[tap : tap + frames] for tap in range(reach + 1)], axis=1)
    return spliced
