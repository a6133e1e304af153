"""The products of a pipeline's steps on disk, so that a run can be killed at any moment and go on.

Each step of a run has a folder, named by a key made of the source's fingerprint and those of all steps up to it. A
row-wise step fills it part by part; a part appears whole or not at all, and the cuts between parts depend on the data
alone. Two processes that do the same run write the same files, so they need no lock.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pyarrow as pa
from datasets import Dataset, DatasetInfo, Features
from datasets.table import Table

from tilth.frame import Frame, open_batches, write_batches
from tilth.step import Dropped, Outcome, Step

LAYOUT = 1
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
        done = next((number for number, path in enumerate(paths) if not path.exists()), len(paths))
        advance(sum(hi - lo for group in groups[:done] for lo, hi in group))
        if done < len(paths):
            self._forget_stale()
            batches = frame.map_batches(work, columns, [cut for group in groups[done:] for cut in group])
            for path, group in zip(paths[done:], groups[done:], strict=True):
                _write_part(path, schema, group, batches, advance)
        notes = [note for path in paths for note in json.loads(path.with_suffix(".json").read_text())]
        return open_batches(paths), notes, done == len(paths)

    def keep(self, outcome: Outcome, seconds: float) -> None:
        """Store what a dataset step made, whole or not at all."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(mkdtemp(dir=self.folder.parent, prefix=f".{self.key}."))
        try:
            dropped = {"row": pa.array(outcome.dropped.rows), "code": pa.array(outcome.dropped.codes)}
            if outcome.dropped.evidence is not None:
                dropped["evidence"] = outcome.dropped.evidence
            _write(folder / "dropped.arrow", pa.table(dropped))
            _write(folder / "origin.arrow", pa.table({"row": pa.array(outcome.origin)}))
            meta: dict[str, Any] = {"seconds": seconds, "generator": outcome.generator}
            if outcome.dataset is not None:
                meta["features"] = outcome.dataset.features.to_dict()
                schema = outcome.dataset.features.arrow_schema
                rows = Frame(outcome.dataset).map_batches(lambda table, _: table, outcome.dataset.column_names)
                write_batches(folder / "data.arrow", schema, rows)
            if outcome.parents is not None:
                _write(folder / "parents.arrow", pa.table({"rows": outcome.parents}))
            (folder / "meta.json").write_text(json.dumps(meta))
            if self.folder.exists():
                shutil.rmtree(folder)
            else:
                folder.replace(self.folder)
        except FileExistsError:
            shutil.rmtree(folder, ignore_errors=True)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def recall(self) -> tuple[Outcome, float] | None:
        """The outcome that `keep` stored and the seconds it took, or None."""
        if not (self.folder / "meta.json").exists():
            return None
        meta = json.loads((self.folder / "meta.json").read_text())
        dropped = _read(self.folder / "dropped.arrow")
        dataset = None
        if "features" in meta:
            data = open_batches([self.folder / "data.arrow"])
            info = DatasetInfo(features=Features.from_dict(meta["features"]))
            dataset = Dataset(data, info=info, fingerprint=self.fingerprint)
        parents = self.folder / "parents.arrow"
        outcome = Outcome(
            origin=_read(self.folder / "origin.arrow").column("row").to_numpy(),
            dropped=Dropped(
                dropped.column("row").to_numpy(),
                dropped.column("code").to_numpy(),
                dropped.column("evidence") if "evidence" in dropped.column_names else None,
            ),
            dataset=dataset,
            parents=_read(parents).column("rows").combine_chunks() if parents.exists() else None,
            generator=meta["generator"],
        )
        return outcome, float(meta["seconds"])

    def _forget_stale(self) -> None:
        """Remove what a killed run had begun to write long ago; a younger file may be another process's work."""
        for path in self.folder.glob(".part-*"):
            # Another process at the same run may be quicker to rename or remove it.
            with suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime <= _STALE_SECONDS:
                    continue
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink()


def _write_part(
    path: Path,
    schema: pa.Schema,
    cuts: list[tuple[int, int]],
    batches: Iterator[tuple[pa.Table, dict[str, Any]]],
    advance: Callable[[int], None],
) -> None:
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
        # The notes come first: a part that is there is whole.
        _write_text(path.with_suffix(".json"), json.dumps(notes))

    write_batches(path, schema, tables())


def _write_text(path: Path, text: str) -> None:
    draft = Path(mkdtemp(dir=path.parent, prefix=".part-")) / path.name
    try:
        draft.write_text(text)
        draft.replace(path)
    finally:
        shutil.rmtree(draft.parent, ignore_errors=True)


def _write(path: Path, table: pa.Table) -> None:
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)


def _read(path: Path) -> pa.Table:
    with pa.memory_map(str(path)) as file:
        return pa.ipc.open_stream(file).read_all()


def _digest(*words: str) -> str:
    return hashlib.blake2b("\n".join(words).encode(), digest_size=16).hexdigest()
