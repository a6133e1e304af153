"""Documents per second from Parquet to the list of kept rows, on two cores, of `MinHash` and of other tools.

All of them run in one call, on the same machine and the same rows, with the same bands and n-grams, tokenising
included. Other tools take a sample of the rows. What they take to start, seen on a few rows, is taken off, because it
does not grow with the data.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset

from tilth.dedup import MinHash
from tilth.errors import BenchmarkError
from tilth.text.threads import set_threads

THREADS = 2
_FEW = 20


@dataclass(frozen=True)
class Speed:
    """What a tool took for a corpus.

    Attributes:
        tool: its name.
        corpus: the corpus, of which it may have taken a sample.
        rows: documents.
        bytes: of their text.
        seconds: from Parquet to the list of kept rows.
        start_up: the part of `seconds` that a few rows take as well.
        kept: rows kept.
    """

    tool: str
    corpus: str
    rows: int
    bytes: int
    seconds: float
    start_up: float
    kept: int

    @property
    def rows_per_second(self) -> float:
        """Documents a second, the start not counted, unless it is nearly all there is."""
        seconds = self.seconds - self.start_up
        return (self.rows - _FEW) / seconds if seconds > 0.2 * self.seconds and self.start_up else self.whole_rate

    @property
    def whole_rate(self) -> float:
        """Documents a second, the start counted."""
        return self.rows / self.seconds

    def as_json(self) -> dict[str, Any]:
        """The same as plain values, with the rates."""
        return {**vars(self), "rows_per_second": self.rows_per_second, "whole_rate": self.whole_rate}


@dataclass(frozen=True)
class BesideReading:
    """The times of `MinHash` beside pyarrow's for reading the same file, medians of several turns.

    Attributes:
        corpus: the file.
        rows: documents in it.
        read: seconds that pyarrow takes to read all columns.
        step: seconds of the step on text that is read already.
        whole: seconds from Parquet to the list of kept rows.
        step_ratio: `step / read`, the median of the turns.
        whole_ratio: `whole / read`, the median of the turns.
    """

    corpus: str
    rows: int
    read: float
    step: float
    whole: float
    step_ratio: float
    whole_ratio: float


@contextmanager
def two_threads() -> Iterator[None]:
    """Two threads for the kernels and for pyarrow's reading."""
    before = pa.cpu_count(), pa.io_thread_count()
    set_threads(THREADS)
    pa.set_cpu_count(THREADS)
    pa.set_io_thread_count(THREADS)
    try:
        yield
    finally:
        set_threads(None)
        pa.set_cpu_count(before[0])
        pa.set_io_thread_count(before[1])


def dataset(path: Path) -> Dataset:
    """The texts of a Parquet file as a dataset in memory."""
    return Dataset(pq.read_table(path, columns=["text"]), fingerprint=path.stem)


def ours(step: MinHash, corpus: str, path: Path, runs: int) -> Speed:
    """The median of several runs, after one to compile."""
    with two_threads():
        step.run(dataset(path).select(range(min(_FEW, pq.read_metadata(path).num_rows))))
        times = []
        for _ in range(runs):
            began = time.perf_counter()
            kept = step.run(dataset(path)).origin
            times.append(time.perf_counter() - began)
    return Speed("tilth", corpus, *_size(path), statistics.median(times), 0.0, len(kept))


def beside_reading(step: MinHash, corpus: str, path: Path, runs: int) -> BesideReading:
    """Read, and run, in turn."""
    with two_threads():
        step.run(dataset(path))
        turns = []
        for _ in range(runs):
            read = timed(lambda: pq.read_table(path))
            ready = dataset(path)
            alone = timed(lambda: step.run(ready))  # noqa: B023
            turns.append((read, alone, timed(lambda: step.run(dataset(path)).origin)))
    read, alone, whole = (statistics.median(column) for column in zip(*turns, strict=True))
    ratios = [(turn[1] / turn[0], turn[2] / turn[0]) for turn in turns]
    step_ratio, whole_ratio = (statistics.median(column) for column in zip(*ratios, strict=True))
    return BesideReading(corpus, pq.read_metadata(path).num_rows, read, alone, whole, step_ratio, whole_ratio)


def theirs(tool: str, corpus: str, path: Path, rows: int, step: MinHash, python: Path, folder: Path) -> Speed:
    """Another tool on `rows` random rows of a file; `folder` holds them.

    Raises:
        BenchmarkError: it did not run.
    """
    part = sample(path, rows, folder)
    start = peer(tool, python, sample(path, _FEW, folder), step)["seconds"]
    said = peer(tool, python, part, step)
    return Speed(tool, corpus, *_size(part), said["seconds"], start, said["kept"])


def peer(tool: str, python: Path, path: Path, step: MinHash, *, perms: int = 0) -> dict[str, Any]:
    """Run another tool in its own interpreter and give what it says: `seconds`, `kept` and `dropped`.

    Args:
        tool: one of `peers_dedup.TOOLS`.
        python: an interpreter that has it.
        path: a Parquet file with a column `text`.
        step: whose n-grams, bands and threshold the tool is to use.
        perms: let text-dedup choose its own bands of so many permutations.

    Raises:
        BenchmarkError: it did not run.
    """
    bands, rows = step.shape
    script = Path(__file__).with_name("peers_dedup.py")
    words = [
        python,
        "-P",
        script,
        tool,
        path,
        "--ngram",
        step.ngram,
        "--unit",
        step.unit,
        "--bands",
        bands,
        "--rows",
        rows,
    ]
    words += ["--threshold", step.threshold, "--perms", perms, "--processes", THREADS]
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip() or "it said nothing").splitlines()[-1]
        raise BenchmarkError(f"{tool} did not run in {python}: {last}")
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return said


def sample(path: Path, rows: int, folder: Path) -> Path:
    """A file of `rows` random rows of another, in their order, or of all if there are no more."""
    made = folder / f"{path.stem}-{rows}.parquet"
    if not made.exists():
        table = pq.read_table(path, columns=["text"])
        chosen = np.sort(np.random.default_rng(0).permutation(table.num_rows)[:rows])
        pq.write_table(table.take(chosen), made)
    return made


def timed(work: Callable[[], Any]) -> float:
    """Seconds of one call."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _size(path: Path) -> tuple[int, int]:
    table = pq.read_table(path, columns=["text"])
    return table.num_rows, table.nbytes
