"""A network as it was trained, brought into the form that runs: a chain of products, nothing between them.

Batch normalisation is folded away: a layer's scale goes into its weights, its offset into the biases of the layers
above it, and the residual weight into a running gain of each layer's output, which leaves ``relu(a W + b) + x`` a
layer. All of it multiplies columns or adds to biases, so weights of 8 bits keep their integers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recognizer.network_kernels import LINEAR, RECTIFIED, RESIDUAL
from recognizer.quantised import Matrix

Weights = Mapping[str, NDArray[Any]]
Float64 = NDArray[np.float64]

_RESIDUAL_WEIGHT: Final = 0.66
_VARIANCE_FLOOR: Final = 1e-3
_FURTHEST_TAP: Final = 100
"""Three seconds: a network that looks further is a damaged file."""


class AcousticModelError(ValueError):
    """The file does not hold a network that this version can run."""


@dataclass(frozen=True)
class Affine:
    """One product of the chain: ``form(sum over taps of x[t + tap] W[tap] + bias)``.

    Attributes
    ----------
    taps : tuple of int
        Times of its inputs in steps, relative to the output's, ascending.
    matrix : Matrix
    bias : float64[outputs]
    form : int
        LINEAR, RECTIFIED or RESIDUAL; the last adds, at the output's time, the input of the product before this.
    """

    taps: tuple[int, ...]
    matrix: Matrix
    bias: Float64
    form: int

    def as_numbers(self) -> Affine:
        """Return it with a matrix of numbers."""
        return replace(self, matrix=self.matrix.as_numbers())

    @property
    def left(self) -> int:
        """Steps it looks back."""
        return max(0, -self.taps[0])

    @property
    def right(self) -> int:
        """Steps it looks ahead."""
        return max(0, self.taps[-1])


def folded(weights: Weights, acoustic_scale: float, inputs: int) -> tuple[Affine, ...]:
    """Fold a network's arrays (names of the model card) into a chain of products from `inputs` features on.

    Raises
    ------
    AcousticModelError
        Arrays do not fit together, taps are no ascending whole numbers, or the acoustic scale is not positive.
    KeyError
        An array is missing.
    """
    if not (np.isfinite(acoustic_scale) and acoustic_scale > 0):
        raise AcousticModelError("The acoustic scale must be a positive number.")
    first = Matrix.of(weights, "i.W")
    scale, offset = _normalisation(weights, "n0", first.outputs)
    if first.inputs != inputs:
        raise AcousticModelError("The acoustic model's first layer takes features of another kind.")
    # A layer's scale is positive, so it may be applied before the rectifier.
    bias = _vector(weights, "i.b", first.outputs) * scale
    chain = [Affine(_taps(weights, "i", first, -1), first.scaled(scale), bias, RECTIFIED)]
    # What the layers above see is gain * (what is computed) + offset, per column.
    gain = 1.0
    layer = 0
    while f"L.{layer}.a.W" in weights or f"L.{layer}.a.W.q" in weights:
        name = f"L.{layer}"
        narrow, wide = Matrix.of(weights, f"{name}.a.W"), Matrix.of(weights, f"{name}.b.W")
        if narrow.inputs != chain[-1].matrix.outputs or wide.inputs != narrow.outputs:
            raise AcousticModelError(f"Layer {layer} of the acoustic model does not fit the one below it.")
        residual = wide.outputs == narrow.inputs
        scale, shift = _normalisation(weights, f"{name}.n", wide.outputs)
        from_offset = offset @ narrow.dense().sum(0) @ wide.dense().sum(0)
        next_gain = gain * _RESIDUAL_WEIGHT if residual else 1.0
        bias = (_vector(weights, f"{name}.b.b", wide.outputs) + from_offset) * scale / next_gain
        low = np.zeros(narrow.outputs)
        chain.append(
            Affine(_taps(weights, f"{name}.a", narrow, 1 - narrow.taps), narrow.scaled(gain), low, LINEAR)
        )
        form = RESIDUAL if residual else RECTIFIED
        chain.append(Affine(_taps(weights, f"{name}.b", wide, 0), wide.scaled(scale / next_gain), bias, form))
        gain = next_gain
        offset = shift + _RESIDUAL_WEIGHT * offset if residual else shift
        layer += 1
    last, output = Matrix.of(weights, "p.W"), Matrix.of(weights, "o.W")
    if last.inputs != chain[-1].matrix.outputs or output.inputs != last.outputs or last.taps + output.taps != 2:
        raise AcousticModelError("The acoustic model's last layers do not fit the ones below them.")
    scale, shift = _normalisation(weights, "pb", last.outputs)
    chain.append(Affine((0,), last.scaled(scale * gain), np.zeros(last.outputs), LINEAR))
    bias = _vector(weights, "o.b", output.outputs)
    bias = bias + (offset @ last.dense()[0] * scale + shift) @ output.dense()[0]
    chain.append(Affine((0,), output.scaled(acoustic_scale), bias * acoustic_scale, LINEAR))
    for affine in chain:
        if not (np.isfinite(affine.matrix.dense()).all() and np.isfinite(affine.bias).all()):
            raise AcousticModelError("The acoustic model holds numbers that are not finite.")
    return tuple(chain)


def _taps(weights: Weights, name: str, matrix: Matrix, first: int) -> tuple[int, ...]:
    """Return the taps' times: those that the file names, else neighbours from `first` on."""
    given = weights.get(f"{name}.taps")
    if given is None:
        if matrix.taps > 3 or (matrix.taps > 2 and name != "i"):
            raise AcousticModelError(f"Layer {name} of the acoustic model has splices of an unknown form.")
        return tuple(range(first, first + matrix.taps)) if matrix.taps > 1 else (0,)
    taps = tuple(int(tap) for tap in np.atleast_1d(given))
    if len(taps) != matrix.taps or sorted(set(taps)) != list(taps) or np.any(taps != np.atleast_1d(given)):
        raise AcousticModelError(f"The taps of layer {name} of the acoustic model do not fit its matrices.")
    if max(map(abs, taps)) > _FURTHEST_TAP:
        raise AcousticModelError(f"Layer {name} of the acoustic model looks too far.")
    return taps


def _normalisation(weights: Weights, name: str, size: int) -> tuple[Float64, Float64]:
    variance = _vector(weights, f"{name}.v", size)
    if not (variance >= 0).all():
        raise AcousticModelError(f"The acoustic model has variances below zero in the array {name}.v.")
    scale = 1.0 / np.sqrt(variance + _VARIANCE_FLOOR)
    return scale, -_vector(weights, f"{name}.m", size) * scale


def _vector(weights: Weights, name: str, size: int) -> Float64:
    values = weights[name].astype(np.float64)
    if values.shape != (size,):
        raise AcousticModelError(f"The array {name} of the acoustic model has the wrong length.")
    return values
