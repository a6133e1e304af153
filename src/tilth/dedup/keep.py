"""Which copy of a duplicated row stays.

A policy becomes a rank for every row; ties fall to the earlier row, so the choice depends on the data and its order alone,
never on chunks, files or threads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset

from tilth.errors import MissingColumnError
from tilth.frame import Frame
from tilth.step import Rows, Step, require

Keep: TypeAlias = "str | Mapping[str, Sequence[Any]]"

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
        require(len(keep) == 1 and all(not isinstance(value, str) for value in keep.values()), step, "keep", ALLOWED)
    else:
        named = isinstance(keep, str) and (keep in POLICIES or (keep[:4] in ("max:", "min:") and len(keep) > 4))
        require(named, step, "keep", ALLOWED)


def keep_column(keep: Keep) -> str | None:
    """The column that a policy looks at, beside the texts themselves."""
    if isinstance(keep, Mapping):
        return next(iter(keep))
    return keep[4:] if keep[:4] in ("max:", "min:") else None


def priority(step: Step, keep: Keep, ds: Dataset, columns: Sequence[str]) -> Rows:
    """The rows of `ds`, best first.

    Args:
        step: whose policy it is, for errors.
        keep: the policy.
        ds: the data.
        columns: the texts that `longest` and `shortest` measure, in characters.

    Raises:
        MissingColumnError: the policy looks at a column that is absent.
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
    values = ds.select_columns(column).with_format("arrow")[:].column(0)
    if isinstance(keep, Mapping):
        best = pa.array(list(keep[column]))
        places = pc.fill_null(pc.index_in(values.cast(best.type), best), len(best))
        return np.argsort(_numpy(places), kind="stable")
    order = "descending" if keep.startswith("max:") else "ascending"
    ranks = pc.rank(values, sort_keys=order, null_placement="at_end", tiebreaker="dense")
    return np.argsort(_numpy(ranks), kind="stable")


def _characters(ds: Dataset, columns: Sequence[str]) -> Rows:
    def measured(table: pa.Table, _: int) -> Rows:
        total = np.zeros(table.num_rows, dtype=np.int64)
        for column in columns:
            values = table.column(column)
            if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
                total += _numpy(pc.fill_null(pc.utf8_length(values), 0)).astype(np.int64)
        return total

    return np.concatenate([np.zeros(0, dtype=np.int64), *Frame.of(ds).map_batches(measured, list(columns))])


def _numpy(values: pa.Array | pa.ChunkedArray) -> Any:
    return values.to_numpy() if isinstance(values, pa.ChunkedArray) else values.to_numpy(zero_copy_only=False)
