"""Searches in sorted 64-bit keys, which may be longer than memory: hashes are spread evenly, so a place can be guessed.

A guess is off by the square root of the number of keys, so a search touches one page or two of a file, not twenty.
"""

from __future__ import annotations

import numpy as np
from numba import njit

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
def likeliest(
    order,
    keys,
    sorted_keys,
    places,
    base,
    prints,
    rows,
    stored_prints,
    least,
    worse_than_agree,
    worse_than_stored,
    agrees,
    stored,
):
    """Collect for each row the stored rows with the same key whose sketches agree best with its own.

    Those that agree in more places come first, of those that agree in as many the one with the smaller number. What is
    collected does not depend on the order of the calls, one for each band and segment.

    Args:
        order: the rows that are sought, in the order of their keys.
        keys: the key of each in this band, shape `(m,)`.
        sorted_keys: the stored keys of this band, ascending.
        places: the stored row that each belongs to.
        base: added to the place of a stored row gives its number.
        prints: sketches, shape `(n, places)`.
        rows: which of them is that of each row that is sought, shape `(m,)`.
        stored_prints: the sketches of the stored rows.
        least: in how many places two sketches must agree.
        worse_than_agree: only stored rows behind one that agrees in so many places are collected, shape `(m,)`;
        worse_than_stored: the number of that one, shape `(m,)`.
        agrees: in how many places the collected ones agree, best first, 0 where there is none, shape `(m, width)`.
        stored: their numbers, shape `(m, width)`.
    """
    size = prints.shape[1]
    width = agrees.shape[1]
    at = np.int64(0)
    for turn in range(len(order)):
        row = order[turn]
        key = keys[row]
        at = _first_from(sorted_keys, key, at)
        entry = at
        while entry < len(sorted_keys) and sorted_keys[entry] == key:
            place = places[entry]
            entry += 1
            agree = 0
            for part in range(size):
                agree += prints[rows[row], part] == stored_prints[place, part]
            if agree < least or agree < agrees[row, width - 1]:
                continue
            number = base + np.int64(place)
            limit = worse_than_agree[row]
            if agree > limit or (agree == limit and number <= worse_than_stored[row]):
                continue
            low, high = 0, width
            while low < high:
                middle = (low + high) >> 1
                if agrees[row, middle] > agree or (agrees[row, middle] == agree and stored[row, middle] < number):
                    low = middle + 1
                else:
                    high = middle
            if low == width or (agrees[row, low] == agree and stored[row, low] == number):
                continue
            for later in range(width - 1, low, -1):
                agrees[row, later] = agrees[row, later - 1]
                stored[row, later] = stored[row, later - 1]
            agrees[row, low] = agree
            stored[row, low] = number


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
