"""The text that benchmarks run on: a real corpus where one is present, else what the demo makes of this machine."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

DATA = Path(os.environ.get("TILTH_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))


def parquet(name: str, folder: Path) -> Path:
    """The Parquet file of a corpus (`docs`, `html`, `man`), with a column `text`; made under `folder` if need be."""
    found = DATA / "corpus" / f"{name}.parquet"
    if found.exists():
        return found
    from tilth.demo import build

    made = folder / "demo.parquet"
    if not made.exists():
        rows = build().with_format("arrow")[:]
        pq.write_table(pa.table({"text": rows["answer"]}), made)
    return made


def texts(path: Path, rows: int | None = None) -> pa.Table:
    """The column `text` of a corpus, the first `rows` of it, as `string` in chunks of a thousand rows."""
    table = pq.read_table(path, columns=["text"])
    table = table if rows is None else table.slice(0, rows)
    text = table["text"].cast(pa.large_string()).combine_chunks()
    text = text if isinstance(text, pa.Array) else pa.concat_arrays(text.chunks)
    return pa.table({"text": pa.chunked_array([text[at : at + 1000] for at in range(0, len(text), 1000)])})
