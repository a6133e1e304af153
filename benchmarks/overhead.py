"""What a pipeline costs beyond its steps: `Pipeline.run` beside the same steps applied in turn, and the ledger.

python benchmarks/overhead.py [--rows 100000]
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import load_dataset

from corpus import parquet, texts
from tilth import Pipeline
from tilth.clean import Normalize, StripHtml
from tilth.dedup import MinHash
from tilth.filters import GopherQuality, WordCount

RUNS = 5


def main() -> None:
    """Time both in turn and print the median ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/overhead.json"))
    chosen = parser.parse_args()
    datasets.disable_progress_bars()
    steps = [
        Normalize("text"),
        StripHtml("text"),
        WordCount("text", min=20),
        GopherQuality("text", min_stop_words=1),
        MinHash("text", threshold=0.8),
    ]
    ratios, ours, plain = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        table = texts(parquet("docs", Path(folder)))
        table = table.take(np.arange(chosen.rows) % table.num_rows)
        pq.write_table(pa.table({"text": table["text"]}), Path(folder) / "rows.parquet")
        for turn in range(RUNS + 1):
            seconds = []
            for work in (in_a_pipeline, one_after_another):
                # A fresh cache each time, or nothing would be done.
                cache = Path(folder) / "cache"
                source = str(Path(folder) / "rows.parquet")
                ds = load_dataset("parquet", data_files=source, split="train", cache_dir=str(cache))
                began = time.perf_counter()
                kept = work(ds, steps, cache)
                seconds.append(time.perf_counter() - began)
                shutil.rmtree(cache)
            if turn:  # The first turn compiles.
                ours.append(seconds[0])
                plain.append(seconds[1])
                ratios.append(seconds[0] / seconds[1])
        result = {
            "rows": chosen.rows,
            "kept": kept,
            "pipeline_s": round(statistics.median(ours), 3),
            "apply_s": round(statistics.median(plain), 3),
            "ratio": round(statistics.median(ratios), 3),
            "ratios": [round(ratio, 3) for ratio in ratios],
            "ledger_bytes_per_row_and_dropping_step": ledger_bytes[-1],
        }
    print(json.dumps(result, indent=1))
    chosen.json.parent.mkdir(parents=True, exist_ok=True)
    chosen.json.write_text(json.dumps(result, indent=1))


ledger_bytes: list[float] = []


def in_a_pipeline(ds, steps, cache: Path) -> int:
    """`Pipeline.run`."""
    curated = Pipeline(*steps).run(ds, cache_dir=cache / "tilth")
    dropping = sum(record.dropped_rows > 0 for record in curated.report.steps)
    ledger_bytes.append(round(curated.ledger.nbytes / len(ds) / dropping, 2))
    return len(curated.dataset)


def one_after_another(ds, steps, cache: Path) -> int:
    """`step.apply` for each step, and the result written once, as a run writes it."""
    for step in steps:
        ds = step.apply(ds)
    ds.with_format("arrow").map(
        lambda table: table, batched=True, batch_size=10_000, cache_file_name=str(cache / "o.arrow")
    )
    return len(ds)


if __name__ == "__main__":
    main()
