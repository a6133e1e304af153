"""Near-duplicate removal by other tools: run by an interpreter that has them, prints one JSON line.

    python -P peers_dedup.py TOOL CORPUS.parquet --ngram 5 --bands 16 --rows 8 --threshold 0.8

The tools ask for versions that exclude each other and ours, so they live in an environment of their own and nothing
here imports tilth. Each goes from Parquet to the list of kept rows, tokenising included, on two cores, and is used as
its own documentation says.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import pickle
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

_WORD = re.compile(r"\w+")
_BLACK = re.compile(r"\S")
_AT_ONCE = 250
Dropped = dict[int, int]
"""The row that stands for each dropped row; -1 where a tool names none."""


def text_dedup(path: Path, work: Path, asked: argparse.Namespace) -> tuple[float, int, Dropped]:
    """text-dedup's command line. `--min-length 1`, since by default rows of fewer than 5 words are thrown away."""
    from text_dedup.minhash import main

    arguments = ["--path", "parquet", "--data_files", str(path), "--split", "train", "--column", "text", "--debug"]
    arguments += ["--cache_dir", str(work), "--output", str(work / "out"), "--num_proc", str(asked.processes)]
    arguments += ["--ngram", str(asked.ngram), "--threshold", str(asked.threshold), "--min_length", "1"]
    arguments += ["--num_perm", str(asked.perms or asked.bands * asked.rows), "--batch_size", "10000"]
    if not asked.perms:
        arguments += ["--b", str(asked.bands), "--r", str(asked.rows)]
    began = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        main(arguments, standalone_mode=False)
    seconds = time.perf_counter() - began
    with (work / "out" / "uf.pkl").open("rb") as file:
        clusters = pickle.load(file)
    dropped = {row: root for row in sorted(clusters.parent) if (root := clusters.find(row)) != row}
    return seconds, pq.read_metadata(path).num_rows - len(dropped), dropped


def rensa(path: Path, work: Path, asked: argparse.Namespace) -> tuple[float, int, Dropped]:
    """Rensa's full-set sketches of word n-grams that Python makes, and its deduplicator.

    Timed twice, and the quicker time given: in one process, where Rensa itself uses two threads, and with the sketches
    made in two processes.
    """
    from rensa import RMinHash, RMinHashDeduplicator

    perms = asked.bands * asked.rows
    began = time.perf_counter()
    texts = pq.read_table(path, columns=["text"])["text"].to_pylist()
    finder = RMinHashDeduplicator(threshold=asked.threshold, num_perm=perms, use_lsh=True, num_bands=asked.bands)
    made = RMinHash.from_token_sets(
        [shingles(text, asked.ngram, asked.unit) for text in texts], num_perm=perms, seed=42
    )
    kept = finder.add_pairs((str(row), sketch) for row, sketch in enumerate(made))
    seconds = time.perf_counter() - began
    if asked.processes > 1:
        began = time.perf_counter()
        texts = pq.read_table(path, columns=["text"])["text"].to_pylist()
        finder = RMinHashDeduplicator(threshold=asked.threshold, num_perm=perms, use_lsh=True, num_bands=asked.bands)
        parts = [(texts[at : at + _AT_ONCE], asked.ngram, asked.unit, perms) for at in range(0, len(texts), _AT_ONCE)]
        os.environ["RAYON_NUM_THREADS"] = "1"
        with get_context("spawn").Pool(asked.processes) as pool:
            sketches = (sketch for part in pool.imap(_sketched, parts) for sketch in part)
            finder.add_pairs((str(row), sketch) for row, sketch in enumerate(sketches))
        seconds = min(seconds, time.perf_counter() - began)
    finder = RMinHashDeduplicator(threshold=asked.threshold, num_perm=perms, use_lsh=True, num_bands=asked.bands)
    dropped: Dropped = {}
    for row, (stays, sketch) in enumerate(zip(kept, made, strict=True)):
        if stays:
            finder.add(str(row), sketch)
        else:
            similar = {int(key): made[int(key)].jaccard(sketch) for key in finder.get_duplicates(sketch)}
            dropped[row] = max(similar, key=lambda other: (similar[other], -other)) if similar else -1
    return seconds, sum(kept), dropped


def rensa_rho(path: Path, work: Path, asked: argparse.Namespace) -> tuple[float, int, Dropped]:
    """Rensa's quick path, which sketches a sample of the places in a text, as its own benchmark runs it."""
    from rensa import RMinHash, RMinHashLSH

    perms = asked.bands * asked.rows
    began = time.perf_counter()
    texts = pq.read_table(path, columns=["text"])["text"].to_pylist()
    tokens = [shingles(text, asked.ngram, asked.unit) for text in texts]
    matrix = RMinHash.digest_matrix_from_token_sets_rho(tokens, num_perm=perms, seed=42)
    index = RMinHashLSH(threshold=asked.threshold, num_perm=perms, num_bands=asked.bands)
    copies = index.query_duplicate_flags_matrix_one_shot(matrix)
    seconds = time.perf_counter() - began
    # It flags every row that has a partner; of each pair one would go.
    dropped = {row: -1 for row, copy in enumerate(copies) if copy}
    return seconds, len(texts) - len(dropped), dropped


