"""Which steps are installed, and which fields each one takes: what recipes and the command line are made from."""

from __future__ import annotations

import dataclasses
import inspect
import pkgutil
import sys
from dataclasses import dataclass
from importlib import import_module
from types import SimpleNamespace, UnionType
from typing import Any, TypeGuard, Union, get_args, get_origin, get_type_hints

from tilth.step import Step

ROOMS = ("clean", "filters", "dedup", "embed", "judge", "synth", "coverage", "chat")
"""The packages of tilth that hold steps, in the order in which a pipeline usually has them."""


def catalog() -> dict[str, type[Step]]:
    """Every step that is installed, by the name that recipes use, such as `filters.WordCount`."""
    import tilth

    present = {module.name for module in pkgutil.iter_modules(tilth.__path__)}
    found: dict[str, type[Step]] = {}
    for room in ROOMS:
        if room in present:
            module = import_module(f"tilth.{room}")
            for name in sorted(getattr(module, "__all__", ())):
                try:
                    value = getattr(module, name)
                except ImportError:
                    continue
                if is_step(value):
                    found[f"{room}.{name}"] = value
    return found


def family_of(hint: object) -> type | None:
    """The abstract class of tilth that a field of this type holds a kind of, such as `Embedder`; None for other types.

    Such a field is written in a recipe as one of the classes of the family, with its fields.
    """
    either = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    found = [each for each in either if each is not type(None)]
    family = found[0] if len(found) == 1 else None
    ours = isinstance(family, type) and family.__module__.startswith("tilth.") and not issubclass(family, Step)
    return family if ours and inspect.isabstract(family) else None


def members(family: type) -> dict[str, type]:
    """The classes of a family that its room offers, by name."""
    room = import_module(family.__module__.rpartition(".")[0])
    offered = {name: getattr(room, name) for name in getattr(room, "__all__", ())}
    return {name: kind for name, kind in offered.items() if is_member(kind, family)}


def is_member(kind: object, family: type) -> bool:
    """Whether `kind` is a class of `family` that can be used."""
    usable = isinstance(kind, type) and dataclasses.is_dataclass(kind) and not inspect.isabstract(kind)
    return usable and issubclass(kind, family)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Parameter:
    """One field of a step as recipes know it.

    Attributes:
        name: the field.
        required: whether it must be given.
        default: its value where it is not given.
        hint: its type, or None where that cannot be resolved here.
        written: its type as the source has it.
        listed: whether the class takes it as positional arguments.
    """

    name: str
    required: bool
    default: object
    hint: Any
    written: str
    listed: bool


def parameters(step: type) -> list[Parameter]:
    """The fields of a step, or of another class that recipes name, in the order in which it takes them."""
    fields: dict[str, dataclasses.Field[Any]] = {}
    if dataclasses.is_dataclass(step):
        fields = {field.name: field for field in dataclasses.fields(step)}
    hints = _hints(step)
    found = []
    for parameter in inspect.signature(step).parameters.values():
        default = parameter.default
        field = fields.get(parameter.name)
        if field is not None and field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        listed = parameter.kind is inspect.Parameter.VAR_POSITIONAL
        required = default is inspect.Parameter.empty and not listed
        default = () if listed else None if required else default
        noted = parameter.annotation
        written = noted if isinstance(noted, str) else inspect.formatannotation(noted)
        found.append(Parameter(parameter.name, required, default, hints.get(parameter.name), written, listed))
    return found


def is_step(value: object) -> TypeGuard[type[Step]]:
    """Whether `value` is a step class that can be used."""
    return isinstance(value, type) and issubclass(value, Step) and not inspect.isabstract(value)


def _hints(step: type) -> dict[str, Any]:
    """The types of a step's fields that can be resolved; a name that is imported for type checkers only cannot."""
    found: dict[str, Any] = {}
    init = step.__init__  # type: ignore[misc]
    places = [(inspect.get_annotations(init), getattr(init, "__globals__", {}))]
    for owner in reversed(step.__mro__):
        places.append((inspect.get_annotations(owner), vars(sys.modules.get(owner.__module__, step))))
    for written, names in places:
        for name, hint in written.items():
            try:
                found[name] = get_type_hints(SimpleNamespace(__annotations__={name: hint}), dict(names))[name]
            except Exception:
                found.pop(name, None)
    return found
