"""The network's products: rows scattered over a pool of activations times packed weights, in LLVM's vectors.

BLAS adds up in an order that depends on a product's shape, and the same audio has to give the same bits whoever
speaks beside it. Here every number of a result is one chain of fused multiply-adds over the taps and inputs in
their order (float32), or a sum of integers (int8), whatever other rows are computed with it and however wide the
machine's registers are. So legs may be batched freely; that a CPU lacks an instruction costs time, never a bit.

A *tile* is a few rows times `COLUMNS` columns, whose sums stay in registers while the inputs go by (as the inner
kernels of BLIS do). Rows are found through a table of offsets (as in XNNPACK's indirect convolution), so that
nothing is copied to bring a layer's taps side by side. numba writes no such code by itself: it keeps no small array
in registers. So the tile is given to it as an intrinsic; everything around is plain numba.

Integers come in two forms with equal sums: *quads*, uint8 times int8 four at a time (AVX-512 VNNI's
``vpdpbusd``), and *pairs*, int16 two at a time (``vpmaddwd`` or whatever the machine has).
"""

from __future__ import annotations

from typing import Any, Final

import llvmlite.binding
from llvmlite import ir
from numba import config, njit, types
from numba.core import cgutils
from numba.extending import intrinsic

COLUMNS: Final = 32
"""Columns of a tile; weights are packed in panels of so many."""
LINEAR: Final = 0
RECTIFIED: Final = 1
RESIDUAL: Final = 2
"""What becomes of a sum: nothing, max(0, sum), or that plus another row."""

_LANES: Final = 16
_NOTHING: Final = 1e-30
"""A row that is nowhere larger is zero."""
_VECTORS: Final = COLUMNS // _LANES


def _cpu_has(feature: str) -> bool:
    """Whether numba compiles for a processor with this feature: the one at hand, unless its settings name another."""
    if config.CPU_NAME is not None or config.CPU_FEATURES is not None or not config.ENABLE_AVX:
        return f"+{feature}" in (config.CPU_FEATURES or "").split(",")
    try:
        return bool(llvmlite.binding.get_host_cpu_features().get(feature, False))
    except RuntimeError:  # LLVM does not know this kind of host
        return False


QUADS: Final = _cpu_has("avx512vnni") and _cpu_has("avx512vl")
"""Whether this machine multiplies quads; the other form runs everywhere."""
# So many rows' sums fit into the registers.
_MANY: Final = 12 if _cpu_has("avx512f") else 3
_SOME: Final = 6 if _cpu_has("avx512f") else 2

_I8: Final = ir.IntType(8)
_I16: Final = ir.IntType(16)
_I32: Final = ir.IntType(32)
_I64: Final = ir.IntType(64)
_FLOATS: Final = ir.VectorType(ir.FloatType(), _LANES)
_INTS: Final = ir.VectorType(_I32, _LANES)
_SHORTS: Final = ir.VectorType(_I16, 2 * _LANES)
_WIDE: Final = ir.VectorType(_I32, 2 * _LANES)


class _Writer:
    """The little of LLVM's language that the tiles need."""

    def __init__(self, context: Any, builder: Any, signature: Any, arguments: Any) -> None:
        self.b = builder
        self._arguments = [
            context.make_array(kind)(context, builder, value).data if isinstance(kind, types.Array) else value
            for kind, value in zip(signature.args, arguments, strict=True)
        ]
        self.fma = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(_FLOATS, [_FLOATS] * 3), f"llvm.fma.v{_LANES}f32"
        )

    def arguments(self) -> list[Any]:
        """Pointers to the data of arrays, values of the others."""
        return self._arguments

    def number(self, value: int) -> Any:
        return ir.Constant(_I64, value)

    def sum(self, *terms: Any) -> Any:
        result = terms[0]
        for term in terms[1:]:
            result = self.b.add(result, term)
        return result

    def load(self, data: Any, index: Any, kind: Any = None, align: int = 4) -> Any:
        """Load the element at `index`, or a value of another kind that begins there."""
        place = self.b.gep(data, [index])
        if kind is None:
            return self.b.load(place)
        return self.b.load(self.b.bitcast(place, ir.PointerType(kind)), align=align)

    def store(self, value: Any, data: Any, index: Any) -> None:
        place = self.b.bitcast(self.b.gep(data, [index]), ir.PointerType(value.type))
        self.b.store(value, place, align=1)

    def spread(self, value: Any, kind: Any) -> Any:
        """Return a vector that holds `value` in every lane."""
        undefined = ir.Constant(kind, ir.Undefined)
        first = self.b.insert_element(undefined, value, ir.Constant(_I32, 0))
        mask = ir.Constant(ir.VectorType(_I32, _LANES), [0] * _LANES)
        return self.b.shuffle_vector(first, undefined, mask)

    def registers(self, rows: int, kind: Any) -> list[list[Any]]:
        """Return a variable per row and vector; LLVM finds registers for them."""
        return [[cgutils.alloca_once(self.b, kind) for _ in range(_VECTORS)] for _ in range(rows)]

    def finish(self, sums: list[list[Any]], first: Any, column: Any, form: Any, out: Any, places: Any,
               pool: Any, beside: Any) -> None:  # fmt: skip
        """Rectify, add the residual rows, and store."""
        b = self.b
        zero = ir.Constant(_FLOATS, [0.0] * _LANES)
        with b.if_then(b.icmp_signed(">=", form, self.number(RECTIFIED))):
            for vectors in sums:
                for place in vectors:
                    value = b.load(place)
                    b.store(b.select(b.fcmp_ordered(">", value, zero), value, zero), place)
        with b.if_then(b.icmp_signed("==", form, self.number(RESIDUAL))):
            for row, vectors in enumerate(sums):
                start = self.sum(self.load(beside, self.sum(first, self.number(row))), column)
                for v, place in enumerate(vectors):
                    residual = self.load(pool, self.sum(start, self.number(v * _LANES)), _FLOATS)
                    b.store(b.fadd(b.load(place), residual), place)
        for row, vectors in enumerate(sums):
            start = self.sum(self.load(places, self.sum(first, self.number(row))), column)
            for v, place in enumerate(vectors):
                self.store(b.load(place), out, self.sum(start, self.number(v * _LANES)))