def datatrove(path: Path, work: Path, asked: argparse.Namespace) -> tuple[float, int, Dropped]:
    """datatrove's four stages on two workers; its own tokeniser for English and its own normalisation."""
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.dedup import (
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupFilter,
        MinhashDedupSignature,
    )
    from datatrove.pipeline.dedup.minhash import MinhashConfig
    from datatrove.pipeline.readers import ParquetReader
    from datatrove.pipeline.writers import JsonlWriter

    # A worker takes whole files.
    table = pq.read_table(path, columns=["text"])
    (work / "in").mkdir()
    share = -(-table.num_rows // asked.processes)
    for place in range(asked.processes):
        part = table.slice(place * share, share)
        ids = [str(row) for row in range(place * share, place * share + part.num_rows)]
        pq.write_table(part.append_column("id", [ids]), work / "in" / f"{place}.parquet")
    config = MinhashConfig(n_grams=asked.ngram, num_buckets=asked.bands, hashes_per_bucket=asked.rows)
    names = {name: str(work / name) for name in ("in", "signatures", "buckets", "remove", "kept")}
    reader = {"data_folder": names["in"], "glob_pattern": "*.parquet"}
    stages = [
        (asked.processes, [ParquetReader(**reader), MinhashDedupSignature(names["signatures"], config=config)]),
        (asked.bands, [MinhashDedupBuckets(names["signatures"], names["buckets"], config=config)]),
        (1, [MinhashDedupCluster(names["buckets"], names["remove"], config=config)]),
        (
            asked.processes,
            [
                ParquetReader(**reader),
                MinhashDedupFilter(names["remove"]),
                JsonlWriter(names["kept"], compression=None),
            ],
        ),
    ]
    began = time.perf_counter()
    for stage, (tasks, pipeline) in enumerate(stages):
        workers = min(tasks, asked.processes)
        LocalPipelineExecutor(pipeline, tasks, workers, logging_dir=str(work / f"log{stage}")).run()
    kept = {int(json.loads(line)["id"]) for file in sorted((work / "kept").glob("*.jsonl")) for line in file.open()}
    seconds = time.perf_counter() - began
    return seconds, len(kept), {row: -1 for row in range(table.num_rows) if row not in kept}


TOOLS: dict[str, Callable[[Path, Path, argparse.Namespace], tuple[float, int, Dropped]]] = {
    "text-dedup": text_dedup,
    "rensa": rensa,
    "rensa rho": rensa_rho,
    "datatrove": datatrove,
}


def shingles(text: str, ngram: int, unit: str) -> list[str]:
    """N-grams of words, or of characters, as a careful user of Python writes them; a text of fewer units is one."""
    units = _WORD.findall(text.lower()) if unit == "word" else _BLACK.findall(text.lower())
    made = list(map(" ".join, zip(*(units[at:] for at in range(ngram)), strict=False)))
    return made or [" ".join(units)]


def _sketched(part: tuple[list[str], int, str, int]) -> list[Any]:
    from rensa import RMinHash

    texts, ngram, unit, perms = part
    made: list[Any] = RMinHash.from_token_sets([shingles(text, ngram, unit) for text in texts], num_perm=perms, seed=42)
    return made


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Whatever a tool prints goes to standard error, so that standard output is the one line."""
    line = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(line, 1)


def main() -> None:
    """Run the tool that was asked for and print what it took and did."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("tool", choices=TOOLS)
    parser.add_argument("path", type=Path)
    parser.add_argument("--ngram", type=int, default=5)
    parser.add_argument("--unit", choices=["word", "char"], default="word", help="for rensa, which takes any shingles")
    parser.add_argument("--bands", type=int, default=16)
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--threshold", type=float, default=0.8)
    parser.add_argument("--perms", type=int, default=0, help="let text-dedup choose the bands of so many permutations")
    parser.add_argument("--processes", type=int, default=2)
    asked = parser.parse_args()
    os.environ.setdefault("RAYON_NUM_THREADS", str(asked.processes))
    with tempfile.TemporaryDirectory() as folder, _quiet():
        seconds, kept, dropped = TOOLS[asked.tool](asked.path.resolve(), Path(folder), asked)
    print(json.dumps({"seconds": seconds, "kept": kept, "dropped": list(dropped.items())}))


if __name__ == "__main__":
    main()
