"""From band keys to the rows that stay: greedy in order of priority, on verified pairs only.

Rows come best first. A row goes if it is similar enough to a row that stays; so every row that goes is at least as
similar as the threshold to the very row that stands for it. Verifying is what costs, and it is done many pairs at a
time: `decide` goes over the rows, settles what the verified pairs can settle and names pairs that it lacks; it is
called again with those until none is lacking.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tilth.dedup._groups import root
from tilth.dedup._keys import KeyStore
from tilth.frame import Rows
from tilth.text.bits import mix
from tilth.text.kernel import kernel
from tilth.text.threads import ordered_map

OPEN, STAYS, GOES = 0, 1, 2


class Buckets:
    """For each of the rows that share a key with another, in each band the row before it with the same key.

    Attributes:
        rows: these rows, counted among all, ascending; from here on they are counted among themselves, shape `(m,)`.
        before: -1 where there is none, shape `(m, bands)`.
    """

    def __init__(self, keys: KeyStore, bands: int, taken: Rows | None, n: int) -> None:
        """Find the rows that share a key.

        Args:
            keys: of all rows.
            bands: how many there are.
            taken: the rows that count, best first; None for all of them as they come.
            n: how many rows count.
        """
        shares = np.zeros(n, dtype=np.uint8)
        room: list[Chains] = []

        def shared(band: int) -> None:
            # A band's arrays are large, and memory that was used before is quicker than fresh memory.
            chains = room.pop() if room else Chains(n)
            _mark(chains.of(keys.band(band), taken), shares)
            room.append(chains)

        # Large bands are done one by one: what matters then is memory.
        side_by_side = 1 if keys.spilled else None
        for _ in ordered_map(shared, range(bands), side_by_side):
            pass
        room.clear()
        self.rows: Rows = np.flatnonzero(shares)
        self.before = np.empty((len(self.rows), bands), dtype=np.int32)
        places = self.rows if taken is None else taken[self.rows]

        def chained(band: int) -> None:
            chains = room.pop() if room else Chains(len(places))
            self.before[:, band] = chains.of(keys.band(band), places)
            room.append(chains)

        for _ in ordered_map(chained, range(bands), side_by_side):
            pass


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
    wanted = np.empty((max(1024, 4 * len(state)), 2), dtype=np.int32)
    count = _pass(
        buckets.before,
        prints,
        pairs.codes,
        pairs.values,
        np.float32(threshold) - np.float32(1e-6),
        _least(places, threshold),
        places * threshold,
        state,
        kept,
        similarity,
        quota,
        wanted,
    )
    return wanted[:count, 0].astype(np.int64), wanted[:count, 1].astype(np.int64)


def connect(
    buckets: Buckets,
    prints: npt.NDArray[np.uint8],
    pairs: Pairs,
    threshold: float,
    stands: npt.NDArray[np.int64],
    quota: int,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Connect, in place, rows that verified pairs connect, and name pairs that could connect more.

    Args:
        buckets: who shares a key with whom.
        prints: the sketches in a byte a place, shape `(rows, places)`, best row first.
        pairs: verified so far.
        threshold: what is so similar is connected.
        stands: the first row that each is connected with.
        quota: at most how many pairs to ask for each row.

    Returns:
        Rows, and for each an earlier row to compare it with; none when all that are connected are known.
    """
    rows, bands = buckets.before.shape
    wanted = np.empty((max(1024, 4 * rows), 2), dtype=np.int32)
    count = 0
    for band in range(bands):
        before = np.ascontiguousarray(buckets.before[:, band])
        count = _connect(
            before,
            prints,
            pairs.codes,
            pairs.values,
            np.float32(threshold) - np.float32(1e-6),
            _least(prints.shape[1], threshold),
            stands,
            quota,
            wanted,
            count,
        )
    return wanted[:count, 0].astype(np.int64), wanted[:count, 1].astype(np.int64)


def _least(places: int, threshold: float) -> float:
    """In how many places two sketches must agree: 2.5 standard deviations below the threshold is not worth a look."""
    return float(places * threshold - 2.5 * np.sqrt(places * threshold * (1 - threshold)) - 1)


