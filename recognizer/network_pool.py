"""The network at work: the activations that each leg's next steps look back on, and the pass over many legs at once.

Every product of the chain writes a *tensor*: rows in time, of which a leg keeps as many as later products still
look at, in a ring. All legs' rings lie in one pool, a *slot* a leg; a pass takes the next steps of any legs
together through the products. Which legs those are changes no bit of the result, see
:mod:`recognizer.network_kernels`.

Where a product's weights are integers, its input rows are kept as integers too: a row is divided by its own largest
value, which becomes 255 where values cannot be negative, and 127 (about a zero of 128) where they can.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from recognizer.network_folding import Affine
from recognizer.network_kernels import (
    COLUMNS,
    LINEAR,
    QUADS,
    RESIDUAL,
    float_product,
    int_product,
    row_to_integers,
)

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]

MOST_STEPS: Final = 4
"""Steps of one leg in a pass."""
MOST_LEGS: Final = 16
"""Legs in a pass: enough to use each weight often, few enough for their activations to stay in the cache."""
_FIRST_SLOTS: Final = 4
_ZERO: Final = 128
_LANES: Final = 16

# Columns of the tables that the loops below read.
_TENSOR: Final = ("floats", "float_rows", "stride", "ints", "int_rows", "scales", "lag", "width", "signed")
_OP: Final = ("is_int", "taps", "depth", "columns", "form", "weights", "bias", "zero", "first_tap")


class NetworkPool:
    """Runs a chain of products for the legs of one thread.

    Parameters
    ----------
    chain : sequence of Affine
    quads : bool, optional
        Which form of integers the kernels take; by default what this machine is fast at. Results are equal.
    """

    def __init__(self, chain: Sequence[Affine], quads: bool = QUADS) -> None:
        self._inputs = chain[0].matrix.inputs
        self._outputs = chain[-1].matrix.outputs
        self._tensors = _tensor_table(chain)
        kind = np.uint8 if quads else np.int16
        self._ops, self._taps, self._weights, self._int_weights, self._zeros, self._factors, self._biases = (
            _packed(chain, quads)
        )
        last = self._tensors[-1]
        self._sizes = (int(last[0]), int(last[3]), int(last[5]))
        self._floats = np.zeros(_FIRST_SLOTS * self._sizes[0], np.float32)
        self._ints = np.zeros(_FIRST_SLOTS * self._sizes[1], kind)
        self._scales = np.zeros(_FIRST_SLOTS * self._sizes[2], np.float32)
        self._free = list(range(_FIRST_SLOTS))[::-1]
        most = int(max(op[1] for op in self._ops))
        rows = MOST_LEGS * MOST_STEPS
        self._places = np.zeros((3, rows * most), np.int64)
        self._row_scales = np.zeros(rows * most, np.float32)

    @property
    def bytes_per_leg(self) -> int:
        """Memory of one slot."""
        return 4 * self._sizes[0] + self._ints.itemsize * self._sizes[1] + 4 * self._sizes[2]

    @property
    def weight_bytes(self) -> int:
        """Memory of the weights."""
        return sum(array.nbytes for array in (self._weights, self._int_weights, self._factors, self._biases))

    def take(self) -> int:
        """Return a slot for a new leg, its activations zero."""
        if not self._free:
            count = len(self._floats) // self._sizes[0]
            self._floats, self._ints, self._scales = (
                np.concatenate((array, np.zeros_like(array))) for array in (self._floats, self._ints, self._scales)
            )
            self._free = list(range(count, 2 * count))[::-1]
        slot = self._free.pop()
        for array, size in zip((self._floats, self._ints, self._scales), self._sizes, strict=True):
            array[slot * size : (slot + 1) * size] = 0
        return slot

    def give_back(self, slot: int) -> None:
        """The leg of `slot` has ended."""
        self._free.append(slot)

    def advance(self, slots: Int64, times: Int64, steps: Int64, inputs: Float32) -> Float32:
        """Take the next steps of some legs through the network.

        Parameters
        ----------
        slots : int64[legs]
            At most `MOST_LEGS`, all different.
        times : int64[legs]
            Steps that each leg's slot was given before.
        steps : int64[legs]
            Steps that each leg is given now, at most `MOST_STEPS`.
        inputs : float32[sum of steps, inputs]
            Their stacked features, leg after leg.

        Returns
        -------
        float32[sum of steps, outputs]
            A leg's output ``t`` comes with its input ``t`` + the steps that the network looks ahead.
        """
        padded = int(self._ops[-1][3])
        out = np.empty((len(inputs), padded), np.float32)
        _advance(
            self._ops,
            self._taps,
            self._tensors,
            np.array(self._sizes, np.int64),
            self._weights,
            self._int_weights,
            self._zeros,
            self._factors,
            self._biases,
            self._floats,
            self._ints,
            self._scales,
            slots,
            times,
            steps,
            np.ascontiguousarray(inputs, np.float32),
            out.reshape(-1),
            self._places,
            self._row_scales,
        )
        return out[:, : self._outputs]


def _padded(width: int) -> int:
    return -(-width // COLUMNS) * COLUMNS


def _tensor_table(chain: Sequence[Affine]) -> Int64:
    """Lay out the rings of one slot; the last row's places are the sizes of all. The last tensor is not kept."""
    lags = np.cumsum([0, *(affine.right for affine in chain)])
    table = np.zeros((len(chain) + 1, len(_TENSOR)), np.int64)
    floats = ints = scales = 0
    for v, affine in enumerate(chain):
        reach = int(lags[v + 1] - lags[v]) - affine.taps[0]
        kept = MOST_STEPS + max(0, reach)
        whole = affine.matrix.is_integer
        float_rows = MOST_STEPS if whole else kept
        if v + 1 < len(chain) and chain[v + 1].form == RESIDUAL:
            float_rows = max(float_rows, MOST_STEPS + int(lags[v + 2] - lags[v]))
        width = affine.matrix.inputs
        stride = _padded(width)
        signed = v == 0 or chain[v - 1].form == LINEAR
        table[v] = (floats, float_rows, stride, ints, kept if whole else 0, scales, lags[v], width, signed)
        floats += float_rows * stride
        ints += kept * stride if whole else 0
        scales += kept if whole else 0
    table[-1] = (floats, 0, _padded(chain[-1].matrix.outputs), ints, 0, scales, lags[-1], 0, 0)
    return table


