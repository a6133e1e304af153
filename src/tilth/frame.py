"""A dataset while steps work on it: columns on disk or in memory, and the rows that are still alive.

A filter never rewrites the table: it narrows `rows`. A map writes the columns it changes and nothing else; they are
laid over the others. Everything is read and written batch by batch, so memory follows the batch, not the dataset.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from datasets import Dataset, Features, is_caching_enabled
from datasets.fingerprint import Hasher
from datasets.table import InMemoryTable, MemoryMappedTable, Table, concat_tables

from tilth.text.strings import one_array
from tilth.text.threads import ordered_map

BATCH_BYTES = 8 * 2**20
"""About how much data one batch holds: enough to fill a vector unit, little enough to stay in cache and memory."""
BATCH_ROWS = 16_384

_END = b"\xff\xff\xff\xff\0\0\0\0"

R = TypeVar("R")
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Frame:
    """`dataset`, of which the rows in `rows` (ascending; `None` for all) are alive."""

    dataset: Dataset
    rows: Rows | None = None

    @classmethod
    def of(cls, ds: Dataset) -> Frame:
        """A frame of `ds`. An index that only leaves rows out, as `select` and `filter` make, becomes `rows`."""
        if ds._indices is None:
            return cls(ds.with_format(None))
        rows = ds._indices.column(0).to_numpy().astype(np.int64)
        if len(rows) > 1 and not (np.diff(rows) > 0).all():
            return cls(ds.with_format(None))
        return cls(Dataset(ds.data, info=ds.info.copy(), split=ds.split, fingerprint=ds._fingerprint), rows)

    def __len__(self) -> int:
        return len(self.dataset) if self.rows is None else len(self.rows)

    def select(self, rows: Rows) -> Frame:
        """The frame with only these of its rows, counted within it, ascending."""
        if len(rows) == len(self):
            return self
        if len(rows) == 0:
            # Columns are laid out beside the whole dataset; where no row is left there is nothing to lie beside.
            nothing = InMemoryTable(no_rows(self.dataset.data.schema))
            return Frame(like(self.dataset, nothing, self.dataset._fingerprint))
        return replace(self, rows=rows if self.rows is None else self.rows[rows])

    def selected(self) -> Dataset:
        """The rows that are alive as a dataset, without a copy."""
        return self.dataset if self.rows is None else self.dataset.select(self.rows)

    def read(self, columns: Sequence[str], lo: int, hi: int) -> pa.Table:
        """Rows `lo` to `hi` of those alive, in one chunk each column; zero-copy where they are next to each other."""
        if not columns:
            # Rows without columns still count.
            return pa.table({"row": pa.nulls(hi - lo)}).select([])
        if self.dataset._indices is not None:
            rows = range(lo, hi) if self.rows is None else self.rows[lo:hi]
            return self.dataset.select_columns(list(columns)).with_format("arrow")[rows].combine_chunks()
        table = self.dataset.data.table.select(list(columns))
        if self.rows is None:
            return table.slice(lo, hi - lo).combine_chunks()
        rows = self.rows[lo:hi]
        if len(rows) == 0:
            return table.slice(0, 0)
        first, span = int(rows[0]), int(rows[-1] - rows[0]) + 1
        window = table.slice(first, span)
        if span > len(rows):
            alive = np.zeros(span, dtype=np.bool_)
            alive[rows - first] = True
            window = window.filter(pa.array(alive))
        return window.combine_chunks()

    def take(self, column: str, rows: Rows) -> pa.Array:
        """The values of one column in these rows (ascending, counted within the frame), in one array."""
        rows = rows if self.rows is None else self.rows[rows]
        values = self.dataset.data.table.column(column)
        if self.dataset._indices is not None and len(rows):
            table = self.dataset.select_columns(column).with_format("arrow")[rows]
            return one_array(table.column(0))
        # Chunk by chunk: one take over many chunks of `string` copies them all and can overflow its offsets.
        ends = np.cumsum([len(chunk) for chunk in values.chunks])
        bounds = np.concatenate([[0], np.searchsorted(rows, ends)])
        pieces = [
            chunk.take(pa.array(rows[lo:hi] - (end - len(chunk))))
            for chunk, end, lo, hi in zip(values.chunks, ends, bounds[:-1], bounds[1:], strict=True)
            if hi > lo
        ]
        return pa.concat_arrays(pieces) if pieces else pa.array([], values.type)

    def cuts(self, columns: Sequence[str]) -> list[tuple[int, int]]:
        """Where to cut the rows into batches. It depends on the data alone, never on threads."""
        n = len(self)
        table = self.dataset.data.table.select(list(columns))
        row_bytes = max(1, table.nbytes // max(1, table.num_rows))
        size = max(1, min(BATCH_ROWS, BATCH_BYTES // row_bytes))
        return [(lo, min(lo + size, n)) for lo in range(0, n, size)]

    def map_batches(
        self,
        work: Callable[[pa.Table, int], R],
        columns: Sequence[str],
        cuts: Sequence[tuple[int, int]] | None = None,
    ) -> Iterator[R]:
        """`work(table, first row)` on each batch, on all threads, results in order."""
        cuts = self.cuts(columns) if cuts is None else cuts
        return ordered_map(lambda cut: work(self.read(columns, *cut), cut[0]), cuts)

    def spread(self, written: pa.Table, lo: int, hi: int) -> pa.Table:
        """Columns written for the rows `lo` to `hi` alive, laid out beside the dataset: null where a row is not alive.

        Together the batches of a whole frame fill the dataset from its first row to its last.
        """
        if self.rows is None:
            return written
        start = 0 if lo == 0 else int(self.rows[lo - 1]) + 1
        end = len(self.dataset) if hi == len(self) else int(self.rows[hi - 1]) + 1
        places = np.full(end - start, -1, dtype=np.int64)
        places[self.rows[lo:hi] - start] = np.arange(hi - lo)
        return written.take(pa.array(places, mask=places < 0))

    def lay_over(self, written: Table, fingerprint: str) -> Frame:
        """The frame with the columns of `written`, as long as the dataset, replaced in their places or added."""
        kept = [name for name in self.dataset.column_names if name not in written.column_names]
        tables = [self.dataset.data.select(kept), written] if kept else [written]
        order = list(dict.fromkeys([*self.dataset.column_names, *written.column_names]))
        if len(self.dataset):
            data = concat_tables(tables, axis=1).select(order)
        else:
            fields = [field for table in tables for field in table.schema]
            data = InMemoryTable(no_rows(pa.schema(fields)).select(order))
        return replace(self, dataset=like(self.dataset, data, fingerprint))


def like(ds: Dataset, data: Table, fingerprint: str) -> Dataset:
    """A dataset of `data` with what `ds` is known for: description, split, and the features of equal columns."""
    info = ds.info.copy()
    info.features = features_after(ds.features, data.schema)
    return Dataset(data, info=info, split=ds.split, fingerprint=fingerprint)


def in_format_of(ds: Dataset, made: Dataset) -> Dataset:
    """`made` in the format that the caller had set on `ds`; columns that are not in `ds` are shown, as `map` does."""
    wanted = ds.format
    hidden = set(ds.column_names) - set(wanted["columns"])
    shown = made.with_format(
        wanted["type"],
        columns=[column for column in made.column_names if column not in hidden] if hidden else None,
        output_all_columns=wanted["output_all_columns"],
        **wanted["format_kwargs"],
    )
    # How rows are shown is not part of what they are.
    shown._fingerprint = made._fingerprint
    return shown


def write_batches(path: Path, schema: pa.Schema, batches: Iterator[pa.Table]) -> None:
    """Write tables to one Arrow stream file, which appears whole or not at all, also when killed or out of disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not a `tempfile`, which only its owner may read: caches are shared.
    draft = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        with draft.open("xb") as file, pa.ipc.new_stream(file, schema) as writer:
            for table in batches:
                writer.write_table(table.cast(schema))
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def is_whole(path: Path) -> bool:
    """Whether `path` holds an Arrow stream to its end mark; a file that was cut short reads as fewer rows."""
    try:
        with path.open("rb") as file:
            file.seek(-len(_END), os.SEEK_END)
            return file.read() == _END
    except OSError:
        return False


