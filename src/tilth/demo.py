"""The main job on text that every machine with Python has: the documentation of its own packages.

Docstrings make natural instruction data: they are mark-up, they are short and long, good and bad, and inherited or
vendored copies make thousands of near-duplicates. Source files are parsed and never run. The same pipeline then does
the same to any data that a user names.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import platform
import re
import sysconfig
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from datasets import Dataset

    from tilth.chat import Layout
    from tilth.pipeline import Curated, Pipeline
    from tilth.step import Step

VERSION = 1
"""Raised when the same packages would give other rows."""
COLUMNS = ("module", "object", "signature", "question", "answer", "licence", "kind")
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
_NOT_API = frozenset({"test", "tests", "_tests", "idle_test", "site-packages", "dist-packages"})
_LONGEST_SIGNATURE = 300
_ASK = {
    "function": (
        "What does `{object}` do?",
        "How do I use the function `{name}` of `{module}`?",
        "Explain the Python function `{signature}` from `{module}`.",
        "Write the documentation of `{signature}`.",
        "In `{package}` I found `{object}`. What is it for, and what does it return?",
    ),
    "method": (
        "What does the method `{object}` do?",
        "How do I use `{object}` in `{package}`?",
        "Explain the method `{signature}` of `{owner}`.",
        "Write the documentation of the method `{signature}` in `{module}`.",
        "When would I call `{object}`?",
    ),
    "class": (
        "What is the class `{object}` for?",
        "How do I use `{name}` from `{module}`?",
        "Explain the class `{signature}` of the package `{package}`.",
        "Describe `{object}` and its parameters.",
    ),
    "module": (
        "What is the module `{module}` for?",
        "Give an overview of `{module}`.",
        "What do I find in the Python module `{module}`?",
    ),
    "package": (
        "What is the Python package `{name}`?",
        "Introduce the package `{name}` to someone who has never used it.",
        "Show me the description of `{name}`.",
    ),
}


def build(rows: int | None = None, folder: str | Path | None = None) -> Dataset:
    """Questions about the objects of the standard library and the installed packages, answered by their docstrings.

    The rows come in the order of the packages' names and are the same on every run with the same packages. They lie in
    a file, which the dataset maps.

    Args:
        rows: the first so many of them; by default all, which are some ten thousands.
        folder: where the file is kept, by default in the cache of `datasets`.

    Returns:
        A dataset with the text columns `COLUMNS`; `answer` has the mark-up it was found with (reStructuredText,
        Markdown, HTML).
    """
    import pyarrow as pa
    from datasets import Dataset, config

    from tilth.frame import write_batches

    schema = pa.schema([(name, pa.string()) for name in COLUMNS])
    folder = Path(folder) if folder is not None else Path(config.HF_DATASETS_CACHE) / "tilth" / "demo"
    path = folder / f"docstrings-{_key(rows)}.arrow"
    if not path.exists():
        found = islice(_rows(), rows)
        batches = iter(lambda: list(islice(found, _BATCH)), [])
        write_batches(path, schema, (pa.Table.from_pylist(batch, schema) for batch in batches))
    return Dataset.from_file(str(path))


def pipeline(held_out: Dataset | None = None) -> Pipeline:
    """What the demo does to the rows of `build`, from raw text to conversations.

    The defaults of `GopherQuality` are for web documents of 50 words and more in English prose. An answer may be one
    sentence and hold code, so here words are counted by `WordCount`, the other bounds are wider, and one of a
    longer list of stop words is enough.

    Args:
        held_out: rows that must not come back; by default none are looked for.
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


