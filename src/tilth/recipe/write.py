"""Recipes as they are written: what differs from the defaults, in YAML 1.2."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from enum import Enum
from pathlib import PurePath
from typing import Any, Final, Protocol

import numpy as np
import yaml

from tilth.catalog import catalog, family_of, is_member, members, parameters
from tilth.errors import RecipeError
from tilth.names import names_of
from tilth.sources import Source
from tilth.step import Step

FORMAT: Final = 1
ABSENT = "<not in this file: "
"""How a remark begins that stands for a value which YAML cannot hold."""
_NUMBERS = {
    "tag:yaml.org,2002:null": (r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    "tag:yaml.org,2002:bool": (r"^(?:true|True|TRUE|false|False|FALSE)$", list("tTfF")),
    "tag:yaml.org,2002:int": (r"^[-+]?(?:0|[1-9][0-9_]*)$", list("-+0123456789")),
    "tag:yaml.org,2002:float": (
        r"^(?:[-+]?(?:(?:\.[0-9]+|[0-9]+\.[0-9]*)(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+|\.(?:inf|Inf|INF))"
        r"|\.(?:nan|NaN|NAN))$",
        list("-+.0123456789"),
    ),
}


class Named(Protocol):
    """What is written of a pipeline."""

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps in their order."""

    @property
    def names(self) -> tuple[str, ...]:
        """The name of each."""


def dumps(pipeline: Named, source: str | Source | None = None, *, lossy: bool = False) -> str:
    """A pipeline as the text of a recipe, with only those fields that differ from their defaults.

    A value that YAML cannot hold is written as the `source` or the `name_or_path` that it knows itself by.

    Args:
        pipeline: what to write.
        source: the data it runs on.
        lossy: write a remark in place of a value that has neither, instead of raising. `loads` refuses such a file at
            that line.

    Raises:
        RecipeError: a value cannot be written.

    Examples:
        >>> from tilth import Pipeline, recipe
        >>> from tilth.filters import WordCount
        >>> print(recipe.dumps(Pipeline(WordCount("text", min=3))))
        tilth: 1
        steps:
        - filters.WordCount: {column: text, min: 3}
        <BLANKLINE>
    """
    document: dict[str, Any] = {"tilth": FORMAT}
    if isinstance(source, Source):
        fields = {key: value for key, value in dataclasses.asdict(source).items() if value is not None}
        document["source"] = fields if len(fields) > 1 else source.path
    elif source is not None:
        document["source"] = str(source)
    names = _names_to_write(pipeline)
    document["steps"] = [
        _written_step(step, lossy) | ({"name": name} if name else {})
        for step, name in zip(pipeline.steps, names, strict=True)
    ]
    return yaml.dump(document, Dumper=_Dumper, default_flow_style=None, sort_keys=False, allow_unicode=True, width=116)


def resolvers() -> dict[str, list[tuple[str, re.Pattern[str]]]]:
    """Which plain scalars are numbers, words or null in YAML 1.2, by their first character."""
    table: dict[str, list[tuple[str, re.Pattern[str]]]] = {}
    for tag, (pattern, firsts) in _NUMBERS.items():
        for first in firsts:
            table.setdefault(first, []).append((tag, re.compile(pattern)))
    return table


class _Dumper(yaml.SafeDumper):
    yaml_implicit_resolvers = resolvers()

    def ignore_aliases(self, data: object) -> bool:
        return True


def _represent_text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    # Within single quotes the three line breaks of Unicode would be folded to spaces.
    style = '"' if re.search("[\x85\u2028\u2029]", text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


def _names_to_write(pipeline: Named) -> list[str | None]:
    """For each step its name, or None where the pipeline would give it the same one by itself."""
    plain = names_of(pipeline.steps)
    names = [name if name != default else None for name, default in zip(pipeline.names, plain, strict=True)]
    steps = [step if name is None else (name, step) for name, step in zip(names, pipeline.steps, strict=True)]
    return names if names_of(steps) == pipeline.names else list(pipeline.names)


def _written_step(step: Step, lossy: bool) -> dict[str, Any]:
    kind = type(step)
    known = {value: key for key, value in catalog().items()}
    key = known.get(kind, kind.__name__)
    return {key: _fields(step, key, lossy) or None}


def _fields(holder: object, key: str, lossy: bool) -> dict[str, Any]:
    """The fields of a step, or of a value that recipes name, that differ from their defaults."""
    fields: dict[str, Any] = {}
    for parameter in parameters(type(holder)):
        value, where = getattr(holder, parameter.name), f"{key}.{parameter.name}"
        if parameter.required or parameter.listed or not _same(value, parameter.default):
            family = family_of(parameter.hint)
            if family is not None and _has_a_name(value, family):
                name = type(value).__name__
                inner = _fields(value, f"{where}.{name}", lossy)
                fields[parameter.name] = {name: inner} if inner else name
            else:
                fields[parameter.name] = _plain(value, where, lossy)
    return fields


def _has_a_name(value: object, family: type) -> bool:
    """Whether a recipe can name the class of `value`: one that its room offers, or one of the user's own."""
    kind = type(value)
    ours = kind.__module__.startswith("tilth.")
    return is_member(kind, family) and (not ours or kind in members(family).values())


def _same(value: Any, default: Any) -> bool:
    try:
        return bool(value == default) and isinstance(value, bool) == isinstance(default, bool)
    except (TypeError, ValueError):
        return False


def _plain(value: Any, where: str, lossy: bool) -> Any:
    """A field's value in terms of YAML."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Enum):
        value = value.value
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Step):
        return _written_step(value, lossy)
    if isinstance(value, PurePath):
        return value.as_posix()
    if isinstance(value, set | frozenset):
        return [_plain(item, where, lossy) for item in sorted(value, key=str)]
    if isinstance(value, list | tuple):
        return [_plain(item, where, lossy) for item in value]
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: _plain(item, where, lossy) for key, item in value.items()}
    for known in ("source", "name_or_path"):
        named = getattr(value, known, None)
        if isinstance(named, str) and named:
            return named
    if lossy:
        return f"{ABSENT}{where}, a {type(value).__name__}>"
    raise RecipeError(
        f"{where} holds a {type(value).__name__}, which a recipe cannot hold; give the step a path or a name instead."
    )
