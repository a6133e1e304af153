"""Exact duplicate removal: rows that say the same, found by a 128-bit digest and compared byte by byte."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset

from tilth.dedup.groups import DUPLICATE, NULL_TEXT, Deduplicator, Groups, in_splits
from tilth.dedup.keep import Keep, check_keep, priority
from tilth.frame import Frame, Rows
from tilth.step import require
from tilth.text.strings import Strings, is_text, one_array, strings_of
from tilth.text.threads import ordered_map

_PAIRS_AT_ONCE = 16_384
_BYTES_AT_ONCE = 32 * 2**20

_NULL = np.uint64(0x6A09E667F3BCC908)


@dataclass(frozen=True, init=False)
class Exact(Deduplicator):
    """Keep one row of each group of rows that are equal in all `columns`.

    Only numbers are held in memory, less than 100 bytes a row. Rows with the same digest are compared in full before
    one goes, so a dropped row always equals the kept row that its evidence names. A null equals a null and nothing
    else. A row in which all the columns are null has nothing to be compared by: it is dropped for a reason of its own,
    `null_text`.

    Args:
        columns: the columns to compare, one or more. Values that are not text are compared by their printed form:
            numbers, dates and booleans by Arrow's cast to text, lists and structs by their JSON, which is slower.
        normalize: compare texts after folding: each character in its simple lower case (the one-to-one mapping: `ß` is
            not `ss`), each run of white space (Unicode `White_Space`) as one space, none at the ends. Composed and
            decomposed characters stay different. When false, texts are equal when their bytes are.
        keep: which copy stays: `first`, `last`, `longest`, `shortest`, `none` (all copies go; their evidence names the
            first), `max:COLUMN`, `min:COLUMN`, or a mapping of one column to its values from best to worst.

    Examples:
        >>> from datasets import Dataset
        >>> ds = Dataset.from_dict({"text": ["One  two", "one two ", "three"]})
        >>> Exact("text").apply(ds)["text"][:]
        ['One  two', 'three']
        >>> len(Exact("text", normalize=False).apply(ds))
        3
        >>> Exact("text").clusters(ds)["row"][:]
        [0, 1]
    """

    columns: tuple[str, ...]
    normalize: bool
    keep: Keep

    version: ClassVar[int] = 1
    reasons: ClassVar[tuple[str, ...]] = ("null_text", "duplicate")

    def __init__(self, *columns: str, normalize: bool = True, keep: Keep = "first") -> None:
        self._set(columns=columns, normalize=normalize, keep=keep)
        named = bool(columns) and all(isinstance(column, str) for column in columns)
        require(named, self, "columns", "one column name or more: Exact('text')")
        require(len(set(columns)) == len(columns), self, "columns", "column names that differ")
        require(isinstance(normalize, bool), self, "normalize", "True or False")
        check_keep(self, keep)

    @property
    def reads_text(self) -> tuple[str, ...]:
        """None: a value of any type can be compared."""
        return ()

    def groups(self, ds: Dataset, splits: Sequence[int] | None = None) -> Groups:
        """Group the rows by their digests, and compare each with the best of its group."""
        from tilth.dedup._fold import fold

        frame = Frame.of(ds)
        found = Groups.alone(len(ds))
        made = list(frame.map_batches(self._digested, self.columns))
        if not made:
            return found
        digests, sizes, valid = (np.concatenate(parts) for parts in zip(*made, strict=True))
        found.codes[~valid] = NULL_TEXT
        order = in_splits(priority(self, self.keep, ds, self.columns), splits)
        open_rows = order[valid[order]]
        # One turn, unless different texts have the same digest: those that differ from the first of their group go on.
        while len(open_rows):
            first_of = fold(digests, open_rows)
            copies = np.flatnonzero(first_of != np.arange(len(open_rows)))
            rows, leaders = open_rows[copies], open_rows[first_of[copies]]
            same = self._verified(frame, rows, leaders, sizes)
            found.kept[rows[same]] = leaders[same]
            found.codes[rows[same]] = DUPLICATE
            open_rows = rows[~same]
        return found

    def _evidence(self, found: Groups, rows: Rows) -> pa.StructArray:
        """The row that stands for each of these; they are equal, so how similar they are goes without saying."""
        kept = pa.array(found.kept[rows], mask=found.kept[rows] == rows)
        return pa.StructArray.from_arrays([kept], names=["kept_row"])

    def _digested(self, table: pa.Table, _: int) -> tuple[npt.NDArray[np.uint64], Rows, npt.NDArray[np.bool_]]:
        """For each row its digest, its bytes in all columns, and whether any of them has a value."""
        from tilth.dedup import _equal

        digests = np.zeros((table.num_rows, 2), dtype=np.uint64)
        sizes = np.zeros(table.num_rows, dtype=np.int64)
        valid = np.zeros(table.num_rows, dtype=np.bool_)
        for column in self.columns:
            text, is_folded = self._comparable(one_array(table.column(column)))
            _equal.digest(text, is_folded, digests)
            # The bytes of a null are those of an empty text, which it must not equal.
            digests[~text.valid] ^= _NULL
            sizes += np.diff(text.offsets)
            valid |= text.valid
        return digests, sizes, valid

    def _verified(self, frame: Frame, rows: Rows, leaders: Rows, sizes: Rows) -> npt.NDArray[np.bool_]:
        """Whether each row equals its leader, read from the data in its order."""
        from tilth.dedup import _equal

        in_order = np.argsort(rows, kind="stable")
        parts = [in_order[lo:hi] for lo, hi in _cuts(sizes[rows[in_order]])]

        def compared(part: Rows) -> npt.NDArray[np.bool_]:
            theirs, leader_of = np.unique(leaders[part], return_inverse=True)
            same = np.ones(len(part), dtype=np.bool_)
            for column in self.columns:
                other, is_folded = self._comparable(frame.take(column, rows[part]))
                leader, _ = self._comparable(frame.take(column, theirs))
                same &= _equal.equal(leader, leader_of, other, is_folded)
                same &= leader.valid[leader_of] == other.valid
            return same

        same = np.empty(len(rows), dtype=np.bool_)
        for part, found in zip(parts, ordered_map(compared, parts), strict=True):
            same[part] = found
        return same

    def _comparable(self, values: pa.Array) -> tuple[Strings, bool]:
        """Values as what stands for them in comparisons, and whether to fold it."""
        return (strings_of(values), self.normalize) if is_text(values.type) else (strings_of(printed(values)), False)


def printed(values: pa.Array) -> pa.Array:
    """Values that are not text as text: equal where they are equal, null where they are null."""
    while isinstance(values, pa.ExtensionArray):
        values = values.storage
    kind = values.type
    if is_text(kind):
        return values
    if pa.types.is_dictionary(kind):
        return printed(values.dictionary_decode())
    if _is_binary(kind):
        wide = values.cast(pa.large_binary())
        return pa.Array.from_buffers(pa.large_string(), len(wide), wide.buffers(), offset=wide.offset)
    if not pa.types.is_nested(kind):
        try:
            return pc.cast(values, pa.large_string())
        except pa.ArrowNotImplementedError:
            pass
    texts = [
        None if value is None else json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)
        for value in values.to_pylist()
    ]
    return pa.array(texts, pa.large_string())


def _is_binary(kind: pa.DataType) -> bool:
    is_fixed = pa.types.is_fixed_size_binary(kind)
    return bool(is_fixed or pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))


def _cuts(sizes: Rows) -> Iterator[tuple[int, int]]:
    """Where to cut pairs into parts of bounded count and bytes; a part has one pair at least."""
    ends = np.cumsum(sizes)
    lo = 0
    while lo < len(sizes):
        before = int(ends[lo - 1]) if lo else 0
        fits = int(np.searchsorted(ends, before + _BYTES_AT_ONCE, side="right"))
        hi = min(max(fits, lo + 1), lo + _PAIRS_AT_ONCE)
        yield lo, hi
        lo = hi