def _float_tile(rows: int) -> Any:
    """Return the intrinsic that computes `rows` rows of a panel from float32."""

    @intrinsic  # type: ignore[untyped-decorator]
    def tile(typing: Any, pool: Any, offsets: Any, first: Any, taps: Any, depth: Any, weights: Any, panel: Any,
             bias: Any, column: Any, form: Any, out: Any, places: Any, beside: Any) -> Any:  # fmt: skip
        """First: the tile's first row; panel: where its weights begin; column: its first column."""
        signature = types.void(pool, offsets, first, taps, depth, weights, panel, bias, column, form, out, places,
                               beside)  # fmt: skip

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            w = _Writer(context, builder, signature, arguments)
            pool, offsets, first, taps, depth, weights, panel, bias, column, form, out, places, beside = (
                w.arguments()
            )
            sums = w.registers(rows, _FLOATS)
            for v in range(_VECTORS):
                begin = w.load(bias, w.sum(column, w.number(v * _LANES)), _FLOATS)
                for vectors in sums:
                    builder.store(begin, vectors[v])
            with cgutils.for_range(builder, taps) as tap:
                inputs = []
                for row in range(rows):
                    place = builder.mul(w.sum(first, w.number(row)), taps)
                    inputs.append(builder.gep(pool, [w.load(offsets, w.sum(place, tap.index))]))
                begin = w.sum(panel, builder.mul(builder.mul(tap.index, depth), w.number(COLUMNS)))
                with cgutils.for_range(builder, depth) as k:
                    here = w.sum(begin, builder.mul(k.index, w.number(COLUMNS)))
                    factors = [
                        w.load(weights, w.sum(here, w.number(v * _LANES)), _FLOATS) for v in range(_VECTORS)
                    ]
                    for row in range(rows):
                        value = w.spread(w.load(inputs[row], k.index), _FLOATS)
                        for v in range(_VECTORS):
                            total = builder.load(sums[row][v])
                            builder.store(builder.call(w.fma, [value, factors[v], total]), sums[row][v])
            w.finish(sums, first, column, form, out, places, pool, beside)
            return context.get_dummy_value()

        return signature, generate

    return tile


