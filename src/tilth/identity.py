"""By what a step is known: equal fields give equal identities, in every process and on every machine.

A fingerprint is made of identities. `datasets`, which knows a step by its pickle, is helped to see the same.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from enum import Enum
from functools import singledispatch
from pathlib import PurePath
from typing import Any

import numpy as np
from datasets.fingerprint import Hasher

from tilth.errors import ArgumentError


@singledispatch
def identity(value: object) -> object:
    """What a field value is, in terms of JSON: equal values give equal identities in every process.

    Objects with a `fingerprint` of their own are that fingerprint.

    Raises:
        ArgumentError: the value has nothing stable to be known by.
    """
    fingerprint = getattr(value, "fingerprint", None)
    if isinstance(fingerprint, str):
        return [name_of(type(value)), fingerprint]
    raise ArgumentError(
        f"a step holds {value!r} of type {name_of(type(value))}, which has no stable identity, so no cache could "
        f"recognise it. Give it a `fingerprint` attribute, or pass plain values."
    )


@identity.register(type(None))
@identity.register(str)
def _(value: object) -> object:
    return value


@identity.register(bool)
@identity.register(int)
@identity.register(float)
@identity.register(np.integer)
@identity.register(np.floating)
@identity.register(np.bool_)
def _(value: float) -> object:
    # 1 == 1.0 == True in Python, so steps that hold them are equal and must be known as the same.
    return int(value) if value == value and abs(value) != float("inf") and int(value) == value else float(value)


@identity.register
def _(value: bytes) -> object:
    return ["bytes", value.hex()]


@identity.register
def _(value: PurePath) -> object:
    return ["path", value.as_posix()]


@identity.register
def _(value: Enum) -> object:
    return [name_of(type(value)), value.name]


@identity.register
def _(value: re.Pattern) -> object:  # type: ignore[type-arg]
    return ["regex", identity(value.pattern), value.flags]


@identity.register(list)
@identity.register(tuple)
def _(value: tuple[object, ...]) -> object:
    return ["list", *(identity(item) for item in value)]


@identity.register(set)
@identity.register(frozenset)
def _(value: set[object]) -> object:
    return ["set", *sorted((identity(item) for item in value), key=json.dumps)]


@identity.register
def _(value: Mapping) -> object:  # type: ignore[type-arg]
    # Order does not make mappings unequal; keys that are not text keep their type.
    return ["map", *sorted(([identity(key), identity(item)] for key, item in value.items()), key=json.dumps)]


@identity.register
def _(value: np.ndarray) -> object:
    if value.dtype.hasobject:
        # The buffer of such an array holds addresses.
        return ["objects", list(value.shape), [identity(item) for item in value.ravel().tolist()]]
    return [value.dtype.str, list(value.shape), hashlib.blake2b(value.tobytes(), digest_size=16).hexdigest()]


def code_of(kind: type) -> list[str]:
    """The code of a class of a notebook or script, where one edits it without a thought for `version`."""
    if kind.__module__ != "__main__":
        return []
    try:
        return [Hasher.hash(kind)]
    except Exception:
        # It uses something that cannot be pickled, such as a connection; `version` must do.
        return []


def name_of(kind: type) -> str:
    """The module and the name of a class."""
    return f"{kind.__module__}.{kind.__qualname__}"


class _Ordered(frozenset[Any]):
    """A frozenset that is always pickled in one order: `datasets` recognises a step by its pickle."""

    def __reduce__(self) -> tuple[type, tuple[list[Any]]]:
        return frozenset, (sorted(self, key=lambda item: json.dumps(identity(item))),)


def in_order(value: Any) -> Any:
    """`value` with every frozenset in it ordered, and no list or tuple in two places, which a pickle would tell."""
    if isinstance(value, frozenset):
        return _Ordered(in_order(item) for item in value)
    if type(value) in (list, tuple):
        return type(value)(in_order(item) for item in value)
    if type(value) is dict:
        return {in_order(key): in_order(item) for key, item in value.items()}
    return value
