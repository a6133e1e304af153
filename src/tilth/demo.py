"""The main job on text that every machine with Python has: the documentation of its own packages.

Docstrings make natural instruction data: they are mark-up, they are short and long, good and bad, and inherited or
vendored copies make thousands of near-duplicates. Source files are parsed and never run. The same pipeline then does
the same to any data that a user names.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import time
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from datasets import Dataset

    from tilth.chat import Layout
    from tilth.pipeline import Curated, Pipeline
    from tilth.step import Step

_PAIRS = (
    ("instruction", "output"),
    ("prompt", "completion"),
    ("question", "answer"),
    ("instruction", "response"),
    ("prompt", "response"),
    ("query", "response"),
    ("problem", "solution"),
)
_TEXT_PARTS = ("instruction", "input", "output", "prompt", "completion")
_DOCUMENTS = ("text", "content", "document", "body")
_HELD_OUT = 50
_MARKUP = re.compile(r"</[a-z][a-z0-9]*\s*>|<br\s*/?>|&(?:#\d+|#x[0-9a-f]+|amp|lt|gt|quot|nbsp);", re.IGNORECASE)
_MOSTLY_MARKUP = 0.1
_FUNCTION_WORDS = (
    "a",
    "an",
    "and",
    "are",
    "be",
    "by",
    "for",
    "from",
    "if",
    "in",
    "is",
    "it",
    "of",
    "on",
    "or",
    "that",
    "the",
    "this",
    "to",
    "with",
)
_WRITTEN = {
    "data": "the rows that stayed, as Parquet",
    "rejected": "the rows that went, each with the step, the reason and the evidence",
    "report.html": "the funnel, with pictures and examples",
    "recipe.yaml": "the pipeline, for: tilth run",
    "README.md": "the dataset card",
}
_BATCH = 2_000


def build(rows: int | None = None, folder: str | Path | None = None) -> Dataset:
    """Questions about the objects of the standard library and the installed packages, answered by their docstrings.

    The rows come in the order of the packages' names and are the same on every run with the same packages. They lie in
    a file, which the dataset maps.

    Args:
        rows: the first so many of them; by default all, which are some ten thousands.
        folder: where the file is kept, by default in the cache of `datasets`.

    Returns:
        A dataset with the text columns `module`, `object`, `signature`, `question`, `answer`, `licence` and `kind`;
        an answer has the mark-up it was found with (reStructuredText, Markdown, HTML).
    """
    import pyarrow as pa
    from datasets import Dataset, config

    from tilth import docstrings
    from tilth.frame import write_batches

    schema = pa.schema([(name, pa.string()) for name in docstrings.COLUMNS])
    folder = Path(folder) if folder is not None else Path(config.HF_DATASETS_CACHE) / "tilth" / "demo"
    path = folder / f"{docstrings.key()}-{rows or 'all'}.arrow"
    if not path.exists():
        found = islice(docstrings.rows(), rows)
        batches = iter(lambda: list(islice(found, _BATCH)), [])
        write_batches(path, schema, (pa.Table.from_pylist(batch, schema) for batch in batches))
    return Dataset.from_file(str(path))


def pipeline(held_out: Dataset | str | None = None) -> Pipeline:
    """What the demo does to the rows of `build`, from raw text to conversations.

    The defaults of `GopherQuality` are for web documents of 50 words and more in English prose. An answer may be one
    sentence and hold code, so here words are counted by `WordCount`, the other bounds are wider, and one of a
    longer list of stop words is enough.

    Args:
        held_out: rows that must not come back, or the file that holds them; by default none are looked for.
    """
    from tilth import Pipeline, chat, clean, dedup, filters

    steps: list[Step | tuple[str, Step]] = [
        clean.Normalize("question", "answer"),
        clean.StripHtml("answer"),
        ("question length", filters.WordCount("question", min=3, max=100)),
        ("answer length", filters.WordCount("answer", min=5, max=1000)),
        filters.GopherQuality(
            "answer",
            min_doc_words=None,
            max_doc_words=None,
            min_avg_word_length=2.5,
            max_avg_word_length=12,
            min_alphabetic_word_ratio=0.4,
            min_stop_words=1,
            stop_words=_FUNCTION_WORDS,
        ),
        dedup.Exact("answer"),
        dedup.MinHash("answer", threshold=0.8, keep="longest"),
    ]
    if held_out is not None:
        steps.append(dedup.Decontaminate("answer", against=held_out))
    steps += [
        chat.ToMessages("prompt_completion", columns={"prompt": "question", "completion": "answer"}),
        chat.ApplyTemplate(template="chatml"),
    ]
    return Pipeline(*steps)


def pipeline_for(found: Layout | str, held_out: Dataset | str | None = None, *, markup: bool = False) -> Pipeline:
    """The same for data of any language and length: no bounds on words, and duplicates judged by all of a row.

    Args:
        found: where the text is, as `layout` gives it.
        held_out: rows whose question must not come back, or the file that holds them; by default none are looked for.
        markup: take the text out of HTML. In an answer HTML may be what was asked for.
    """
    from tilth import Pipeline, chat, clean, dedup, filters

    texts = _texts(found)
    steps: list[Step | tuple[str, Step]] = []
    if texts:
        steps += [clean.Normalize(*texts), *([clean.StripHtml(texts[-1])] if markup else [])]
        steps += [filters.WordCount(name) for name in dict.fromkeys((texts[0], texts[-1]))]
        # A list is a good answer, `#### 42` is how one benchmark ends, and prose is not all there is.
        plain = isinstance(found, str)
        steps.append(
            filters.GopherQuality(
                texts[-1],
                min_doc_words=None,
                max_doc_words=None,
                min_avg_word_length=None,
                max_avg_word_length=None,
                max_symbol_word_ratio=0.1 if plain else 0.5,
                max_bullet_lines_ratio=0.9 if plain else None,
                max_ellipsis_lines_ratio=0.3 if plain else None,
                min_alphabetic_word_ratio=None,
                min_stop_words=None,
            )
        )
    if held_out is not None and texts:
        steps.append(dedup.Decontaminate(texts[0], against=held_out))
    if not isinstance(found, str):
        steps.append(chat.ToMessages(found.format, columns=found.columns))  # type: ignore[arg-type]
        steps.append(chat.ApplyTemplate(template="chatml", on_error="null"))
    whole = found if isinstance(found, str) else "text"
    return Pipeline(*steps, dedup.Exact(whole), dedup.MinHash(whole, threshold=0.8))


def main(
    source: str | None = None, out: str | Path = "demo-out", rows: int | None = None, overwrite: bool = False
) -> Curated:
    """Build or load the rows, hold some out, run the pipeline, show the funnel and write the result.

    Args:
        source: data of your own, as `tilth.sources.load` takes it; by default the documentation on this machine.
        out: the folder to write.
        rows: the first so many rows; by default all.
        overwrite: replace what an earlier run wrote there.

    Raises:
        ArgumentError: the folder is not empty.
        SourceError: the data cannot be read, or has no text columns that the demo knows.
    """
    from rich.console import Console

    from tilth import sources
    from tilth.errors import ArgumentError
    from tilth.outfolder import check_out, save

    console = Console()
    out = Path(out)
    beside = out.with_name(f"{out.name}-held-out.parquet")
    check_out(out, overwrite)
    if beside.exists() and not overwrite:
        raise ArgumentError(f"{beside} is there already; choose another --out, or add --overwrite to replace it.")
    began = time.perf_counter()
    if source is None:
        console.print("Reading the documentation of the packages on this machine ...")
        ds = build(rows)
        rest, held_out = _hold_out(ds, "answer", "module")
    else:
        ds = sources.load(source)
        ds = ds if rows is None else ds.select(range(min(rows, len(ds))))
        found = layout(ds)
        texts = _texts(found)
        rest, held_out = _hold_out(ds, texts[0]) if texts else (ds, None)
    console.print(f"{len(ds):,} rows in {time.perf_counter() - began:.1f} s.")
    against = None
    if held_out is not None:
        # As a file, so that the recipe can name it.
        held_out.to_parquet(beside)
        against = str(beside)
        console.print(f"{len(held_out):,} of them are held out in {beside}, to decontaminate against.", soft_wrap=True)
    if source is None:
        work = pipeline(against)
    else:
        share = _share_of_markup(ds, texts[-1]) if texts else 0.0
        markup = share >= _MOSTLY_MARKUP
        if share and not markup:
            left = "left as it is, since it may be code; clean.StripHtml in a recipe takes it out"
            console.print(f"HTML in {share:.1%} of {texts[-1]!r}: {left}.", soft_wrap=True)
        work = pipeline_for(found, against, markup=markup)
    curated = work.run(rest)
    console.print(curated.report)
    began = time.perf_counter()
    save(curated, out, overwrite)
    console.print(f"Written in {time.perf_counter() - began:.1f} s:")
    for name, what in _WRITTEN.items():
        if (out / name).exists():
            console.print(f"  {out / name}  {what}", soft_wrap=True, highlight=False)
    return curated


def _hold_out(ds: Dataset, column: str, by: str | None = None) -> tuple[Dataset, Dataset | None]:
    """`ds` without a small part, and that part: about 2% of the values of the column `by`, or of the rows.

    Only rows with eight words or more in `column` are held out, because what is shorter occurs everywhere. By rows it
    is 2,000 of them at most, so that memory does not grow with the data, and none of fewer than 50.
    """
    from tilth.filters import WordCount
    from tilth.frame import Frame

    long = WordCount(column, min=8)
    verdicts = Frame(ds).map_batches(lambda table, _: long.verdict_for(table).kept, [column])
    held = np.concatenate([np.zeros(0, dtype=np.bool_), *verdicts])
    if by is not None:
        names = ds.select_columns([by]).with_format("arrow")[:][by].combine_chunks().dictionary_encode()
        digests = [hashlib.blake2b(name.encode(), digest_size=2).digest() for name in names.dictionary.to_pylist()]
        chosen = np.array([int.from_bytes(digest, "big") % _HELD_OUT == 0 for digest in digests], dtype=np.bool_)
        held &= chosen[names.indices.to_numpy()]
    else:
        candidates = np.flatnonzero(held)
        count = min(2_000, len(candidates) // _HELD_OUT)
        held[:] = False
        held[np.random.default_rng(0).choice(candidates, count, replace=False)] = True
    if not held.any() or held.all():
        return ds, None
    return ds.select(np.flatnonzero(~held)), ds.select(np.flatnonzero(held))


def _share_of_markup(ds: Dataset, column: str) -> float:
    """The share of up to 1,000 rows, evenly spread, whose text has HTML in it."""
    places = np.unique(np.linspace(0, len(ds) - 1, min(1_000, len(ds)), dtype=np.int64))
    texts = ds.select(places)[column][:]
    return sum(text is not None and _MARKUP.search(text) is not None for text in texts) / max(1, len(texts))


def _texts(found: Layout | str) -> list[str]:
    """The text columns of a layout, the question first and the answer last; none for conversations."""
    if isinstance(found, str):
        return [found]
    return [name for part, name in found.columns.items() if part in _TEXT_PARTS]


def layout(ds: Dataset) -> Layout | str:
    """Find the text of a dataset by the usual names of columns: a conversation, or the column of plain documents.

    Raises:
        SourceError: none of the usual names is there, and there is not exactly one text column.
    """
    from tilth.chat import Layout
    from tilth.chat.layout import usual
    from tilth.errors import SourceError, TilthError
    from tilth.text.strings import is_text

    schema = ds.features.arrow_schema
    texts = [name for name in schema.names if is_text(schema.field(name).type)]
    for question, answer in _PAIRS:
        if question in texts and answer in texts:
            if question != "instruction":
                return Layout("prompt_completion", {"prompt": question, "completion": answer})
            columns = {"instruction": question, "input": "input", "output": answer}
            return Layout("alpaca", {part: name for part, name in columns.items() if name in texts})
    for format in ("openai", "sharegpt"):
        with contextlib.suppress(TilthError):
            usual(format).check("the demo", schema)
            return usual(format)
    named = [name for name in _DOCUMENTS if name in texts] or texts
    if not named or (len(named) > 1 and named is texts):
        pairs = ", ".join("/".join(pair) for pair in _PAIRS)
        raise SourceError(
            f"the demo cannot tell which columns to work on among {schema.names}. It knows the pairs {pairs}; the "
            f"conversations messages and conversations; the documents {', '.join(_DOCUMENTS)}; or a single column of "
            f"text. Rename a column, or write a recipe (tilth run)."
        )
    return named[0]
