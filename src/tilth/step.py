"""The step: the one contract that every piece of work in tilth keeps.

A step is a frozen dataclass whose fields are its whole identity. There are three kinds: a `MapStep` writes columns, a
`FilterStep` judges rows, a `DatasetStep` needs all rows at once. Each works in `Dataset.map` or `Dataset.filter`,
applies itself to a whole dataset the fast way, and chains in a `Pipeline`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property, singledispatch
from pathlib import PurePath
from typing import Any, ClassVar, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset, DatasetDict, Features, IterableDataset, IterableDatasetDict

from tilth.errors import ArgumentError, ColumnTypeError, MissingColumnError, StepError
from tilth.text.strings import is_text

Column: TypeAlias = "pa.Array | pa.ChunkedArray"
Columns: TypeAlias = "dict[str, Column]"
Rows = npt.NDArray[np.int64]
Codes = npt.NDArray[np.uint8]
EVERY_COLUMN = ("*",)
"""What `Step.reads` says when a step looks at all columns, for example to detect a format."""
AnyDataset = TypeVar("AnyDataset", Dataset, DatasetDict, IterableDataset, IterableDatasetDict)


class Step(ABC):
    """A frozen dataclass that does one thing to a dataset. Subclass `MapStep`, `FilterStep` or `DatasetStep` instead.

    Attributes:
        version: raise it whenever the same fields would give other results, so that no cache serves the old ones.
    """

    version: ClassVar[int] = 1

    @property
    def reads(self) -> tuple[str, ...]:
        """The columns this step looks at: by convention its field `columns` or `column`."""
        columns = getattr(self, "columns", None)
        if columns is None:
            columns = getattr(self, "column", ())
        return (columns,) if isinstance(columns, str) else tuple(columns or ())

    @property
    def reads_text(self) -> tuple[str, ...]:
        """Those of `reads` that must hold text; checked before any work."""
        return () if self.reads == EVERY_COLUMN else self.reads

    @property
    @abstractmethod
    def writes(self) -> tuple[str, ...]:
        """The columns this step adds or replaces."""

    @cached_property
    def fingerprint(self) -> str:
        """32 hex digits made of the class, its `version` and its fields: equal on every machine for equal steps."""
        return hashlib.blake2b(json.dumps(identity(self)).encode(), digest_size=16).hexdigest()

    def check(self, schema: pa.Schema) -> None:
        """Refuse data that this step cannot work on, before any work.

        Raises:
            MissingColumnError: a column of `reads` is absent.
            ColumnTypeError: a column of `reads_text` does not hold text.
        """
        for column in self.columns_read(schema.names):
            if column not in schema.names:
                raise MissingColumnError(str(self), column, schema.names)
        for column in self.reads_text:
            if not is_text(schema.field(column).type):
                raise ColumnTypeError(str(self), column, schema.field(column).type, "text")

    def schema(self, schema: pa.Schema) -> pa.Schema:
        """The columns that data of `schema` has after this step."""
        return schema

    def columns_read(self, present: Sequence[str]) -> list[str]:
        """The columns to hand to this step, out of those present."""
        return list(present) if self.reads == EVERY_COLUMN else list(self.reads)

    def apply(self, ds: AnyDataset) -> AnyDataset:
        """This step done to a whole dataset. The input is left as it is; format, features and split are kept.

        Args:
            ds: a `Dataset`; a `DatasetDict`, each split of which is done by itself; or an `IterableDataset`, which
                stays lazy.

        Raises:
            MissingColumnError: a column that the step reads is absent.
            ColumnTypeError: such a column has a type that the step cannot read.
            TypeError: `ds` is none of these, or streams while the step needs all rows at once.
        """
        if isinstance(ds, DatasetDict | IterableDatasetDict):
            return type(ds)({split: self.apply(part) for split, part in ds.items()})
        if isinstance(ds, IterableDataset):
            return self._stream(ds)
        if isinstance(ds, Dataset):
            from tilth.frame import apply

            return apply(self, ds)
        raise TypeError(
            f"{self} applies to a Dataset, DatasetDict or IterableDataset, not to {type(ds).__name__}. "
            f"Make one with Dataset.from_list, Dataset.from_pandas or load_dataset."
        )

    @abstractmethod
    def _stream(self, ds: IterableDataset) -> IterableDataset:
        """This step on a dataset that is read row by row."""

    def __str__(self) -> str:
        return type(self).__name__

    def __getstate__(self) -> dict[str, Any]:
        fields = {field.name: getattr(self, field.name) for field in _fields(self)}
        return {"fields": fields, "version": self.version}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._set(**state["fields"])

    def _set(self, **fields: Any) -> None:
        """Give fields their values: for an `__init__` of one's own on a frozen dataclass."""
        for name, value in fields.items():
            object.__setattr__(self, name, value)


