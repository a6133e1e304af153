"""MB/s and memory of `dedup.Substring` end to end, for each unit, beside a suffix array of the same bytes.

    python benchmarks/substring.py [--rows N] [--peer PYTHON] [--json FILE]

Each figure is taken in a process of its own, which reads the corpus from its cache file and writes the texts to one.
"MB/s of CPU" is text per second that a core works, which other work on the machine disturbs less. Memory is what the
process has at its peak beyond what it had before, in bytes per byte of text.

The tools that remove substrings by suffix arrays (text-dedup, datatrove) call a program in Rust that is in no package.
`--peer` is an interpreter that has pydivsufsort, whose suffix array and longest common prefixes are what such a tool
computes before it removes anything; from them the same bytes must follow as repeated.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LENGTH = 50


def main() -> None:
    """Take each figure in a process of its own and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, help="of the corpus; all of them by default")
    parser.add_argument("--peer", type=Path, help="an interpreter that has pydivsufsort, numpy and pyarrow")
    parser.add_argument("--peer-rows", type=int, default=12_000)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/substring.json"))
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.child:
        name, *arguments = chosen.child
        print(json.dumps({"ours": ours, "bytes": same_bytes, "peer": suffix_array}[name](*arguments)))
        return
    from corpus import parquet, texts

    results = []
    with tempfile.TemporaryDirectory() as folder:
        source = parquet("docs", Path(folder))
        rows = chosen.rows
        # What it takes to make the cache file is not counted.
        child(sys.executable, "ours", str(source), "200", "byte", "first", "1", folder)
        print(f"{'unit':8}{'keep':8}{'threads':>8}{'MB':>8}{'MB/s':>8}{'MB/s of CPU':>14}{'bytes/byte':>12}{'left':>8}")
        for unit, keep, threads in [
            *((unit, "first", threads) for unit in ("byte", "char", "token") for threads in (1, 2)),
            ("byte", "none", 2),
        ]:
            found = child(sys.executable, "ours", str(source), str(rows or 0), unit, keep, str(threads), folder)
            results.append({"unit": unit, "keep": keep, "threads": threads, **found})
            print(
                f"{unit:8}{keep:8}{threads:8}{found['mb']:8.0f}{found['mb'] / found['seconds']:8.1f}"
                f"{found['mb'] / found['cpu']:14.1f}{found['memory']:12.2f}{found['left']:8.1%}"
            )
        if chosen.peer is not None:
            part = Path(folder) / "part.parquet"
            import pyarrow.parquet as pq

            pq.write_table(texts(source, min(chosen.peer_rows, rows or chosen.peer_rows)), part)
            ours_here, theirs = child(sys.executable, "bytes", str(part)), child(str(chosen.peer), "peer", str(part))
            results.append({"suffix_array": theirs, "search": ours_here})
            for name, found in (("search", ours_here), ("suffix array", theirs)):
                print(
                    f"{name}: {found['mb']:.0f} MB, 1 thread, {found['mb'] / found['cpu']:.1f} MB/s of CPU, "
                    f"{found['memory']:.1f} bytes/byte, {found['repeated']:.2%} repeated"
                )
            print("the same bytes:", ours_here["digest"] == theirs["digest"])
    chosen.json.parent.mkdir(parents=True, exist_ok=True)
    chosen.json.write_text(json.dumps(results, indent=1))


