"""Which copy of a duplicated row stays.

A policy becomes a rank for every row; ties fall to the earlier row, so the choice depends on the data and its order
alone, never on chunks, files or threads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset

from tilth.errors import ColumnTypeError, MissingColumnError
from tilth.frame import Frame, Rows
from tilth.step import Step, require
from tilth.text.strings import is_text

Keep: TypeAlias = str | Mapping[str, Sequence[Any]]

POLICIES = ("first", "last", "longest", "shortest", "none")
ALLOWED = (
    "'first', 'last', 'longest', 'shortest', 'none', 'max:COLUMN', 'min:COLUMN', or a mapping of one column to its "
    "values from best to worst"
)


def check_keep(step: Step, keep: Keep) -> None:
    """Refuse a policy that there is not.

    Raises:
        ArgumentError: it is none of those in `ALLOWED`.
    """
    if isinstance(keep, Mapping):
        lists = all(isinstance(values, Sequence) and not isinstance(values, str | bytes) for values in keep.values())
        named = len(keep) == 1 and all(isinstance(column, str) for column in keep)
        require(named and lists and all(map(len, keep.values())), step, "keep", ALLOWED)
    else:
        known = isinstance(keep, str) and (keep in POLICIES or (keep[:4] in ("max:", "min:") and len(keep) > 4))
        require(known, step, "keep", ALLOWED)


def keep_column(keep: Keep) -> str | None:
    """The column that a policy looks at, beside the texts themselves."""
    if isinstance(keep, Mapping):
        return next(iter(keep))
    return keep[4:] if keep[:4] in ("max:", "min:") else None


def priority(step: Step, keep: Keep, ds: Dataset, columns: Sequence[str]) -> Rows:
    """The rows of `ds`, best first. Rows without a value (null, NaN, one that is not listed) come last.

    Args:
        step: whose policy it is, for errors.
        keep: the policy.
        ds: the data.
        columns: the texts that `longest` and `shortest` measure, in characters; those that are not text count nothing.

    Raises:
        MissingColumnError: the policy looks at a column that is absent.
        ColumnTypeError: the values of that column have no order, or are of another type than those listed.
    """
    rows = np.arange(len(ds), dtype=np.int64)
    if keep in ("first", "none"):
        return rows
    if keep == "last":
        return rows[::-1].copy()
    if keep in ("longest", "shortest"):
        lengths = _characters(ds, columns)
        return np.argsort(-lengths if keep == "longest" else lengths, kind="stable")
    column = keep_column(keep)
    if column is None or column not in ds.column_names:
        raise MissingColumnError(str(step), str(column), ds.column_names)
    values = _values(ds, column)
    if isinstance(keep, Mapping):
        return _listed_first(step, column, values, list(keep[column]))
    order = "descending" if keep.startswith("max:") else "ascending"
    try:
        ranks = pc.rank(values, sort_keys=order, tiebreaker="dense")
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid, TypeError):
        raise ColumnTypeError(str(step), column, values.type, "values that have an order") from None
    return np.argsort(_numpy(ranks), kind="stable")


def _listed_first(step: Step, column: str, values: pa.ChunkedArray, wanted: list[Any]) -> Rows:
    try:
        best = pa.array(wanted, values.type)
        places = pc.fill_null(pc.index_in(values, best), len(best))
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid, pa.ArrowTypeError, TypeError):
        raise ColumnTypeError(str(step), column, values.type, f"values such as {wanted[0]!r}") from None
    return np.argsort(_numpy(places), kind="stable")


def _values(ds: Dataset, column: str) -> pa.ChunkedArray:
    """One column, chunk by chunk, so that no chunk can overflow its offsets."""
    read = Frame.of(ds).map_batches(lambda table, _: table.column(0).chunks, [column])
    values = pa.chunked_array([chunk for chunks in read for chunk in chunks], ds.data.schema.field(column).type)
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    # Arrow ranks neither booleans nor nulls.
    unranked = pa.types.is_boolean(values.type) or pa.types.is_null(values.type)
    return values.cast(pa.int8()) if unranked else values


def _characters(ds: Dataset, columns: Sequence[str]) -> Rows:
    def measured(table: pa.Table, _: int) -> Rows:
        total = np.zeros(table.num_rows, dtype=np.int64)
        for column in columns:
            values = table.column(column)
            if is_text(values.type):
                lengths = pc.utf8_length(values.cast(pa.large_string()))
                total += _numpy(pc.fill_null(lengths, 0)).astype(np.int64)
        return total

    return np.concatenate([np.zeros(0, dtype=np.int64), *Frame.of(ds).map_batches(measured, list(columns))])


def _numpy(values: pa.Array | pa.ChunkedArray) -> Any:
    return values.to_numpy() if isinstance(values, pa.ChunkedArray) else values.to_numpy(zero_copy_only=False)
