"""Recipes as they are read.

A recipe holds what differs from the defaults, in the order of the steps, and nothing that could run code. Reading goes
through YAML nodes, so that every error names the file, the line, the step and the field. Scalars follow YAML 1.2
(https://yaml.org/spec/1.2.2/): `no` is a word, `1e-5` is a number, `2024-01-01` is text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

from tilth.catalog import ROOMS, Parameter, catalog, family_of, is_member, is_step, members, parameters
from tilth.errors import MissingExtraError, RecipeError, TilthError
from tilth.pipeline import Pipeline
from tilth.recipe.write import ABSENT, FORMAT, resolvers
from tilth.sources import Source
from tilth.step import Step

_TOP = ("tilth", "source", "steps")
_MOST_NODES = 100_000


@dataclass(frozen=True)
class Recipe:
    """What a recipe file says.

    Attributes:
        pipeline: the steps.
        source: the data to run them on, where the file names it.
    """

    pipeline: Pipeline
    source: Source | None = None


def load(path: str | Path, extra: Iterable[type] = ()) -> Recipe:
    """Read a recipe file; see `loads`."""
    path = Path(path)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        names = [entry.name for entry in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
        close = get_close_matches(path.name, names, n=1, cutoff=0.5)
        hint = f" Did you mean {path.parent / close[0]}?" if close else ""
        raise RecipeError(f"{path}: there is no such recipe.{hint}") from None
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path}: byte {error.start} is not UTF-8, so this is no recipe.") from None
    except OSError as error:
        raise RecipeError(f"{path}: it cannot be read ({error.strerror}).") from None
    return loads(text, str(path), extra)


def loads(text: str, file: str = "recipe", extra: Iterable[type] = ()) -> Recipe:
    """The pipeline and the source that the text of a recipe describes.

    Args:
        text: the YAML.
        file: what errors call it.
        extra: classes of your own, steps or what steps hold, which the recipe names by their class name.

    Raises:
        RecipeError: it says something that cannot be run.
        MissingExtraError: a step needs a package that is not installed.

    Examples:
        >>> from tilth import recipe
        >>> text = '''
        ... tilth: 1
        ... steps:
        ...   - filters.WordCount: {column: instruction, min: 3}
        ... '''
        >>> recipe.loads(text).pipeline.names
        ('WordCount',)
    """
    own = {step.__name__: step for step in extra}
    place = _Place(file)
    root = _compose(text, place)
    top = _mapping(root, place, "a recipe", _TOP)
    if "tilth" not in top:
        raise place.error(f"the format is missing; begin the file with 'tilth: {FORMAT}'.")
    where = place.at(top["tilth"]).of(field="tilth")
    found = _value(top["tilth"], where)
    if found != FORMAT or isinstance(found, bool):
        raise where.error(f"format {found!r} is unknown; this version of tilth reads format {FORMAT}.")
    source = _source(top["source"], place) if "source" in top else None
    if "steps" not in top:
        raise place.error("no steps; list them under 'steps:'.")
    listed = top["steps"]
    if not isinstance(listed, yaml.SequenceNode) or not listed.value:
        raise (
            place.at(listed).of(field="steps").error("it must be a list of one step or more, each on a line with '-'.")
        )
    steps: list[Step | tuple[str, Step]] = []
    given: dict[str, int] = {}
    for number, node in enumerate(listed.value, start=1):
        name, step, where = _step(node, place.at(node).of(step=f"step {number}"), own)
        if name is not None and name in given:
            raise where.of(field="name").error(f"{name!r} is already the name of step {given[name]}.")
        if name is not None:
            given[name] = number
        steps.append(step if name is None else (name, step))
    try:
        return Recipe(Pipeline(*steps), source)
    except TilthError as error:
        raise place.at(listed).error(str(error)) from None


@dataclass(frozen=True)
class _Place:
    """Where in a recipe we are, for the error."""

    file: str
    line: int | None = None
    step: str | None = None
    field: str | None = None

    def at(self, node: yaml.Node) -> _Place:
        return replace(self, line=node.start_mark.line + 1)

    def of(self, **parts: str) -> _Place:
        return replace(self, **parts)  # type: ignore[arg-type]

    def within(self, field: str) -> _Place:
        return replace(self, field=f"{self.field}.{field}" if self.field else field)

    def error(self, message: str) -> RecipeError:
        parts = [
            self.file,
            self.line and f"line {self.line}",
            self.step,
            self.field and f"field {self.field!r}",
        ]
        return RecipeError(f"{', '.join(part for part in parts if part)}: {message}")


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers = resolvers()


def _compose(text: str, place: _Place) -> yaml.Node:
    try:
        root = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = replace(place, line=mark.line + 1) if mark else place
        raise where.error(f"not YAML: {error.problem or error.context}.") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise replace(place, line=line).error(f"not YAML: the character {error.character!r} is not text.") from None
    except (yaml.YAMLError, ValueError) as error:
        raise place.error(f"not YAML: {' '.join(str(error).split())}.") from None
    except RecursionError:
        raise place.error("it is nested too deep to be a recipe.") from None
    if root is None:
        raise place.error("the file is empty.")
    _check_nodes(root, place)
    return root


def _check_nodes(root: yaml.Node, place: _Place) -> None:
    """Refuse what a recipe never needs and a reader would stumble over: tags, endless aliases, keys that come twice."""
    seen = 0
    waiting: list[tuple[yaml.Node, frozenset[int]]] = [(root, frozenset())]
    while waiting:
        node, above = waiting.pop()
        seen += 1
        if id(node) in above or seen > _MOST_NODES:
            raise place.at(node).error("it refers to itself, or repeats itself without end.")
        if not str(node.tag).startswith("tag:yaml.org,2002:") or str(node.tag).split(":")[-1] not in _PLAIN_TAGS:
            raise place.at(node).error(f"the tag {node.tag!r} is not allowed; write a plain value.")
        if isinstance(node, yaml.SequenceNode):
            waiting += [(child, above | {id(node)}) for child in node.value]
        elif isinstance(node, yaml.MappingNode):
            waiting += [(child, above | {id(node)}) for pair in node.value for child in pair]
            lines: dict[str, int] = {}
            for key, _ in node.value:
                if not isinstance(key, yaml.ScalarNode):
                    raise place.at(key).error("a key must be a word.")
                if key.value in lines:
                    raise place.at(key).error(f"the key {key.value!r} is already on line {lines[key.value]}.")
                lines[key.value] = key.start_mark.line + 1


_PLAIN_TAGS = frozenset({"null", "bool", "int", "float", "str", "seq", "map"})


def _mapping(node: yaml.Node, place: _Place, what: str, allowed: Iterable[str]) -> dict[str, yaml.Node]:
    allowed = tuple(allowed)
    if not isinstance(node, yaml.MappingNode):
        raise place.at(node).error(f"{what} must be a mapping with the keys {_listed(allowed)}.")
    for key, _ in node.value:
        if key.value not in allowed:
            close = get_close_matches(key.value, allowed, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise place.at(key).error(f"{what} has no key {key.value!r}; it has {_listed(allowed)}.{hint}")
    return {key.value: value for key, value in node.value}


def _value(node: yaml.Node, place: _Place) -> Any:
    if isinstance(node, yaml.SequenceNode):
        return [_value(child, place) for child in node.value]
    if isinstance(node, yaml.MappingNode):
        return {key.value: _value(child, place) for key, child in node.value}
    try:
        value = yaml.SafeLoader("").construct_object(node)
    except (ValueError, yaml.YAMLError):
        raise place.at(node).error(f"{node.value!r} is not a value of its type.") from None
    if isinstance(value, str) and value.startswith(ABSENT):
        raise place.at(node).error(
            f"this value could not be written to the file ({value[len(ABSENT) :].rstrip('>')}); "
            f"put the path or the name of it here, or build the pipeline in Python."
        )
    return value


def _source(node: yaml.Node, place: _Place) -> Source:
    where = place.at(node).of(field="source")
    if isinstance(node, yaml.MappingNode):
        fields = _mapping(node, where, "source", ("path", "split", "name"))
        values = {key: _value(value, where) for key, value in fields.items()}
        if "path" not in values:
            raise where.error("the path is missing; write source: {path: data.jsonl, split: train}.")
    else:
        values = {"path": _value(node, where)}
    for key, value in values.items():
        if not isinstance(value, str) or not value:
            raise where.error(f"{key} is {value!r}, but it must be text.")
    return Source(**values)


def _step(node: yaml.Node, place: _Place, own: Mapping[str, type]) -> tuple[str | None, Step, _Place]:
    """The name, the step and the place of one item of the list."""
    name = None
    fields: yaml.Node | None = None
    if isinstance(node, yaml.ScalarNode):
        key = node.value
    elif isinstance(node, yaml.MappingNode):
        steps = [(key, value) for key, value in node.value if key.value != "name"]
        if not steps:
            raise place.error("the step is missing; write '- filters.WordCount: {column: text}'.")
        key, fields = steps[0][0].value, steps[0][1]
        if len(steps) > 1:
            raise place.at(steps[1][0]).error(
                f"the key {steps[1][0].value!r} stands beside {key}; indent it below {key} if it is one of its fields, "
                f"or begin it with '-' if it is a step."
            )
        for label, value in node.value:
            if label.value == "name":
                name = _value(value, place.at(value))
                if not isinstance(name, str):
                    raise place.at(value).of(field="name").error(f"{name!r} is not text.")
    else:
        raise place.error("a step must be written as '- filters.WordCount: {column: text}'.")
    place = place.of(step=f"{place.step} ({key})")
    return name, _built(_class(key, place, own), fields, place, own), place


def _class(key: str, place: _Place, own: Mapping[str, type]) -> type[Step]:
    if is_step(own.get(key)):
        return own[key]
    room, _, name = key.partition(".")
    if room in ROOMS and re.fullmatch(r"[A-Za-z]\w*", name):
        try:
            module: ModuleType | None = import_module(f"tilth.{room}")
        except ModuleNotFoundError:
            module = None
        found = getattr(module, name, None) if name in getattr(module, "__all__", ()) else None
        if is_step(found):
            return found
    known = [*catalog(), *(name for name, kind in own.items() if is_step(kind))]
    by_class = {full.rpartition(".")[2].lower(): full for full in known}
    close = by_class.get(key.rpartition(".")[2].lower()) or next(
        iter(get_close_matches(key, known, n=1, cutoff=0.5)), None
    )
    hint = f"Did you mean {close}?" if close else "See all of them with: tilth steps"
    raise place.error(f"there is no such step. {hint}")


def _built(kind: type, fields: yaml.Node | None, place: _Place, own: Mapping[str, type]) -> Any:
    known = {parameter.name: parameter for parameter in parameters(kind)}
    given: dict[str, yaml.Node] = {}
    if fields is not None and not (isinstance(fields, yaml.ScalarNode) and fields.tag.endswith(":null")):
        if not isinstance(fields, yaml.MappingNode):
            raise place.at(fields).error(
                f"give its fields as a mapping: {{{', '.join(f'{key}: ...' for key in known)}}}."
            )
        for key, value in fields.value:
            if key.value not in known:
                close = get_close_matches(key.value, known, n=1)
                hint = f" Did you mean {close[0]!r}?" if close else ""
                where = place.at(key).within(key.value)
                raise where.error(f"there is no such field; {kind.__name__} has {_listed(known) or 'none'}.{hint}")
            given[key.value] = value
    for name, parameter in known.items():
        if parameter.required and name not in given:
            raise place.error(f"the field {name!r} is missing.")
    positional: tuple[Any, ...] = ()
    named: dict[str, Any] = {}
    for name, node in given.items():
        value = _argument(known[name], node, place.at(node).within(name), own)
        if known[name].listed:
            positional = value
        else:
            named[name] = value
    try:
        return kind(*positional, **named)
    except MissingExtraError:
        raise
    except (TilthError, TypeError, ValueError) as error:
        # `require` writes field=value, and names the field at fault before any other.
        blamed = next((name for name in re.findall(r"\b(\w+)(?:\[\d+\])?=", str(error)) if name in given), None)
        where = place.at(given[blamed]).within(blamed) if blamed else place
        raise where.error(str(error)) from None


def _argument(parameter: Parameter, node: yaml.Node, place: _Place, own: Mapping[str, type]) -> Any:
    if isinstance(parameter.hint, type) and issubclass(parameter.hint, Step):
        return _step(node, place, own)[1]
    family = family_of(parameter.hint)
    if family is not None and not (isinstance(node, yaml.ScalarNode) and node.tag.endswith(":null")):
        return _member(family, node, place, own)
    value = _value(node, place)
    if parameter.listed and not isinstance(value, list):
        value = [value]
    return _frozen(_typed(value, parameter, place))


def _member(family: type, node: yaml.Node, place: _Place, own: Mapping[str, type]) -> Any:
    """One of a family of classes: `TfidfSvd: {dims: 128}`, or its bare name."""
    known = {**members(family), **{name: kind for name, kind in own.items() if is_member(kind, family)}}
    key, fields = node, None
    if isinstance(node, yaml.MappingNode) and len(node.value) == 1:
        key, fields = node.value[0]
    if not isinstance(key, yaml.ScalarNode):
        raise place.error(f"it must be one of {_listed(known)}, with its fields: {{{next(iter(known))}: {{...}}}}.")
    name = str(_value(key, place))
    if name not in known:
        by_class = {each.lower(): each for each in known}
        close = get_close_matches(name.lower(), by_class, n=1, cutoff=0.5)
        hint = f" Did you mean {by_class[close[0]]!r}?" if close else ""
        raise place.at(key).error(f"there is no {family.__name__} {name!r}; it must be one of {_listed(known)}.{hint}")
    return _built(known[name], fields, place.at(key), own)


def _typed(value: Any, parameter: Parameter, place: _Place) -> Any:
    """`value` as the field's type, judged as strictly as JSON allows; what pydantic cannot judge is let through."""
    from pydantic import ConfigDict, TypeAdapter, ValidationError

    if parameter.hint is None:
        return value
    try:
        adapter = TypeAdapter(parameter.hint, config=ConfigDict(arbitrary_types_allowed=True, strict=True))
        return adapter.validate_json(json.dumps(value))
    except ValidationError as error:
        # What is no plain type can only be judged on the object itself, which the step does.
        reasons = dict.fromkeys(detail["msg"] for detail in error.errors() if detail["type"] != "needs_python_object")
        if not reasons:
            return value
        wanted = f"a list of {parameter.written}" if parameter.listed else parameter.written
        raise place.error(f"{value!r} does not fit {wanted}: {'; '.join(reasons)}.") from None
    except Exception:
        return value


def _frozen(value: Any) -> Any:
    """Lists as tuples, because the fields of a step are compared and hashed."""
    return tuple(_frozen(item) for item in value) if isinstance(value, list | tuple) else value


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)