def child(python: str, name: str, *arguments: str) -> dict:
    """What a function of this file says in a process of its own."""
    done = subprocess.run([python, __file__, "--child", name, *arguments], check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def ours(source: str, rows: str, unit: str, keep: str, threads: str, folder: str) -> dict:
    """The step from file to file."""
    import datasets
    import pyarrow.compute as pc

    from memory import Peaks, resident
    from tilth.dedup import Substring
    from tilth.text.threads import set_threads

    datasets.disable_progress_bars()
    ds = datasets.load_dataset("parquet", data_files=source, split="train", cache_dir=f"{folder}/cache")
    ds = ds.select_columns(["text"])
    ds = ds.select(range(int(rows))) if int(rows) else ds
    set_threads(int(threads))
    step = Substring("text", LENGTH, unit, keep)
    step.apply(ds.select(range(100)))
    size = sum(pc.sum(pc.binary_length(chunk)).as_py() for chunk in ds.data.column("text").chunks)
    before, peaks = max(resident()), Peaks()
    wall, cpu = time.perf_counter(), time.process_time()
    made = step.apply(ds)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    memory = (peaks.stop()["resident_mb"] - before) * 1e6 / size
    left = sum(pc.sum(pc.binary_length(chunk)).as_py() or 0 for chunk in made.data.column("text").chunks)
    for path in Path(folder).rglob("cache-*.arrow"):
        path.unlink()
    return {"mb": size / 1e6, "seconds": wall, "cpu": cpu, "memory": memory, "left": left / size, "rows": len(made)}


def same_bytes(source: str) -> dict:
    """The search alone on one thread, and a digest of the bytes that are repeated."""
    import numpy as np

    from memory import Peaks, resident
    from tilth.dedup._repeats import repeats
    from tilth.text.threads import set_threads

    set_threads(1)
    units, offsets = read(source)
    repeats(units[:1000].copy(), np.array([0, 1000]), LENGTH)
    before, peaks, cpu = max(resident()), Peaks(), time.process_time()
    found = repeats(units, offsets, LENGTH)
    cpu = time.process_time() - cpu
    memory = (peaks.stop()["resident_mb"] - before) * 1e6 / len(units)
    gone = np.zeros(len(units) + 1, dtype=np.int64)
    np.add.at(gone, found.begins, 1)
    np.add.at(gone, found.ends, -1)
    return {"mb": len(units) / 1e6, "cpu": cpu, "memory": memory, **digest(np.cumsum(gone)[:-1] > 0)}


def suffix_array(source: str) -> dict:
    """Suffix array and longest common prefixes, and what is repeated by them."""
    import numpy as np
    from pydivsufsort import divsufsort, kasai

    from memory import Peaks, resident

    units, offsets = read(source)
    before, peaks, cpu = max(resident()), Peaks(), time.process_time()
    order = divsufsort(units)
    common = kasai(units, order)
    cpu = time.process_time() - cpu
    memory = (peaks.stop()["resident_mb"] - before) * 1e6 / len(units)
    # Windows that are equal stand next to each other in the order; those that reach over a row's end do not count.
    group = np.concatenate([[0], np.cumsum(common[: len(order) - 1] < LENGTH)])
    row = np.searchsorted(offsets, order, side="right") - 1
    whole = order + LENGTH <= offsets[row + 1]
    order, group, row = order[whole].astype(np.int64), group[whole], row[whole]
    first = np.full(group.max() + 1, len(units), dtype=np.int64)
    np.minimum.at(first, group, order)
    copies = order[(first[group] < offsets[row]) | (order - first[group] >= LENGTH)]
    gone = np.zeros(len(units) + 1, dtype=np.int64)
    np.add.at(gone, copies, 1)
    np.add.at(gone, copies + LENGTH, -1)
    return {"mb": len(units) / 1e6, "cpu": cpu, "memory": memory, **digest(np.cumsum(gone)[:-1] > 0)}


def read(source: str) -> tuple:
    """The bytes of all texts, and where each begins."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    text = pa.concat_arrays(pq.read_table(source)["text"].cast(pa.large_string()).chunks)
    offsets = np.frombuffer(text.buffers()[1], dtype=np.int64)[: len(text) + 1].copy()
    return np.frombuffer(text.buffers()[2], dtype=np.uint8)[: offsets[-1]].copy(), offsets


def digest(gone) -> dict:
    """A share, and a hash of which bytes it is."""
    import numpy as np

    return {"repeated": float(gone.mean()), "digest": hashlib.blake2b(np.packbits(gone)).hexdigest()}


if __name__ == "__main__":
    main()
