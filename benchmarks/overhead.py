"""What a pipeline costs beyond its steps: `Pipeline.run` beside the same steps applied in turn, and the ledger.

    python benchmarks/overhead.py [--rows 100000] [--pairs 9]

Both do the same work on the same data with a cache of their own, pair by pair, and which is first alternates, so that
a machine that grows slower or faster harms both. Time is given twice: by the clock, and as processor time of all
threads, which other processes disturb less.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow.parquet as pq
from datasets import Dataset, load_dataset

from corpus import parquet, texts
from tilth import Pipeline
from tilth.clean import Normalize, StripHtml
from tilth.dedup import MinHash
from tilth.filters import GopherQuality, WordCount
from tilth.frame import materialised

STEPS = [
    Normalize("text"),
    StripHtml("text"),
    WordCount("text", min=20),
    # Technical documentation has more symbols than the rule for web pages allows; half of the rows should stay.
    GopherQuality("text", min_alphabetic_word_ratio=0.5, min_stop_words=1),
    MinHash("text", threshold=0.8),
]


def main() -> None:
    """Time both in turn and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/overhead.json"))
    chosen = parser.parse_args()
    datasets.disable_progress_bars()
    with tempfile.TemporaryDirectory() as folder:
        source, cache = Path(folder) / "rows.parquet", Path(folder) / "cache"
        table = texts(parquet("docs", Path(folder)))
        pq.write_table(table.take(np.arange(chosen.rows) % table.num_rows), source)
        del table
        ds = load_dataset("parquet", data_files=str(source), split="train", cache_dir=str(Path(folder) / "source"))
        for work in (in_a_pipeline, one_after_another):
            # Compiles, and brings the source into the page cache.
            once(work, ds, cache)
        pairs = []
        for pair in range(chosen.pairs):
            order = (in_a_pipeline, one_after_another)[:: 1 if pair % 2 else -1]
            pairs.append({work.__name__: once(work, ds, cache) for work in order})
            print(json.dumps(pairs[-1]), flush=True)
        result = {"rows": len(ds), "pairs": len(pairs), **compared(pairs), **ledger(ds, cache)}
    print(json.dumps(result, indent=1))
    chosen.json.parent.mkdir(parents=True, exist_ok=True)
    chosen.json.write_text(json.dumps(result, indent=1))


def once(work: Callable[[Dataset, Path], object], ds: Dataset, cache: Path) -> dict[str, float]:
    """Seconds of one run with an empty cache, by the clock and of the processor."""
    cache.mkdir()
    # What an earlier run wrote must not be on its way to the disk while this one is timed.
    os.sync()
    gc.collect()
    clock, processor = time.perf_counter(), time.process_time()
    work(ds, cache)
    seconds = {"clock": time.perf_counter() - clock, "processor": time.process_time() - processor}
    gc.collect()
    shutil.rmtree(cache)
    return seconds


def in_a_pipeline(ds: Dataset, cache: Path) -> object:
    """`Pipeline.run`."""
    return Pipeline(*STEPS).run(beside(ds, cache), cache_dir=cache / "tilth")


def one_after_another(ds: Dataset, cache: Path) -> object:
    """`step.apply` for each step, and the result written once, as a run writes it."""
    ds = beside(ds, cache)
    for step in STEPS:
        ds = step.apply(ds)
    return materialised(ds)


def beside(ds: Dataset, cache: Path) -> Dataset:
    """`ds` from a file in `cache`, where `apply` then writes its own."""
    source = Path(ds.cache_files[0]["filename"])
    (cache / source.name).hardlink_to(source)
    made = Dataset.from_file(str(cache / source.name))
    made._fingerprint = ds._fingerprint
    return made


def compared(pairs: Sequence[dict[str, dict[str, float]]]) -> dict[str, Any]:
    """The pipeline over the steps alone, by each way to tell the time."""
    result: dict[str, Any] = {}
    for kind in ("clock", "processor"):
        ours = [pair["in_a_pipeline"][kind] for pair in pairs]
        plain = [pair["one_after_another"][kind] for pair in pairs]
        ratios = sorted(one / other for one, other in zip(ours, plain, strict=True))
        result[kind] = {
            "pipeline_s": round(statistics.median(ours), 3),
            "steps_s": round(statistics.median(plain), 3),
            "ratio_of_medians": round(statistics.median(ours) / statistics.median(plain), 3),
            "median_of_ratios": round(statistics.median(ratios), 3),
            "middle_half_of_ratios": [round(quarter, 3) for quarter in statistics.quantiles(ratios, n=4)[::2]],
        }
    return result


def ledger(ds: Dataset, cache: Path) -> dict[str, Any]:
    """How many rows are kept, and the bytes of the ledger for each source row and dropping step."""
    cache.mkdir()
    curated = Pipeline(*STEPS).run(ds, cache_dir=cache)
    dropping = sum(record.dropped_rows > 0 for record in curated.report.steps)
    per_row = round(curated.ledger.nbytes / len(ds) / dropping, 2)
    return {"kept": len(curated.dataset), "ledger_bytes_per_row_and_dropping_step": per_row}


if __name__ == "__main__":
    main()