class MapStep(Step):
    """A step that writes columns, row by row: `ds.map(step, batched=True)`."""

    @abstractmethod
    def transform(self, table: pa.Table) -> Mapping[str, Column]:
        """The columns this step adds or replaces, each as long as `table`; a table of no rows must work too."""

    def columns_for(self, table: pa.Table) -> Columns:
        """`transform`, held to the contract: the columns of `writes`, each of the right length.

        Raises:
            StepError: `transform` broke it.
        """
        columns = dict(self.transform(table))
        if set(columns) != set(self.writes):
            raise StepError(f"{self}.transform gave columns {sorted(columns)}, but writes says {sorted(self.writes)}.")
        for name, column in columns.items():
            if len(column) != table.num_rows:
                raise StepError(f"{self}.transform gave {len(column)} values of {name!r} for {table.num_rows} rows.")
        return columns

    def schema(self, schema: pa.Schema) -> pa.Schema:
        """The columns that data of `schema` has after this step, found by giving it no rows."""
        return with_columns(schema.empty_table(), self.columns_for(schema.empty_table())).schema

    def __call__(self, batch: pa.Table | Mapping[str, Any]) -> Any:
        """Do one batch, as `Dataset.map(step, batched=True)` calls it.

        Args:
            batch: a dict of lists (the default format) or a `pa.Table` (`ds.with_format("arrow")`, which is faster).

        Returns:
            For a dict the columns written, for a table the whole table with them.
        """
        table = _as_table(self, batch)
        columns = self.columns_for(table)
        if isinstance(batch, pa.Table):
            return with_columns(batch, columns)
        return {name: column.to_pylist() for name, column in columns.items()}

    def _stream(self, ds: IterableDataset) -> IterableDataset:
        features = None
        if ds.features is not None:
            self.check(ds.features.arrow_schema)
            features = features_after(ds.features, self.schema(ds.features.arrow_schema))
        return ds.map(self, batched=True, features=features)


