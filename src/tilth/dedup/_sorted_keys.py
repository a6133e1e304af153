"""Searches in sorted 64-bit keys, which may be longer than memory: hashes are spread evenly, so a place can be guessed.

A guess is off by the square root of the number of keys, so a search touches one page or two of a file, not twenty.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from tilth.text.bits import four_at
from tilth.text.kernel import kernel


@kernel
def find_equal(order, keys, seconds, sorted_keys, places, stored_seconds, base, found):
    """Find the stored row with the same digest.

    Args:
        order: the rows that are sought, in the order of their keys.
        keys: the first half of the digest of each row, shape `(n,)`.
        seconds: the second half, shape `(n,)`.
        sorted_keys: the first halves of the stored digests, ascending.
        places: the stored row that each belongs to.
        stored_seconds: the second half of each stored row.
        base: added to the place of a stored row.
        found: set to `base` and the place for the rows that have one.
    """
    at = np.int64(0)
    for turn in range(len(order)):
        row = order[turn]
        at = _first_from(sorted_keys, keys[row], at)
        other = at
        while other < len(sorted_keys) and sorted_keys[other] == keys[row]:
            if stored_seconds[places[other]] == seconds[row]:
                found[row] = base + np.int64(places[other])
                break
            other += 1


@kernel
def find_ranges(order, keys, sorted_keys, lows, highs):
    """Find where each key stands: from `lows` to `highs`, which stay as they are where it does not.

    Args:
        order: the rows that are sought, in the order of their keys.
        keys: the key of each row, shape `(n,)`.
        sorted_keys: the stored keys, ascending.
        lows: shape `(n,)`.
        highs: shape `(n,)`.
    """
    at = np.int64(0)
    for turn in range(len(order)):
        row = order[turn]
        key = keys[row]
        at = _first_from(sorted_keys, key, at)
        end = at
        while end < len(sorted_keys) and sorted_keys[end] == key:
            end += 1
        if end > at:
            lows[row], highs[row] = at, end


@kernel
def agreeing(one, lows, highs, places_at, prints, rows, stored_prints, least, stamps, ones, places, agrees):
    """List the stored rows that share a key with a row and whose sketch agrees with its own in `least` places or more.

    Args:
        one: rows that share a key, equal ones next to each other, shape `(m,)`.
        lows: where that key begins in its sorted list, shape `(m,)`.
        highs: and where it ends, shape `(m,)`.
        places_at: the address of the stored rows that the keys of the list belong to, shape `(m,)`.
        prints: sketches, shape `(n, places)`.
        rows: which of them is that of row `i`.
        stored_prints: the sketches of the stored rows.
        least: see above.
        stamps: a zero for each stored row.
        ones: filled with rows;
        places: with stored rows;
        agrees: and in how many places they agree.

    Returns:
        How many were found.
    """
    size = prints.shape[1]
    count = 0
    for entry in range(len(one)):
        row = one[entry]
        for at in range(lows[entry], highs[entry]):
            place = four_at(places_at[entry], 4 * at)
            if stamps[place] == row + 1:
                continue
            stamps[place] = row + 1
            agree = 0
            for part in range(size):
                agree += prints[rows[row], part] == stored_prints[place, part]
            if agree >= least:
                ones[count], places[count], agrees[count] = row, place, agree
                count += 1
    return count


@kernel
def sort(keys):
    """Sort keys; gives them ascending and the place of each before, equal ones in the order in which they were."""
    size = len(keys)
    counts = np.zeros((_DIGITS, _RADIX), dtype=np.int64)
    for at in range(size):
        for digit in range(_DIGITS):
            counts[digit, (keys[at] >> np.uint64(_BITS * digit)) & _MASK] += 1
    one, places = keys.copy(), np.arange(size).astype(np.uint32)
    other, others = np.empty(size, dtype=np.uint64), np.empty(size, dtype=np.uint32)
    for digit in range(_DIGITS):
        if counts[digit].max() == size:
            continue
        begin = np.int64(0)
        for value in range(_RADIX):
            count = counts[digit, value]
            counts[digit, value] = begin
            begin += count
        for at in range(size):
            value = (one[at] >> np.uint64(_BITS * digit)) & _MASK
            to = counts[digit, value]
            other[to], others[to] = one[at], places[at]
            counts[digit, value] = to + 1
        one, other, places, others = other, one, others, places
    return one, places


_BITS = 11
_DIGITS = 6
_RADIX = 1 << _BITS
_MASK = np.uint64(_RADIX - 1)


@njit
def _first_from(sorted_keys, key, start):
    """The first place, from `start` on, whose key is `key` or above it; all before `start` are below it."""
    size = len(sorted_keys)
    if start == size or sorted_keys[start] >= key:
        return start
    low, high = start + 1, np.int64(size)
    guess = start + np.int64(np.float64(key - sorted_keys[start]) * (size / 18446744073709551616.0))
    guess = min(max(guess, low), high - 1)
    step = np.int64(8)
    if low < high and sorted_keys[guess] < key:
        low = guess + 1
        while low + step < high and sorted_keys[low + step] < key:
            low += step + 1
            step *= 2
        high = min(high, low + step)
    elif low < high:
        high = guess
        while high - step > low and sorted_keys[high - step] >= key:
            high -= step
            step *= 2
        low = max(low, high - step)
    while low < high:
        middle = (low + high) >> 1
        if sorted_keys[middle] < key:
            low = middle + 1
        else:
            high = middle
    return low