def _int_tile(rows: int) -> Any:
    """Return the intrinsic that computes `rows` rows of a panel from integers; quads if the inputs are uint8."""

    @intrinsic  # type: ignore[untyped-decorator]
    def tile(typing: Any, integers: Any, offsets: Any, scales: Any, first: Any, taps: Any, depth: Any,
             weights: Any, panel: Any, zero: Any, zero_panel: Any, factor: Any, bias: Any, column: Any, form: Any,
             out: Any, places: Any, pool: Any, beside: Any) -> Any:  # fmt: skip
        """Depth counts quads or pairs; zero: what each tap's sums begin with; factor: per column."""
        signature = types.void(integers, offsets, scales, first, taps, depth, weights, panel, zero, zero_panel,
                               factor, bias, column, form, out, places, pool, beside)  # fmt: skip
        quads = integers.dtype == types.uint8
        size = 4 if quads else 2

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            w = _Writer(context, builder, signature, arguments)
            (integers, offsets, scales, first, taps, depth, weights, panel, zero, zero_panel, factor, bias, column,
             form, out, places, pool, beside) = w.arguments()  # fmt: skip
            dot = _quads(builder) if quads else _pairs(builder)
            counts, sums = w.registers(rows, _INTS), w.registers(rows, _FLOATS)
            for vectors in sums:
                for place in vectors:
                    builder.store(ir.Constant(_FLOATS, [0.0] * _LANES), place)
            with cgutils.for_range(builder, taps) as tap:
                inputs, steps = [], []
                for row in range(rows):
                    place = w.sum(builder.mul(w.sum(first, w.number(row)), taps), tap.index)
                    inputs.append(builder.gep(integers, [w.load(offsets, place)]))
                    steps.append(w.load(scales, place))
                for v in range(_VECTORS):
                    here = w.sum(zero_panel, builder.mul(tap.index, w.number(COLUMNS)), w.number(v * _LANES))
                    begin = w.load(zero, here, _INTS)
                    for vectors in counts:
                        builder.store(begin, vectors[v])
                start = w.sum(panel, builder.mul(builder.mul(tap.index, depth), w.number(COLUMNS * size)))
                with cgutils.for_range(builder, depth) as k:
                    here = w.sum(start, builder.mul(k.index, w.number(COLUMNS * size)))
                    factors = [
                        w.load(weights, w.sum(here, w.number(v * _LANES * size)), _INTS, align=1)
                        for v in range(_VECTORS)
                    ]
                    for row in range(rows):
                        group = w.load(inputs[row], builder.mul(k.index, w.number(size)), _I32, align=1)
                        value = w.spread(group, _INTS)
                        for v in range(_VECTORS):
                            builder.store(dot(builder.load(counts[row][v]), value, factors[v]), counts[row][v])
                for row in range(rows):
                    step = w.spread(steps[row], _FLOATS)
                    for v in range(_VECTORS):
                        counted = builder.sitofp(builder.load(counts[row][v]), _FLOATS)
                        total = builder.load(sums[row][v])
                        builder.store(builder.call(w.fma, [counted, step, total]), sums[row][v])
            for v in range(_VECTORS):
                here = w.sum(column, w.number(v * _LANES))
                per_column, begin = w.load(factor, here, _FLOATS), w.load(bias, here, _FLOATS)
                for vectors in sums:
                    total = builder.load(vectors[v])
                    builder.store(builder.call(w.fma, [total, per_column, begin]), vectors[v])
            w.finish(sums, first, column, form, out, places, pool, beside)
            return context.get_dummy_value()

        return signature, generate

    return tile


def _quads(builder: Any) -> Any:
    kind = ir.FunctionType(_INTS, [_INTS] * 3)
    dot = cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.avx512.vpdpbusd.512")
    return lambda total, value, factor: builder.call(dot, [total, value, factor])


def _pairs(builder: Any) -> Any:
    """LLVM knows this pattern and makes ``vpmaddwd`` or ``vpdpwssd`` of it."""
    indices = ir.VectorType(_I32, _LANES)
    even = ir.Constant(indices, list(range(0, 2 * _LANES, 2)))
    odd = ir.Constant(indices, list(range(1, 2 * _LANES, 2)))

    def dot(total: Any, value: Any, factor: Any) -> Any:
        wide = [builder.sext(builder.bitcast(x, _SHORTS), _WIDE) for x in (value, factor)]
        products = builder.mul(*wide)
        pair_sums = builder.add(*(builder.shuffle_vector(products, products, half) for half in (even, odd)))
        return builder.add(total, pair_sums)

    return dot