class FilterStep(Step):
    """A step that keeps or drops each row by itself, with a reason: `ds.filter(step, batched=True)`.

    Attributes:
        reasons: the names of the reasons for which this step drops a row; `Verdict.codes` counts from one in it.
    """

    reasons: ClassVar[tuple[str, ...]]

    @property
    def writes(self) -> tuple[str, ...]:
        """A filter writes no column."""
        return ()

    @abstractmethod
    def verdict(self, table: pa.Table) -> Verdict:
        """Which rows of `table` stay, and why each other one goes; a table of no rows must work too."""

    def metrics(self, table: pa.Table) -> Columns:
        """The numbers that the verdict is made of, a column each; filters that measure nothing have none."""
        return {}

    def scores(self, prefix: str = "") -> Scores:
        """The step that writes this filter's metrics as columns instead of dropping rows."""
        return Scores(self, prefix)

    def verdict_for(self, table: pa.Table) -> Verdict:
        """`verdict`, held to the contract: one of the declared reasons for each row.

        Raises:
            StepError: `verdict` broke it.
        """
        verdict = self.verdict(table)
        if len(verdict.codes) != table.num_rows:
            raise StepError(f"{self}.verdict judged {len(verdict.codes)} rows of {table.num_rows}.")
        if verdict.reasons != self.reasons:
            raise StepError(f"{self}.verdict gave reasons {verdict.reasons}, but the step declares {self.reasons}.")
        return verdict

    def __call__(self, batch: pa.Table | Mapping[str, Any]) -> Any:
        """Judge one batch, as `Dataset.filter(step, batched=True)` calls it.

        Returns:
            True for each row that stays: a list for a dict of lists, an Arrow array for a `pa.Table`.
        """
        kept = self.verdict_for(_as_table(self, batch)).kept
        return pa.array(kept) if isinstance(batch, pa.Table) else kept.tolist()

    def _stream(self, ds: IterableDataset) -> IterableDataset:
        if ds.features is not None:
            self.check(ds.features.arrow_schema)
        return ds.filter(self, batched=True)


class DatasetStep(Step):
    """A step that needs all rows at once: deduplication, mixing, synthesis, packing. Use it by `step.apply(ds)`.

    Attributes:
        reasons: the names of the reasons for which this step drops a row.
        row_evidence: the fields of its evidence that hold row numbers of `ds`; the ledger turns them to source rows.
        needs_all: whether what happens to a row depends on other rows, so that a sample cannot tell it.
    """

    reasons: ClassVar[tuple[str, ...]] = ()
    row_evidence: ClassVar[tuple[str, ...]] = ()
    needs_all: ClassVar[bool] = True

    @property
    def writes(self) -> tuple[str, ...]:
        """A step that only drops rows writes no column."""
        return ()

    @abstractmethod
    def run(self, ds: Dataset) -> Outcome:
        """What becomes of `ds`. The dataset is never changed; `Outcome.without` serves steps that only drop rows."""

    def __call__(self, batch: object) -> None:
        """Refuse to work on a batch: this step sees all rows, or none.

        Raises:
            TypeError: always.
        """
        raise TypeError(f"{self} needs all rows at once, so it cannot run inside map or filter. Use step.apply(ds).")

    def _stream(self, ds: IterableDataset) -> IterableDataset:
        raise TypeError(
            f"{self} needs all rows at once and cannot run on an IterableDataset. "
            f"Load the data as a Dataset (streaming=False), or save the stream to Parquet first."
        )


@dataclass(frozen=True, eq=False)
class Verdict:
    """What a filter says of each row of a table.

    Attributes:
        codes: one small integer a row, shape `(rows,)`: 0 stays, `k` goes for `reasons[k - 1]`.
        reasons: the names of the reasons.
        evidence: any Arrow array as long as `codes` that says why; kept for dropped rows only.
    """

    codes: Codes
    reasons: tuple[str, ...]
    evidence: Column | None = None

    def __post_init__(self) -> None:
        if len(self.codes) and int(self.codes.max()) > len(self.reasons):
            raise StepError(f"a verdict has code {int(self.codes.max())} but only the reasons {self.reasons}.")
        if self.evidence is not None and len(self.evidence) != len(self.codes):
            raise StepError(f"a verdict on {len(self.codes)} rows has evidence for {len(self.evidence)}.")

    @property
    def kept(self) -> npt.NDArray[np.bool_]:
        """True for each row that stays."""
        return np.equal(self.codes, 0)

    @classmethod
    def first_of(cls, *, evidence: Column | None = None, **conditions: Column | npt.NDArray[np.bool_]) -> Verdict:
        """Drop a row for the first of the named conditions that holds; a condition that is null does not hold.

        Example:
            >>> import pyarrow as pa
            >>> words = pa.array([2, None, 900])
            >>> v = Verdict.first_of(null_text=pc.is_null(words), too_long=pc.greater(words, 400), evidence=words)
            >>> v.codes.tolist(), v.reasons
            ([0, 1, 2], ('null_text', 'too_long'))
        """
        reasons = tuple(conditions)
        codes: Codes | None = None
        for code, condition in reversed(list(enumerate(conditions.values(), start=1))):
            holds = condition if isinstance(condition, np.ndarray) else _holds(condition)
            codes = np.zeros(len(holds), dtype=np.uint8) if codes is None else codes
            codes[holds] = code
        if codes is None:
            raise ArgumentError("a verdict needs at least one named condition")
        return cls(codes, reasons, evidence)


