"""One part of an index on disk, written once and never changed: Arrow files that are read where they lie.

`rows.arrow` has a row for each stored row, `keys.arrow` a batch for each sorted list of keys (digests first, then the
bands), `shingles.arrow` the set of shingles of each row, batch by batch as they were made.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash

from tilth.dedup._located import Addresses
from tilth.errors import SourceError
from tilth.frame import Rows
from tilth.text.threads import ordered_map

Keys = npt.NDArray[np.uint64]
Places = npt.NDArray[np.uint32]
Prints = npt.NDArray[np.uint8]

SEGMENT_ROWS = 1 << 20
_ROWS, _KEYS, _SHINGLES = "rows.arrow", "keys.arrow", "shingles.arrow"
_BYTES_AT_ONCE = 16 * 2**20
_KEY_SCHEMA = pa.schema([pa.field("key", pa.uint64(), False), pa.field("place", pa.uint32(), False)])
_SHINGLE_SCHEMA = pa.schema([pa.field("shingles", pa.large_list(pa.uint64()), False)])


@dataclass(frozen=True)
class FileRecord:
    """What a file must be to be whole: its size and its checksum."""

    bytes: int
    xxh3_128: str


@dataclass(frozen=True)
class SegmentRecord:
    """A segment as the manifest knows it.

    Attributes:
        name: of its folder.
        rows: how many are stored.
        files: each by its name.
    """

    name: str
    rows: int
    files: dict[str, FileRecord]

    @property
    def nbytes(self) -> int:
        """Bytes on disk."""
        return sum(file.bytes for file in self.files.values())


@dataclass(frozen=True, eq=False)
class Stored:
    """What is stored of some rows, in the order of their numbers.

    Attributes:
        numbers: of the rows in the index, ascending, shape `(n,)`.
        digests: shape `(n, 2)`.
        keys: of each band, shape `(bands, n)`.
        prints: sketches, shape `(n, places)`.
        ids: the user's own, or None where none were named.
    """

    numbers: Rows
    digests: Keys
    keys: Keys
    prints: Prints
    ids: pa.Array | None


class Segment:
    """A segment, open for reading.

    Attributes:
        rows: how many are stored.
        numbers: of the rows in the index, ascending, shape `(rows,)`.
        seconds: the second halves of their digests, shape `(rows,)`.
        prints: their sketches, shape `(rows, places)`.
        ids: the user's own, or None where none were named.
        keys: sorted lists of the first halves of the digests and of the keys of each band, each with the place of the
            row that a key belongs to.
        places_at: the addresses of those places.
    """

    def __init__(self, folder: Path, record: SegmentRecord, bands: int, places: int, shingled: bool) -> None:
        """Map the files into memory.

        Raises:
            SourceError: a file is missing, cut short or damaged.
        """
        self.rows = record.rows
        self.record = record
        wanted = {_ROWS, _KEYS, *([_SHINGLES] if shingled else [])}
        if set(record.files) != wanted:
            raise SourceError(f"{folder} has the files {sorted(record.files)} and should have {sorted(wanted)}.")
        (table,) = _opened(folder / _ROWS, 1)
        self.numbers: Rows = _values(table, "number")
        self.seconds: Keys = _values(table, "digest")
        self.ids: pa.Array | None = table.column("id") if "id" in table.schema.names else None
        sketches = table.column("sketch").buffers()[1] if places else b""
        self.prints: Prints = np.frombuffer(sketches, dtype=np.uint8)[: self.rows * places].reshape(self.rows, places)
        self.keys: list[tuple[Keys, Places]] = [
            (_values(batch, "key"), _values(batch, "place")) for batch in _opened(folder / _KEYS, bands + 1)
        ]
        self.places_at = np.array([places.ctypes.data for _, places in self.keys], dtype=np.int64)
        self._lists = [batch.column(0) for batch in _opened(folder / _SHINGLES, None)] if shingled else []
        self._ends = np.cumsum([len(lists) for lists in self._lists], dtype=np.int64)
        held = [len(self.numbers), *(len(keys) for keys, _ in self.keys), *self._ends[-1:].tolist()]
        if any(count != self.rows for count in held):
            raise SourceError(f"{folder} holds {held} rows in its lists and should hold {self.rows} in each.")

    def shingles(self, stored: Rows) -> tuple[Addresses, Addresses]:
        """Where in memory the sets of these rows lie, and how many members each has; both of shape `(n,)`."""
        starts, counts = np.empty(len(stored), dtype=np.int64), np.empty(len(stored), dtype=np.int64)
        batch_of = np.searchsorted(self._ends, stored, side="right")
        for number in np.unique(batch_of):
            here = np.flatnonzero(batch_of == number)
            lists = self._lists[number]
            offsets = np.frombuffer(lists.buffers()[1], dtype=np.int64)
            places = stored[here] - (self._ends[number] - len(lists))
            starts[here] = lists.values.buffers()[1].address + 8 * offsets[places]
            counts[here] = offsets[places + 1] - offsets[places]
        return starts, counts

    def sets(self) -> Iterator[pa.Array]:
        """The sets of all rows in their order."""
        yield from self._lists

    def stored(self) -> Stored:
        """What is stored, in memory, as it was before it was sorted."""
        unsorted = np.empty((len(self.keys), self.rows), dtype=np.uint64)
        for number, (keys, places) in enumerate(self.keys):
            unsorted[number, places] = keys
        digests = np.stack([unsorted[0], self.seconds], axis=1)
        return Stored(self.numbers, digests, unsorted[1:], self.prints, self.ids)


def write_segment(folder: Path, stored: Stored, sets: Iterable[pa.Array] | None) -> SegmentRecord:
    """Write a segment to a folder that is not there yet, and see to it that it is on the disk.

    Args:
        folder: the new folder.
        stored: what to store of the rows.
        sets: their sets of shingles as lists, in their order; None where none are kept.
    """
    folder.mkdir(parents=True)
    files = {
        _ROWS: _write(folder / _ROWS, *_table(stored)),
        _KEYS: _write(folder / _KEYS, _KEY_SCHEMA, ordered_map(_sorted, [stored.digests[:, 0], *stored.keys])),
    }
    if sets is not None:
        batches = (pa.record_batch([lists], schema=_SHINGLE_SCHEMA) for lists in sets)
        files[_SHINGLES] = _write(folder / _SHINGLES, _SHINGLE_SCHEMA, batches)
    sync(folder)
    return SegmentRecord(folder.name, len(stored.numbers), files)


def check_files(folder: Path, records: Iterable[SegmentRecord], checksums: bool) -> None:
    """Refuse files that are not what the manifest says.

    Raises:
        SourceError: one is missing or not as long, or with `checksums`, any byte of it is another.
    """

    def checked(file: tuple[Path, FileRecord]) -> None:
        path, record = file
        try:
            size = path.stat().st_size
            if size != record.bytes:
                what = "it was cut short" if size < record.bytes else "it was changed"
                raise SourceError(f"{path} has {size:,} bytes and should have {record.bytes:,}: {what}.")
            if checksums and _checksum(path) != record.xxh3_128:
                raise SourceError(f"{path} is damaged: its checksum does not match.")
        except OSError as error:
            raise SourceError(f"{path} cannot be read ({error.strerror}).") from None

    files = [(folder / each.name / name, file) for each in records for name, file in each.files.items()]
    for _ in ordered_map(checked, files):
        pass


def sync(path: Path) -> None:
    """See to it that a file, or what a folder lists, is on the disk."""
    if os.name == "nt" and path.is_dir():
        return
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


class _Summed:
    """A file that takes the checksum of what is written to it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._sum, self._bytes = file, xxhash.xxh3_128(), 0
        self.closed = False

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        self._sum.update(view)
        self._bytes += len(view)
        return self._file.write(view)

    def flush(self) -> None:
        self._file.flush()

    @property
    def record(self) -> FileRecord:
        return FileRecord(self._bytes, self._sum.hexdigest())


