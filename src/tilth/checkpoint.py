"""The products of a pipeline's steps on disk, so that a run can be killed at any moment and go on.

Each step of a run has a folder, named by a key made of the source's fingerprint and those of all steps up to it. A
row-wise step fills it part by part; a part appears whole or not at all, and the cuts between parts depend on the data
alone. Two processes that do the same run write the same files, so they need no lock. A file that was damaged later,
cut short by a crash of the machine or a copy that stopped, is found out and made again.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
from datasets import Dataset, DatasetInfo, Features
from datasets.table import Table

from tilth.frame import Frame, is_whole, open_batches, write_batches
from tilth.step import Dropped, Outcome, Step
from tilth.text.strings import one_array

LAYOUT = 3
"""Raised when files of an older layout must not be read."""
PART_BATCHES = 8
_STALE_SECONDS = 24 * 3600


@dataclass(frozen=True)
class Checkpoint:
    """The folder of one step's product.

    Attributes:
        folder: where it is, or will be.
        key: what it is known by.
    """

    folder: Path
    key: str

    @classmethod
    def of_source(cls, ds: Dataset, root: Path) -> Checkpoint:
        """Where the run on `ds` begins."""
        key = _digest("source", str(LAYOUT), ds._fingerprint)
        return cls(root / key, key)

    def after(self, step: Step | str) -> Checkpoint:
        """The checkpoint of a step that follows this one."""
        key = _digest(self.key, step if isinstance(step, str) else step.fingerprint)
        return Checkpoint(self.folder.parent / key, key)

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the dataset that stands after this step."""
        return self.key[:16]

    def parts(
        self,
        frame: Frame,
        columns: list[str],
        schema: pa.Schema,
        work: Callable[[pa.Table, int], tuple[pa.Table, dict[str, Any]]],
        advance: Callable[[int], None],
    ) -> tuple[Table, list[dict[str, Any]], bool]:
        """Fill this folder with what `work(table, first row)` makes of each batch, from the first part that is missing.

        Args:
            frame: the rows to work on.
            columns: the columns to hand to `work`.
            schema: of the tables that `work` makes.
            work: gives a table and a note for each batch; it runs on all threads.
            advance: told how many rows are done.

        Returns:
            All parts as one table, the notes of all batches, and whether everything was there before.
        """
        cuts = frame.cuts(columns)
        groups = [cuts[at : at + PART_BATCHES] for at in range(0, len(cuts), PART_BATCHES)] or [[]]
        paths = [self.folder / f"part-{number:05d}.arrow" for number in range(len(groups))]
        stored = [_notes(path, group) for path, group in zip(paths, groups, strict=True)]
        done = next((number for number, found in enumerate(stored) if found is None), len(paths))
        advance(sum(hi - lo for group in groups[:done] for lo, hi in group))
        if done < len(paths):
            _forget_stale(self.folder.glob(".part-*"))
            batches = frame.map_batches(work, columns, [cut for group in groups[done:] for cut in group])
            for number in range(done, len(paths)):
                stored[number] = _write_part(paths[number], schema, groups[number], batches, advance)
        notes = [note for found in stored for note in found or ()]
        return open_batches(paths), notes, done == len(paths)

    def keep(self, outcome: Outcome, seconds: float) -> None:
        """Store what a dataset step made, whole or not at all."""
        _forget_stale(self.folder.parent.glob(f".{self.key}.*"))
        folder = _draft_of(self.folder)
        folder.mkdir(parents=True)
        try:
            dropped = {"row": pa.array(outcome.dropped.rows), "code": pa.array(outcome.dropped.codes)}
            if outcome.dropped.evidence is not None:
                dropped["evidence"] = outcome.dropped.evidence
            _write(folder / "dropped.arrow", pa.table(dropped))
            _write(folder / "origin.arrow", pa.table({"row": pa.array(outcome.origin)}))
            meta: dict[str, Any] = {"seconds": seconds, "generator": outcome.generator}
            meta["parents"] = outcome.parents is not None
            if outcome.dataset is not None:
                meta["features"] = outcome.dataset.features.to_dict()
                schema = outcome.dataset.features.arrow_schema
                rows = Frame(outcome.dataset).map_batches(lambda table, _: table, outcome.dataset.column_names)
                write_batches(folder / "data.arrow", schema, rows)
            if outcome.parents is not None:
                _write(folder / "parents.arrow", pa.table({"rows": outcome.parents}))
            (folder / "meta.json").write_text(json.dumps(meta))
            if self._kept() is None:
                shutil.rmtree(self.folder, ignore_errors=True)
                try:
                    folder.replace(self.folder)
                except OSError:
                    # Another process that does the same run was quicker; what it kept is the same.
                    if self._kept() is None:
                        raise
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def recall(self) -> tuple[Outcome, float] | None:
        """The outcome that `keep` stored and the seconds it took, or None where it did not or not all of it is left."""
        meta = self._kept()
        if meta is None:
            return None
        dropped = _read(self.folder / "dropped.arrow")
        dataset = None
        if "features" in meta:
            data = open_batches([self.folder / "data.arrow"])
            info = DatasetInfo(features=Features.from_dict(meta["features"]))
            dataset = Dataset(data, info=info, fingerprint=self.fingerprint)
        outcome = Outcome(
            origin=_read(self.folder / "origin.arrow").column("row").to_numpy(),
            dropped=Dropped(
                dropped.column("row").to_numpy(),
                dropped.column("code").to_numpy(),
                dropped.column("evidence") if "evidence" in dropped.column_names else None,
            ),
            dataset=dataset,
            parents=one_array(_read(self.folder / "parents.arrow").column("rows")) if meta["parents"] else None,
            generator=meta["generator"],
        )
        return outcome, float(meta["seconds"])

    def _kept(self) -> dict[str, Any] | None:
        """What `keep` noted of an outcome of which every file is whole, or None."""
        try:
            meta: dict[str, Any] = json.loads((self.folder / "meta.json").read_text())
        except (OSError, ValueError):
            return None
        files = ["dropped.arrow", "origin.arrow"]
        files += ["data.arrow"] * ("features" in meta) + ["parents.arrow"] * meta["parents"]
        return meta if all(is_whole(self.folder / name) for name in files) else None


