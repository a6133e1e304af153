"""Seconds and memory of `MinHash` as the rows grow, each size in a process of its own.

    python -m tilth.bench.growth ROWS.arrow

Two figures of memory: all that is resident, which counts the pages of mapped files that the system may take back, and
anonymous memory, which is what the process needs.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tilth.bench import THRESHOLD
from tilth.bench.corpora import short_rows
from tilth.errors import BenchmarkError

BYTES_PER_ROW = 300
"""What a row needs on disk while it is measured: as Parquet, as Arrow, and as `datasets` makes Arrow of Parquet."""
_STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class Grown:
    """A run on so many rows.

    Attributes:
        rows: short rows, of about 12 words.
        source: `arrow`, a file that is mapped into memory, or `parquet`, which `datasets` converts first.
        open_seconds: to open, and convert, the file.
        seconds: of the step.
        cpu_seconds: of the step on all cores, which says more than `seconds` where others use the machine.
        resident_mb: the most memory that was resident, pages of mapped files counted.
        anonymous_mb: the most anonymous memory.
        dropped: rows dropped.
    """

    rows: int
    source: str
    open_seconds: float
    seconds: float
    cpu_seconds: float
    resident_mb: float
    anonymous_mb: float
    dropped: int

    @property
    def whole_seconds(self) -> float:
        """Opening and the step."""
        return self.open_seconds + self.seconds


def grow(sizes: tuple[int, ...], folder: Path) -> Iterator[Grown]:
    """Make each size, run on it from both kinds of file, and remove it.

    Raises:
        BenchmarkError: a run failed, for example because memory ran out.
    """
    for rows in sizes:
        paths = folder / f"{rows}.arrow", folder / f"{rows}.parquet"
        write_short_rows(rows, *paths)
        for path in paths:
            done = subprocess.run(
                [sys.executable, "-m", "tilth.bench.growth", str(path)], capture_output=True, text=True, check=False
            )
            if done.returncode:
                last = (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1]
                raise BenchmarkError(f"the run on {rows:,} rows from {path.suffix[1:]} failed: {last}")
            yield Grown(source=path.suffix[1:], **json.loads(done.stdout.splitlines()[-1]))
            path.unlink()


def sizes_up_to(most: int, folder: Path) -> tuple[int, ...]:
    """`most` rows, a tenth and a hundredth of them; fewer where the disk does not hold them."""
    while most and most * BYTES_PER_ROW > shutil.disk_usage(folder).free:
        most //= 10
    return tuple(sorted({rows for rows in (most // 100, most // 10, most) if rows}))


def write_short_rows(rows: int, arrow: Path, parquet: Path) -> None:
    """The rows of `corpora.short_rows` in both kinds of file, a table at a time."""
    schema = pa.schema([("text", pa.string())])
    with (
        pa.OSFile(str(arrow), "wb") as file,
        pa.ipc.new_stream(file, schema) as stream,
        pq.ParquetWriter(parquet, schema, use_dictionary=False, compression="zstd") as writer,
    ):
        for table in short_rows(rows):
            stream.write_table(table, max_chunksize=10_000)
            writer.write_table(table)


def _child(path: Path) -> dict[str, Any]:
    import datasets
    from datasets import Dataset

    from tilth.dedup import MinHash

    datasets.disable_progress_bars()
    step = MinHash("text", threshold=THRESHOLD)
    # Kernels are compiled, or loaded, before the clock starts.
    step.run(Dataset(next(short_rows(1_000, seed=2))))
    peak = _AnonymousPeak()
    with tempfile.TemporaryDirectory(dir=path.parent) as cache:
        began = time.perf_counter()
        ds = (
            Dataset.from_file(str(path))
            if path.suffix == ".arrow"
            else Dataset.from_parquet(str(path), cache_dir=cache)
        )
        opened, cpu = time.perf_counter(), time.process_time()
        outcome = step.run(ds)
        ended, cpu = time.perf_counter(), time.process_time() - cpu
        anonymous = peak.stop()
        return {
            "rows": len(ds),
            "open_seconds": opened - began,
            "seconds": ended - opened,
            "cpu_seconds": cpu,
            "resident_mb": _resident_peak(),
            "anonymous_mb": anonymous,
            "dropped": len(outcome.dropped.rows),
        }


def _resident_peak() -> float:
    """In megabytes. The kernel's own mark, because `ru_maxrss` counts what the parent had before."""
    if _STATUS.exists():
        return _megabytes("VmHWM")
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / 1e6 if sys.platform == "darwin" else most * 1024 / 1e6


def _megabytes(name: str) -> float:
    return next(
        int(line.split()[1]) * 1024 / 1e6 for line in _STATUS.read_text().splitlines() if line.startswith(name + ":")
    )


class _AnonymousPeak:
    """The most anonymous memory that this process has while it is watched; 0 where the system does not tell."""

    def __init__(self) -> None:
        self._most = 0.0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> float:
        """In megabytes."""
        self._done.set()
        self._thread.join()
        return self._most

    def _watch(self) -> None:
        done = not _STATUS.exists()
        while not done:
            done = self._done.wait(0.01)
            self._most = max(self._most, _megabytes("RssAnon"))


if __name__ == "__main__":
    print(json.dumps(_child(Path(sys.argv[1]))))
