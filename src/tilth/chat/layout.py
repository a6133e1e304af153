"""Which columns of a dataset hold a conversation, and how: found by their names and Arrow types."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pyarrow as pa

from tilth.errors import ArgumentError, ColumnTypeError, MissingColumnError
from tilth.text.strings import is_text

FORMATS = ("alpaca", "sharegpt", "openai", "prompt_completion")
"""The formats by the names that `ToMessages` takes."""

PARTS: dict[str, dict[str, tuple[str, ...]]] = {
    "alpaca": {
        "instruction": ("instruction",),
        "input": ("input", "context"),
        "output": ("output", "response"),
        "system": ("system", "system_prompt"),
    },
    "sharegpt": {"conversations": ("conversations",), "system": ("system", "system_prompt")},
    "openai": {"messages": ("messages",), "system": ("system", "system_prompt")},
    "prompt_completion": {
        "prompt": ("prompt", "question"),
        "completion": ("completion", "response", "answer"),
        "system": ("system", "system_prompt"),
    },
}
"""For each format its parts, and the column names by which each is known, the usual one first."""

OPTIONAL = ("input", "system")
"""The parts that a format can do without."""

CONVERSATIONS = {"conversations": ("from", "value"), "messages": ("role", "content")}
"""The parts that are lists of structs, with the two fields of each message; the others are text."""


@dataclass(frozen=True)
class Layout:
    """A format, and the column that holds each of its parts.

    Attributes:
        format: one of `FORMATS`.
        columns: for each part that is there its column, such as `{"prompt": "question", "completion": "answer"}`.
    """

    format: str
    columns: Mapping[str, str]

    def __str__(self) -> str:
        return f"{self.format} ({', '.join(f'{part} from {column!r}' for part, column in self.columns.items())})"

    def check(self, who: str, schema: pa.Schema) -> None:
        """Refuse a schema that does not have these columns with these types.

        Raises:
            MissingColumnError: a column is absent.
            ColumnTypeError: a column holds something else.
        """
        for part, column in self.columns.items():
            if column not in schema.names:
                raise MissingColumnError(who, column, schema.names)
            if not _fits(part)(schema.field(column).type):
                fields = CONVERSATIONS.get(part)
                wanted = "text" if fields is None else f"a list of structs with {' and '.join(fields)}"
                raise ColumnTypeError(who, column, schema.field(column).type, wanted)


def usual(format: str) -> Layout:
    """The layout that a format has by its book: the usual column names, and no `system` column."""
    return Layout(format, {part: names[0] for part, names in PARTS[format].items() if part != "system"})


def detect(who: str, schema: pa.Schema) -> Layout:
    """The one layout that fits a schema.

    Raises:
        ArgumentError: none fits, or more than one; the message has the columns present.
    """
    fitting = [layout for layout in (_detected(who, format, schema) for format in FORMATS) if layout is not None]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        found = " and ".join(str(layout) for layout in fitting)
        raise ArgumentError(
            f"{who}: format='auto' found {found} in the columns {_shown(schema)}. "
            f"Say which one it is with format={fitting[0].format!r} or another of {list(FORMATS)}, or drop columns."
        )
    raise ArgumentError(
        f"{who}: format='auto' found no conversation in the columns {_shown(schema)}. It knows "
        f"instruction, input and output (alpaca), conversations of {{from, value}} (sharegpt), messages of "
        f"{{role, content}} (openai), and prompt and completion or question and answer (prompt_completion). For other "
        f"names say format='prompt_completion', columns={{'prompt': ..., 'completion': ...}}."
    )


def is_json(kind: pa.DataType) -> bool:
    """Whether this is the type of the `Json` feature of `datasets`, which holds each value as JSON text."""
    return bool(isinstance(kind, pa.BaseExtensionType) and kind.extension_name == "arrow.json")


def is_list(kind: pa.DataType) -> bool:
    """Whether this is any of Arrow's list types."""
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _detected(who: str, format: str, schema: pa.Schema) -> Layout | None:
    columns: dict[str, str] = {}
    doubled: list[str] = []
    for part, names in PARTS[format].items():
        fits = _fits(part)
        present = [name for name in names if name in schema.names and fits(schema.field(name).type)]
        if not present:
            if part not in OPTIONAL:
                return None
            continue
        if len(present) > 1:
            doubled.append(f"{part} from any of {present}")
        columns[part] = present[0]
    if doubled:
        raise ArgumentError(
            f"{who}: format='auto' found {format} with {' and '.join(doubled)} in the columns {_shown(schema)}. "
            f"Say which ones with format={format!r}, columns={columns!r}."
        )
    return Layout(format, columns)


def _fits(part: str) -> Callable[[pa.DataType], bool]:
    fields = CONVERSATIONS.get(part)
    return is_text if fields is None else lambda kind: _is_conversation(kind, fields)


def _is_conversation(kind: pa.DataType, fields: tuple[str, str]) -> bool:
    if pa.types.is_null(kind):
        return True
    if not is_list(kind):
        return False
    item = kind.value_type
    if pa.types.is_null(item) or (is_json(item) and fields == CONVERSATIONS["messages"]):
        return True
    if not pa.types.is_struct(item):
        return False
    names = [item.field(index).name for index in range(item.num_fields)]
    return all(field in names for field in fields) and is_text(item.field(fields[0]).type)


def _shown(schema: pa.Schema) -> str:
    return "[" + ", ".join(f"{field.name}: {_short(str(field.type))}" for field in schema) + "]"


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:59] + "…"
