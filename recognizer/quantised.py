"""Weights as int8 with a scale per output channel: a quarter of float32's bytes, and faster where the CPU has VNNI.

In a pack the matrix ``X`` (taps, inputs, outputs) is then two arrays: ``X.q``, int8 in [-127, 127], and ``X.scale``,
float32[outputs]; ``X = X.q * X.scale``. Everything that folding does to a matrix multiplies its columns, so it goes
into the scales and the integers stay as they are. Activations become 8 bits at run time, a scale a row
(:mod:`recognizer.network_pool`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

WeightForm = Literal["as-shipped", "float32", "int8"]
"""What a network computes with, or that it is as its file has it."""

MATRIX_SUFFIX: Final = ".W"
INTEGERS: Final = ".q"
SCALES: Final = ".scale"
LARGEST: Final = 127


@dataclass(frozen=True)
class Matrix:
    """A matrix per tap, as numbers or as integers with a factor per column.

    Attributes
    ----------
    numbers : float64[taps, inputs, outputs], or int8 of that shape
    scale : float64[outputs]
        What a column is multiplied by; ones where `numbers` are the numbers themselves.
    """

    numbers: NDArray[Any]
    scale: Float64

    @classmethod
    def of(cls, weights: Mapping[str, NDArray[Any]], name: str) -> Matrix:
        """Take matrix `name` out of a network's arrays, in whichever form it is there.

        Raises
        ------
        KeyError
            It is not there.
        ValueError
            It has no three axes, its integers are no int8, or its scales do not fit.
        """
        if name + INTEGERS in weights:
            numbers, scale = weights[name + INTEGERS], weights[name + SCALES].astype(np.float64)
            if numbers.dtype != np.int8:
                raise ValueError(f"The integers of matrix {name} are no 8-bit integers.")
        else:
            numbers = weights[name].astype(np.float64)
            scale = np.ones(numbers.shape[-1])
        if numbers.ndim != 3 or scale.shape != numbers.shape[-1:] or not numbers.size:
            raise ValueError(f"Matrix {name} has a shape that no layer has.")
        return cls(numbers, scale)

    @property
    def is_integer(self) -> bool:
        return self.numbers.dtype == np.int8

    @property
    def taps(self) -> int:
        return len(self.numbers)

    @property
    def inputs(self) -> int:
        return int(self.numbers.shape[1])

    @property
    def outputs(self) -> int:
        return int(self.numbers.shape[2])

    def dense(self) -> Float64:
        """Return float64[taps, inputs, outputs]."""
        return np.asarray(self.numbers * self.scale)

    def scaled(self, factor: Float64 | float) -> Matrix:
        """Return the matrix with its columns multiplied by `factor`."""
        return replace(self, scale=self.scale * factor)

    def as_integers(self) -> Matrix:
        """Return the matrix in 8 bits; a column's largest weight becomes 127."""
        if self.is_integer:
            return self
        dense = self.dense()
        largest = np.abs(dense).max(axis=(0, 1))
        scale = np.where(largest > 0, largest, 1.0) / LARGEST
        return Matrix(np.rint(dense / scale).astype(np.int8), scale)

    def as_numbers(self) -> Matrix:
        """Return the matrix as numbers."""
        return Matrix(self.dense(), np.ones(self.outputs)) if self.is_integer else self


def quantise(weights: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return a network's arrays with its matrices in 8 bits; what is in 8 bits already stays.

    Parameters
    ----------
    weights : mapping
        Arrays by the names of the model card, matrices ending in ``.W``.

    Raises
    ------
    ValueError
        A matrix has another shape than (taps, inputs, outputs).
    """
    made: dict[str, NDArray[Any]] = {}
    for name, values in weights.items():
        if name.endswith(MATRIX_SUFFIX):
            matrix = Matrix.of(weights, name).as_integers()
            # The scale is kept in float32, so the integers are made for that very scale.
            scale = matrix.scale.astype(np.float32)
            made[name + INTEGERS] = (
                np.rint(values / scale.astype(np.float64)).clip(-LARGEST, LARGEST).astype(np.int8)
            )
            made[name + SCALES] = scale
        else:
            made[name] = values
    return made