@dataclass(frozen=True, eq=False)
class Dropped:
    """The rows that a dataset step drops.

    Attributes:
        rows: row numbers of the input, shape `(dropped,)`, ascending.
        codes: the reason of each, counted from one in the step's `reasons`, shape `(dropped,)`.
        evidence: any Arrow array of that length, or nothing.
    """

    rows: Rows
    codes: Codes
    evidence: Column | None = None

    @classmethod
    def none(cls) -> Dropped:
        """No rows."""
        return cls(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.uint8))


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a dataset step made of its input.

    Attributes:
        origin: for each row of the result the input row that it continues, or -1 for an added row. No input row is
            continued twice; a copy is an added row whose parent is the original.
        dropped: the input rows that are not continued.
        dataset: the result, or None where it is just the input rows of `origin`, in that order.
        parents: for each added row, in order, a list of the input rows that it was made from.
        generator: what made the added rows, for example a model's name.
    """

    origin: Rows
    dropped: Dropped
    dataset: Dataset | None = None
    parents: pa.Array | None = None
    generator: str | None = None

    @classmethod
    def without(cls, dropped: Dropped, rows: int) -> Outcome:
        """An input of so many rows without the dropped ones, in the same order and without a copy."""
        kept = np.ones(rows, dtype=np.bool_)
        kept[dropped.rows] = False
        return cls(np.flatnonzero(kept), dropped)


@dataclass(frozen=True)
class Scores(MapStep):
    """The metrics of a filter as columns, so that a threshold can be chosen, and changed, without measuring again.

    Example:
        >>> from datasets import Dataset
        >>> from tilth.filters import WordCount
        >>> ds = Dataset.from_dict({"text": ["one two three", "one"]})
        >>> WordCount("text").scores().apply(ds)["words"][:]
        [3, 1]
    """

    filter: FilterStep
    prefix: str = ""

    def __post_init__(self) -> None:
        require(bool(self.writes), self, "filter", "a filter that measures something", self.filter)

    @property
    def reads(self) -> tuple[str, ...]:
        """What the filter reads."""
        return self.filter.reads

    @property
    def reads_text(self) -> tuple[str, ...]:
        """What the filter reads as text."""
        return self.filter.reads_text

    @cached_property
    def writes(self) -> tuple[str, ...]:
        """The filter's metrics, with the prefix."""
        nothing = pa.table({column: pa.array([], pa.string()) for column in self.reads})
        return tuple(self.prefix + name for name in self.filter.metrics(nothing))

    def transform(self, table: pa.Table) -> Columns:
        """The metrics of each row."""
        return {self.prefix + name: column for name, column in self.filter.metrics(table).items()}


def require(holds: bool, step: object, field: str, allowed: str, value: object = ...) -> None:
    """Refuse a bad argument by name.

    Raises:
        ArgumentError: `holds` is false; the message has the step, the field, its value and what is allowed.
    """
    if not holds:
        found = getattr(step, field, None) if value is ... else value
        raise ArgumentError(f"{type(step).__name__}: {field}={found!r} is not allowed; it must be {allowed}.")


