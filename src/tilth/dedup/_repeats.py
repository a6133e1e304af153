"""Repeated windows of a sequence that is cut into rows: every one of them, in time and memory that follow its length.

A window is `length` units that stand next to each other in one row. It is a copy if the same units stand at an earlier
place that it does not overlap. All copies are found in two parts.

Winnowing (Schleimer, Wilkerson and Aiken, 2003) leaves out what stands nowhere else: the least hash of the shorter
pieces in a window is the same wherever the window stands, so a window whose least hash comes once is no copy.

The windows that are left are looked up in a table of the first place of each. The table holds places, not text; each
hit is compared in full and followed to the end of the match, so that no hash decides anything and a long match costs
what comparing it costs. A share of all hashes is done at a time, by one thread in the order of the rows: memory is
bounded, and the result does not depend on threads.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from tilth.dedup._pieces import Numbers, Pieces, cover, end_of_row, joined, roomier, row_index
from tilth.text.kernel import kernel
from tilth.text.threads import ordered_map, threads
from tilth.text.words import leading_zeros, load_eight, trailing_zeros

Units = npt.NDArray[Any]

SHARE_BITS = 3
"""A large sequence is searched in `2 ** SHARE_BITS` shares of all hashes, a small one in one."""
_SMALL = 2**18
_BYTES_OF_TABLES = 8
"""For each unit: how large the tables that are in use at one time may grow together, if there are more than two."""

_UNITS_AT_ONCE = 2**22
_RUNS_AT_ONCE = 2**16
_QUEUE = 32
_EAGER = 4
_AHEAD = 32
_COUNTERS = 4

_BASE = np.uint64(0xD6E8FEB86659FD93)
_K1 = np.uint64(0xBF58476D1CE4E5B9)
_K2 = np.uint32(0x9E3779B1)


def repeats(units: Units, offsets: Numbers, length: int, *, all_copies: bool = False) -> Pieces:
    """The units that lie in a window which is a copy.

    Args:
        units: the rows one after another, of type `uint8` or `int32`, one unit at least.
        offsets: row `i` is `units[offsets[i]:offsets[i + 1]]`.
        length: units in a window.
        all_copies: also those in a window that stands again at a later place which does not overlap it.

    Returns:
        Pieces that make up these units; what is only repeated later has no source.
    """
    found = cover(*_runs(units, offsets, length), length)
    if all_copies:
        # What is repeated later is what was repeated before when all is read from its end.
        n = int(offsets[-1])
        back = cover(*_runs(units[:n][::-1].copy() if n else units, (n - offsets)[::-1].copy(), length), length)
        found = joined(found, (n - back.ends)[::-1].copy(), (n - back.begins)[::-1].copy())
    return found


def _runs(units: Units, offsets: Numbers, length: int) -> tuple[Numbers, Numbers]:
    """Runs of windows that are copies, so that each copy is in one.

    Returns:
        In the rows of an array of shape `(3, runs)` the first window of each run, the earlier place that it equals, and
        how many windows there are; and where the runs of each share begin, which are ascending.
    """
    begins, ends = _candidates(units, offsets, length)
    windows = int((ends - begins).sum())
    if windows == 0:
        return np.empty((3, 0), dtype=np.int64), np.zeros(2, dtype=np.int64)
    # The number of shares depends on the data alone, since which of several runs is found depends on it.
    share_bits = 0 if windows < _SMALL else SHARE_BITS
    place_bits = max(20, int(offsets[-1]).bit_length())
    index, shift, power = row_index(offsets), units.itemsize.bit_length() - 1, _power(length)
    weights = np.cumprod(np.append(np.uint64(1), np.full(length - 1, _BASE)))[::-1].copy()
    fixed = units, units.view(np.uint8), shift, offsets, index, begins, ends, length, power, weights
    spare: list[npt.NDArray[np.uint64]] = []

    def found(share: int) -> Numbers:
        size = max(2**12, 1 << (windows >> (share_bits + 2)).bit_length())
        table = spare.pop() if spare else np.empty(size, dtype=np.uint64)
        table.fill(0)
        runs = [np.empty((3, 0), dtype=np.int64)]
        at = np.array([0, 0, 0, -1, 0, 0], dtype=np.int64)
        room = np.empty((3, min(_RUNS_AT_ONCE, windows + _QUEUE)), dtype=np.int64)
        while at[0] < len(begins):
            count = _find(*fixed, share, share_bits, place_bits, table, at, room)
            runs.append(room[:, :count].copy())
            if _is_full(int(at[2]), len(table)):
                grown = _zeros(2 * len(table), np.uint64)
                _rehash(table, grown)
                table = grown
        spare.append(table)
        return np.concatenate(runs, axis=1)

    most = 8 << (windows * 10 // 7 >> share_bits).bit_length()
    at_once = max(2, _BYTES_OF_TABLES * int(offsets[-1]) // most)
    shares = list(ordered_map(found, range(1 << share_bits), min(threads(), at_once)))
    spare.clear()
    bounds = np.cumsum([0, *(share.shape[1] for share in shares)])
    return np.concatenate(shares, axis=1), bounds


def _candidates(units: Units, offsets: Numbers, length: int) -> tuple[Numbers, Numbers]:
    """Stretches of windows, each within a row, ascending, outside of which no window stands twice."""
    # How many of the shorter pieces there are in a window; the length of a run of windows must fit 16 bits.
    width = min((length + 1) // 2, 2**16 - 1)
    if width < 4:
        rows = np.flatnonzero(np.diff(offsets) >= length)
        return offsets[rows], offsets[rows + 1] - (length - 1)
    chunks = list(_chunks(offsets))
    power = _power(length - width + 1)
    anchors = list(ordered_map(lambda rows: _anchors(units, offsets, *rows, length, width, power), chunks))
    bits = min(32, max(10, (8 * sum(len(values) for values, _ in anchors)).bit_length()))
    seen, twice = _zeros(1 << (bits - 3), np.uint8), _zeros(1 << (bits - 3), np.uint8)

    def counted(share: int) -> None:
        for values, _ in anchors:
            _count(values, bits, share, seen, twice)

    for _ in ordered_map(counted, range(_COUNTERS)):
        pass
    kept = ordered_map(lambda at: _kept(*anchors[at], offsets, *chunks[at], length, bits, twice), range(len(chunks)))
    begins, ends = zip(*kept, strict=True)
    return np.concatenate(begins), np.concatenate(ends)


def _chunks(offsets: Numbers) -> Iterator[tuple[int, int]]:
    """Runs of rows of about equal size, one at least."""
    lo = 0
    while lo == 0 or lo < len(offsets) - 1:
        hi = int(np.searchsorted(offsets, offsets[lo] + _UNITS_AT_ONCE, side="right")) - 1
        hi = min(max(hi, lo + 1), len(offsets) - 1)
        yield lo, hi
        lo = max(hi, 1)


def _power(exponent: int) -> np.uint64:
    return np.uint64(pow(int(_BASE), exponent, 2**64))


def _zeros(count: int, kind: type[np.unsignedinteger[Any]]) -> npt.NDArray[Any]:
    """Zeros for random access: NumPy asks for large pages where it does not get the zeros from the system."""
    made = np.empty(count, dtype=kind)
    made.fill(0)
    return made


@intrinsic
def _unit(_context, units, at):
    """`units[at]` as a number of 64 bits, for a place that is not negative."""

    def generate(context, builder, signature, arguments):
        made = context.make_array(signature.args[0])(context, builder, arguments[0])
        return builder.zext(builder.load(builder.gep(made.data, [arguments[1]])), ir.IntType(64))

    return types.uint64(units, types.int64), generate


@intrinsic
def _prefetch(_context, array, at):
    """Tell the processor that `array[at]` is needed soon."""

    def generate(context, builder, signature, arguments):
        made = context.make_array(signature.args[0])(context, builder, arguments[0])
        pointer = builder.bitcast(builder.gep(made.data, [arguments[1]]), ir.IntType(8).as_pointer())
        number = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [pointer.type, number, number, number])
        function = builder.module.declare_intrinsic("llvm.prefetch", [pointer.type], kind)
        builder.call(function, [pointer, number(1), number(3), number(1)])
        return context.get_dummy_value()

    return types.void(array, types.int64), generate


@kernel
def _anchors(units, offsets, low, high, length, width, power):
    """For the rows `low` to `high`, runs of windows with the same least hash: the hash, and how many windows."""
    size = length - width + 1
    values = np.empty(1024 + 3 * (offsets[high] - offsets[low]) // width, dtype=np.uint32)
    counts = np.empty(len(values), dtype=np.uint16)
    filled = 0
    # The least of `width` hashes in a row, by prefixes and suffixes of blocks (van Herk, 1992).
    suffix = np.empty(width + 1, dtype=np.uint32)
    block = np.empty(width + 1, dtype=np.uint32)
    for row in range(low, high):
        begin, end = offsets[row], offsets[row + 1]
        if end - begin < length:
            continue
        state = np.uint64(0)
        for place in range(begin, begin + size - 1):
            state = state * _BASE + _unit(units, place)
        leaving = np.uint64(0)
        at, gone = begin + size - 1, begin
        full = False
        last, run = np.uint32(0), 0
        while at < end:
            some = min(width, end - at)
            while filled + width >= len(values):
                values, counts = roomier(values), roomier(counts)
            least = np.uint32(0xFFFFFFFF)
            for place in range(some):
                state = state * _BASE + (_unit(units, at + place) - leaving * power)
                leaving = _unit(units, gone + place)
                mixed = (state ^ (state >> np.uint64(32))) * _K1
                hashed = np.uint32(mixed >> np.uint64(32))
                block[place] = hashed
                least = min(least, hashed)
                if full or place == width - 1:
                    here = min(least, suffix[place + 1]) if full and place < width - 1 else least
                    # A piece is in so many windows at most; where its hash goes on, it is another piece.
                    if here != last or run == width:
                        if run > 0:
                            values[filled] = last
                            counts[filled] = run
                            filled += 1
                        last = here
                        run = 0
                    run += 1
            at += some
            gone += some
            full = True
            least = np.uint32(0xFFFFFFFF)
            for place in range(width - 1, -1, -1):
                least = min(least, block[place])
                suffix[place] = least
        values[filled] = last
        counts[filled] = run
        filled += 1
    return values[:filled].copy(), counts[:filled].copy()


@njit(inline="always")
def _bit(value, bits):
    # Least hashes are small numbers: they are spread.
    return np.int64(np.uint32(value * _K2) >> np.uint32(32 - bits))


@kernel
def _count(values, bits, share, seen, twice):
    """Note which values come and which come again, of one share of them."""
    size = (np.int64(1) << bits) // _COUNTERS
    low = share * size
    for at in range(len(values)):
        bit = _bit(values[min(at + _AHEAD, len(values) - 1)], bits)
        if low <= bit < low + size:
            _prefetch(seen, bit >> 3)
        bit = _bit(values[at], bits)
        if low <= bit < low + size:
            mask = np.uint8(1 << (bit & 7))
            if seen[bit >> 3] & mask:
                twice[bit >> 3] |= mask
            else:
                seen[bit >> 3] |= mask


@kernel
def _kept(values, counts, offsets, low, high, length, bits, twice):
    """Stretches of windows whose least hash comes more than once."""
    # In a loop of its own, in which the processor can wait for many places at once.
    again = np.empty(len(values), dtype=np.bool_)
    for at in range(len(values)):
        bit = _bit(values[at], bits)
        again[at] = (twice[bit >> 3] >> np.uint8(bit & 7)) & 1
    begins = np.empty(1024, dtype=np.int64)
    ends = np.empty(1024, dtype=np.int64)
    filled, at = 0, 0
    for row in range(low, high):
        window = offsets[row]
        fresh = True
        while window <= offsets[row + 1] - length:
            if not again[at]:
                fresh = True
            else:
                if fresh:
                    if filled == len(begins):
                        begins, ends = roomier(begins), roomier(ends)
                    begins[filled] = window
                    filled += 1
                    fresh = False
                ends[filled - 1] = window + counts[at]
            window += counts[at]
            at += 1
    return begins[:filled].copy(), ends[:filled].copy()


@njit(inline="always")
def _common(raw, one, two, most):
    """How many of at most `most` bytes from `one` on are those from `two` on."""
    at = np.int64(0)
    while at + 8 <= most:
        differ = load_eight(raw, one + at) ^ load_eight(raw, two + at)
        if differ != 0:
            return at + (np.int64(trailing_zeros(differ)) >> 3)
        at += 8
    while at < most and raw[one + at] == raw[two + at]:
        at += 1
    return at


@njit(inline="always")
def _is_full(entries, size):
    return 10 * (entries + _QUEUE) > 7 * size


@kernel
def _rehash(table, grown):
    """Enter the table's entries in a larger one; an entry's highest bits say where it belongs."""
    mask = len(grown) - 1
    drop = leading_zeros(np.uint64(mask))
    for at in range(len(table)):
        entry = table[at]
        if entry != 0:
            slot = np.int64(entry >> drop)
            while grown[slot] != 0:
                slot = (slot + 1) & mask
            grown[slot] = entry


@kernel
def _find(
    units,
    raw,
    shift,
    offsets,
    index,
    begins,
    ends,
    length,
    power,
    weights,
    share,
    share_bits,
    place_bits,
    table,
    at,
    room,
):
    """Enter runs of copies whose first window has a hash of this share in `room`: window, earlier place, windows.

    Works until `room` or the table is full. `at` says in which stretch and at which window to go on, how many
    entries the table has, and what the last run was: which run is found must not depend on where the work was parted.
    """
    filled = 0
    # An entry is a hash without its lowest bits, and in these the place of the window and one.
    places = (np.uint64(1) << np.uint64(place_bits)) - np.uint64(1)
    mask = len(table) - 1
    drop = leading_zeros(np.uint64(mask))
    entries = at[2]
    # The last run that was found.
    run, source, count = at[3], at[4], at[5]
    queue = np.empty(_QUEUE + 1, dtype=np.int64)
    hashes = np.empty(_QUEUE + 1, dtype=np.uint64)
    row = 0
    row_begin, row_end = np.int64(0), np.int64(0)
    # A stretch of this row that repeats itself.
    cycle_begin, cycle_end, cycle = np.int64(0), np.int64(0), np.int64(1)
    state, stands = np.uint64(0), np.int64(-1)
    eager = _EAGER
    for stretch in range(at[0], len(begins)):
        window, last = max(begins[stretch], at[1]), ends[stretch]
        if window >= row_end:
            while offsets[row + 1] <= window:
                row += 1
            row_begin, row_end = offsets[row], offsets[row + 1]
            cycle_begin, cycle_end = row_end, row_end
            stands = np.int64(-1)
        while window < last:
            if _is_full(entries, len(table)) or filled + _QUEUE > room.shape[1]:
                at[0], at[1], at[2], at[3], at[4], at[5] = stretch, window, entries, run, source, count
                return filled
            # The hash of this window: by steps from the last one if that is near, else anew.
            if stands < 0 or window - stands >= length:
                state = np.uint64(0)
                for place in range(length):
                    state += _unit(units, window + place) * weights[place]
            else:
                for place in range(stands, window):
                    state = state * _BASE + (_unit(units, place + length) - _unit(units, place) * power)
            stands = window
            waiting, most_waiting = 0, eager
            eager = min(2 * eager, _QUEUE)
            while True:
                # Entered in any case and counted if it is of this share: no branch to guess.
                queue[waiting] = stands
                hashes[waiting] = state
                waiting += 1 if np.int64(state >> np.uint64(56)) >> (8 - share_bits) == share else 0
                if waiting == most_waiting or stands + 1 >= last:
                    break
                state = state * _BASE + (_unit(units, stands + length) - _unit(units, stands) * power)
                stands += 1
            window = stands + 1
            for turn in range(waiting):
                hashed = (hashes[turn] ^ (hashes[turn] >> np.uint64(32))) * _K1
                hashes[turn] = hashed ^ (hashed >> np.uint64(29))
                _prefetch(table, np.int64(hashes[turn] >> drop))
            skip = np.int64(0)
            for turn in range(waiting):
                here = queue[turn]
                if here < skip:
                    continue
                hashed = hashes[turn]
                slot = np.int64(hashed >> drop)
                while True:
                    entry = table[slot]
                    if entry == 0:
                        table[slot] = (hashed & ~places) | np.uint64(here + 1)
                        entries += 1
                        break
                    if (entry ^ hashed) <= places:
                        before = np.int64(entry & places) - 1
                        if before >= row_begin and here - before < length:
                            # The first place overlaps this one. Within a known cycle there is nothing to compare.
                            if before >= cycle_begin and here + length <= cycle_end and (here - before) % cycle == 0:
                                break
                            same = _common(raw, here << shift, before << shift, (row_end - here) << shift) >> shift
                            if same >= length:
                                cycle_begin, cycle_end, cycle = before, here + same, here - before
                                break
                        else:
                            most = row_end - here
                            if before < row_begin:
                                most = min(most, end_of_row(offsets, index, before) - before)
                            again = False
                            if run >= row_begin:
                                within = before - source
                                if run + count == here and 0 <= within < count:
                                    # What follows a copy and is in the copy's source repeats the copy itself.
                                    before, most = run + within, row_end - here
                                else:
                                    again = within == 0 and here - run < length
                            if (
                                again
                                and run >= cycle_begin
                                and (here - run) % cycle == 0
                                and here + length + count <= cycle_end
                            ):
                                # The last run anew, one or more turns later.
                                same = length + count - 1
                            else:
                                same = _common(raw, here << shift, before << shift, most << shift) >> shift
                                if again and same >= length:
                                    more = _common(raw, here << shift, run << shift, (row_end - here) << shift)
                                    cycle_begin, cycle_end, cycle = run, here + (more >> shift), here - run
                            if same >= length:
                                run, source, count = here, before, same - length + 1
                                room[0, filled], room[1, filled], room[2, filled] = run, source, count
                                filled += 1
                                skip = here + count
                                break
                    slot = (slot + 1) & mask
            if skip > 0:
                # A copy often follows a copy; what was hashed beyond its beginning was hashed for nothing.
                eager = _EAGER
            window = max(window, skip)
    at[0], at[2] = len(begins), entries
    return filled
