"""MB/s and rows/s of every step on 1 and 2 threads, beside the obvious `ds.map` and beside the peer, in one run.

    python benchmarks/throughput.py [--rows N] [--peers PYTHON] [--json FILE]

The peer and the plain Python run on fewer rows of the same corpus, since they are slower; speeds are per second, so
they compare. `--peers` is an interpreter that has the peers (`make peers`); without one its columns stay empty.
"""

from __future__ import annotations

import argparse
import html
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset
from rich.console import Console
from rich.table import Table

from corpus import parquet, texts
from tilth.chat import ApplyTemplate, ToMessages
from tilth.clean import Normalize, StripHtml
from tilth.dedup import Decontaminate, Exact, MinHash
from tilth.filters import GopherQuality, WordCount
from tilth.step import Step
from tilth.text.threads import set_threads

RUNS = 3


@dataclass
class Case:
    """One step on one corpus, the same by `ds.map`, and the peer's name for it."""

    name: str
    corpus: str
    step: Callable[[Dataset], Step]
    plain: Callable[[dict[str, Any]], Any] | None = None
    peer: str | None = None
    peer_rows: int = 300
    prepare: Callable[[Dataset], Dataset] = lambda ds: ds


def words(text: str) -> list[str]:
    """Words as anybody would split them."""
    return re.findall(r"\w+", text)


def gopher(row: dict[str, Any]) -> bool:
    """The Gopher rules as anybody would write them."""
    found = row["text"].split()
    lines = row["text"].splitlines() or [""]
    mean = sum(map(len, found)) / max(1, len(found))
    return (
        50 <= len(found) <= 100_000
        and 3 <= mean <= 10
        and row["text"].count("#") / len(found) <= 0.1
        and (row["text"].count("...") + row["text"].count("…")) / len(found) <= 0.1
        and sum(line.lstrip().startswith(("•", "-")) for line in lines) / len(lines) <= 0.9
        and sum(line.rstrip().endswith(("...", "…")) for line in lines) / len(lines) <= 0.3
        and sum(any(c.isalpha() for c in word) for word in found) / len(found) >= 0.8
        and len({"the", "be", "to", "of", "and", "that", "have", "with"} & set(found)) >= 2
    )


def normalize(row: dict[str, Any]) -> dict[str, Any]:
    """Unicode form, control characters and white space as anybody would."""
    text = unicodedata.normalize("NFC", row["text"])
    text = re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", "", text)
    return {"text": re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE).strip()}


def strip_html(row: dict[str, Any]) -> dict[str, Any]:
    """Tags by a regular expression, as anybody should not."""
    text = re.sub(r"<(script|style).*?</\1>", "", row["text"], flags=re.DOTALL | re.IGNORECASE)
    return {"text": html.unescape(re.sub(r"<[^>]+>", " ", text))}


def messages(row: dict[str, Any]) -> dict[str, Any]:
    """An Alpaca row as messages."""
    return {
        "messages": [{"role": "user", "content": row["instruction"]}, {"role": "assistant", "content": row["output"]}]
    }


