"""The peers' side of the benchmarks: run by an interpreter that has them, prints one JSON line.

    python benchmarks/peers.py gopher CORPUS.parquet ROWS [OF]

ROWS rows, evenly spread over the first OF of the corpus (0 for all).
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

import numpy as np
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
    """text-dedup's MinHash from Parquet to the result on disk, two processes, as its command line runs it."""
    from text_dedup.minhash import main

    choices = ["--num_proc", "2", "--ngram", "5", "--num_perm", "128", "--threshold", "0.8", "--batch_size", "10000"]
    return text_dedup(main, texts, choices)


def exact(texts: list[str], _: str) -> float:
    """text-dedup's exact deduplication, likewise, one process."""
    from text_dedup.exact_hash import main

    return text_dedup(main, texts, ["--num_proc", "1", "--hash_func", "xxh3", "--batch_size", "10000"])


def text_dedup(main, texts: list[str], choices: list[str]) -> float:
    """Seconds of one of text-dedup's commands."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "corpus.parquet"
        pq.write_table(pa.table({"text": texts}), source)
        arguments = ["--path", "parquet", "--data_files", str(source), "--split", "train", "--column", "text"]
        arguments += ["--cache_dir", folder, "--output", str(Path(folder) / "out")]
        began = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()):
            main([*arguments, *choices], standalone_mode=False)
        return time.perf_counter() - began


def drop_duplicates(texts: list[str], _: str) -> float:
    """pandas on a data frame in memory."""
    import pandas

    frame = pandas.DataFrame({"text": texts})
    frame.head(2).drop_duplicates("text")
    began = time.perf_counter()
    frame.drop_duplicates("text")
    return time.perf_counter() - began


def chatml(texts: list[str], _: str) -> float:
    """TRL's conversion of ShareGPT, in `Dataset.map` as its trainers do it."""
    import datasets
    from trl.data_utils import maybe_convert_to_chatml

    datasets.disable_progress_bars()
    datasets.disable_caching()
    turns = [[{"from": "user", "value": text[:80]}, {"from": "assistant", "value": text}] for text in texts]
    ds = datasets.Dataset.from_dict({"conversations": turns})
    ds.select(range(2)).map(maybe_convert_to_chatml, remove_columns="conversations")
    began = time.perf_counter()
    ds.map(maybe_convert_to_chatml, remove_columns="conversations")
    return time.perf_counter() - began


def template(texts: list[str], _: str) -> float:
    """transformers' apply_chat_template on all conversations at once, to text."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE()))
    tokenizer.chat_template = (
        "{% for m in messages %}"
        "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}"
        "{% endfor %}"
    )
    talks = [[{"role": "user", "content": text[:80]}, {"role": "assistant", "content": text}] for text in texts]
    tokenizer.apply_chat_template(talks[:2], tokenize=False)
    began = time.perf_counter()
    tokenizer.apply_chat_template(talks, tokenize=False)
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
    "exact": exact,
    "drop_duplicates": drop_duplicates,
    "decontaminate": decontaminate,
    "chatml": chatml,
    "template": template,
}


def main_line() -> None:
    """Do one piece of work and print its seconds."""
    name, path, rows, of = sys.argv[1], sys.argv[2], int(sys.argv[3]), int((*sys.argv, 0)[4])
    found = pq.read_table(path, columns=["text"])["text"]
    found = found.slice(0, of) if of else found
    places = np.linspace(0, len(found) - 1, min(len(found), rows)).astype(np.int64)
    texts = [text or "" for text in found.take(pa.array(places)).to_pylist()]
    seconds = WORK[name](texts, path)
    size = sum(len(text.encode()) for text in texts)
    print(json.dumps({"rows": len(texts), "bytes": size, "seconds": seconds}))


if __name__ == "__main__":
    main_line()
