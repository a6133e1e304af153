"""What anybody would write instead of a step: a Python function in `Dataset.map` or `Dataset.filter`.

Each takes the whole dataset and does the work of the step of the same name, no less carefully than it is usually done.
"""

from __future__ import annotations

import hashlib
import html
import re
import unicodedata
from collections import defaultdict
from typing import Any

import numpy as np
from datasets import Dataset

STOP_WORDS = {"the", "be", "to", "of", "and", "that", "have", "with"}
BENCHMARK_ROWS = 100
"""Decontamination is against the first so many texts of the corpus."""
NGRAM = 13


def words(text: str) -> list[str]:
    """Words as anybody would split them."""
    return re.findall(r"\w+", text.lower())


def normalized(text: str) -> str:
    """Unicode form, control characters and white space."""
    text = unicodedata.normalize("NFC", text)
    text = re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", "", text)
    return re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE).strip()


def normalize(ds: Dataset) -> Dataset:
    """The same as a map."""
    return ds.map(lambda row: {"text": normalized(row["text"])})


def strip_html(ds: Dataset) -> Dataset:
    """Tags by a regular expression, as anybody should not."""

    def stripped(row: dict[str, Any]) -> dict[str, str]:
        text = re.sub(r"<(script|style).*?</\1>", "", row["text"], flags=re.DOTALL | re.IGNORECASE)
        return {"text": html.unescape(re.sub(r"<[^>]+>", " ", text))}

    return ds.map(stripped)


def word_count(ds: Dataset) -> Dataset:
    """Between 3 and 400 words."""
    return ds.filter(lambda row: 3 <= len(words(row["text"])) <= 400)


def gopher(ds: Dataset) -> Dataset:
    """The Gopher rules."""

    def good(row: dict[str, Any]) -> bool:
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
            and len(STOP_WORDS & set(found)) >= 2
        )

    return ds.filter(good)


def exact(ds: Dataset) -> Dataset:
    """A set of the digests of the texts, without case and white space."""
    return _first_of_each(ds, lambda text: " ".join(text.lower().split()))


def exact_bytes(ds: Dataset) -> Dataset:
    """A set of the digests of the texts as they are."""
    return _first_of_each(ds, lambda text: text)


def _first_of_each(ds: Dataset, folded: Any) -> Dataset:
    seen: set[bytes] = set()

    def fresh(row: dict[str, Any]) -> bool:
        digest = hashlib.md5(folded(row["text"]).encode()).digest()
        if digest in seen:
            return False
        seen.add(digest)
        return True

    return ds.filter(fresh)


def minhash(ds: Dataset) -> Dataset:
    """The textbook: SHA-1 of each word 5-gram, 128 permutations in numpy, 16 bands of 8 in dictionaries."""
    prime, mask, bands = (1 << 61) - 1, (1 << 32) - 1, 16
    rng = np.random.default_rng(1)
    factor, shift = rng.integers(1, 1 << 29, (2, 128), dtype=np.uint64)

    def signature(row: dict[str, Any]) -> dict[str, Any]:
        found = words(row["text"])
        grams = {" ".join(found[at : at + 5]) for at in range(max(1, len(found) - 4))}
        hashes = np.array([int.from_bytes(hashlib.sha1(gram.encode()).digest()[:4], "little") for gram in grams])
        places = (hashes.astype(np.uint64)[:, None] * factor + shift) % np.uint64(prime) & np.uint64(mask)
        return {"signature": places.min(axis=0)}

    signatures = np.array(ds.map(signature).with_format("numpy")["signature"][:])
    buckets: list[dict[bytes, list[int]]] = [defaultdict(list) for _ in range(bands)]
    kept = []
    for row, places in enumerate(signatures):
        keys = [part.tobytes() for part in np.split(places, bands)]
        near = {other for bucket, key in zip(buckets, keys, strict=True) for other in bucket.get(key, ())}
        if not any((signatures[other] == places).mean() >= 0.8 for other in near):
            kept.append(row)
            for bucket, key in zip(buckets, keys, strict=True):
                bucket[key].append(row)
    return ds.select(kept)


def decontaminate(ds: Dataset) -> Dataset:
    """A set of the benchmark's 13-grams of words; a row that has any of them goes."""

    def grams(text: str) -> set[str]:
        found = words(text)
        return {" ".join(found[at : at + NGRAM]) for at in range(len(found) - NGRAM + 1)}

    known = set().union(*(grams(text) for text in ds[:BENCHMARK_ROWS]["text"]))
    return ds.filter(lambda row: known.isdisjoint(grams(row["text"])))


def alpaca(ds: Dataset) -> Dataset:
    """An Alpaca row as messages."""
    return ds.map(
        lambda row: {
            "messages": [
                {"role": "user", "content": row["instruction"]},
                {"role": "assistant", "content": row["output"]},
            ]
        }
    )


def sharegpt(ds: Dataset) -> Dataset:
    """A ShareGPT row as messages."""
    roles = {"human": "user", "gpt": "assistant"}
    return ds.map(
        lambda row: {
            "messages": [{"role": roles[turn["from"]], "content": turn["value"]} for turn in row["conversations"]]
        }
    )


def chatml(ds: Dataset) -> Dataset:
    """Messages as ChatML."""
    return ds.map(
        lambda row: {"text": "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in row["messages"])}
    )
