"""A hint to the processor that an array element will be read soon, for jitted loops over memory that no cache holds."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic


@intrinsic  # type: ignore[misc]
def prefetch(typing_context: Any, array: Any, index: Any) -> Any:
    """Ask for the cache line of ``array[index]`` (one dimension, contiguous; `index` in range) without waiting.

    LLVM's ``llvm.prefetch``: read, high locality, data. It reads nothing and cannot fault.
    """
    if not isinstance(array, types.Array) or not isinstance(index, types.Integer):
        return None

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array_type, index_type = signature.args
        view = context.make_array(array_type)(context, builder, arguments[0])
        place = context.cast(builder, arguments[1], index_type, types.intp)
        shape = cgutils.unpack_tuple(builder, view.shape, array_type.ndim)
        strides = cgutils.unpack_tuple(builder, view.strides, array_type.ndim)
        pointer = cgutils.get_item_pointer2(
            context, builder, view.data, shape, strides, array_type.layout, [place], wraparound=False
        )
        bytes_pointer = builder.bitcast(pointer, ir.IntType(8).as_pointer())
        number = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [bytes_pointer.type, number, number, number])
        name = f"llvm.prefetch.{bytes_pointer.type.intrinsic_name}"
        function = cgutils.get_or_insert_function(builder.module, kind, name)
        builder.call(function, [bytes_pointer, number(0), number(3), number(1)])
        return context.get_dummy_value()

    return types.void(array, index), generate
