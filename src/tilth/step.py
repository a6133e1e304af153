"""The step: the one contract that every piece of work in tilth keeps.

A step is a frozen dataclass whose fields are its whole identity. There are three kinds: a `MapStep` writes columns, a
`FilterStep` judges rows, a `DatasetStep` needs all rows at once. Each works in `Dataset.map` or `Dataset.filter`,
applies itself to a whole dataset the fast way, and chains in a `Pipeline`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset, DatasetDict, IterableDataset, IterableDatasetDict
from datasets.fingerprint import Hasher
from datasets.formatting.formatting import LazyRow
from pandas import DataFrame, Series  # type: ignore[import-untyped]

from tilth.errors import ArgumentError, ColumnTypeError, MissingColumnError, StepError
from tilth.frame import (
    Frame,
    Rows,
    features_after,
    in_format_of,
    like,
    materialised,
    no_rows,
    select_rows,
    stored,
)
from tilth.identity import code_of, in_order, name_of
from tilth.identity import identity as identity
from tilth.text.strings import is_text, one_array

Column: TypeAlias = "pa.Array | pa.ChunkedArray"
Columns: TypeAlias = "dict[str, Column]"
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
        """32 hex digits made of the class, its `version` and its fields: equal on every machine for equal steps.

        A class that is defined in a notebook or script, not in a module, is also known by its code.
        """
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
            self.check(ds.features.arrow_schema)
            return self._apply(ds, fingerprint_after(ds, self))
        raise TypeError(
            f"{self} applies to a Dataset, DatasetDict or IterableDataset, not to {type(ds).__name__}. "
            f"Make one with Dataset.from_list, Dataset.from_pandas or load_dataset."
        )

    @abstractmethod
    def _apply(self, ds: Dataset, fingerprint: str) -> Dataset:
        """This step on a dataset of which it was checked that it can be done; `fingerprint` is for the result."""

    @abstractmethod
    def _stream(self, ds: IterableDataset) -> IterableDataset:
        """This step on a dataset that is read row by row."""

    def __str__(self) -> str:
        return type(self).__name__

    def __getstate__(self) -> dict[str, Any]:
        fields = {field.name: in_order(_as_declared(getattr(self, field.name), field)) for field in _fields(self)}
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

    def table_for(self, table: pa.Table, schema: pa.Schema) -> pa.Table:
        """`columns_for` as a table of `schema`, which is what the step wrote for a table of no rows.

        Raises:
            StepError: `transform` broke the contract, or wrote another type here than for no rows.
        """
        made = pa.table(self.columns_for(table)).select(schema.names)
        for name, now, before in zip(schema.names, made.schema.types, schema.types, strict=True):
            if pa.types.is_null(before) and not pa.types.is_null(now):
                raise StepError(
                    f"{self}.transform wrote {name!r} as {before} for a table of no rows, and as {now} for "
                    f"{table.num_rows} rows. Give the array its type: pa.array(values, pa.{now})."
                )
        return made.cast(schema)

    def schema(self, schema: pa.Schema) -> pa.Schema:
        """The columns that data of `schema` has after this step, found by giving it no rows."""
        return with_columns(no_rows(schema), self.columns_for(no_rows(schema))).schema

    def __call__(self, batch: pa.Table | DataFrame | Mapping[str, Any]) -> Any:
        """Do one batch, as `Dataset.map(step, batched=True)` calls it.

        Args:
            batch: a dict of lists (the default format), a `pa.Table` (`ds.with_format("arrow")`, which is faster) or
                a pandas `DataFrame`.

        Returns:
            For a dict the columns written, for a table or a frame the whole of it with them.
        """
        table = _as_table(self, batch)
        columns = self.columns_for(table)
        if isinstance(batch, pa.Table):
            return with_columns(batch, columns)
        if isinstance(batch, DataFrame):
            return batch.assign(**{name: column.to_pandas().to_numpy() for name, column in columns.items()})
        return {name: column.to_pylist() for name, column in columns.items()}

    def _apply(self, ds: Dataset, fingerprint: str) -> Dataset:
        frame = Frame(ds.with_format(None) if ds._indices is None else materialised(ds))
        columns = self.columns_read(ds.column_names)
        present = pa.schema([frame.dataset.data.schema.field(name) for name in columns])
        schema = pa.schema([self.schema(present).field(name) for name in self.writes])
        batches = frame.map_batches(lambda table, _: self.table_for(table, schema), columns)
        written = stored(frame.dataset, fingerprint, schema, batches)
        return in_format_of(ds, frame.lay_over(written, fingerprint).dataset)

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

    def __call__(self, batch: pa.Table | DataFrame | Mapping[str, Any]) -> Any:
        """Judge one batch, as `Dataset.filter(step, batched=True)` calls it.

        Returns:
            True for each row that stays: an Arrow array for a `pa.Table`, else a list.
        """
        kept = self.verdict_for(_as_table(self, batch)).kept
        return pa.array(kept) if isinstance(batch, pa.Table) else kept.tolist()

    def _apply(self, ds: Dataset, fingerprint: str) -> Dataset:
        frame = Frame.of(ds)
        columns = self.columns_read(ds.column_names)
        kept = [np.zeros(0, dtype=np.bool_), *frame.map_batches(lambda table, _: self.verdict_for(table).kept, columns)]
        return select_rows(ds, np.flatnonzero(np.concatenate(kept)), fingerprint)

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

    def outcome_for(self, ds: Dataset) -> Outcome:
        """`run`, held to the contract: every input row is continued or dropped, once.

        Raises:
            StepError: `run` broke it.
        """
        outcome = self.run(ds)
        continued = outcome.origin[outcome.origin >= 0]
        said = np.concatenate([continued, outcome.dropped.rows])
        if len(said) and not 0 <= said.min() <= said.max() < len(ds):
            raise StepError(f"{self} speaks of input row {int(said.max())}, but there are {len(ds)}.")
        times = np.bincount(said, minlength=len(ds))
        if (times != 1).any():
            row = int(np.flatnonzero(times != 1)[0])
            raise StepError(f"{self} says {int(times[row])} times what became of input row {row}; it must say it once.")
        if outcome.dataset is None and len(continued) != len(outcome.origin):
            raise StepError(f"{self} added rows, but gave no dataset that holds them.")
        if outcome.dataset is not None and len(outcome.dataset) != len(outcome.origin):
            raise StepError(f"{self} gave {len(outcome.dataset)} rows but says where {len(outcome.origin)} come from.")
        codes = outcome.dropped.codes
        if len(codes) != len(outcome.dropped.rows):
            raise StepError(f"{self} drops {len(outcome.dropped.rows)} rows but gives {len(codes)} reasons.")
        if len(codes) and not 1 <= codes.min() <= codes.max() <= len(self.reasons):
            raise StepError(f"{self} drops rows for codes outside its reasons {self.reasons}.")
        return outcome

    def __call__(self, batch: object) -> None:
        """Refuse to work on a batch: this step sees all rows, or none.

        Raises:
            TypeError: always.
        """
        raise TypeError(f"{self} needs all rows at once, so it cannot run inside map or filter. Use step.apply(ds).")

    def _apply(self, ds: Dataset, fingerprint: str) -> Dataset:
        outcome = self.outcome_for(ds.with_format(None))
        if outcome.dataset is None:
            return select_rows(ds, outcome.origin, fingerprint)
        result = outcome.dataset if outcome.dataset._indices is None else materialised(outcome.dataset)
        return in_format_of(ds, like(ds, result.data, fingerprint))

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

        Examples:
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
            if len(holds) != len(codes):
                raise StepError(f"condition {reasons[code - 1]!r} judges {len(holds)} rows, another {len(codes)}.")
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

    Examples:
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


def fingerprint_after(ds: Dataset, step: Step) -> str:
    """The fingerprint of `ds` after `step`: the same in every process, so that caches are found again."""
    return str(Hasher.hash([ds._fingerprint, step.fingerprint]))


def with_columns(table: pa.Table, columns: Mapping[str, Column]) -> pa.Table:
    """`table` with `columns` replaced in their places, or added at the end."""
    for name, column in columns.items():
        if name in table.column_names:
            table = table.set_column(table.column_names.index(name), name, column)
        else:
            table = table.append_column(name, column)
    return table


@identity.register
def _(value: Step) -> object:
    fields = {field.name: identity(getattr(value, field.name)) for field in _fields(value)}
    return [name_of(type(value)), value.version, fields, *code_of(type(value))]


def _fields(step: Step) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(step)  # type: ignore[arg-type]


def _as_declared(value: Any, field: dataclasses.Field[Any]) -> Any:
    """A number as its field declares it: `threshold=1` and `threshold=1.0` are equal, so they are pickled alike."""
    declared = str(getattr(field.type, "__name__", field.type)).removesuffix(" | None")
    if declared == "float" and type(value) is int and abs(value) <= 2**53:
        return float(value)
    if declared == "int" and type(value) is float and value.is_integer():
        return int(value)
    return value


def _holds(condition: Column) -> npt.NDArray[np.bool_]:
    filled = one_array(pc.fill_null(condition, False))
    return np.asarray(filled.to_numpy(zero_copy_only=False), dtype=np.bool_)


def _as_table(step: Step, batch: pa.Table | DataFrame | Mapping[str, Any]) -> pa.Table:
    if isinstance(batch, pa.Table):
        step.check(batch.schema)
        return batch.combine_chunks()
    if not isinstance(batch, DataFrame | Mapping):
        raise TypeError(
            f"{step} works on a dict of lists, a pa.Table or a pandas DataFrame, not on {type(batch).__name__}. "
            f'Use ds.with_format("arrow").map(step, batched=True), or step.apply(ds).'
        )
    wanted = step.columns_read(list(batch))
    missing = [column for column in wanted if column not in batch]
    if missing:
        raise MissingColumnError(str(step), missing[0], list(batch))
    # A step that reads nothing must still be told how many rows there are.
    columns = {column: batch[column] for column in wanted or list(batch)[:1]}
    for column, values in columns.items():
        if isinstance(batch, LazyRow) or isinstance(values, str | bytes) or not hasattr(values, "__len__"):
            raise TypeError(
                f"{step} was given one value of {column!r} instead of a batch. "
                f"Pass batched=True: ds.map(step, batched=True), or use step.apply(ds)."
            )
    table = pa.table({column: _to_arrow(values) for column, values in columns.items()})
    step.check(table.schema)
    return table


def _to_arrow(values: Any) -> pa.Array:
    if len(values) == 0:
        return pa.nulls(0)
    if isinstance(values, list | Series):
        return pa.array(values)
    array = np.asarray(values)
    return pa.array(array if array.ndim == 1 else list(array))
