"""From band keys to the rows that stay: greedy in order of priority, on verified pairs only.

Rows come best first. A row goes if it is similar enough to a row that stays; so every row that goes is at least as
similar as the threshold to the very row that stands for it. Verifying is what costs, and it is done many pairs at a
time: `decide` goes over the rows, settles what the verified pairs can settle and names pairs that it lacks; it is
called again with those until none is lacking.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tilth.text.kernel import kernel
from tilth.text.words import mix

OPEN, STAYS, GOES = 0, 1, 2


class Buckets:
    """For each row and band the row before it with the same key.

    Args:
        keys: shape `(rows, bands)`, best row first.
    """

    def __init__(self, keys: npt.NDArray[np.uint64]) -> None:
        self.before = np.full(keys.shape, -1, dtype=np.int32)
        slots = 1 << max(4, int(2 * len(keys)).bit_length())
        _chain(keys, np.empty(slots, dtype=np.int32), self.before)


class Pairs:
    """Verified pairs in an open hash table."""

    def __init__(self) -> None:
        self.size = 0
        self.codes = np.zeros(1 << 10, dtype=np.uint64)
        self.values = np.zeros(1 << 10, dtype=np.float32)

    def add(self, rows: npt.NDArray[np.int64], others: npt.NDArray[np.int64], values: npt.NDArray[np.float32]) -> None:
        """Enter the similarity of each row with a row before it."""
        codes = (rows.astype(np.uint64) << np.uint64(32)) | (others + 1).astype(np.uint64)
        self.size += len(codes)
        if 2 * self.size > len(self.codes):
            old = self.codes != 0
            codes, values = np.concatenate([self.codes[old], codes]), np.concatenate([self.values[old], values])
            room = 1 << int(4 * self.size).bit_length()
            self.codes, self.values = np.zeros(room, dtype=np.uint64), np.zeros(room, dtype=np.float32)
        _enter(self.codes, self.values, codes, values)


def decide(
    buckets: Buckets,
    prints: npt.NDArray[np.uint8],
    pairs: Pairs,
    threshold: float,
    state: npt.NDArray[np.uint8],
    kept: npt.NDArray[np.int32],
    similarity: npt.NDArray[np.float32],
    quota: int,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Settle what can be settled, in place, and name pairs that are lacking.

    Args:
        buckets: who shares a key with whom.
        prints: the sketches in a byte a place, shape `(rows, places)`, best row first.
        pairs: verified so far.
        threshold: a row goes at this similarity to one that stays.
        state: `OPEN`, `STAYS` or `GOES` for each row.
        kept: for a row that goes the row that stands for it.
        similarity: of those two.
        quota: at most how many pairs to ask for each row.

    Returns:
        Rows, and for each an earlier row to compare it with.
    """
    places = prints.shape[1]
    # An estimate that lies three standard deviations below the threshold is not worth a comparison.
    least = places * threshold - 3 * np.sqrt(places * threshold * (1 - threshold)) - 1
    wanted = np.empty((max(1024, 4 * len(state)), 2), dtype=np.int32)
    count = _pass(
        buckets.before,
        prints,
        pairs.codes,
        pairs.values,
        np.float32(threshold) - np.float32(1e-6),
        least,
        places * threshold,
        state,
        kept,
        similarity,
        quota,
        wanted,
    )
    return wanted[:count, 0].astype(np.int64), wanted[:count, 1].astype(np.int64)


@kernel
def _chain(keys, table, before):
    mask = len(table) - 1
    for band in range(keys.shape[1]):
        table[:] = -1
        for row in range(len(keys)):
            key = keys[row, band]
            slot = np.int64(mix(key)) & mask
            while table[slot] >= 0 and keys[table[slot], band] != key:
                slot = (slot + 1) & mask
            before[row, band] = table[slot]
            table[slot] = row


@kernel
def _enter(codes, values, new_codes, new_values):
    mask = len(codes) - 1
    for at in range(len(new_codes)):
        slot = np.int64(mix(new_codes[at])) & mask
        while codes[slot] != 0 and codes[slot] != new_codes[at]:
            slot = (slot + 1) & mask
        codes[slot] = new_codes[at]
        values[slot] = new_values[at]


@kernel
def _look_up(codes, values, code):
    mask = len(codes) - 1
    slot = np.int64(mix(code)) & mask
    while codes[slot] != 0:
        if codes[slot] == code:
            return values[slot]
        slot = (slot + 1) & mask
    return np.float32(-1)


@kernel
def _pass(
    before,
    prints,
    codes,
    values,
    threshold,
    least,
    likely,
    state,
    kept,
    similarity,
    quota,
    wanted,
):
    """One pass over the rows, best first; `before` is shortened on the way, past rows that go. Gives how many pairs."""
    rows, bands = before.shape
    places = prints.shape[1]
    seen = np.full(rows, -1, dtype=np.int32)
    candidates = np.empty(quota, dtype=np.int32)
    count = 0
    for row in range(rows):
        if state[row] != 0:
            continue
        found = 0
        waits = False
        lacks = False
        for band in range(bands):
            other = _alive(before, state, before[row, band], band)
            before[row, band] = other
            while other >= 0 and state[row] == 0:
                if seen[other] != row:
                    seen[other] = row
                    agree = 0
                    for place in range(places):
                        agree += prints[row, place] == prints[other, place]
                    if agree >= least:
                        value = _look_up(codes, values, (np.uint64(row) << np.uint64(32)) | np.uint64(other + 1))
                        if value >= threshold:
                            if state[other] == 1:
                                state[row] = 2
                                kept[row] = other
                                similarity[row] = value
                            waits = True
                        elif value < 0:
                            lacks = True
                            # The best row of a group is the likeliest to stay: of likely ones the first is tried first.
                            if found < quota:
                                candidates[found] = other
                                found += 1
                            elif agree >= likely and other < candidates[0]:
                                candidates[0] = other
                following = _alive(before, state, before[other, band], band)
                before[other, band] = following
                other = following
            if state[row] != 0:
                break
        if state[row] == 0:
            if lacks:
                for at in range(found):
                    if count < len(wanted):
                        wanted[count, 0] = row
                        wanted[count, 1] = candidates[at]
                        count += 1
            elif not waits:
                state[row] = 1
    return count


@kernel
def _alive(before, state, row, band):
    """This row of a bucket, or the nearest before it that does not go."""
    while row >= 0 and state[row] == 2:
        row = before[row, band]
    return row