def _notes(path: Path, cuts: list[tuple[int, int]]) -> list[dict[str, Any]] | None:
    """The notes on the part at `path`; None where it is not there, not whole, or of other rows than `cuts`."""
    try:
        noted = json.loads(path.with_suffix(".json").read_text())
    except (OSError, ValueError):
        return None
    return noted["notes"] if is_whole(path) and noted["cuts"] == [list(cut) for cut in cuts] else None


def _write_part(
    path: Path,
    schema: pa.Schema,
    cuts: list[tuple[int, int]],
    batches: Iterator[tuple[pa.Table, dict[str, Any]]],
    advance: Callable[[int], None],
) -> list[dict[str, Any]]:
    notes: list[dict[str, Any]] = []

    def tables() -> Iterator[pa.Table]:
        began = time.perf_counter()
        for lo, hi in cuts:
            table, note = next(batches)
            now = time.perf_counter()
            notes.append({**note, "seconds": now - began})
            began = now
            advance(hi - lo)
            yield table

    write_batches(path, schema, tables())
    # The notes come last: they speak of the part that is there.
    draft = _draft_of(path.with_suffix(".json"))
    try:
        draft.write_text(json.dumps({"cuts": cuts, "notes": notes}))
        draft.replace(path.with_suffix(".json"))
    finally:
        draft.unlink(missing_ok=True)
    return notes


def _draft_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.{uuid4().hex}")


def _forget_stale(drafts: Iterable[Path]) -> None:
    """Remove what a killed run had begun to write long ago; a younger draft may be another process's work."""
    for path in drafts:
        # Another process at the same run may be quicker to rename or remove it.
        with suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime <= _STALE_SECONDS:
                continue
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()


def _write(path: Path, table: pa.Table) -> None:
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)


def _read(path: Path) -> pa.Table:
    with pa.memory_map(str(path)) as file:
        return pa.ipc.open_stream(file).read_all()


def _digest(*words: str) -> str:
    return hashlib.blake2b("\n".join(words).encode(), digest_size=16).hexdigest()
