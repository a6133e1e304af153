"""A view of one Arrow string column as three flat buffers, which is what the kernels read.

No Python string is made: `data` is the column's own memory. `string` and `large_string` look the same from here,
because offsets are widened to 64 bits; every kernel is then compiled once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tilth.errors import ColumnTypeError, MissingColumnError

Bytes = npt.NDArray[np.uint8]
Offsets = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

OFFSET_LIMIT = 2**31 - 1
"""The most bytes that the offsets of `string` and `binary` can count."""

_EMPTY = np.zeros(1, dtype=np.uint8)
_EMPTY.flags.writeable = False


@dataclass(frozen=True, eq=False)
class Strings:
    """`n` texts: row `i` is `data[offsets[i]:offsets[i + 1]]`, UTF-8, and absent where `valid[i]` is false.

    Attributes:
        data: the bytes of all rows, shape `(bytes,)`; never written to.
        offsets: shape `(n + 1,)`, ascending.
        valid: shape `(n,)`.
        type: the Arrow type of the column, which `rebuild` gives back.
    """

    data: Bytes
    offsets: Offsets
    valid: Mask
    type: pa.DataType

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def nbytes(self) -> int:
        """Bytes of text in these rows."""
        return int(self.offsets[-1] - self.offsets[0])

    def text(self, row: int) -> str | None:
        """Row `row` as a Python string. Bytes that are not UTF-8 become U+FFFD."""
        if not self.valid[row]:
            return None
        return self.data[self.offsets[row] : self.offsets[row + 1]].tobytes().decode("utf-8", "replace")

    def rebuild(self, data: Bytes, offsets: Offsets) -> pa.Array:
        """Texts of the same rows, with the same type and the same nulls, from the buffers that a kernel wrote."""
        return build(data, offsets, self.valid, self.type)


def strings(table: pa.Table, column: str, who: str = "this step") -> Strings:
    """The string column `column` of `table` as a `Strings` view, without a copy where it is one chunk.

    Args:
        table: any table.
        column: a column of type `string`, `large_string`, `string_view`, dictionary of those, or `null`.
        who: the step's name, for the error.

    Raises:
        MissingColumnError: there is no such column.
        ColumnTypeError: the column does not hold text.
    """
    if column not in table.column_names:
        raise MissingColumnError(who, column, table.column_names)
    return strings_of(table.column(column), column, who)


def strings_of(values: pa.Array | pa.ChunkedArray, column: str = "text", who: str = "this step") -> Strings:
    """An Arrow array of text as a `Strings` view; see `strings`."""
    found = values.type
    if not is_text(found):
        raise ColumnTypeError(who, column, found, "text")
    if not (pa.types.is_string(found) or pa.types.is_large_string(found)):
        values = values.cast(pa.large_string())
    return _view(one_array(values))


def is_text(kind: pa.DataType) -> bool:
    """Whether a column of this Arrow type can be read as text (a column of nothing but nulls can)."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_null(kind)
        or pa.types.is_string_view(kind)
    )


def build(data: Bytes, offsets: Offsets, valid: Mask, kind: pa.DataType | None = None) -> pa.Array:
    """An Arrow string array over buffers that a kernel wrote; `large_string` if they are too long for `kind`."""
    n = len(offsets) - 1
    kind = kind if kind is not None and pa.types.is_string(kind) and offsets[-1] < 2**31 else pa.large_string()
    wide = offsets.astype(np.int32) if pa.types.is_string(kind) else np.ascontiguousarray(offsets)
    nulls = None if valid.all() else pa.py_buffer(np.packbits(valid, bitorder="little"))
    return pa.Array.from_buffers(kind, n, [nulls, pa.py_buffer(wide), pa.py_buffer(data)])


def one_array(values: pa.Array | pa.ChunkedArray) -> pa.Array:
    """A column of any type in one piece: itself where it is one, without a copy.

    `string` whose chunks hold more bytes together than it can comes out as `large_string`, and `binary` likewise.
    """
    if not isinstance(values, pa.ChunkedArray):
        return values
    if values.num_chunks == 1:
        return values.chunk(0)
    if values.num_chunks == 0:
        # `combine_chunks` cannot make an empty array of nested extension types, such as JSON.
        return pa.nulls(0, values.type)
    wide = {pa.string(): pa.large_string(), pa.binary(): pa.large_binary()}.get(values.type)
    if wide is not None and values.nbytes >= OFFSET_LIMIT:
        values = values.cast(wide)
    return pa.concat_arrays(values.chunks)


def from_python(texts: Sequence[str | None]) -> Strings:
    """A view of Python strings, for tests and small inputs."""
    return strings_of(pa.array(texts, type=pa.large_string()))


def _view(array: pa.Array) -> Strings:
    n = len(array)
    _, offsets_buffer, data_buffer = array.buffers()
    width = np.int64 if pa.types.is_large_string(array.type) else np.int32
    if offsets_buffer is None or n == 0:
        offsets = np.zeros(n + 1, dtype=np.int64)
    else:
        first = array.offset
        offsets = np.frombuffer(offsets_buffer, dtype=width)[first : first + n + 1].astype(np.int64)
    data = _EMPTY if data_buffer is None or data_buffer.size == 0 else np.frombuffer(data_buffer, dtype=np.uint8)
    # Arrow memory is writable or not by where it came from; numba would compile each kernel for either.
    data.flags.writeable = False
    valid = np.ones(n, dtype=np.bool_) if array.null_count == 0 else _to_numpy_bool(pc.is_valid(array))
    return Strings(data, offsets, valid, array.type)


def _to_numpy_bool(array: pa.BooleanArray) -> Mask:
    return np.asarray(array.to_numpy(zero_copy_only=False), dtype=np.bool_)