def pipeline_for(found: Layout | str, held_out: Dataset | None = None) -> Pipeline:
    """The same for data of any language and length: no bounds on words, and duplicates judged by all of a row.

    Args:
        found: where the text is, as `layout` gives it.
        held_out: rows whose question must not come back; by default none are looked for.
    """
    from tilth import Pipeline, chat, clean, dedup, filters

    texts = [found] if isinstance(found, str) else [name for part, name in found.columns.items() if part in _TEXT_PARTS]
    steps: list[Step | tuple[str, Step]] = []
    if texts:
        steps += [clean.Normalize(*texts), clean.StripHtml(texts[-1])]
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
    from tilth.filters import WordCount
    from tilth.outfolder import check_out, save

    console = Console()
    out = Path(out)
    check_out(out, overwrite)
    began = time.perf_counter()
    if source is None:
        console.print("Reading the documentation of the packages on this machine ...")
        ds = build(rows)
        rest, held_out = _hold_out(ds, "module")
        if held_out is not None:
            # What is shorter is not looked for, because it occurs everywhere.
            held_out = WordCount("answer", min=8).apply(held_out)
        work = pipeline(held_out)
    else:
        ds = sources.load(source)
        ds = ds if rows is None else ds.select(range(min(rows, len(ds))))
        rest, held_out = _hold_out(ds)
        work = pipeline_for(layout(ds), held_out)
    held = f"; {len(held_out):,} of them held out to decontaminate against" if held_out is not None else ""
    console.print(f"{len(ds):,} rows in {time.perf_counter() - began:.1f} s{held}.")
    curated = work.run(rest)
    console.print(curated.report)
    began = time.perf_counter()
    save(curated, out, overwrite)
    console.print(f"Written in {time.perf_counter() - began:.1f} s:")
    for name, what in _WRITTEN.items():
        if (out / name).exists():
            console.print(f"  {out / name}  {what}", soft_wrap=True, highlight=False)
    return curated


