"""A chat template, compiled once, in the sandbox that transformers renders templates in.

A template may come from anyone, so it runs in Jinja's immutable sandbox, sees plain data only, and gets the few
additional functions that published templates rely on.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, NoReturn, TypeAlias

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.meta import find_undeclared_variables
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

Message: TypeAlias = "dict[str, Any]"
Messages: TypeAlias = "Sequence[Message]"
Span: TypeAlias = "tuple[int, int]"

_MARKS = "tilth_marks"
# Code points that Unicode keeps for use inside a program and that no text should hold, in pairs.
_PAIRS = [(chr(code), chr(code + 1)) for code in range(0xFDD0, 0xFDF0, 2)]


class Renderer:
    """One template with the variables that do not change from row to row.

    Attributes:
        reads: the names of all variables that the template looks up.
        marks: whether it says itself what the assistant writes, with `{% generation %}`.
        prompts: whether it can end with a generation prompt.
    """

    def __init__(self, source: str, variables: Mapping[str, Any]) -> None:
        environment = _environment()
        tree = environment.parse(source)
        self.reads = frozenset(find_undeclared_variables(tree))
        self.marks = any(
            isinstance(block.call.node, nodes.ExtensionAttribute)
            and block.call.node.identifier == _Generation.identifier
            for block in tree.find_all(nodes.CallBlock)
        )
        self.prompts = "add_generation_prompt" in self.reads
        self._template = environment.from_string(source)
        # One time for all rows: two renderings of a row have to agree, at midnight too.
        began = datetime.now()
        self._variables = {"tools": None, "documents": None, "strftime_now": began.strftime, **variables}

    def render(self, messages: Messages, prompt: bool = False) -> str:
        """The text of a conversation, with a generation prompt at its end if wanted."""
        return self._template.render(messages=messages, add_generation_prompt=prompt, **self._variables)

    def render_marked(self, messages: Messages, prompt: bool = False) -> tuple[str, list[Span]]:
        """The text, and the spans of characters that the template marks as the assistant's.

        Raises:
            ValueError: the template marks text that it does not write as it is.
        """
        for opening, closing in _PAIRS:
            marked: list[None] = []
            marks = (opening, closing, marked)
            text = self._template.render(
                messages=messages, add_generation_prompt=prompt, **self._variables, **{_MARKS: marks}
            )
            if text.count(opening) == text.count(closing) == len(marked):
                return _unmarked(text, opening, closing)
        raise ValueError("a {% generation %} block of the template is not written as it is, or is inside another one")


def _unmarked(text: str, opening: str, closing: str) -> tuple[str, list[Span]]:
    pieces = re.split(f"[{opening}{closing}]", text)
    spans, at = [], 0
    for number, piece in enumerate(pieces):
        if number % 2 and piece:
            spans.append((at, at + len(piece)))
        at += len(piece)
    return "".join(pieces), spans


class _Generation(Extension):
    """The tag `{% generation %}`: its block is written as it is, between two marks if the caller wants to find it."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_mark", [nodes.ContextReference()]), [], [], body).set_lineno(line)

    def _mark(self, context: Context, caller: Callable[[], str]) -> str:
        marks = context.get(_MARKS)
        if marks is None:
            return caller()
        opening, closing, marked = marks
        marked.append(None)
        return f"{opening}{caller()}{closing}"


class _GuardedNamespace(Namespace):
    """A namespace that cannot hold names with a leading underscore, through which a template could reach internals."""

    # Without a named `self`, which may be a name in the namespace.
    def __init__(*args: Any, **kwargs: Any) -> None:
        names = dict(*args[1:], **kwargs)
        for name in names:
            _refuse_private(name)
        Namespace.__init__(args[0], names)

    def __setitem__(self, name: str, value: Any) -> None:
        _refuse_private(name)
        super().__setitem__(name, value)


def _refuse_private(name: Any) -> None:
    if str(name).startswith("_"):
        raise jinja2.exceptions.SecurityError(f"a template cannot store {name!r} in a namespace")


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["namespace"] = _GuardedNamespace
    environment.globals["dict"] = _new_dict
    return environment


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: str) -> NoReturn:
    raise jinja2.exceptions.TemplateError(message)


def _new_dict(*args: Any, **kwargs: Any) -> dict[Any, Any]:
    return dict(*args, **kwargs)
