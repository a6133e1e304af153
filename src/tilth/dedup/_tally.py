"""How often each unit comes, and which of its copies stay, in hash tables that know units by 128-bit keys.

Counting takes the first half of a key; the second is checked before anything goes.
"""

from __future__ import annotations

from threading import Lock

import numpy as np
import numpy.typing as npt
from numba import njit

from tilth.dedup._lines import GOES, STAYS, Hashes, Numbers, Units
from tilth.text.kernel import kernel
from tilth.text.strings import Offsets

_SHARES = 64
_LEAST = 64
_FULL = 0.8
_GROWTH = 1.5


class Tally:
    """How often each key came, by its first half; about 20 bytes for each that is different.

    The keys lie in many open hash tables, each with a lock of its own, so that threads seldom wait for each other. What
    is counted does not depend on their order.
    """

    def __init__(self) -> None:
        self._keys = [np.zeros(_LEAST, dtype=np.uint64) for _ in range(_SHARES)]
        self._counts = [np.zeros(_LEAST, dtype=np.uint32) for _ in range(_SHARES)]
        self._sizes = [0] * _SHARES
        self._locks = [Lock() for _ in range(_SHARES)]

    def __len__(self) -> int:
        return sum(self._sizes)

    def add(self, keys: Hashes) -> None:
        """Count keys of shape `(n, 2)`; zeros are none. Any thread may call this."""
        sorted_keys, bounds = _by_share(keys, _SHARES)
        for share in range(_SHARES):
            here = sorted_keys[bounds[share] : bounds[share + 1]]
            if len(here):
                with self._locks[share]:
                    self._make_room(share, len(here))
                    self._sizes[share] += _count(here, self._keys[share], self._counts[share])

    def above(self, times: int) -> tuple[Hashes, npt.NDArray[np.uint32]]:
        """The keys that came more often than `times`, ascending, and how often each did."""
        found = [counts > times for counts in self._counts]
        keys = np.concatenate([keys[mask] for keys, mask in zip(self._keys, found, strict=True)])
        counts = np.concatenate([counts[mask] for counts, mask in zip(self._counts, found, strict=True)])
        order = np.argsort(keys)
        return keys[order], counts[order]

    def _make_room(self, share: int, more: int) -> None:
        needed = int((self._sizes[share] + more) / _FULL) + 1
        keys, counts = self._keys[share], self._counts[share]
        if needed > len(keys):
            room = max(needed, int(len(keys) * _GROWTH))
            self._keys[share] = np.zeros(room, dtype=np.uint64)
            self._counts[share] = np.zeros(room, dtype=np.uint32)
            _move(keys, counts, self._keys[share], self._counts[share])


class Repeats:
    """The keys that are repeated, and as the rows are gone over in order, how often each came so far.

    Args:
        keys: their first halves, all different.
        most: how many copies of each stay.
    """

    def __init__(self, keys: Hashes, most: int) -> None:
        room = max(_LEAST, 2 * len(keys))
        self.empty = len(keys) == 0
        self._most = most
        self._keys = np.zeros(room, dtype=np.uint64)
        self._checks = np.zeros(room, dtype=np.uint64)
        self.counts = np.zeros(room, dtype=np.int64)
        self.rows = np.full(room, -1, dtype=np.int64)
        """The row in which each place's key came first."""
        self.starts = np.zeros(room, dtype=np.int64)
        self.stops = np.zeros(room, dtype=np.int64)
        """Where in that row's bytes it was."""
        _count(keys, self._keys, np.zeros(room, dtype=np.uint32))

    def places(self, found: Units) -> Numbers:
        """For each unit the place of its key, or -1 where it is not repeated. Any thread may call this."""
        places: Numbers = _places_of(found.keys, self._keys)
        return places

    def decide(
        self, found: Units, places: Numbers, offsets: Offsets, first_row: int, span: int
    ) -> npt.NDArray[np.uint8]:
        """What is said of each unit and those after it in its span. Rows come in order, from one thread.

        A unit whose hash agrees in one half only with that of a unit before it is left alone.
        """
        said = np.zeros(len(places), dtype=np.uint8)
        _decide(
            found.keys,
            places,
            found.ends,
            found.starts,
            found.stops,
            offsets,
            first_row,
            span,
            self._most,
            self._checks,
            self.counts,
            self.rows,
            self.starts,
            self.stops,
            said,
        )
        return said


@njit(inline="always")
def _slot(key, room):
    """A place in a table of any size up to 2 ** 32, by the low half of the key."""
    return np.int64(((key & np.uint64(0xFFFFFFFF)) * np.uint64(room)) >> np.uint64(32))


@kernel
def _by_share(keys, shares):
    """The first halves that are not zero, ordered by share, and where each share begins."""
    bounds = np.zeros(shares + 1, dtype=np.int64)
    for at in range(len(keys)):
        if keys[at, 0] != 0:
            bounds[np.int64(keys[at, 0] >> np.uint64(58)) + 1] += 1
    for share in range(shares):
        bounds[share + 1] += bounds[share]
    places = bounds[:-1].copy()
    out = np.empty(bounds[shares], dtype=np.uint64)
    for at in range(len(keys)):
        key = keys[at, 0]
        if key != 0:
            owner = np.int64(key >> np.uint64(58))
            out[places[owner]] = key
            places[owner] += 1
    return out, bounds


@kernel
def _count(new, keys, counts):
    """Count keys in an open hash table with room for them; gives how many it had not seen."""
    room = len(keys)
    fresh = 0
    for at in range(len(new)):
        key = new[at]
        slot = _slot(key, room)
        while keys[slot] != 0 and keys[slot] != key:
            slot = slot + 1 if slot + 1 < room else 0
        if keys[slot] == 0:
            keys[slot] = key
            fresh += 1
        counts[slot] += np.uint32(counts[slot] < np.uint32(0xFFFFFFFF))
    return fresh


@kernel
def _move(old_keys, old_counts, keys, counts):
    room = len(keys)
    for at in range(len(old_keys)):
        if old_keys[at] != 0:
            slot = _slot(old_keys[at], room)
            while keys[slot] != 0:
                slot = slot + 1 if slot + 1 < room else 0
            keys[slot] = old_keys[at]
            counts[slot] = old_counts[at]


@kernel
def _places_of(wanted, keys):
    room = len(keys)
    places = np.empty(len(wanted), dtype=np.int64)
    for at in range(len(wanted)):
        key = wanted[at, 0]
        place = -1
        if key != 0:
            slot = _slot(key, room)
            while keys[slot] != 0:
                if keys[slot] == key:
                    place = slot
                    break
                slot = slot + 1 if slot + 1 < room else 0
        places[at] = place
    return places


@kernel
def _decide(
    keys,
    places,
    ends,
    starts,
    stops,
    offsets,
    first_row,
    span,
    most,
    checks,
    counts,
    rows,
    first_starts,
    first_stops,
    said,
):
    for row in range(len(ends) - 1):
        for unit in range(ends[row], ends[row + 1]):
            place = places[unit]
            if place < 0:
                continue
            if rows[place] < 0:
                rows[place] = first_row + row
                checks[place] = keys[unit, 1]
                first_starts[place] = starts[unit] - offsets[row]
                first_stops[place] = stops[unit + span - 1] - offsets[row]
            elif checks[place] != keys[unit, 1]:
                continue
            counts[place] += 1
            said[unit] = STAYS if counts[place] <= most else GOES
