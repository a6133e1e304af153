"""MB/s and rows/s of every step on 1 and 2 threads, beside the obvious Python and beside the peer, in one run.

    python benchmarks/throughput.py [--rows N] [--peers PYTHON] [--only NAME] [--json FILE]

The plain Python and the peer run on fewer rows, spread evenly over the same corpus, since they are slower; speeds are
per second, so they compare. They are held against our speed on as many threads as they have processes. `--peers` is an
interpreter that has the peers (`make peers`); without one their columns stay empty. A case that fails is named in the
table, and the script goes on and ends with 1.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset
from rich.console import Console
from rich.table import Table

import plain
from corpus import parquet, texts
from tilth.chat import ApplyTemplate, ToMessages
from tilth.clean import Normalize, StripHtml
from tilth.dedup import Decontaminate, Exact, MinHash
from tilth.filters import GopherQuality, WordCount
from tilth.step import Step
from tilth.text.threads import set_threads

RUNS = 3
PEER_SECONDS = 150
"""A peer that takes longer is given up."""


@dataclass(frozen=True)
class Peer:
    """A library that does the same: the name of its function in `peers.py`, and how it is shown."""

    name: str
    shown: str
    rows: int = 300
    processes: int = 1


@dataclass(frozen=True)
class Case:
    """One step on one corpus, the same in plain Python, and the peer."""

    name: str
    corpus: str
    step: Callable[[Dataset], Step]
    plain: Callable[[Dataset], Any]
    peer: Peer | None = None
    plain_rows: int = 2000
    prepare: Callable[[Dataset], Dataset] = field(default=lambda ds: ds)


def alpaca(ds: Dataset) -> Dataset:
    """Each text as an answer to its first line."""
    text = ds.with_format("arrow")[:]["text"].combine_chunks()
    first = pa.array([(one or "")[:80] for one in text.to_pylist()], pa.large_string())
    return Dataset(pa.table({"instruction": first, "output": text}), fingerprint="alpaca")


def sharegpt(ds: Dataset) -> Dataset:
    """The same as ShareGPT has it."""
    table = alpaca(ds).with_format("arrow")[:].combine_chunks()
    rows = len(ds)
    # One turn of each in turn: the places of a conversation's two values among all questions and all answers.
    places = np.stack([np.arange(rows), np.arange(rows) + rows], axis=1).ravel()
    values = pa.concat_arrays([table["instruction"].chunk(0), table["output"].chunk(0)]).take(pa.array(places))
    turns = pa.StructArray.from_arrays([pa.array(["human", "gpt"] * rows), values], names=["from", "value"])
    offsets = pa.array(np.arange(rows + 1) * 2, pa.int32())
    return Dataset(pa.table({"conversations": pa.ListArray.from_arrays(offsets, turns)}), fingerprint="sharegpt")


def messages(ds: Dataset) -> Dataset:
    """The same as messages alone."""
    return ToMessages().apply(alpaca(ds)).select_columns("messages")


def against_the_first(ds: Dataset) -> Step:
    """Decontamination against the first texts."""
    first = ds.with_format("arrow")[: plain.BENCHMARK_ROWS]
    return Decontaminate("text", against=Dataset(first), ngram=plain.NGRAM)


CASES = [
    Case("Normalize", "docs", lambda _: Normalize("text"), plain.normalize, Peer("normalize", "ftfy.fix_text")),
    Case(
        "Normalize, clean ASCII",
        "ascii",
        lambda _: Normalize("text"),
        plain.normalize,
        Peer("normalize", "ftfy.fix_text"),
    ),
    Case("StripHtml", "html", lambda _: StripHtml("text"), plain.strip_html, Peer("strip_html", "resiliparse")),
    Case(
        "WordCount",
        "docs",
        lambda _: WordCount("text", 3, 400),
        plain.word_count,
        Peer("word_count", "datatrove Gopher, words only"),
    ),
    Case(
        "GopherQuality", "docs", lambda _: GopherQuality("text"), plain.gopher, Peer("gopher", "datatrove Gopher", 300)
    ),
    Case("Exact", "docs", lambda _: Exact("text"), plain.exact, Peer("exact", "text-dedup exact", 20_000)),
    Case(
        "Exact, bytes",
        "docs",
        lambda _: Exact("text", normalize=False),
        plain.exact_bytes,
        Peer("drop_duplicates", "pandas drop_duplicates", 60_000),
    ),
    Case(
        "MinHash",
        "docs",
        lambda _: MinHash("text", threshold=0.8),
        plain.minhash,
        Peer("minhash", "text-dedup MinHash", 6000, processes=2),
        plain_rows=500,
    ),
    Case(
        "Decontaminate",
        "docs",
        against_the_first,
        plain.decontaminate,
        Peer("decontaminate", "datatrove n-grams"),
    ),
    Case("ToMessages, Alpaca", "docs", lambda _: ToMessages(), plain.alpaca, prepare=alpaca),
    Case(
        "ToMessages, ShareGPT",
        "docs",
        lambda _: ToMessages(),
        plain.sharegpt,
        Peer("chatml", "TRL maybe_convert_to_chatml", 2000),
        prepare=sharegpt,
    ),
    Case(
        "ApplyTemplate",
        "docs",
        lambda _: ApplyTemplate(template="chatml"),
        plain.chatml,
        Peer("template", "transformers", 2000),
        prepare=messages,
    ),
]


def main() -> int:
    """Run all cases, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, help="rows of each corpus, by default all")
    parser.add_argument("--peers", type=Path, help="an interpreter that has the peers")
    parser.add_argument("--only", help="cases whose name contains this")
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/throughput.json"))
    chosen = parser.parse_args()
    datasets.disable_progress_bars()
    datasets.disable_caching()
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for case in CASES:
            if not chosen.only or chosen.only.lower() in case.name.lower():
                results.append(measure(case, chosen, Path(folder)))
                print(json.dumps(results[-1]), file=sys.stderr)
    chosen.json.parent.mkdir(parents=True, exist_ok=True)
    chosen.json.write_text(json.dumps(results, indent=1))
    show(results)
    return int(any(one["failed"] for one in results))


