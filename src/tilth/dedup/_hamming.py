"""Groups of 64-bit fingerprints that differ in few bits, without comparing each with each.

The bits are cut into blocks. Two fingerprints that differ in at most `k` bits agree in all but `k` of the blocks, so
for each choice of so many blocks there is a table by what stands in them, and each pair shares a bucket of one of the
tables (Manku, Jain and Das Sarma, Detecting near-duplicates for web crawling, 2007). No pair is missed. More blocks
make keys longer and buckets smaller, and tables more; how many are best is estimated on a sample of the data.

In direct groups only fingerprints that stay are entered; in components each is taken out as soon as it is reached.
So fingerprints that lie close together, however many, do not each meet all the others.
"""

from __future__ import annotations

from itertools import combinations, pairwise
from math import comb

import numpy as np
import numpy.typing as npt
from numba import njit

from tilth.frame import Rows
from tilth.text.bits import ones
from tilth.text.kernel import kernel
from tilth.text.threads import ordered_map

Prints = npt.NDArray[np.uint64]

BITS = 64
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MOST_TABLES = 64
_BUDGET = 2**30
"""Bytes of tables beyond which no more than the fewest are made."""
_ENTRY_BYTES = 12
_SAMPLE = 4096
_TABLE_COST = 64
"""What it costs to look into one table, in comparisons of two fingerprints."""
_BUCKET_BITS = 3
"""The power of two that a bucket holds on the average, where its key is long enough."""


def nearest(prints: Prints, distance: int, connected: bool) -> Rows:
    """Which fingerprint stands for each one.

    Args:
        prints: best first, shape `(n,)`.
        distance: in how many bits two of them that are similar may differ.
        connected: the first of all that are connected stands for them; otherwise, best first, the first that stays and
            is similar.

    Returns:
        A place in `prints` for each, its own where it stays, shape `(n,)`.
    """
    n = len(prints)
    stands = np.arange(n, dtype=np.int64)
    if n < 2:
        return stands
    masks = masks_for(prints, distance)
    bits = min(int(np.bitwise_count(masks).max()), max(0, int(n - 1).bit_length() - _BUCKET_BITS))
    starts = np.zeros((len(masks), (1 << bits) + 1), dtype=np.int64)
    # All tables one after the other.
    ids, values = np.empty(len(masks) * n, dtype=np.uint32), np.empty(len(masks) * n, dtype=np.uint64)

    def made(table: int) -> None:
        starts[table, 0] = table * n
        _lay_out(prints, masks[table], np.uint64(bits), starts[table])
        if connected:
            _enter(prints, masks[table], np.uint64(bits), starts[table], ids, values)

    for _ in ordered_map(made, range(len(masks))):
        pass
    find = _components if connected else _direct
    find(prints, masks, np.uint64(bits), distance, starts, ids, values, stands)
    return stands


def masks_for(prints: Prints, distance: int) -> Prints:
    """The bits that each table goes by: those that cost least for such fingerprints, shape `(tables,)`."""
    n = len(prints)
    sample = prints[:: -(-n // _SAMPLE)]
    best, least = np.zeros(1, dtype=np.uint64), float(n) * (n - 1) / 2
    for blocks in range(distance + 1, BITS + 1):
        tables = comb(blocks, distance)
        if tables > distance + 1 and (tables > _MOST_TABLES or tables * n * _ENTRY_BYTES > _BUDGET):
            break
        masks = _masks(blocks, blocks - distance)
        if len(masks) * float(n) * _TABLE_COST >= least:
            break
        cost = sum(_comparisons(sample, mask, n) for mask in masks) + len(masks) * float(n) * _TABLE_COST
        if cost < least:
            best, least = masks, cost
    return best


def _masks(blocks: int, chosen: int) -> Prints:
    bounds = [BITS * block // blocks for block in range(blocks + 1)]
    parts = [(1 << hi) - (1 << lo) for lo, hi in pairwise(bounds)]
    return np.array([sum(some) for some in combinations(parts, chosen)], dtype=np.uint64)


def _comparisons(sample: Prints, mask: np.uint64, n: int) -> float:
    """How many pairs of `n` such fingerprints share a bucket."""
    _, counts = np.unique(sample & mask, return_counts=True)
    alike = float((counts * (counts - 1.0)).sum()) / max(1, len(sample) * (len(sample) - 1))
    return max(alike, 0.5 ** int(np.bitwise_count(mask))) * n * (n - 1) / 2


@njit(inline="always")
def _bucket(value, mask, bits):
    # A shift by 64 has no meaning, so one bucket needs a case of its own.
    return np.int64(((value & mask) * _GOLDEN) >> (np.uint64(64) - bits)) if bits else np.int64(0)


@kernel
def _lay_out(prints, mask, bits, starts):
    """Make room for all fingerprints: bucket `b` of a table is from `starts[b]` to `starts[b + 1]`."""
    for row in range(len(prints)):
        starts[_bucket(prints[row], mask, bits) + 1] += 1
    for bucket in range(1, len(starts)):
        starts[bucket] += starts[bucket - 1]


@kernel
def _enter(prints, mask, bits, starts, ids, values):
    ends = starts[:-1].copy()
    for row in range(len(prints)):
        bucket = _bucket(prints[row], mask, bits)
        ids[ends[bucket]] = row
        values[ends[bucket]] = prints[row]
        ends[bucket] += 1


@njit(inline="always")
def _within(values, at, last, value, distance):
    """The first place from `at` on of a fingerprint that is near enough, or `last`."""
    while at + 16 <= last:
        near = 0
        for place in range(16):
            near += ones(values[at + place] ^ value) <= distance
        if near:
            break
        at += 16
    while at < last and ones(values[at] ^ value) > distance:
        at += 1
    return at


@kernel
def _direct(prints, masks, bits, distance, starts, ids, values, stands):
    filled = starts[:, :-1].copy()
    for row in range(len(prints)):
        value = prints[row]
        first = np.int64(row)
        for table in range(len(masks)):
            bucket = _bucket(value, masks[table], bits)
            last = filled[table, bucket]
            # A bucket is in the order of entry, so the first that is near enough is its best.
            at = _within(values, starts[table, bucket], last, value, distance)
            if at < last and ids[at] < first:
                first = np.int64(ids[at])
        stands[row] = first
        if first == row:
            for table in range(len(masks)):
                bucket = _bucket(value, masks[table], bits)
                at = filled[table, bucket]
                ids[at] = row
                values[at] = value
                filled[table, bucket] += 1


@kernel
def _components(prints, masks, bits, distance, starts, ids, values, stands):
    n = len(prints)
    filled = starts[:, 1:].copy()
    reached = np.zeros(n, dtype=np.bool_)
    waiting = np.empty(n, dtype=np.int64)
    for first in range(n):
        if reached[first]:
            continue
        reached[first] = True
        waiting[0] = first
        done, many = 0, 1
        while done < many:
            row = waiting[done]
            done += 1
            stands[row] = first
            value = prints[row]
            for table in range(len(masks)):
                bucket = _bucket(value, masks[table], bits)
                last = filled[table, bucket]
                at = _within(values, starts[table, bucket], last, value, distance)
                while at < last:
                    other = np.int64(ids[at])
                    if not reached[other]:
                        reached[other] = True
                        waiting[many] = other
                        many += 1
                    # It is never looked for again.
                    last -= 1
                    ids[at] = ids[last]
                    values[at] = values[last]
                    at = _within(values, at, last, value, distance)
                filled[table, bucket] = last
