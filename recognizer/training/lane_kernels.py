"""The denominator's inner loop in LLVM's vectors: sums of weighted rows of `LANES` numbers.

numba keeps no small array in registers, so the loop over the arcs of a state, which is most of LF-MMI, would write
its sums to memory after every arc. Given as an intrinsic it runs 2 to 3 times as fast.
"""

from __future__ import annotations

from typing import Any, Final

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

LANES: Final = 16
UNROLL: Final = 4

_I64: Final = ir.IntType(64)
_ROW: Final = ir.VectorType(ir.FloatType(), LANES)


@intrinsic  # type: ignore[misc]
def add_weighted_rows(
    typing_context: Any, sums: Any, rows: Any, state: Any, weight: Any, first: Any, last: Any
) -> Any:
    """Add ``weight[k] * rows[state[k]]`` to `sums` for all k from `first` up to `last`.

    Parameters
    ----------
    sums : float32[LANES]
    rows : float32[states, LANES], contiguous
    state, weight : int32[arcs], float32[arcs], contiguous
    first, last : int
        Their difference is a multiple of `UNROLL`. Nothing is checked.
    """

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        def data(place: int) -> Any:
            return context.make_array(signature.args[place])(context, b, arguments[place]).data

        fma = cgutils.get_or_insert_function(b.module, ir.FunctionType(_ROW, [_ROW] * 3), f"llvm.fma.v{LANES}f32")
        target = b.bitcast(data(0), ir.PointerType(_ROW))
        table, states, weights = data(1), data(2), data(3)
        begin, end = (context.cast(b, arguments[i], signature.args[i], types.int64) for i in (4, 5))
        undefined = ir.Constant(_ROW, ir.Undefined)
        everywhere = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        # Independent sums, so that one addition need not wait for the one before it.
        parts = [cgutils.alloca_once_value(b, ir.Constant(_ROW, [0.0] * LANES)) for _ in range(UNROLL - 1)]
        parts.append(cgutils.alloca_once(b, _ROW))
        for part in parts[:-1]:
            b.store(ir.Constant(_ROW, [0.0] * LANES), part)
        b.store(b.load(target, align=4), parts[-1])
        with cgutils.for_range_slice(b, begin, end, ir.Constant(_I64, UNROLL), _I64, inc=True) as (k, _):
            for offset, part in enumerate(parts):
                place = b.add(k, ir.Constant(_I64, offset))
                row = b.mul(b.sext(b.load(b.gep(states, [place])), _I64), ir.Constant(_I64, LANES))
                values = b.load(b.bitcast(b.gep(table, [row]), ir.PointerType(_ROW)), align=4)
                factor = b.insert_element(
                    undefined, b.load(b.gep(weights, [place])), ir.Constant(ir.IntType(32), 0)
                )
                factor = b.shuffle_vector(factor, undefined, everywhere)
                b.store(b.call(fma, [factor, values, b.load(part)]), part)
        total = b.load(parts[0])
        for part in parts[1:]:
            total = b.fadd(total, b.load(part))
        b.store(total, target, align=4)
        return context.get_dummy_value()

    return types.void(sums, rows, state, weight, first, last), generate
