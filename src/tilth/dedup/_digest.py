"""Digests of sequences of units, by which texts of the same units are known."""

from __future__ import annotations

import numpy as np

from tilth.text.bits import mix, multiplied
from tilth.text.kernel import kernel

_K1 = np.uint64(0xBF58476D1CE4E5B9)
_K2 = np.uint64(0xD6E8FEB86659FD93)
_START = np.uint64(0x9E3779B97F4A7C15)


@kernel
def digest(units, count):
    """128 bits that stand for the first `count` of these hashes in their order."""
    one, two = np.uint64(count), _START
    for at in range(count):
        one = multiplied(one ^ units[at], _K1)
        two = multiplied(two + units[at], _K2) ^ one
    return mix(one), mix(two + np.uint64(count))