def _write(path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> FileRecord:
    with path.open("xb") as file:
        summed = _Summed(file)
        with pa.ipc.new_file(pa.PythonFile(summed, mode="w"), schema) as writer:
            for batch in batches:
                writer.write_batch(batch)
        file.flush()
        os.fsync(file.fileno())
    return summed.record


def _table(stored: Stored) -> tuple[pa.Schema, list[pa.RecordBatch]]:
    rows, places = stored.prints.shape
    columns = {"number": pa.array(stored.numbers), "digest": pa.array(stored.digests[:, 1])}
    if places:
        sketches = pa.py_buffer(np.ascontiguousarray(stored.prints))
        columns["sketch"] = pa.Array.from_buffers(pa.binary(places), rows, [None, sketches])
    if stored.ids is not None:
        columns["id"] = stored.ids
    batch = pa.RecordBatch.from_pydict(columns)
    return batch.schema, [batch]


def _sorted(keys: Keys) -> pa.RecordBatch:
    from tilth.dedup._sorted_keys import sort

    return pa.record_batch([pa.array(values) for values in sort(np.ascontiguousarray(keys))], schema=_KEY_SCHEMA)


def _opened(path: Path, batches: int | None) -> list[pa.RecordBatch]:
    """All batches of an Arrow file, mapped into memory. The file itself is closed: of files not many can be open."""
    try:
        with pa.memory_map(str(path)) as file:
            reader = pa.ipc.open_file(file)
            if batches is not None and reader.num_record_batches != batches:
                raise SourceError(f"{path} has {reader.num_record_batches} batches and should have {batches}.")
            return [reader.get_batch(number) for number in range(reader.num_record_batches)]
    except (pa.ArrowException, OSError) as error:
        raise SourceError(f"{path} is damaged or cut short ({' '.join(str(error).split())[:200]}).") from None


def _values(batch: pa.RecordBatch, name: str) -> npt.NDArray[Any]:
    return np.asarray(batch.column(name).to_numpy(zero_copy_only=True))


def _checksum(path: Path) -> str:
    found = xxhash.xxh3_128()
    with path.open("rb", buffering=0) as file:
        block = bytearray(_BYTES_AT_ONCE)
        while count := file.readinto(block):
            found.update(memoryview(block)[:count])
    return str(found.hexdigest())