def chatml(row: dict[str, Any]) -> dict[str, Any]:
    """Messages as ChatML."""
    return {"text": "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in row["messages"])}


def as_pairs(ds: Dataset) -> Dataset:
    """Each text as an answer to its first line."""
    table = ds.with_format("arrow")[:]
    first = pa.array([(text or "")[:80] for text in table["text"].to_pylist()])
    return Dataset(pa.table({"instruction": first, "output": table["text"]}))


def as_messages(ds: Dataset) -> Dataset:
    """The same as messages alone."""
    return ToMessages().apply(as_pairs(ds)).select_columns("messages")


def benchmark(ds: Dataset) -> Step:
    """Decontamination against the first hundred texts."""
    return Decontaminate("text", against=Dataset(pa.table({"text": ds.with_format("arrow")[:100]["text"]})))


CASES = [
    Case("Normalize", "docs", lambda _: Normalize("text"), normalize, "normalize"),
    Case("Normalize, clean ASCII", "ascii", lambda _: Normalize("text"), normalize, "normalize"),
    Case("StripHtml", "html", lambda _: StripHtml("text"), strip_html, "strip_html"),
    Case(
        "WordCount",
        "docs",
        lambda _: WordCount("text", 3, 400),
        lambda r: 3 <= len(words(r["text"])) <= 400,
        "word_count",
    ),
    Case("GopherQuality", "docs", lambda _: GopherQuality("text"), gopher, "gopher"),
    Case("Exact", "docs", lambda _: Exact("text"), None, None),
    Case("MinHash", "docs", lambda _: MinHash("text", threshold=0.8), None, "minhash", 6000),
    Case("Decontaminate", "docs", benchmark, None, "decontaminate"),
    Case("ToMessages", "docs", lambda _: ToMessages(), messages, None, prepare=as_pairs),
    Case("ApplyTemplate", "docs", lambda _: ApplyTemplate(template="chatml"), chatml, None, prepare=as_messages),
]


def main() -> None:
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
        show(results, reading(parquet("docs", Path(folder))))
    chosen.json.parent.mkdir(parents=True, exist_ok=True)
    chosen.json.write_text(json.dumps(results, indent=1))


def measure(case: Case, chosen: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Speeds of one case."""
    path = corpus_of(case.corpus, folder)
    ds = case.prepare(Dataset(texts(path, chosen.rows), fingerprint=case.corpus))
    step = case.step(ds)
    size = ds.data.nbytes / 1e6
    step.apply(ds.select(range(min(200, len(ds)))))
    result: dict[str, Any] = {"step": case.name, "corpus": case.corpus, "rows": len(ds), "mb": round(size, 1)}
    for threads in (1, 2):
        set_threads(threads)
        seconds = statistics.median(timed(lambda: step.apply(ds)) for _ in range(RUNS))
        result[f"mb_s_{threads}"] = round(size / seconds, 1)
        result[f"rows_s_{threads}"] = round(len(ds) / seconds)
    set_threads(None)
    if case.plain is not None:
        part = ds.select(range(min(len(ds), 2000)))
        part = Dataset(part.with_format("arrow")[:])
        # What the function gives says whether it maps or filters.
        work = part.filter if isinstance(case.plain(part[0]), bool) else part.map
        seconds = timed(lambda: work(case.plain))
        result["plain_mb_s"] = round(part.data.nbytes / 1e6 / seconds, 2)
        result["x_plain"] = round(result["mb_s_1"] / result["plain_mb_s"], 1)
    if case.peer is not None and chosen.peers is not None:
        command = [chosen.peers, Path(__file__).with_name("peers.py"), case.peer, path, str(case.peer_rows)]
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            said = json.loads(done.stdout.splitlines()[-1])
            result["peer"] = case.peer
            result["peer_mb_s"] = round(said["bytes"] / 1e6 / said["seconds"], 2)
            result["peer_rows_s"] = round(said["rows"] / said["seconds"])
            ours = result["mb_s_2" if case.peer == "minhash" else "mb_s_1"]
            result["x_peer"] = round(ours / result["peer_mb_s"], 1)
        else:
            print(done.stderr[-500:], file=sys.stderr)
    if case.name == "MinHash":
        result["x_parquet_read"] = minhash_beside_reading(path, chosen.rows)
    return result


def corpus_of(name: str, folder: Path) -> Path:
    """The corpus, or for `ascii` what of it is plain ASCII and needs no cleaning."""
    if name != "ascii":
        return parquet(name, folder)
    made = folder / "ascii.parquet"
    if not made.exists():
        clean = [text for text in texts(parquet("docs", folder))["text"].to_pylist() if text and text.isascii()]
        clean = [normalize({"text": re.sub(r"\n{3,}", "\n\n", text)})["text"] for text in clean]
        pq.write_table(pa.table({"text": pa.array(clean, pa.large_string())}), made)
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
    set_threads(None)
    return {
        "read_s": round(statistics.median(reads), 3),
        "minhash_s": round(statistics.median(ours), 3),
        "ratio": round(statistics.median(ratios), 2),
    }


def reading(path: Path) -> float:
    """Seconds that pyarrow takes to read the corpus."""
    return statistics.median(timed(lambda: pq.read_table(path)) for _ in range(RUNS))


def timed(work: Callable[[], Any]) -> float:
    """Seconds of one call."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def show(results: list[dict[str, Any]], read_seconds: float) -> None:
    """Print the table."""
    table = Table("step", "corpus MB", "MB/s 1 thread", "2 threads", "rows/s 2", "ds.map MB/s", "x", "peer MB/s", "x")
    for one in results:
        cells = [one["mb"], one["mb_s_1"], one["mb_s_2"], one["rows_s_2"]]
        cells += [one.get(key, "") for key in ("plain_mb_s", "x_plain", "peer_mb_s", "x_peer")]
        table.add_row(one["step"], *(f"{cell:,}" if cell != "" else "" for cell in cells))
    console = Console(width=140)
    console.print(table)
    console.print(f"pyarrow reads the corpus in {read_seconds:.2f} s")
    for one in results:
        if "x_parquet_read" in one:
            console.print(f"{one['step']}: {one['x_parquet_read']}")


if __name__ == "__main__":
    main()
