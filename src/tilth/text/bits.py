"""Single operations on numbers and on memory that numba does not have, each one a few machine instructions."""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

_K1 = np.uint64(0xBF58476D1CE4E5B9)
_K2 = np.uint64(0x94D049BB133111EB)


@njit(inline="always")
def mix(value):
    """Spread the bits of a 64-bit number (the finaliser of SplitMix64)."""
    value = (value ^ (value >> np.uint64(30))) * _K1
    value = (value ^ (value >> np.uint64(27))) * _K2
    return value ^ (value >> np.uint64(31))


@intrinsic
def multiplied(_context, one, two):
    """Both halves of the 128-bit product of two numbers, folded into one."""

    def generate(context, builder, signature, arguments):
        wide = ir.IntType(128)
        product = builder.mul(builder.zext(arguments[0], wide), builder.zext(arguments[1], wide))
        high = builder.trunc(builder.lshr(product, ir.Constant(wide, 64)), ir.IntType(64))
        return builder.xor(high, builder.trunc(product, ir.IntType(64)))

    return types.uint64(types.uint64, types.uint64), generate


@intrinsic
def trailing_zeros(_context, value):
    """How many low bits of a 64-bit number are zero; 64 for zero."""

    def generate(context, builder, signature, arguments):
        return builder.cttz(arguments[0], cgutils.false_bit)

    return types.uint64(types.uint64), generate


@intrinsic
def leading_zeros(_context, value):
    """How many high bits of a 64-bit number are zero; 64 for zero."""

    def generate(context, builder, signature, arguments):
        return builder.ctlz(arguments[0], cgutils.false_bit)

    return types.uint64(types.uint64), generate


@intrinsic
def ones(_context, value):
    """How many bits of a 64-bit number are set."""

    def generate(context, builder, signature, arguments):
        return builder.ctpop(arguments[0])

    return types.int64(types.uint64), generate


@intrinsic
def load_eight(_context, data, at):
    """Eight bytes of `data` from `at` on as one little-endian number, aligned or not."""

    def generate(context, builder, signature, arguments):
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        pointer = builder.gep(array.data, [arguments[1]])
        return builder.load(builder.bitcast(pointer, ir.IntType(64).as_pointer()), align=1)

    return types.uint64(data, types.int64), generate


@intrinsic
def address(_context, data):
    """Where the memory of a contiguous array begins. Whoever keeps the address keeps the array."""

    def generate(context, builder, signature, arguments):
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        return builder.ptrtoint(array.data, ir.IntType(64))

    return types.int64(data), generate


def _loader(bits, kind):
    @intrinsic
    def load(_context, memory, at):
        def generate(context, builder, signature, arguments):
            pointer = builder.inttoptr(builder.add(arguments[0], arguments[1]), ir.IntType(bits).as_pointer())
            return builder.load(pointer, align=1)

        return kind(types.int64, types.int64), generate

    return load


byte_at = _loader(8, types.uint8)
"""The byte that lies `at` bytes behind an address."""
four_at = _loader(32, types.uint32)
"""Four bytes from there on as one little-endian number."""
eight_at = _loader(64, types.uint64)
"""Eight bytes from there on as one little-endian number."""


@intrinsic
def write_eight(_context, memory, place, value):
    """Set number `place` of the 64-bit numbers that begin at an address."""

    def generate(context, builder, signature, arguments):
        number = ir.IntType(64)
        there = builder.add(arguments[0], builder.mul(arguments[1], ir.Constant(number, 8)))
        builder.store(arguments[2], builder.inttoptr(there, number.as_pointer()), align=1)
        return context.get_dummy_value()

    return types.none(types.int64, types.int64, types.uint64), generate


LANES = 16
"""How many numbers `least_products` works on at once."""


@intrinsic
def least_products(_context, hashes, count, flips, odd, least, groups):
    """For each lane the least of `(hash ^ flip) * odd` over all hashes; sixteen lanes a group, and all by address."""

    def generate(context, builder, signature, arguments):
        hashes_at, many, flips_at, odd_at, least_at, all_groups = arguments
        number = ir.IntType(64)
        vector = ir.VectorType(number, LANES)

        def there(base, offset):
            return builder.inttoptr(builder.add(base, offset), vector.as_pointer())

        with cgutils.for_range(builder, all_groups) as loop:
            offset = builder.mul(loop.index, ir.Constant(number, 8 * LANES))
            flip = builder.load(there(flips_at, offset), align=8)
            factor = builder.load(there(odd_at, offset), align=8)
            lowest = cgutils.alloca_once(builder, vector)
            builder.store(ir.Constant(vector, [2**64 - 1] * LANES), lowest)
            with cgutils.for_range(builder, many) as inner:
                place = builder.add(hashes_at, builder.mul(inner.index, ir.Constant(number, 8)))
                hashed = builder.load(builder.inttoptr(place, number.as_pointer()), align=8)
                lane = builder.insert_element(ir.Constant(vector, ir.Undefined), hashed, ir.Constant(ir.IntType(32), 0))
                all_lanes = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
                spread = builder.shuffle_vector(lane, ir.Constant(vector, ir.Undefined), all_lanes)
                product = builder.mul(builder.xor(spread, flip), factor)
                before = builder.load(lowest)
                builder.store(builder.select(builder.icmp_unsigned("<", product, before), product, before), lowest)
            builder.store(builder.load(lowest), there(least_at, offset), align=8)
        return context.get_dummy_value()

    six = (types.int64,) * 6
    return types.none(*six), generate