def open_batches(paths: Sequence[Path]) -> Table:
    """The tables of these files one after another, memory-mapped."""
    tables = [MemoryMappedTable.from_file(str(path)) for path in paths]
    return tables[0] if len(tables) == 1 else concat_tables(tables, axis=0)


def materialised_with(ds: Dataset, beside: pa.Table | None, path: Path, fingerprint: str) -> Dataset:
    """`ds` with its index resolved and the columns of `beside` added, written to `path` unless it is there already."""
    if not is_whole(path):
        schema = ds.data.schema if beside is None else pa.schema([*ds.data.schema, *beside.schema])

        def joined(table: pa.Table, first: int) -> pa.Table:
            if beside is None:
                return table
            here = beside.slice(first, table.num_rows)
            return pa.table([*table.columns, *here.columns], names=[*table.column_names, *here.column_names])

        write_batches(path, schema, Frame(ds).map_batches(joined, ds.column_names))
    return like(ds, open_batches([path]), fingerprint)


def select_rows(ds: Dataset, rows: Rows, fingerprint: str) -> Dataset:
    """`ds.select(rows)`, which keeps a run of neighbours as a slice and anything else as an index."""
    if len(ds) == 0:
        # Here `select` gives `ds` itself.
        return in_format_of(ds, like(ds, InMemoryTable(no_rows(ds.data.schema)), fingerprint))
    return ds.select(rows, new_fingerprint=fingerprint)


def materialised(ds: Dataset) -> Dataset:
    """`ds` with its index resolved, by an Arrow copy (`flatten_indices` takes twenty times as long)."""
    fingerprint = str(Hasher.hash([ds._fingerprint, "materialised"]))
    batches = (table for table in Frame(ds).map_batches(lambda table, _: table, ds.column_names))
    return like(ds, stored(ds, fingerprint, ds.data.schema, batches), fingerprint)


def stored(ds: Dataset, fingerprint: str, schema: pa.Schema, batches: Iterator[pa.Table]) -> Table:
    """Tables where `datasets` would cache them: in a file beside those of `ds`, which is found again, or in memory."""
    files = ds.cache_files
    if not files or not is_caching_enabled():
        return InMemoryTable(pa.concat_tables([no_rows(schema), *(table.cast(schema) for table in batches)]))
    path = Path(files[0]["filename"]).parent / f"cache-{fingerprint}.arrow"
    if not is_whole(path) and os.access(path.parent, os.W_OK):
        write_batches(path, schema, batches)
    if not is_whole(path):
        return InMemoryTable(pa.concat_tables([no_rows(schema), *(table.cast(schema) for table in batches)]))
    return MemoryMappedTable.from_file(str(path))


def features_after(before: Features, schema: pa.Schema) -> Features:
    """Features for `schema`: those of `before` for columns whose type did not change, inferred ones for the rest."""
    inferred = Features.from_arrow_schema(schema.remove_metadata())
    same = {
        name: before[name]
        for name in schema.names
        if name in before and before.arrow_schema.field(name).type == schema.field(name).type
    }
    return Features({**inferred, **same})


def no_rows(schema: pa.Schema) -> pa.Table:
    """A table of no rows; `schema.empty_table()` cannot make one of nested extension types, such as JSON."""
    return pa.Table.from_batches([], schema=schema)
