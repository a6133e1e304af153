"""A growing set of rows that new rows are deduplicated against, on disk and without their texts.

An index keeps what a step needs to know an equal or similar row again. It is a folder of Arrow files that are written
once, read where they lie, and listed in one small file, which is replaced as a whole when something is added.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from tempfile import mkdtemp
from types import EllipsisType
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow as pa
from datasets import Dataset

from tilth.dedup._look_up import NOWHERE, LookUp, equal_rows
from tilth.dedup._manifest import Manifest, Part, drafts, locked
from tilth.dedup._segment import SEGMENT_ROWS, Segment, SegmentRecord, Stored, check_files, sync, write_segment
from tilth.dedup._signer import Signer, fitting, signer_in, signer_of
from tilth.dedup.groups import Deduplicator
from tilth.errors import ArgumentError, ColumnTypeError, MissingColumnError, SourceError
from tilth.frame import Frame, Rows
from tilth.text.strings import is_text, strings, strings_of

MATCH = pa.struct([pa.field("part", pa.string()), pa.field("row", pa.int64()), pa.field("id", pa.string())])
"""How an indexed row is named: the part that it came with, its number there, and the user's own id."""

_SEGMENTS = "segments"
_SHOWN = 5


class Index:
    """Rows that were seen, as `MinHash` or `Exact` knows them.

    Build one from a dataset, add to it, and give it to a step: `step.apply(new, index=index)` drops each row that
    equals or is similar to an indexed one, however often it is there, and says which. No text is stored. A row that is
    null, or that equals one that was added before, counts but takes no room.

    Attributes:
        source: the folder where it lives, which grows with it; None for one that was not saved and goes with the
            object.
        parts: what was added, in order.

    Examples:
        >>> from datasets import Dataset
        >>> from tilth.dedup import Exact
        >>> old = Dataset.from_dict({"text": ["Rye", "Oats"]})
        >>> new = Dataset.from_dict({"text": ["rye", "rye", "Wheat"]})
        >>> index = Index.build(old, Exact("text"), name="2023")
        >>> Exact("text").apply(new, index=index)["text"][:]
        ['Wheat']
        >>> index.append(new, name="2024").stored
        1
        >>> index
        Index(Exact of 'text': 5 rows, 3 stored; 2023, 2024)
    """

    def __init__(self, folder: Path, manifest: Manifest, lasts: bool) -> None:
        """Use `Index.build` or `Index.load`."""
        self._folder, self._manifest = folder, manifest
        self._segments: list[Segment] = []
        self._take(manifest)
        self._finalizer = None if lasts else weakref.finalize(self, _forget, folder, os.getpid())

    @classmethod
    def build(
        cls,
        ds: Dataset,
        step: Deduplicator,
        path: str | Path | None = None,
        *,
        name: str | None = None,
        id_column: str | None = None,
    ) -> Index:
        """Index the rows of a dataset.

        Every row counts, also one that `step` would drop from `ds`; index `step.apply(ds)` for those that stay.

        Args:
            ds: the rows.
            step: a `MinHash` or `Exact`; with `MinHash(verify=False)` the index keeps no sets of shingles and is much
                smaller, and the sketches decide.
            path: the folder where the index is to live, not there yet; without it, it lasts as long as the object.
            name: of these rows, in the evidence of rows that match them: `part 1` where none is given.
            id_column: a column of text or whole numbers that names each row, kept as text.

        Raises:
            ArgumentError: `step` is of another kind, or there is something at `path`.
            MissingColumnError: a column is absent.
            ColumnTypeError: a column has a type that cannot be read.
            TypeError: `ds` is not a `Dataset`.
        """
        manifest = signer_of(step).manifest()
        target = None if path is None else _free(Path(path))
        folder = Path(mkdtemp(prefix="tilth-index-")) if target is None else _draft_of(target)
        folder.mkdir(exist_ok=True)
        try:
            manifest.write(folder)
            index = cls(folder, manifest, lasts=target is not None)
            index.append(ds, name=name, id_column=id_column)
            if target is not None:
                folder.rename(target)
                index._live_in(target)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return index

    @classmethod
    def load(cls, path: str | Path, verify_checksums: bool = True) -> Index:
        """Open an index that `save`, or `build` with a path, wrote.

        Args:
            path: its folder.
            verify_checksums: read every byte once, to find out about any damage. Without it only what is cut short or
                missing is found.

        Raises:
            SourceError: there is no index, it is damaged or cut short, or signatures have changed since it was built.
        """
        folder = Path(path)
        while True:
            manifest = Manifest.read(folder)
            try:
                check_files(folder / _SEGMENTS, manifest.segments, verify_checksums)
                return cls(folder, manifest, lasts=True)
            except SourceError:
                # Files that were there a moment ago are gone when they were joined by `compact`.
                if Manifest.read(folder).segments == manifest.segments:
                    raise

    def save(self, path: str | Path) -> Path:
        """Write this index to a folder, which appears whole or not at all. It lives there from now on.

        Raises:
            ArgumentError: there is something at `path`.
        """
        path = Path(path)
        if self._finalizer is None and path.exists() and path.samefile(self._folder):
            return path
        target = _free(path)
        with self._alone():
            draft = _draft_of(target)
            try:
                # Files never change, so those of a folder that is to go need not be copied.
                copy = shutil.copy2 if self._finalizer is None else _linked
                for record in self._manifest.segments:
                    source, folder = self._folder / _SEGMENTS / record.name, draft / _SEGMENTS / record.name
                    folder.mkdir(parents=True)
                    for file in record.files:
                        copy(source / file, folder / file)
                        sync(folder / file)
                    sync(folder)
                draft.mkdir(exist_ok=True)
                self._manifest.write(draft)
                draft.rename(target)
            except BaseException:
                shutil.rmtree(draft, ignore_errors=True)
                raise
        sync(target.parent)
        self._live_in(target)
        return path

    def append(
        self,
        ds: Dataset,
        *,
        name: str | None = None,
        id_column: str | EllipsisType | None = ...,
        columns: str | Sequence[str] | None = None,
    ) -> Part:
        """Add the rows of a dataset, which is done as a whole or not at all. What is there is not written again.

        Args:
            ds: the rows.
            name: of these rows; no two parts have the same.
            id_column: a column of text or whole numbers that names each row; the one named before where it is left out,
                and none where it is None.
            columns: what to compare where it is not called as it was when the index was built.

        Returns:
            What was added.

        Raises:
            ArgumentError: there is a part of that name.
            BusyError: another process or thread is adding to the same folder.
            MissingColumnError: a column is absent.
            ColumnTypeError: a column has a type that cannot be read.
            SourceError: signatures have changed since the index was built, or the folder is damaged.
            TypeError: `ds` is not a `Dataset`.
        """
        if not isinstance(ds, Dataset):
            raise TypeError(f"an index is made of a Dataset, not of {type(ds).__name__}; give it one split.")
        with self._alone():
            manifest = self._manifest
            named = name if name is not None else f"part {len(manifest.parts) + 1}"
            if any(part.name == named for part in manifest.parts):
                raise ArgumentError(f"{self._where} has a part named {named!r} already; give these rows another name.")
            signer = self._signer(columns)
            signer.step.check(ds.features.arrow_schema)
            ids = manifest.id_column if isinstance(id_column, EllipsisType) else id_column
            _check_ids(ds, ids)
            records, stored, content = self._write(ds.with_format(None), signer, ids)
            part = Part(named, len(ds), stored, content)
            self._change(manifest.with_part(part, records, ids))
        return part

    def compact(self) -> None:
        """Join what was added in many small pieces, so that looking rows up is quick again. It is the same index after.

        Raises:
            BusyError: another process or thread is adding to the same folder.
        """
        with self._alone():
            joined: list[list[Segment]] = []
            for segment in self._segments:
                if joined and sum(each.rows for each in joined[-1]) + segment.rows <= SEGMENT_ROWS:
                    joined[-1].append(segment)
                else:
                    joined.append([segment])
            records = []
            for segments in joined:
                if len(segments) == 1:
                    records.append(segments[0].record)
                    continue
                sets = (lists for each in segments for lists in each.sets())
                stored = _joined([each.stored() for each in segments])
                shingled = self._manifest.parameters.get("verify", False)
                records.append(write_segment(self._new_segment(), stored, sets if shingled else None))
            self._change(replace(self._manifest, segments=tuple(records)))

    @property
    def source(self) -> str | None:
        """The folder where it lives; None for one that was not saved."""
        return str(self._folder) if self._finalizer is None else None

    @property
    def parts(self) -> tuple[Part, ...]:
        """What was added, in order."""
        return self._manifest.parts

    @property
    def step(self) -> Deduplicator:
        """The step that it was built by, with `keep` and the like as they are by default."""
        return signer_in(self._manifest, self._where).step

    @property
    def fingerprint(self) -> str:
        """32 hex digits made of the content: equal on every machine for the same rows in the same parts."""
        return self._manifest.fingerprint

    @property
    def nbytes(self) -> int:
        """Bytes on disk."""
        return sum(record.nbytes for record in self._manifest.segments)

    def fitting(self, step: Deduplicator) -> Signer:
        """The signer of `step`, whose rows can be held against these.

        Raises:
            ArgumentError: a field differs from that of the step that the index was built by.
            SourceError: signatures have changed since the index was built.
        """
        return fitting(step, self._manifest, self._where)

    def look_up(self, signer: Signer, n: int) -> LookUp:
        """What will say, for `n` rows of a fitting step, which indexed row each one equals or is near."""
        return LookUp(self._segments, signer.nearness, n)

    def named(self, stored: Rows) -> pa.StructArray:
        """The names, of type `MATCH`, of rows counted among those that are stored; null for -1."""
        numbers = np.full(len(stored), -1, dtype=np.int64)
        place_of_id = np.full(len(stored), -1, dtype=np.int64)
        ids, known, base = [pa.array([], pa.large_string())], 0, 0
        for segment in self._segments:
            here = np.flatnonzero((stored >= base) & (stored < base + segment.rows))
            places = stored[here] - base
            numbers[here] = segment.numbers[places]
            if segment.ids is not None:
                ids.append(segment.ids.take(pa.array(places)))
                place_of_id[here] = np.arange(known, known + len(here))
                known += len(here)
            base += segment.rows
        begins = np.cumsum([0, *(part.rows for part in self.parts)], dtype=np.int64)
        owner = np.searchsorted(begins, numbers, side="right") - 1
        nothing = numbers < 0
        fields = [
            pa.array([part.name for part in self.parts], pa.string()).take(pa.array(owner, mask=nothing)),
            pa.array(numbers - begins[owner], mask=nothing),
            pa.concat_arrays(ids).take(pa.array(place_of_id, mask=place_of_id < 0)).cast(pa.string()),
        ]
        return pa.StructArray.from_arrays(fields, fields=list(MATCH), mask=pa.array(nothing))

    def __len__(self) -> int:
        return self._manifest.rows

    def __repr__(self) -> str:
        manifest = self._manifest
        columns = ", ".join(map(repr, manifest.columns))
        stored = sum(part.stored for part in self.parts)
        names = [part.name for part in self.parts]
        shown = names if len(names) <= _SHOWN else [*names[:2], "...", *names[-2:]]
        return f"Index({manifest.step} of {columns}: {len(self):,} rows, {stored:,} stored; {', '.join(shown)})"

    def __reduce__(self) -> tuple[Any, ...]:
        if self.source is None:
            raise TypeError(f"{self} was not saved, so no other process can open it; save it first.")
        return Index.load, (self.source,)

    @property
    def _where(self) -> str:
        return f"the index at {self.source}" if self.source else "the index"

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Be the only one who writes, on the newest state of the folder; what was left half-written is removed."""
        with locked(self._folder):
            now = Manifest.read(self._folder)
            if now != self._manifest:
                known = {segment.record.name for segment in self._segments}
                fresh = [record for record in now.segments if record.name not in known]
                check_files(self._folder / _SEGMENTS, fresh, checksums=True)
                self._take(now)
            try:
                self._clear()
                yield
            finally:
                self._clear()

    def _clear(self) -> None:
        """Remove what the manifest does not list."""
        listed = {record.name for record in self._manifest.segments}
        with suppress(OSError):
            for path in (self._folder / _SEGMENTS).iterdir():
                if path.name not in listed:
                    shutil.rmtree(path, ignore_errors=True)
        for draft in drafts(self._folder):
            draft.unlink(missing_ok=True)

    def _change(self, manifest: Manifest) -> None:
        manifest.write(self._folder)
        self._take(manifest)

    def _take(self, manifest: Manifest) -> None:
        known = {segment.record.name: segment for segment in self._segments}
        self._segments = [known.get(record.name) or self._open(record) for record in manifest.segments]
        self._manifest = manifest

    def _open(self, record: SegmentRecord) -> Segment:
        known = self._manifest.parameters
        shape = known.get("bands", 0), known.get("num_perm", 0), known.get("verify", False)
        return Segment(self._folder / _SEGMENTS / record.name, record, *shape)

    def _new_segment(self) -> Path:
        folder = self._folder / _SEGMENTS
        folder.mkdir(exist_ok=True)
        return folder / uuid4().hex

    def _signer(self, columns: str | Sequence[str] | None) -> Signer:
        manifest = self._manifest
        if columns is not None:
            named = (columns,) if isinstance(columns, str) else tuple(columns)
            if len(named) != len(manifest.columns):
                raise ArgumentError(
                    f"{self._where}: columns={columns!r} is not allowed; it must name as many as there are in "
                    f"{list(manifest.columns)}."
                )
            manifest = replace(manifest, columns=named)
        return signer_in(manifest, self._where)

    def _write(self, ds: Dataset, signer: Signer, id_column: str | None) -> tuple[tuple[SegmentRecord, ...], int, str]:
        """Write what is not stored yet of these rows; gives the new segments, how many rows they hold, and a digest."""
        frame = Frame.of(ds)
        segments, records = list(self._segments), []
        content = hashlib.blake2b(digest_size=16)
        for cuts in _in_segments(frame.cuts(signer.columns)):
            rows, stored = _signed(frame, cuts, signer, segments, self._manifest.rows, id_column)
            if not len(rows):
                continue
            sets = _sets(frame, cuts, signer, rows) if signer.shingled else None
            record = write_segment(self._new_segment(), stored, sets)
            segments.append(self._open(record))
            records.append(record)
            content.update(stored.numbers.tobytes())
            content.update(stored.digests.tobytes())
            if stored.ids is not None:
                ids = strings_of(stored.ids)
                for part in (ids.valid, np.diff(ids.offsets), ids.data[ids.offsets[0] : ids.offsets[-1]]):
                    content.update(np.ascontiguousarray(part).tobytes())
        return tuple(records), sum(record.rows for record in records), content.hexdigest()

    def _live_in(self, folder: Path) -> None:
        if self._finalizer is not None:
            self._finalizer()
        self._folder, self._finalizer = folder, None


def _signed(
    frame: Frame,
    cuts: Sequence[tuple[int, int]],
    signer: Signer,
    segments: Sequence[Segment],
    number: int,
    id_column: str | None,
) -> tuple[Rows, Stored]:
    """Of the rows of these batches those that are to be stored, and their signatures; row 0 is to have this number."""
    from tilth.dedup._fold import fold

    first, n = cuts[0][0], cuts[-1][1] - cuts[0][0]
    digests = np.empty((n, 2), dtype=np.uint64)
    keys = np.empty((signer.bands, n), dtype=np.uint64)
    prints = np.empty((n, signer.places), dtype=np.uint8)
    fresh = np.empty(n, dtype=np.bool_)

    def signed(table: pa.Table, at: int) -> None:
        found, here = signer.sign(table), slice(at - first, at - first + table.num_rows)
        digests[here], keys[:, here], prints[here] = found.digests, found.keys, found.prints
        fresh[here] = found.valid & (equal_rows(segments, found.digests, found.valid) == NOWHERE)

    for _ in frame.map_batches(signed, signer.columns, cuts):
        pass
    rows = np.flatnonzero(fresh)
    rows = rows[fold(digests, rows) == np.arange(len(rows))]
    ids = None if id_column is None else frame.take(id_column, first + rows).cast(pa.large_string())
    whole = len(rows) == n
    return first + rows, Stored(
        number + first + rows,
        digests if whole else digests[rows],
        keys if whole else keys[:, rows],
        prints if whole else prints[rows],
        ids,
    )


def _sets(frame: Frame, cuts: Sequence[tuple[int, int]], signer: Signer, rows: Rows) -> Iterator[pa.Array]:
    """The sets of shingles of these rows, ascending, batch by batch."""

    def made(table: pa.Table, first: int) -> pa.Array:
        lo, hi = np.searchsorted(rows, (first, first + table.num_rows))
        return signer.sets(strings(table, signer.columns[0]), rows[lo:hi] - first)

    return frame.map_batches(made, signer.columns, cuts)


def _in_segments(cuts: Sequence[tuple[int, int]]) -> Iterator[list[tuple[int, int]]]:
    """Batches that make a segment each, unless many rows of them are copies."""
    here: list[tuple[int, int]] = []
    for cut in cuts:
        here.append(cut)
        if cut[1] - here[0][0] >= SEGMENT_ROWS:
            yield here
            here = []
    if here:
        yield here


def _joined(parts: Sequence[Stored]) -> Stored:
    ids = None
    if any(part.ids is not None for part in parts):
        nothing = [pa.nulls(len(part.numbers), pa.large_string()) for part in parts]
        ids = pa.concat_arrays(
            [part.ids if part.ids is not None else none for part, none in zip(parts, nothing, strict=True)]
        )
    return Stored(
        np.concatenate([part.numbers for part in parts]),
        np.concatenate([part.digests for part in parts]),
        np.concatenate([part.keys for part in parts], axis=1),
        np.concatenate([part.prints for part in parts]),
        ids,
    )


def _check_ids(ds: Dataset, column: str | None) -> None:
    """Refuse a column that cannot name rows."""
    if column is None:
        return
    if column not in ds.column_names:
        raise MissingColumnError("Index", column, ds.column_names)
    kind = ds.data.schema.field(column).type
    if not (is_text(kind) or pa.types.is_integer(kind)):
        raise ColumnTypeError("Index", column, kind, "text or whole numbers")


def _free(path: Path) -> Path:
    """This path, where there must be nothing yet.

    Raises:
        ArgumentError: there is.
    """
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise ArgumentError(f"{path}: there is something already; choose another folder, or Index.load it and append.")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _draft_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.{uuid4().hex}")


def _linked(source: Path, target: Path) -> None:
    """Give a file that never changes a second name, or a copy where that cannot be."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _forget(folder: Path, owner: int) -> None:
    # A forked process has the object, too, but the folder is its parent's.
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)