def _row_to_integers() -> Any:
    """Return the intrinsic that writes a row as integers, from a float32 row that is padded with zeros."""

    @intrinsic  # type: ignore[untyped-decorator]
    def convert(typing: Any, floats: Any, begin: Any, vectors: Any, most: Any, zero: Any, integers: Any,
                place: Any) -> Any:  # fmt: skip
        """Vectors: of 16 numbers, in the row; most: what the largest becomes; zero: what zero becomes."""
        signature = types.float32(floats, begin, vectors, most, zero, integers, place)
        kind = ir.VectorType(_I8 if integers.dtype == types.uint8 else _I16, _LANES)

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            w = _Writer(context, builder, signature, arguments)
            floats, begin, vectors, most, zero, integers, place = w.arguments()
            nothing = ir.Constant(_FLOATS, [0.0] * _LANES)
            peak = cgutils.alloca_once_value(builder, nothing)
            with cgutils.for_range(builder, vectors) as i:
                value = w.load(floats, w.sum(begin, builder.mul(i.index, w.number(_LANES))), _FLOATS)
                size = builder.select(builder.fcmp_ordered("<", value, nothing), builder.fneg(value), value)
                known = builder.load(peak)
                builder.store(builder.select(builder.fcmp_ordered(">", size, known), size, known), peak)
            lanes = builder.load(peak)
            largest = builder.extract_element(lanes, ir.Constant(_I32, 0))
            for lane in range(1, _LANES):
                other = builder.extract_element(lanes, ir.Constant(_I32, lane))
                largest = builder.select(builder.fcmp_ordered(">", other, largest), other, largest)
            heard = builder.fcmp_ordered(">", largest, ir.Constant(ir.FloatType(), _NOTHING))
            factor = builder.select(heard, builder.fdiv(most, largest), ir.Constant(ir.FloatType(), 0.0))
            # The half makes a rounding of cutting the fraction off.
            offset = builder.fadd(zero, ir.Constant(ir.FloatType(), 0.5))
            factors, offsets = w.spread(factor, _FLOATS), w.spread(offset, _FLOATS)
            with cgutils.for_range(builder, vectors) as i:
                here = builder.mul(i.index, w.number(_LANES))
                value = builder.fmul(w.load(floats, w.sum(begin, here), _FLOATS), factors)
                whole = builder.fptosi(builder.fadd(value, offsets), _INTS)
                w.store(builder.trunc(whole, kind), integers, w.sum(place, here))
            return builder.select(heard, builder.fdiv(largest, most), ir.Constant(ir.FloatType(), 0.0))

        return signature, generate

    return convert


row_to_integers: Final = _row_to_integers()
"""``row_to_integers(floats, begin, vectors, most, zero, integers, place)`` writes a row of 16 * `vectors` numbers as
integers about `zero`, the largest as `most`, rounded half up, and returns the value of one."""
_float_many, _float_some, _float_three, _float_one = (_float_tile(rows) for rows in (_MANY, _SOME, 3, 1))
_int_many, _int_some, _int_three, _int_one = (_int_tile(rows) for rows in (_MANY, _SOME, 3, 1))


@njit(cache=True)
def float_product(  # type: ignore[no-untyped-def]
    pool, offsets, rows, taps, depth, weights, bias, columns, form, out, places, beside
):
    """Compute ``out[places[r] + c] = form(sum over tap, k of pool[offsets[r, tap] + k] W[tap, k, c] + bias[c])``.

    `offsets` is flat; `weights` are packed by panel, tap, input, column of the panel; `columns` is a multiple of
    `COLUMNS`. `beside` says where in `pool` the residual rows begin.
    """
    for panel in range(columns // COLUMNS):
        c = panel * COLUMNS
        w = c * taps * depth
        r = 0
        while rows - r >= _MANY:
            _float_many(pool, offsets, r, taps, depth, weights, w, bias, c, form, out, places, beside)
            r += _MANY
        while rows - r >= _SOME:
            _float_some(pool, offsets, r, taps, depth, weights, w, bias, c, form, out, places, beside)
            r += _SOME
        while rows - r >= 3:
            _float_three(pool, offsets, r, taps, depth, weights, w, bias, c, form, out, places, beside)
            r += 3
        while rows - r >= 1:
            _float_one(pool, offsets, r, taps, depth, weights, w, bias, c, form, out, places, beside)
            r += 1


@njit(cache=True)
def int_product(  # type: ignore[no-untyped-def]
    integers,
    offsets,
    scales,
    rows,
    taps,
    depth,
    weights,
    zero,
    factor,
    bias,
    columns,
    form,
    out,
    places,
    pool,
    beside,
):
    """As `float_product` with integers: a tap's sum begins with `zero`, is multiplied by its row's scale, and all
    together by the column's factor. `depth` counts quads or pairs.
    """
    size = 4 if integers.itemsize == 1 else 2
    for panel in range(columns // COLUMNS):
        c = panel * COLUMNS
        w, z = c * taps * depth * size, c * taps
        r = 0
        while rows - r >= _MANY:
            _int_many(integers, offsets, scales, r, taps, depth, weights, w, zero, z, factor, bias, c, form, out,
                      places, pool, beside)  # fmt: skip
            r += _MANY
        while rows - r >= _SOME:
            _int_some(integers, offsets, scales, r, taps, depth, weights, w, zero, z, factor, bias, c, form, out,
                      places, pool, beside)  # fmt: skip
            r += _SOME
        while rows - r >= 3:
            _int_three(integers, offsets, scales, r, taps, depth, weights, w, zero, z, factor, bias, c, form, out,
                       places, pool, beside)  # fmt: skip
            r += 3
        while rows - r >= 1:
            _int_one(integers, offsets, scales, r, taps, depth, weights, w, zero, z, factor, bias, c, form, out,
                     places, pool, beside)  # fmt: skip
            r += 1
