"""The peers' side of the benchmarks: run by an interpreter that has them, prints one JSON line.

    python benchmarks/peers.py gopher CORPUS.parquet ROWS

The peers pin old versions of what we need, so they live in an environment of their own (`make peers`).
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


def gopher(texts: list[str], _: str) -> float:
    """datatrove's GopherQualityFilter, its own word splitting included."""
    from datatrove.data import Document
    from datatrove.pipeline.filters import GopherQualityFilter

    return documents(GopherQualityFilter(), Document, texts)


def word_count(texts: list[str], _: str) -> float:
    """datatrove has no filter of words alone: its Gopher filter with every other rule off."""
    from datatrove.data import Document
    from datatrove.pipeline.filters import GopherQualityFilter

    off = dict.fromkeys(
        [
            "min_avg_word_length",
            "max_avg_word_length",
            "max_symbol_word_ratio",
            "max_bullet_lines_ratio",
            "max_ellipsis_lines_ratio",
            "max_non_alpha_words_ratio",
            "min_stop_words",
        ]
    )
    return documents(GopherQualityFilter(min_doc_words=3, max_doc_words=400, **off), Document, texts)


def documents(step, document, texts: list[str]) -> float:
    """Seconds of a datatrove filter over all texts, after one to warm up."""
    step.filter(document(text="a warm-up document of a few words", id="warm"))
    made = [document(text=text, id=str(at)) for at, text in enumerate(texts)]
    began = time.perf_counter()
    for one in made:
        step.filter(one)
    return time.perf_counter() - began


def normalize(texts: list[str], _: str) -> float:
    """ftfy's own fix_text."""
    import ftfy

    ftfy.fix_text("warm")
    began = time.perf_counter()
    for text in texts:
        ftfy.fix_text(text)
    return time.perf_counter() - began


def strip_html(texts: list[str], _: str) -> float:
    """resiliparse's plain text, the quickest extractor there is."""
    from resiliparse.extract.html2text import extract_plain_text

    extract_plain_text("<p>warm")
    began = time.perf_counter()
    for text in texts:
        extract_plain_text(text)
    return time.perf_counter() - began


def minhash(texts: list[str], _: str) -> float:
    """text-dedup 0.4.0 end to end from Parquet, two processes, as its command line runs it."""
    from text_dedup.minhash import main

    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "corpus.parquet"
        pq.write_table(pa.table({"text": texts}), source)
        arguments = ["--path", "parquet", "--data_files", str(source), "--split", "train", "--column", "text"]
        arguments += ["--cache_dir", folder, "--output", str(Path(folder) / "out"), "--num_proc", "2"]
        arguments += ["--ngram", "5", "--num_perm", "128", "--threshold", "0.8", "--batch_size", "10000"]
        began = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()):
            main(arguments, standalone_mode=False)
        return time.perf_counter() - began


def decontaminate(texts: list[str], _: str) -> float:
    """datatrove's n-gram decontamination filter against the first hundred texts."""
    import xxhash
    from datatrove.data import Document
    from datatrove.pipeline.decont.n_grams import NGramsDecontConfig, NGramsDecontFilter
    from datatrove.utils.text import ngrams, simplify_text

    config = NGramsDecontConfig(n_grams=13)
    with tempfile.TemporaryDirectory() as folder:
        step = NGramsDecontFilter(folder, config=config)
        # Its own hashes fail on text with the xxhash of today.
        step.hash_func = lambda text: xxhash.xxh64_intdigest(text.encode())
        # Its indexer wants an evaluation harness; the index itself is a table of hashes.
        words = (step.tokenizer.word_tokenize(simplify_text(text, config.norm_config)) for text in texts[:100])
        step._index_hashes = {
            step.hash_func(" ".join(gram)): "benchmark" for found in words for gram in ngrams(found, config.n_grams)
        }
        return documents(step, Document, texts)


WORK: dict[str, Callable[[list[str], str], float]] = {
    "gopher": gopher,
    "word_count": word_count,
    "normalize": normalize,
    "strip_html": strip_html,
    "minhash": minhash,
    "decontaminate": decontaminate,
}


def main_line() -> None:
    """Do one piece of work and print its seconds."""
    name, path, rows = sys.argv[1], sys.argv[2], int(sys.argv[3])
    texts = pq.read_table(path, columns=["text"])["text"].slice(0, rows).to_pylist()
    seconds = WORK[name](texts, path)
    size = sum(len(text.encode()) for text in texts)
    print(json.dumps({"rows": len(texts), "bytes": size, "seconds": seconds}))


if __name__ == "__main__":
    main_line()
