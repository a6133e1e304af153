"""Inner products of many rows with many others, with the vector units kept busy and nothing written that is not wanted.

A few rows at a time are multiplied with one panel of others, in which a coordinate of all of them lies together. The
sums stay in registers; they are written only where one of them reaches what its row asks for, which is rare. Each sum
is made in the order of the coordinates, so it does not depend on how many threads there are or how rows were cut.
"""

from __future__ import annotations

import llvmlite.binding as llvm
import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from tilth.text.kernel import kernel
from tilth.text.threads import ordered_map

Floats = npt.NDArray[np.float32]

# So many sums as there is room for in the registers.
ROWS, COLUMNS = (8, 32) if llvm.get_host_cpu_features().get("avx512f") else (4, 16)
"""Rows that are multiplied at a time, and the others that a panel holds."""

_ROWS_AT_ONCE = 512


def panels_of(others: Floats) -> Floats:
    """Vectors in panels: flat, coordinate `k` of vector `j` at `(j // COLUMNS * depth + k) * COLUMNS + j % COLUMNS`.

    Args:
        others: shape `(m, depth)`; the last panel is filled up with zeros.
    """
    many, depth = others.shape
    panels = np.zeros(-(-many // COLUMNS) * COLUMNS * depth, dtype=np.float32)
    _fill(others, panels)
    return panels


def multiplied(vectors: Floats, panels: Floats, many: int) -> Floats:
    """All products.

    Args:
        vectors: shape `(n, depth)`.
        panels: of `many` others, as `panels_of` makes them.
        many: how many.

    Returns:
        Shape `(n, many)`.
    """
    made = np.empty((len(vectors), many), dtype=np.float32)
    vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    parts = [slice(at, at + _ROWS_AT_ONCE) for at in range(0, len(vectors), _ROWS_AT_ONCE)]
    for _ in ordered_map(lambda part: _multiply(vectors[part], panels, made[part]), parts):
        pass
    return made


@intrinsic
def products(_context, x, starts, y, panel, depth, wanted, out, at):
    """Multiply `ROWS` rows with one panel; whether any product reaches what is wanted, and all of them in `out` if so.

    Row `r` is `x[starts[r] : starts[r] + depth]` and wants `wanted[r]`; its product with the panel's vector `c` goes to
    `out[at + r * COLUMNS + c]`. The panel begins at `y[panel]`. All arrays are flat and contiguous.
    """
    number, single = ir.IntType(64), ir.FloatType()
    vector = ir.VectorType(single, COLUMNS)

    def generate(context, builder, signature, arguments):
        def memory(place):
            return context.make_array(signature.args[place])(context, builder, arguments[place]).data

        def constant(value):
            return ir.Constant(number, value)

        def in_all(value):
            return _in_all(builder, value, vector)

        x_at, starts_at, wanted_at = memory(0), memory(1), memory(5)
        rows = [
            builder.gep(x_at, [builder.load(builder.gep(starts_at, [constant(row)]), align=8)]) for row in range(ROWS)
        ]
        others = builder.bitcast(builder.gep(memory(2), [arguments[3]]), vector.as_pointer())
        out_at = builder.bitcast(builder.gep(memory(6), [arguments[7]]), vector.as_pointer())

        before = builder.block
        loop, done = builder.append_basic_block("coordinate"), builder.append_basic_block("summed")
        builder.branch(loop)
        builder.position_at_end(loop)
        place = builder.phi(number)
        place.add_incoming(constant(0), before)
        sums = [builder.phi(vector) for _ in range(ROWS)]
        column = builder.load(builder.gep(others, [place]), align=4)
        grown = []
        for row in range(ROWS):
            value = in_all(builder.load(builder.gep(rows[row], [place]), align=4))
            product = builder.fmul(value, column, flags=("contract",))
            grown.append(builder.fadd(sums[row], product, flags=("contract",)))
        after = builder.add(place, constant(1))
        place.add_incoming(after, loop)
        for row in range(ROWS):
            sums[row].add_incoming(ir.Constant(vector, [0.0] * COLUMNS), before)
            sums[row].add_incoming(grown[row], loop)
        builder.cbranch(builder.icmp_signed("<", after, arguments[4]), loop, done)

        builder.position_at_end(done)
        reached = None
        for row in range(ROWS):
            least = in_all(builder.load(builder.gep(wanted_at, [constant(row)]), align=4))
            here = builder.fcmp_ordered(">=", grown[row], least)
            reached = here if reached is None else builder.or_(reached, here)
        bits = ir.IntType(COLUMNS)
        found = builder.icmp_unsigned("!=", builder.bitcast(reached, bits), ir.Constant(bits, 0))
        with builder.if_then(found, likely=False):
            for row in range(ROWS):
                builder.store(grown[row], builder.gep(out_at, [constant(row)]), align=4)
        return found

    return types.boolean(x, starts, y, types.int64, types.int64, wanted, out, types.int64), generate


@intrinsic
def reaching(_context, values, at, least):
    """Which of the next `COLUMNS` values, from `values[at]` on, are at least so large, as bits."""
    vector = ir.VectorType(ir.FloatType(), COLUMNS)

    def generate(context, builder, signature, arguments):
        base = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        here = builder.bitcast(builder.gep(base, [arguments[1]]), vector.as_pointer())
        found = builder.fcmp_ordered(">=", builder.load(here, align=4), _in_all(builder, arguments[2], vector))
        return builder.zext(builder.bitcast(found, ir.IntType(COLUMNS)), ir.IntType(64))

    return types.uint64(values, types.int64, types.float32), generate


@intrinsic
def exact_product(_context, x, one, y, other, depth):
    """The product of `x[one : one + depth]` and `y[other : other + depth]`: sums in 64 bits, always in one order."""
    number, lanes = ir.IntType(64), 16
    narrow, wide = ir.VectorType(ir.FloatType(), lanes), ir.VectorType(ir.DoubleType(), lanes)

    def generate(context, builder, signature, arguments):
        def begins(array, at):
            base = context.make_array(signature.args[array])(context, builder, arguments[array]).data
            return builder.gep(base, [arguments[at]])

        def loaded(begin, place, kind, wider):
            here = builder.bitcast(builder.gep(begin, [place]), kind.as_pointer())
            return builder.fpext(builder.load(here, align=4), wider)

        first, second, depth = begins(0, 1), begins(2, 3), arguments[4]
        whole = builder.and_(depth, ir.Constant(number, -lanes))
        sums = cgutils.alloca_once_value(builder, ir.Constant(wide, [0.0] * lanes))
        total = cgutils.alloca_once_value(builder, ir.Constant(ir.DoubleType(), 0.0))
        with cgutils.for_range_slice(builder, whole.type(0), whole, whole.type(lanes)) as (place, _):
            product = builder.fmul(loaded(first, place, narrow, wide), loaded(second, place, narrow, wide))
            builder.store(builder.fadd(builder.load(sums), product), sums)
        with cgutils.for_range_slice(builder, whole, depth, whole.type(1)) as (place, _):
            single, double = ir.FloatType(), ir.DoubleType()
            product = builder.fmul(loaded(first, place, single, double), loaded(second, place, single, double))
            builder.store(builder.fadd(builder.load(total), product), total)
        made, folded = builder.load(sums), builder.load(total)
        for lane in range(lanes):
            folded = builder.fadd(folded, builder.extract_element(made, ir.Constant(ir.IntType(32), lane)))
        return folded

    return types.float64(x, types.int64, y, types.int64, types.int64), generate


def _in_all(builder, value, vector):
    """A vector that holds one value in all places."""
    nothing, number = ir.Constant(vector, ir.Undefined), ir.IntType(32)
    first = builder.insert_element(nothing, value, ir.Constant(number, 0))
    everywhere = ir.Constant(ir.VectorType(number, vector.count), [0] * vector.count)
    return builder.shuffle_vector(first, nothing, everywhere)


@kernel
def put(vector, panels, at):
    """Write a vector to place `at` of the panels."""
    depth = len(vector)
    base = at // COLUMNS * depth * COLUMNS + at % COLUMNS
    for place in range(depth):
        panels[base + place * COLUMNS] = vector[place]


@kernel
def _fill(others, panels):
    for at in range(len(others)):
        put(others[at], panels, at)


@kernel
def _multiply(vectors, panels, made):
    rows, depth = vectors.shape
    many = made.shape[1]
    x = vectors.reshape(-1)
    starts = np.zeros(ROWS, dtype=np.int64)
    wanted = np.full(ROWS, -np.inf, dtype=np.float32)
    out = np.empty(ROWS * COLUMNS, dtype=np.float32)
    for first in range(0, many, COLUMNS):
        width = min(COLUMNS, many - first)
        for row in range(0, rows, ROWS):
            for place in range(ROWS):
                starts[place] = min(row + place, rows - 1) * depth
            products(x, starts, panels, first * depth, depth, wanted, out, 0)
            for place in range(min(ROWS, rows - row)):
                for column in range(width):
                    made[row + place, first + column] = out[place * COLUMNS + column]
