"""What the steps of a pipeline are called."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tilth.errors import ArgumentError
from tilth.step import Step


def names_of(steps: Sequence[Step | tuple[str, Step]]) -> tuple[str, ...]:
    """A name for each step: the one given with it in a tuple, else its class, numbered where a class comes twice.

    Raises:
        ArgumentError: there is no step, one of them is none, or two have one name.
    """
    named = [step if isinstance(step, tuple) else (None, step) for step in steps]
    for name, step in named:
        if not isinstance(step, Step):
            raise ArgumentError(f"a pipeline takes steps, or tuples of a name and a step, not {step!r}.")
        if name is not None and not re.fullmatch(r"\S(.*\S)?", name):
            raise ArgumentError(f"a step name must be a line of text without spaces around it, not {name!r}.")
    if not named:
        raise ArgumentError("a pipeline needs at least one step.")
    given = [name for name, _ in named if name is not None]
    for one in given:
        if given.count(one) > 1:
            raise ArgumentError(f"two steps are called {one!r}; give each a name of its own.")
    names: list[str] = []
    for name, step in named:
        number = 1
        fresh = name or type(step).__name__
        while name is None and (fresh in names or fresh in given):
            number += 1
            fresh = f"{type(step).__name__} {number}"
        names.append(fresh)
    return tuple(names)