def _hold_out(ds: Dataset, by: str | None = None) -> tuple[Dataset, Dataset | None]:
    """`ds` without a small part, and that part: about 2% of the values of the column `by`, or of the rows.

    By rows it is 2,000 of them at most, so that memory does not grow with the data, and none of fewer than 50.
    """
    if by is not None:
        names = ds.select_columns([by]).with_format("arrow")[:][by].combine_chunks().dictionary_encode()
        digests = [hashlib.blake2b(name.encode(), digest_size=2).digest() for name in names.dictionary.to_pylist()]
        chosen = np.array([int.from_bytes(digest, "big") % _HELD_OUT == 0 for digest in digests], dtype=np.bool_)
        held = chosen[names.indices.to_numpy()]
    else:
        held = np.zeros(len(ds), dtype=np.bool_)
        count = min(2_000, len(ds) // _HELD_OUT)
        held[np.random.default_rng(0).choice(len(ds), count, replace=False)] = True
    if not held.any() or held.all():
        return ds, None
    return ds.select(np.flatnonzero(~held)), ds.select(np.flatnonzero(held))


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


def _key(rows: int | None) -> str:
    installed = [f"{distribution.name} {distribution.version}" for distribution in _distributions()]
    said = "\n".join([str(VERSION), platform.python_version(), str(rows), *installed])
    return hashlib.blake2b(said.encode(), digest_size=8).hexdigest()


def _rows() -> Iterator[dict[str, str]]:
    for path, module in _library_files():
        yield from _rows_of_file(path, module, "python", "PSF-2.0")
    for distribution in _distributions():
        licence = _licence(distribution)
        for path, module in _files(distribution):
            yield from _rows_of_file(path, module, distribution.name, licence)
        said = str(distribution.metadata.json.get("description", "")).strip()
        if said and said != "UNKNOWN":
            yield _row("package", "", distribution.name, "", said, distribution.name, licence)


def _library_files() -> Iterator[tuple[Path, str]]:
    root = Path(sysconfig.get_path("stdlib"))
    for path in sorted(root.rglob("*.py")):
        module = _module_name(path.relative_to(root).parts)
        if module:
            yield path, module


def _distributions() -> list[metadata.Distribution]:
    """What is installed, each once, by name."""
    found: dict[str, metadata.Distribution] = {}
    for distribution in metadata.distributions():
        if distribution.metadata["Name"]:
            found.setdefault(re.sub(r"[-_.]+", "-", distribution.name).lower(), distribution)
    return [found[name] for name in sorted(found)]


def _files(distribution: metadata.Distribution) -> Iterator[tuple[Path, str]]:
    for file in sorted(distribution.files or [], key=str):
        module = _module_name(file.parts) if file.suffix == ".py" else None
        if module:
            yield Path(str(distribution.locate_file(file))), module


def _module_name(parts: tuple[str, ...]) -> str | None:
    """`a.b` for `a/b.py` and `a/b/__init__.py`; None for tests, scripts and what cannot be imported by name."""
    names = [*parts[:-1], parts[-1].removesuffix(".py")]
    if _NOT_API.intersection(names) or not all(name.isidentifier() for name in names):
        return None
    return ".".join(names[:-1] if names[-1] == "__init__" and len(names) > 1 else names)


def _licence(distribution: metadata.Distribution) -> str:
    about = distribution.metadata.json
    said = str(about.get("license_expression") or about.get("license") or "")
    if said and len(said) < 60 and "\n" not in said:
        return said
    classified = [line for line in about.get("classifier") or [] if line.startswith("License ::")]
    return classified[0].rpartition(" :: ")[2] if classified else "unknown"


def _rows_of_file(path: Path, module: str, package: str, licence: str) -> Iterator[dict[str, str]]:
    try:
        source = path.read_bytes()
    except OSError:
        return
    if b'"""' not in source and b"'''" not in source:
        return
    try:
        with warnings.catch_warnings():
            # Old code has escapes that today's parser warns of.
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    for entry in _documented(tree, module):
        yield _row(entry.kind, module, entry.path, entry.signature, entry.text, package, licence)


@dataclass(frozen=True)
class _Entry:
    kind: str
    path: str
    signature: str
    text: str


def _documented(tree: ast.Module, module: str) -> Iterator[_Entry]:
    """The module and the objects in it that have a docstring, in the order of the file."""
    text = ast.get_docstring(tree)
    if text:
        yield _Entry("module", module, "", text)
    waiting: list[tuple[ast.AST, str, str]] = [(tree, module, "function")]
    while waiting:
        parent, owner, kind = waiting.pop()
        inner: list[tuple[ast.AST, str, str]] = []
        for node in _statements(parent):
            path = f"{owner}.{node.name}"
            text = ast.get_docstring(node)
            if isinstance(node, ast.ClassDef):
                inner.append((node, path, "method"))
                if text:
                    yield _Entry("class", path, _short(f"{node.name}({', '.join(map(ast.unparse, node.bases))})"), text)
            elif text:
                returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
                yield _Entry(kind, path, _short(f"{node.name}({ast.unparse(node.args)}){returns}"), text)
        waiting += reversed(inner)


def _statements(parent: ast.AST) -> Iterator[ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    """The functions and classes of a body, also those that stand below an `if` or a `try`."""
    for node in getattr(parent, "body", []):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node
        elif isinstance(node, ast.If | ast.Try):
            yield from _statements(node)


def _short(signature: str) -> str:
    return signature if len(signature) <= _LONGEST_SIGNATURE else signature[:_LONGEST_SIGNATURE] + "..."


def _row(kind: str, module: str, path: str, signature: str, text: str, package: str, licence: str) -> dict[str, str]:
    ask = _ASK[kind]
    choice = int.from_bytes(hashlib.blake2b(path.encode(), digest_size=2).digest(), "big") % len(ask)
    owner, _, name = path.rpartition(".")
    question = ask[choice].format(
        object=path, name=name, owner=owner, module=module, package=package, signature=signature
    )
    # A docstring may hold an escaped surrogate, which no UTF-8 file can.
    values = (module, path, signature, question, text, licence, kind)
    return {
        column: value.encode("utf-8", "replace").decode("utf-8") for column, value in zip(COLUMNS, values, strict=True)
    }
