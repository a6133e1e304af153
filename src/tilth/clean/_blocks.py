"""Sixty-four bytes of text at a time: which of them are what, as bits, and copying them.

Each operation on a block is one vector operation of LLVM, which becomes what the processor has. A block may be read
only where 64 bytes are left in the array, and written only where 64 more fit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from tilth.text.kernel import kernel

BLOCK = 64


@intrinsic  # type: ignore[misc]
def equal(_context, data, at, value):  # type: ignore[no-untyped-def]
    """A bit for each of the 64 bytes of `data` from `at` on: whether it is `value`."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        block = _load(context, builder, signature, arguments)
        return builder.bitcast(builder.icmp_unsigned("==", block, _all(builder, arguments[2])), ir.IntType(64))

    return types.uint64(data, types.int64, types.uint8), generate


@intrinsic  # type: ignore[misc]
def within(_context, data, at, low, count):  # type: ignore[no-untyped-def]
    """A bit for each of the 64 bytes of `data` from `at` on: whether it is one of the `count` from `low` on."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        block = _load(context, builder, signature, arguments)
        above = builder.sub(block, _all(builder, arguments[2]))
        return builder.bitcast(builder.icmp_unsigned("<", above, _all(builder, arguments[3])), ir.IntType(64))

    return types.uint64(data, types.int64, types.uint8, types.uint8), generate


@intrinsic  # type: ignore[misc]
def copy(_context, data, at, out, to):  # type: ignore[no-untyped-def]
    """Write the 64 bytes of `data` from `at` on to `out` from `to` on."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        block = _load(context, builder, signature, arguments)
        array = context.make_array(signature.args[2])(context, builder, arguments[2])
        pointer = builder.gep(array.data, [arguments[3]])
        builder.store(block, builder.bitcast(pointer, block.type.as_pointer()), align=1)
        return context.get_dummy_value()

    return types.void(data, types.int64, out, types.int64), generate


@kernel
def copy_range(data, begin, end, out, to):
    """Copy `data[begin:end]` to `out` from `to` on; gives its end there. `out` has 64 bytes more than it needs."""
    while end - begin >= BLOCK or (end > begin and begin + BLOCK <= len(data)):
        copy(data, begin, out, to)
        size = min(BLOCK, end - begin)
        begin += size
        to += size
    while begin < end:
        out[to] = data[begin]
        begin += 1
        to += 1
    return to


@kernel
def splice(data, offsets, rows, changed, changed_offsets):
    """All rows of `data`, with those of `changed` in the places `rows`: the bytes and the offsets."""
    count = len(offsets) - 1
    size = offsets[count] - offsets[0]
    for place in range(len(rows)):
        row = rows[place]
        size += changed_offsets[place + 1] - changed_offsets[place] - (offsets[row + 1] - offsets[row])
    out = np.empty(size + BLOCK, dtype=np.uint8)
    ends = np.empty(count + 1, dtype=np.int64)
    ends[0] = 0
    to, row = 0, 0
    for place in range(len(rows)):
        # Rows between two that changed lie next to each other, so they are copied as one.
        to = _keep(data, offsets, row, rows[place], out, to, ends)
        to = copy_range(changed, changed_offsets[place], changed_offsets[place + 1], out, to)
        row = rows[place] + 1
        ends[row] = to
    _keep(data, offsets, row, count, out, to, ends)
    return out[:size], ends


@kernel
def _keep(data, offsets, row, end, out, to, ends):
    shift = to - offsets[row]
    for kept in range(row, end):
        ends[kept + 1] = offsets[kept + 1] + shift
    return copy_range(data, offsets[row], offsets[end], out, to)


@kernel
def differ(data, offsets, rows, changed, changed_offsets):
    """Whether each row of `changed` is another text than that row of `data` which `rows` names."""
    other = np.zeros(len(rows), dtype=np.bool_)
    for place in range(len(rows)):
        begin, at = offsets[rows[place]], changed_offsets[place]
        size = changed_offsets[place + 1] - at
        if size != offsets[rows[place] + 1] - begin:
            other[place] = True
            continue
        for step in range(size):
            if data[begin + step] != changed[at + step]:
                other[place] = True
                break
    return other


@kernel
def pick(data, offsets, rows):
    """The rows `rows` of `data`, one after the other: the bytes and the offsets."""
    size = np.int64(0)
    for row in rows:
        size += offsets[row + 1] - offsets[row]
    out = np.empty(size + BLOCK, dtype=np.uint8)
    ends = np.empty(len(rows) + 1, dtype=np.int64)
    ends[0] = 0
    for place in range(len(rows)):
        row = rows[place]
        ends[place + 1] = copy_range(data, offsets[row], offsets[row + 1], out, ends[place])
    return out[:size], ends


def _load(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    array = context.make_array(signature.args[0])(context, builder, arguments[0])
    pointer = builder.gep(array.data, [arguments[1]])
    return builder.load(builder.bitcast(pointer, ir.VectorType(ir.IntType(8), BLOCK).as_pointer()), align=1)


def _all(builder: Any, value: Any) -> Any:
    """A vector of 64 times `value`."""
    vector = ir.VectorType(ir.IntType(8), BLOCK)
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
    places = ir.Constant(ir.VectorType(ir.IntType(32), BLOCK), [0] * BLOCK)
    return builder.shuffle_vector(one, ir.Constant(vector, ir.Undefined), places)
