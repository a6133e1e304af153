"""A step that rewrites texts: columns in, the same columns out, and no copy of a column that stays as it is."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tilth.step import Column, Columns, MapStep, require
from tilth.text.strings import Bytes, Offsets, Strings, strings_of

CHUNK_BYTES = 2**30
"""A column of several chunks is joined before it is rewritten if it is smaller than this."""


class RewriteStep(MapStep):
    """A step that gives each text of its columns anew; a null stays null and an empty text stays empty.

    Attributes:
        columns: the texts.
    """

    columns: tuple[str, ...]

    @property
    def writes(self) -> tuple[str, ...]:
        """The columns it reads."""
        return self.columns

    @abstractmethod
    def rewrite(self, text: Strings) -> Rewritten | None:
        """The rows of `text` that come out different; `None` where there is none."""

    def transform(self, table: pa.Table) -> Columns:
        """Each column rewritten, in its own type; a column in which nothing changes is handed back itself."""
        return {column: self._column(table.column(column), column) for column in self.columns}

    def _column(self, values: Column, name: str) -> Column:
        if isinstance(values, pa.ChunkedArray) and values.num_chunks > 1 and values.nbytes >= CHUNK_BYTES:
            return pa.chunked_array([self._column(chunk, name) for chunk in values.chunks], values.type)
        text = strings_of(values, name, str(self))
        rewritten = self.rewrite(text)
        if rewritten is None:
            return values
        made = rewritten.within(text)
        if made.type == values.type:
            return made
        if pa.types.is_dictionary(values.type):
            made = made.dictionary_encode()
        return made.cast(values.type)

    def _require_columns(self) -> None:
        """Refuse names that are no names, none, and one twice."""
        names = all(isinstance(column, str) and column for column in self.columns)
        require(names and len(self.columns) > 0, self, "columns", "one or more names of columns")
        require(len(set(self.columns)) == len(self.columns), self, "columns", "different names")


@dataclass(frozen=True, eq=False)
class Rewritten:
    """The rows that a step changed.

    Attributes:
        rows: their numbers, shape `(changed,)`, ascending.
        data: their bytes, one after the other.
        offsets: where each begins and ends in `data`, shape `(changed + 1,)`.
    """

    rows: npt.NDArray[np.int64]
    data: Bytes
    offsets: Offsets

    def __post_init__(self) -> None:
        # As Arrow's memory is: numba compiles a kernel for each kind of array.
        self.data.flags.writeable = False

    def within(self, text: Strings) -> pa.Array:
        """All rows of `text`, with these in their places."""
        if len(self.rows) == len(text):
            return text.rebuild(self.data, self.offsets)
        from tilth.clean._blocks import splice

        return text.rebuild(*splice(text.data, text.offsets, self.rows, self.data, self.offsets))