class Chains:
    """Finds for each of `n` rows the one before it with the same key.

    Rows are first parted by the high bits of their keys, so that each part has a hash table in the cache and the time
    is that of the rows, however many there are.
    """

    def __init__(self, n: int) -> None:
        self._parts = max(0, int(n // _PART_ROWS).bit_length())
        self._before = np.empty(n, dtype=np.int32)
        self._parted = np.empty(n, dtype=np.int32)
        self._keys = np.empty(n, dtype=np.uint64)

    def of(self, keys: npt.NDArray[np.uint64], rows: Rows | None = None) -> npt.NDArray[np.int32]:
        """The last row before each that has the same key, or -1, shape `(n,)`; good until the next call.

        Args:
            keys: of all rows.
            rows: which `n` of them count, and in which order; all when None.
        """
        taken = np.empty(0, dtype=np.int64) if rows is None else rows
        _chain(keys, taken, self._parts, self._parted, self._keys, self._before)
        return self._before


_PART_ROWS = 1 << 16


@kernel
def _chain(keys, taken, parts, parted, parted_keys, before):
    rows = len(before)
    some = len(taken) > 0
    shift = np.uint64(63 - parts)
    ends = np.zeros((1 << parts) + 1, dtype=np.int64)
    for row in range(rows):
        key = keys[taken[row]] if some else keys[row]
        ends[np.int64((key >> shift) >> np.uint64(1)) + 1] += 1
    most = ends.max()
    for part in range(1 << parts):
        ends[part + 1] += ends[part]
    place = ends[:-1].copy()
    for row in range(rows):
        key = keys[taken[row]] if some else keys[row]
        into = np.int64((key >> shift) >> np.uint64(1))
        parted[place[into]] = row
        parted_keys[place[into]] = key
        place[into] += 1
    bits = 4
    while (1 << bits) < 2 * most:
        bits += 1
    table = np.empty(1 << bits, dtype=np.int32)
    for part in range(1 << parts):
        first, last = ends[part], ends[part + 1]
        here = 4
        while (1 << here) < 2 * (last - first):
            here += 1
        mask = np.uint64((1 << here) - 1)
        for slot in range(1 << here):
            table[slot] = -1
        for at in range(first, last):
            key = parted_keys[at]
            slot = (key * _GOLDEN) >> np.uint64(64 - here)
            other = table[slot]
            while other >= 0 and parted_keys[first + other] != key:
                slot = (slot + np.uint64(1)) & mask
                other = table[slot]
            before[parted[at]] = parted[first + other] if other >= 0 else -1
            table[slot] = at - first


@kernel
def _mark(before, shares):
    """Mark the rows that share a key; threads may do so at once, since all write the same."""
    for row in range(len(before)):
        if before[row] >= 0:
            shares[row] = 1
            shares[before[row]] = 1


_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


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


@kernel
def _connect(before, prints, codes, values, threshold, least, stands, quota, wanted, count):
    """One band's turn of `connect`. Buckets whose rows are all connected, as nearly all soon are, are passed over."""
    rows = len(before)
    places = prints.shape[1]
    head = np.empty(rows, dtype=np.int32)
    mixed = np.zeros(rows, dtype=np.bool_)
    for row in range(rows):
        head[row] = row if before[row] < 0 else head[before[row]]
        if root(stands, row) != root(stands, head[row]):
            mixed[head[row]] = True
    for row in range(rows):
        if not mixed[head[row]]:
            continue
        own = root(stands, row)
        asked = 0
        other = before[row]
        while other >= 0:
            theirs = root(stands, other)
            if theirs != own:
                agree = 0
                for place in range(places):
                    agree += prints[row, place] == prints[other, place]
                if agree >= least:
                    value = _look_up(codes, values, (np.uint64(row) << np.uint64(32)) | np.uint64(other + 1))
                    if value >= threshold:
                        stands[max(own, theirs)] = min(own, theirs)
                        own = min(own, theirs)
                    elif value < 0 and asked < quota and count < len(wanted):
                        wanted[count, 0] = row
                        wanted[count, 1] = other
                        count += 1
                        asked += 1
            other = before[other]
    return count
