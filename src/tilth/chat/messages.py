"""Any of the usual column layouts as one column of messages, by Arrow operations on whole columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset, IterableDataset

from tilth.chat.layout import CONVERSATIONS, FORMATS, OPTIONAL, PARTS, Layout, detect, is_json, usual
from tilth.errors import ColumnTypeError
from tilth.step import EVERY_COLUMN, Columns, MapStep, require
from tilth.text.strings import is_text, one_array

Mask: TypeAlias = npt.NDArray[np.bool_]
Ints: TypeAlias = npt.NDArray[np.int64]

ROLES = {
    "human": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "function_call": "assistant",
    "observation": "tool",
    "function": "tool",
    "function_response": "tool",
}
"""The roles of ShareGPT by the names that chat templates know. Any other name stays as it is."""


@dataclass(frozen=True)
class ToMessages(MapStep):
    """Write one column of messages, `list<struct<role: string, content: string>>`, from the columns of a known format.

    | format | columns | messages |
    | --- | --- | --- |
    | `alpaca` | `instruction`, `input`, `output` | user: the instruction, then the input unless it is blank |
    | `sharegpt` | `conversations`, a list of `{from, value}` | one each; `human` is user and `gpt` is assistant |
    | `openai` | `messages`, a list of `{role, content}` | as they are, with any further field such as `tool_calls` |
    | `prompt_completion` | `prompt`, `completion` | user, assistant |

    A text that is missing makes the messages of its row null, and nothing else: a null instruction, answer or message
    (a null input counts as blank, and a null `content` beside `tool_calls` is in order). Empty text stays.

    Args:
        format: one of the above, or "auto" to tell it from the names and types of the columns. Then `context` is known
            for `input`, `response` for `output`, `question` for `prompt`, `answer` and `response` for `completion`,
            and a column `system` or `system_prompt` is read too.
        system: a system message for conversations that have none.
        into: the column to write.
        columns: for data whose columns have other names, the column of each part, such as
            `{"prompt": "ask", "completion": "reply"}`; the parts are those of the table, and `system`. Only these
            columns are read. It needs an explicit format.

    Raises:
        ArgumentError: with "auto", when no format fits the data, or more than one.

    Examples:
        >>> from datasets import Dataset
        >>> ds = Dataset.from_dict({"question": ["2 + 2?"], "answer": ["4"]})
        >>> ToMessages().apply(ds)["messages"][0]
        [{'role': 'user', 'content': '2 + 2?'}, {'role': 'assistant', 'content': '4'}]
    """

    format: Literal["auto", "alpaca", "sharegpt", "openai", "prompt_completion"] = "auto"
    system: str | None = None
    into: str = "messages"
    columns: Mapping[str, str] | None = None

    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        require(self.format in ("auto", *FORMATS), self, "format", f"one of {['auto', *FORMATS]}")
        require(self.system is None or isinstance(self.system, str), self, "system", "text or None")
        require(isinstance(self.into, str) and bool(self.into), self, "into", "the name of a column")
        if self.columns is not None:
            require(self.format != "auto", self, "columns", "None where format='auto'")
            parts = PARTS[self.format]
            needed = [part for part in parts if part not in OPTIONAL]
            require(
                isinstance(self.columns, Mapping)
                and set(needed) <= set(self.columns) <= set(parts)
                and all(isinstance(column, str) for column in self.columns.values()),
                self,
                "columns",
                f"a mapping of {needed} and of any of {[part for part in parts if part in OPTIONAL]} to column names",
            )

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    @property
    def reads(self) -> tuple[str, ...]:
        """The columns of the format, or every column where it has to be detected."""
        return EVERY_COLUMN if self._layout is None else tuple(self._layout.columns.values())

    @property
    def reads_text(self) -> tuple[str, ...]:
        """Those of them that hold text rather than a list of messages."""
        columns = {} if self._layout is None else self._layout.columns
        return tuple(column for part, column in columns.items() if part not in CONVERSATIONS)

    @property
    def writes(self) -> tuple[str, ...]:
        """The column `into`."""
        return (self.into,)

    def check(self, schema: pa.Schema) -> None:
        """Refuse data that does not have the format, before any work."""
        layout = self.detect(schema)
        if self.system is not None or "system" in layout.columns:
            _refuse_system(self, layout, schema)

    def detect(self, data: pa.Schema | pa.Table | Dataset | IterableDataset) -> Layout:
        """The format of the data and the column of each of its parts.

        Args:
            data: a dataset, an Arrow table or its schema.

        Raises:
            ArgumentError: no format fits, or more than one; the message has the columns present.
            MissingColumnError: a column of an explicit format is absent.
            ColumnTypeError: such a column holds something else.
            TypeError: `data` is none of these, or a stream whose features are unknown.
        """
        schema = data if isinstance(data, pa.Schema) else data.schema if isinstance(data, pa.Table) else None
        if schema is None:
            features: Any = getattr(data, "features", None)
            if not hasattr(features, "arrow_schema"):
                raise TypeError(f"{self} detects the format of a Dataset with known features, not of {data!r}.")
            schema = features.arrow_schema
        if self._layout is None:
            return detect(str(self), schema)
        self._layout.check(str(self), schema)
        return self._layout

    def transform(self, table: pa.Table) -> Columns:
        """The messages of each row."""
        layout = self.detect(table.schema)
        if layout.format in ("sharegpt", "openai"):
            return {self.into: _rewritten(self, table, layout)}
        return {self.into: _interleaved(self, table, layout)}

    @cached_property
    def _layout(self) -> Layout | None:
        """What an explicit format says, without the data."""
        if self.format == "auto":
            return None
        return usual(self.format) if self.columns is None else Layout(self.format, dict(self.columns))


def _interleaved(step: ToMessages, table: pa.Table, layout: Layout) -> pa.Array:
    """One message from each text column: system where there is one, user, assistant."""
    first, last = ("instruction", "output") if layout.format == "alpaca" else ("prompt", "completion")
    user = _text(table, layout.columns[first])
    answer = _text(table, layout.columns[last])
    if "input" in layout.columns:
        user = _joined(user, _text(table, layout.columns["input"]))
    system = _system(step, table, layout)
    parts = [("user", user), ("assistant", answer)]
    if system is not None:
        parts.insert(0, ("system", system))
    valid = _is_valid(user) & _is_valid(answer)
    present = np.stack([_is_valid(text) for _, text in parts], axis=1) & valid[:, None]
    rows, places = np.nonzero(present)
    content = _concat([text for _, text in parts]).take(pa.array(places * table.num_rows + rows))
    roles = pa.array([role for role, _ in parts]).take(pa.array(places))
    return _lists({"role": roles, "content": content}, present.sum(axis=1), valid)


def _joined(instruction: pa.Array, extra: pa.Array) -> pa.Array:
    """Instruction and input with a blank line between, or the instruction alone where the input is blank."""
    kind = _wider(instruction, extra)
    instruction, extra = instruction.cast(kind), extra.cast(kind)
    filled = pc.fill_null(pc.greater(pc.binary_length(pc.ascii_trim_whitespace(extra)), 0), False)
    joined = pc.binary_join_element_wise(instruction, extra, pa.scalar("\n\n", kind))
    return pc.if_else(filled, joined, instruction)


def _rewritten(step: ToMessages, table: pa.Table, layout: Layout) -> pa.Array:
    """Lists of messages with their fields named role and content, and a system message before those without."""
    part = "conversations" if layout.format == "sharegpt" else "messages"
    lists = one_array(table.column(layout.columns[part]))
    if not pa.types.is_null(lists.type) and is_json(lists.type.value_type):
        return lists
    n = table.num_rows
    fields = _fields(lists, CONVERSATIONS[part], keep_more=part == "messages")
    role, content = fields["role"], fields["content"]
    if layout.format == "sharegpt":
        fields["role"] = role = _renamed(role)
    valid = _is_valid(lists)
    lengths = np.zeros(n, dtype=np.int64)
    if not pa.types.is_null(lists.type):
        lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    starts = np.cumsum(lengths) - lengths
    said = _is_valid(content)
    for name in fields.keys() - {"role", "content"}:
        said |= _is_valid(fields[name])
    broken = ~_is_valid(role) | ~said
    row_of = np.repeat(np.arange(n), lengths)
    valid &= np.bincount(row_of[broken], minlength=n) == 0
    system = _system(step, table, layout)
    added = np.zeros(n, dtype=np.bool_)
    if system is not None:
        opens = np.zeros(n, dtype=np.bool_)
        is_system = np.asarray(pc.fill_null(pc.equal(role, "system"), False).to_numpy(zero_copy_only=False), np.bool_)
        opens[lengths > 0] = is_system[starts[lengths > 0]]
        added = valid & (lengths > 0) & ~opens & _is_valid(system)
    kept = np.where(valid, lengths + added, 0)
    ends = np.cumsum(kept)
    source = np.full(int(kept.sum()), -1, dtype=np.int64)
    moved = np.flatnonzero(valid[row_of])
    row = row_of[moved]
    source[(ends - kept + added - starts)[row] + moved] = moved
    taken = {name: values.take(pa.array(source, mask=source < 0)) for name, values in fields.items()}
    if system is not None and added.any():
        fresh = source < 0
        both = _concat([content, system])
        places = source.copy()
        places[fresh] = len(content) + np.flatnonzero(added)
        taken["content"] = both.take(pa.array(places))
        taken["role"] = pc.if_else(pa.array(fresh), "system", taken["role"])
    elif system is not None:
        taken["content"] = taken["content"].cast(_wider(content, system))
    return _lists(taken, kept, valid)


def _fields(lists: pa.Array, names: tuple[str, str], keep_more: bool) -> dict[str, pa.Array]:
    """The fields of all messages, one after another, under the names role, content and, if wanted, their own."""
    item = pa.null() if pa.types.is_null(lists.type) else lists.type.value_type
    if pa.types.is_null(item):
        count = 0 if pa.types.is_null(lists.type) else len(lists.flatten())
        return {"role": pa.nulls(count, pa.string()), "content": pa.nulls(count, pa.string())}
    flat = lists.flatten()
    found = {item.field(place).name: values for place, values in enumerate(flat.flatten())}
    content = found.pop(names[1])
    if is_text(content.type):
        content = _as_text(content)
    first = {"role": _as_text(found.pop(names[0])).cast(pa.string()), "content": content}
    return {**first, **found} if keep_more else first


def _renamed(roles: pa.Array) -> pa.Array:
    coded = roles.dictionary_encode()
    names = [ROLES.get(role.strip().lower(), role.strip().lower()) for role in coded.dictionary.to_pylist()]
    return pa.array(names, pa.string()).take(coded.indices)


def _system(step: ToMessages, table: pa.Table, layout: Layout) -> pa.Array | None:
    """For each row the system message it should have; null for none, None if no row has one."""
    column = layout.columns.get("system")
    if column is None and step.system is None:
        return None
    if column is None:
        return pa.repeat(pa.scalar(step.system, pa.string()), table.num_rows)
    given = _text(table, column)
    filled = pc.fill_null(pc.greater(pc.binary_length(given), 0), False)
    return pc.if_else(filled, given, pa.scalar(step.system, given.type))


def _refuse_system(step: ToMessages, layout: Layout, schema: pa.Schema) -> None:
    """A system message is text, so it cannot be added to messages whose content is something else."""
    part = "conversations" if layout.format == "sharegpt" else "messages"
    if part not in layout.columns:
        return
    column = layout.columns[part]
    item = schema.field(column).type
    item = pa.null() if pa.types.is_null(item) else item.value_type
    if is_json(item) or (pa.types.is_struct(item) and not is_text(item.field(CONVERSATIONS[part][1]).type)):
        raise ColumnTypeError(f"{step} with a system message", column, schema.field(column).type, "messages of text")


def _text(table: pa.Table, column: str) -> pa.Array:
    return _as_text(one_array(table.column(column)))


def _as_text(values: pa.Array) -> pa.Array:
    """Text of any Arrow type as `string`, or as `large_string` where it was that."""
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        return values
    return values.cast(pa.string())


def _wider(*arrays: pa.Array) -> pa.DataType:
    return pa.large_string() if any(pa.types.is_large_string(array.type) for array in arrays) else pa.string()


def _concat(arrays: Sequence[pa.Array]) -> pa.Array:
    kind = _wider(*arrays)
    return pa.concat_arrays([array.cast(kind) for array in arrays])


def _is_valid(values: pa.Array) -> Mask:
    return np.array(values.is_valid().to_numpy(zero_copy_only=False), dtype=np.bool_)


def _lists(fields: dict[str, pa.Array], lengths: Ints, valid: Mask) -> pa.Array:
    """Rows of so many messages each; null where not valid."""
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    messages = pa.StructArray.from_arrays(list(fields.values()), names=list(fields))
    return pa.ListArray.from_arrays(pa.array(offsets), messages, mask=pa.array(~valid))