def measure(case: Case, chosen: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Speeds of one case; what failed is said under `failed`."""
    result: dict[str, Any] = {"step": case.name, "corpus": case.corpus, "failed": {}}
    began = time.perf_counter()
    try:
        path = corpus_of(case.corpus, folder)
        ds = case.prepare(Dataset(texts(path, chosen.rows), fingerprint=case.corpus))
        result |= {"rows": len(ds), "mb": round(ds.data.nbytes / 1e6, 1)}
    except Exception:
        result["failed"]["corpus"] = traceback.format_exc(limit=-1)
        return result
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "step": lambda: ours(case, ds),
        "plain": lambda: by_hand(case, ds, result),
    }
    if case.peer is not None and chosen.peers is not None:
        parts["peer"] = lambda: by_peer(case.peer, chosen.peers, path, chosen.rows, result)
    if case.name == "MinHash":
        parts["parquet"] = lambda: {"beside_reading": minhash_beside_reading(path, chosen.rows)}
    for name, part in parts.items():
        try:
            result |= part()
        except Exception as error:
            result["failed"][name] = f"{type(error).__name__}: {error}"
    set_threads(None)
    result["took_s"] = round(time.perf_counter() - began, 1)
    return result


def ours(case: Case, ds: Dataset) -> dict[str, Any]:
    """The step on 1 and on 2 threads."""
    step = case.step(ds)
    step.apply(ds.select(range(min(200, len(ds)))))
    speeds: dict[str, Any] = {}
    for threads in (1, 2):
        set_threads(threads)
        seconds = statistics.median(timed(lambda: step.apply(ds)) for _ in range(RUNS))
        speeds |= {f"mb_s_{threads}": ds.data.nbytes / 1e6 / seconds, f"rows_s_{threads}": len(ds) / seconds}
    return speeds


def by_hand(case: Case, ds: Dataset, result: dict[str, Any]) -> dict[str, Any]:
    """The same in plain Python, on fewer rows."""
    part = Dataset(ds.with_format("arrow")[spread(len(ds), case.plain_rows)].combine_chunks(), fingerprint="part")
    case.plain(part.select(range(min(2, len(part)))))
    seconds = timed(lambda: case.plain(part))
    return beside("plain", part.data.nbytes / 1e6 / seconds, len(part) / seconds, result.get("mb_s_1"))


def by_peer(peer: Peer, python: Path, path: Path, rows: int | None, result: dict[str, Any]) -> dict[str, Any]:
    """The peer, in a process of its own."""
    command = [python, Path(__file__).with_name("peers.py"), peer.name, path, peer.rows, rows or 0]
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, check=False, timeout=PEER_SECONDS
    )
    if done.returncode:
        raise RuntimeError(f"{peer.shown} ended with {done.returncode}: {done.stderr[-500:]}")
    said = json.loads(done.stdout.splitlines()[-1])
    speeds = said["bytes"] / 1e6 / said["seconds"], said["rows"] / said["seconds"]
    return {"peer": peer.shown} | beside("peer", *speeds, result.get(f"mb_s_{peer.processes}"))


def beside(who: str, mb_s: float, rows_s: float, ours: float | None) -> dict[str, float]:
    """Their speed, and how many times as fast we are."""
    return {f"{who}_mb_s": mb_s, f"{who}_rows_s": rows_s} | ({f"x_{who}": ours / mb_s} if ours else {})


def spread(rows: int, wanted: int) -> np.ndarray:
    """So many of all rows, evenly spread; `peers.py` takes the same."""
    return np.linspace(0, rows - 1, min(rows, wanted)).astype(np.int64)


def corpus_of(name: str, folder: Path) -> Path:
    """The corpus, or for `ascii` what of it is plain ASCII and needs no cleaning."""
    if name != "ascii":
        return parquet(name, folder)
    made = folder / "ascii.parquet"
    if not made.exists():
        text = texts(parquet("docs", folder))["text"].combine_chunks().to_pylist()
        clean = [Normalize("text")({"text": [one for one in text if one and one.isascii()]})["text"]]
        pq.write_table(pa.table({"text": pa.array(clean[0], pa.large_string())}), made)
    return made


def minhash_beside_reading(path: Path, rows: int | None) -> dict[str, float]:
    """MinHash from Parquet to the list of kept rows on 2 threads, over pyarrow's time to read that file, in turn."""
    set_threads(2)
    step = MinHash("text", threshold=0.8)
    ratios, reads, ours = [], [], []
    for _ in range(2 * RUNS + 1):
        reads.append(timed(lambda: pq.read_table(path)))
        table = pq.read_table(path, columns=["text"])
        ds = Dataset(table if rows is None else table.slice(0, rows), fingerprint="read")
        ours.append(timed(lambda: step.run(ds)))  # noqa: B023
        ratios.append(ours[-1] / reads[-1])
    return {
        "read_s": round(statistics.median(reads), 3),
        "minhash_s": round(statistics.median(ours), 3),
        "ratio": round(statistics.median(ratios), 2),
    }


def timed(work: Callable[[], Any]) -> float:
    """Seconds of one call."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def show(results: list[dict[str, Any]]) -> None:
    """Print the table: what failed stands in it as a dash and below it in words."""
    table = Table("step", "MB", "rows", title="speeds: 1 thread, 2 threads, plain Python, peer", title_justify="left")
    for heading in ("MB/s 1", "2", "rows/s 1", "2", "plain MB/s", "rows/s", "x", "peer MB/s", "rows/s", "x"):
        table.add_column(heading, justify="right")
    table.add_column("peer")
    keys = ["mb_s_1", "mb_s_2", "rows_s_1", "rows_s_2", "plain_mb_s", "plain_rows_s", "x_plain"]
    keys += ["peer_mb_s", "peer_rows_s", "x_peer"]
    for one in results:
        cells = [shown(one.get(key)) for key in ("mb", "rows", *keys)]
        table.add_row(one["step"], *cells, one.get("peer", ""))
    console = Console(width=190)
    console.print(table)
    for one in results:
        if "beside_reading" in one:
            console.print(f"{one['step']} beside pyarrow reading the same Parquet file: {one['beside_reading']}")
        for what, why in one["failed"].items():
            console.print(f"FAILED: {one['step']}, {what}: {why}", markup=False)


def shown(speed: float | None) -> str:
    """Three figures, which is what a speed is worth."""
    if speed is None:
        return "-"
    return f"{speed:,.0f}" if speed >= 100 else f"{speed:.3g}"


if __name__ == "__main__":
    sys.exit(main())