def _packed(chain: Sequence[Affine], quads: bool) -> tuple[Any, ...]:
    """The weights of all products in panels, one behind the other, and where each begins."""
    ops = np.zeros((len(chain), len(_OP)), np.int64)
    taps: list[int] = []
    floats: list[Float32] = []
    ints: list[NDArray[Any]] = []
    zeros: list[NDArray[np.int32]] = []
    factors: list[Float32] = []
    biases: list[Float32] = []
    float_place = int_place = bias_place = zero_place = 0
    size = 4 if quads else 2
    for v, affine in enumerate(chain):
        matrix, columns = affine.matrix, _padded(affine.matrix.outputs)
        signed = v == 0 or chain[v - 1].form == LINEAR
        factor = np.zeros(columns, np.float32)
        bias = np.zeros(columns, np.float32)
        bias[: matrix.outputs] = affine.bias
        factors.append(factor)
        biases.append(bias)
        depth = matrix.inputs
        if matrix.is_integer:
            depth = -(-matrix.inputs // size)
            numbers = np.zeros((matrix.taps, depth * size, columns), np.int8)
            numbers[:, : matrix.inputs, : matrix.outputs] = matrix.numbers
            factor[: matrix.outputs] = matrix.scale
            panels = numbers.reshape(matrix.taps, depth, size, -1, COLUMNS).transpose(3, 0, 1, 4, 2)
            ints.append(panels.astype(np.int8 if quads else np.int16).ravel())
            sums = -(_ZERO if signed else 0) * numbers.sum(1, dtype=np.int32)
            zeros.append(sums.reshape(matrix.taps, -1, COLUMNS).transpose(1, 0, 2).astype(np.int32).ravel())
            where, zero = int_place, zero_place
            int_place += len(ints[-1])
            zero_place += len(zeros[-1])
        else:
            values = np.zeros((matrix.taps, depth, columns), np.float32)
            values[:, :, : matrix.outputs] = matrix.dense()
            floats.append(values.reshape(matrix.taps, depth, -1, COLUMNS).transpose(2, 0, 1, 3).ravel())
            where, zero = float_place, 0
            float_place += len(floats[-1])
        ops[v] = (
            matrix.is_integer, len(affine.taps), depth, columns, affine.form, where, bias_place, zero, len(taps)
        )  # fmt: skip
        taps += affine.taps
        bias_place += columns
    return (
        ops,
        np.array(taps, np.int64),
        np.concatenate([np.zeros(0, np.float32), *floats]),
        np.concatenate([np.zeros(0, np.int8 if quads else np.int16), *ints]),
        np.concatenate([np.zeros(0, np.int32), *zeros]),
        np.concatenate(factors),
        np.concatenate(biases),
    )


@njit(cache=True)
def _advance(  # type: ignore[no-untyped-def]
    ops, taps, tensors, sizes, weights, int_weights, zeros, factors, biases, floats, ints, scales,
    slots, times, steps, inputs, out, places, row_scales,
):  # fmt: skip
    """One pass: the new inputs into the first tensor, then product by product, each for all legs' rows."""
    offsets, targets, beside = places[0], places[1], places[2]
    legs = len(slots)
    rows = 0
    base, ring, stride = tensors[0, 0], tensors[0, 1], tensors[0, 2]
    for leg in range(legs):
        for s in range(steps[leg]):
            place = slots[leg] * sizes[0] + base + (times[leg] + s) % ring * stride
            for k in range(inputs.shape[1]):
                floats[place + k] = inputs[rows, k]
            targets[rows] = place
            rows += 1
    for o in range(len(ops)):
        is_int, count, depth, columns, form = ops[o, 0], ops[o, 1], ops[o, 2], ops[o, 3], ops[o, 4]
        first_tap = ops[o, 8]
        base, ring, stride = tensors[o, 0], tensors[o, 1], tensors[o, 2]
        int_base, int_ring, scale_base = tensors[o, 3], tensors[o, 4], tensors[o, 5]
        lag = tensors[o, 6]
        if is_int:
            # The rows that the product before has just written are wanted as integers.
            most, zero = np.float32(255.0), np.float32(0.0)
            if tensors[o, 8]:
                most, zero = np.float32(127.0), np.float32(_ZERO)
            row = 0
            for leg in range(legs):
                for s in range(steps[leg]):
                    here = (times[leg] + s - lag) % int_ring
                    scales[slots[leg] * sizes[2] + scale_base + here] = row_to_integers(
                        floats, targets[row], stride // _LANES, most, zero, ints,
                        slots[leg] * sizes[1] + int_base + here * stride,
                    )  # fmt: skip
                    row += 1
        last = o == len(ops) - 1
        target_base, target_ring, target_stride = tensors[o + 1, 0], tensors[o + 1, 1], tensors[o + 1, 2]
        out_lag = tensors[o + 1, 6]
        row = 0
        for leg in range(legs):
            for s in range(steps[leg]):
                time = times[leg] + s - out_lag
                for j in range(count):
                    wanted = time + taps[first_tap + j]
                    if is_int:
                        here = wanted % int_ring
                        offsets[row * count + j] = slots[leg] * sizes[1] + int_base + here * stride
                        row_scales[row * count + j] = scales[slots[leg] * sizes[2] + scale_base + here]
                    else:
                        offsets[row * count + j] = slots[leg] * sizes[0] + base + wanted % ring * stride
                if last:
                    targets[row] = row * columns
                else:
                    targets[row] = slots[leg] * sizes[0] + target_base + time % target_ring * target_stride
                if form == RESIDUAL:
                    below, below_ring = tensors[o - 1, 0], tensors[o - 1, 1]
                    beside[row] = slots[leg] * sizes[0] + below + time % below_ring * tensors[o - 1, 2]
                row += 1
        target = out if last else floats
        w, b = ops[o, 5], ops[o, 6]
        if is_int:
            int_product(
                ints, offsets, row_scales, rows, count, depth, int_weights[w:], zeros[ops[o, 7] :], factors[b:],
                biases[b:], columns, form, target, targets, floats, beside,
            )  # fmt: skip
        else:
            float_product(
                floats,
                offsets,
                rows,
                count,
                depth,
                weights[w:],
                biases[b:],
                columns,
                form,
                target,
                targets,
                beside,
            )
