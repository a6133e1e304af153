"""Peak memory of the demo's pipeline on 1x and 4x the rows, and of what it must keep for each row.

    python benchmarks/memory.py [--rows 25000]

What MinHash keeps for each row is measured by itself: the arrays that Python knows of, on half of the rows and on all.

Two figures a run: anonymous memory, which is what a process needs, and all resident memory, which counts the pages of
memory-mapped files that the system may take back at any time.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from datasets import Dataset

    from tilth.dedup import MinHash


def main() -> None:
    """Run the pipeline in a process of its own for each size and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=25_000)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/memory.json"))
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.child is not None:
        child(chosen.child)
        return
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for times in (1, 4):
            path = Path(folder) / f"{times}.parquet"
            write(path, chosen.rows, times)
            done = subprocess.run(
                [sys.executable, __file__, "--child", str(path)], check=True, capture_output=True, text=True
            )
            results.append({"times": times, **json.loads(done.stdout.splitlines()[-1])})
            print(json.dumps(results[-1]))
    one, four = results
    for kind in ("anonymous_mb", "resident_mb"):
        print(f"{kind}: 4x over 1x = {four[kind] / one[kind]:.2f}")
    keys = (four["rows"] - one["rows"]) * one["key_bytes_per_row"] / 1e6
    apart = (four["anonymous_mb"] - keys) / one["anonymous_mb"]
    print(f"apart from {one['key_bytes_per_row']} bytes of keys a row: {apart:.2f}")
    chosen.json.parent.mkdir(parents=True, exist_ok=True)
    chosen.json.write_text(json.dumps(results, indent=1))


def write(path: Path, rows: int, times: int) -> None:
    """The demo's rows, `times` over; each time other words, so that they are no duplicates of each other."""
    from tilth.demo import build

    table = build(rows).with_format("arrow")[:]
    with pq.ParquetWriter(path, table.schema) as writer:
        for turn in range(times):
            answer = table["answer"]
            if turn:
                answer = pc.replace_substring_regex(answer, r"\b([a-z]{4})", rf"\1{'xyzw'[turn]}")
            writer.write_table(table.set_column(table.column_names.index("answer"), "answer", answer))


def child(path: Path) -> None:
    """Run the demo's pipeline on one file and print the peaks."""
    import datasets
    from datasets import load_dataset

    from tilth.dedup import MinHash
    from tilth.demo import pipeline

    datasets.disable_progress_bars()
    with tempfile.TemporaryDirectory() as folder:
        ds = load_dataset("parquet", data_files=str(path), split="train", cache_dir=folder)
        steps = pipeline(ds.select(range(100)))
        steps.run(ds.select(range(200)), cache_dir=Path(folder) / "warm")
        peaks = Peaks()
        curated = steps.run(ds, cache_dir=Path(folder) / "run")
        found = peaks.stop()
        keys = key_bytes(next(step for step in steps.steps if isinstance(step, MinHash)), ds)
    print(json.dumps({"rows": len(ds), "kept": len(curated.dataset), "key_bytes_per_row": keys, **found}))


def key_bytes(step: MinHash, ds: Dataset) -> int:
    """How much more the step's arrays take at their peak for each row more, from half of `ds` to the whole of it."""
    peaks = []
    for rows in (len(ds) // 2, len(ds)):
        part = ds.select(range(rows))
        tracemalloc.start()
        step.run(part)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    return round((peaks[1] - peaks[0]) / (len(ds) - len(ds) // 2))


class Peaks:
    """The most memory that this process has while it is watched, beyond what it had before."""

    def __init__(self) -> None:
        self._most = np.zeros(2)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> dict[str, float]:
        """Megabytes of anonymous and of all resident memory."""
        self._done.set()
        self._thread.join()
        return {"anonymous_mb": round(self._most[0], 1), "resident_mb": round(self._most[1], 1)}

    def _watch(self) -> None:
        while not self._done.wait(0.01):
            self._most = np.maximum(self._most, resident())


def resident() -> tuple[float, float]:
    """Anonymous and all resident memory of this process, in megabytes."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return float(lines["RssAnon"].split()[0]) / 1e3, float(lines["VmRSS"].split()[0]) / 1e3


if __name__ == "__main__":
    main()