def with_columns(table: pa.Table, columns: Mapping[str, Column]) -> pa.Table:
    """`table` with `columns` replaced in their places, or added at the end."""
    for name, column in columns.items():
        if name in table.column_names:
            table = table.set_column(table.column_names.index(name), name, column)
        else:
            table = table.append_column(name, column)
    return table


def features_after(before: Features, schema: pa.Schema) -> Features:
    """Features for `schema`: those of `before` for columns whose type did not change, inferred ones for the rest."""
    inferred = Features.from_arrow_schema(schema.remove_metadata())
    same = {
        name: before[name]
        for name in schema.names
        if name in before and before.arrow_schema.field(name).type == schema.field(name).type
    }
    return Features({**inferred, **same})


@singledispatch
def identity(value: object) -> object:
    """What a field value is, in terms of JSON: equal values give equal identities in every process.

    Objects with a `fingerprint` of their own are that fingerprint.

    Raises:
        ArgumentError: the value has nothing stable to be known by.
    """
    fingerprint = getattr(value, "fingerprint", None)
    if isinstance(fingerprint, str):
        return [_name(type(value)), fingerprint]
    raise ArgumentError(
        f"a step holds {value!r} of type {_name(type(value))}, which has no stable identity, so no cache could "
        f"recognise it. Give it a `fingerprint` attribute, or pass plain values."
    )


@identity.register
def _(value: Step) -> object:
    fields = {field.name: identity(getattr(value, field.name)) for field in _fields(value)}
    return [_name(type(value)), value.version, fields]


@identity.register(type(None))
@identity.register(str)
def _(value: object) -> object:
    return value


@identity.register(bool)
@identity.register(int)
@identity.register(float)
@identity.register(np.number)
@identity.register(np.bool_)
def _(value: float) -> object:
    # 1 == 1.0 == True in Python, so steps that hold them are equal and must be known as the same.
    return int(value) if value == value and abs(value) != float("inf") and int(value) == value else repr(float(value))


@identity.register
def _(value: bytes) -> object:
    return ["bytes", value.hex()]


@identity.register
def _(value: PurePath) -> object:
    return ["path", value.as_posix()]


@identity.register
def _(value: Enum) -> object:
    return [_name(type(value)), value.name]


@identity.register
def _(value: re.Pattern) -> object:  # type: ignore[type-arg]
    return ["regex", identity(value.pattern), value.flags]


@identity.register(list)
@identity.register(tuple)
def _(value: tuple[object, ...]) -> object:
    return [identity(item) for item in value]


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
    return [value.dtype.str, list(value.shape), hashlib.blake2b(value.tobytes(), digest_size=16).hexdigest()]


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _fields(step: Step) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(step)  # type: ignore[arg-type]


def _holds(condition: Column) -> npt.NDArray[np.bool_]:
    filled = pc.fill_null(condition, False)
    combined = filled.combine_chunks() if isinstance(filled, pa.ChunkedArray) else filled
    return np.asarray(combined.to_numpy(zero_copy_only=False), dtype=np.bool_)


def _as_table(step: Step, batch: pa.Table | Mapping[str, Any]) -> pa.Table:
    if isinstance(batch, pa.Table):
        step.check(batch.schema)
        return batch.combine_chunks()
    wanted = step.columns_read(list(batch))
    missing = [column for column in wanted if column not in batch]
    if missing:
        raise MissingColumnError(str(step), missing[0], list(batch))
    columns = {column: batch[column] for column in wanted}
    for column, values in columns.items():
        if isinstance(values, str | bytes) or not hasattr(values, "__len__"):
            raise TypeError(
                f"{step} was given one value of {column!r} instead of a batch. "
                f"Pass batched=True: ds.map(step, batched=True), or use step.apply(ds)."
            )
    table = pa.table({column: _to_arrow(values) for column, values in columns.items()})
    step.check(table.schema)
    return table


def _to_arrow(values: Any) -> pa.Array:
    return pa.array(values) if isinstance(values, list | np.ndarray) else pa.array(list(values))
