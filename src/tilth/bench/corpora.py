"""Corpora whose near-duplicates are known because they were made: documents with exact similarities, and short rows.

Both are the same on every machine for the same seed. Words are made of syllables and lie one space apart, so that
every tool agrees on what a word is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import combinations, product
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

Ids = npt.NDArray[np.int64]
Edit = Callable[[np.random.Generator, Ids, float], Ids]

SHIFTED = ("10 words before 1,000", "50 words after 1,000", "3 of 300 replaced")
"""Edits that shift or replace little, and that sampling by position does not survive."""
PAIRS = pa.schema([("i", pa.int64()), ("j", pa.int64()), ("jaccard", pa.float64()), ("edit", pa.string())])

_NGRAM = 5
_VOCABULARY = 200_000
"""So many words that two documents do not share a run of five by chance."""
_SHARE_SHIFTED = 0.1
_LEAST_SIMILAR = 0.5
_DOCUMENTS_AT_ONCE = 2_000

_COMMON = 60_000
_MOST_WORDS = 16
_ROWS_AT_ONCE = 250_000
_POOL = 100_000


def write_documents(
    path: Path,
    pairs: Path | None,
    documents: int,
    *,
    seed: int = 1,
    words: tuple[int, int] = (80, 5_000),
    alone: float = 0.3,
) -> None:
    """Write documents and their edited copies, and the exact similarity of each pair that shares a shingle.

    A family is a document and up to four copies of it. Each copy has one kind of edit, of an extent drawn so that
    similarities are spread over 0.5 to 1. One family in ten is of the kinds in `SHIFTED`. Rows are in random order.

    Args:
        path: the Parquet file of documents, with a column `text`.
        pairs: the Parquet file of pairs: rows `i < j`, `jaccard` of their sets of five words, and `edit`. None to
            leave it out, for a corpus that only serves for speed.
        documents: how many rows.
        seed: of all that is random.
        words: the least and the most words of a document before edits; lengths are spread evenly on a log scale.
        alone: the share of families of one.
    """
    rng = np.random.default_rng(seed)
    rows = rng.permutation(documents)
    vocabulary = np.array(syllables(_VOCABULARY), dtype=object)
    texts = np.empty(documents, dtype=object)
    found: list[tuple[int, int, float, str]] = []
    at = 0
    while at < documents:
        family = _family(rng, words, alone)[: documents - at]
        here = rows[at : at + len(family)]
        for row, (_, member) in zip(here, family, strict=True):
            texts[row] = " ".join(vocabulary[member])
        if pairs is not None:
            found += _similarities(here.tolist(), family)
        at += len(family)
    with pq.ParquetWriter(path, pa.schema([("text", pa.string())])) as writer:
        for first in range(0, documents, _DOCUMENTS_AT_ONCE):
            part = pa.array(texts[first : first + _DOCUMENTS_AT_ONCE], pa.string())
            writer.write_table(pa.table({"text": part}))
    if pairs is not None:
        columns = zip(*sorted(found), strict=True) if found else [[]] * len(PAIRS)
        pq.write_table(pa.table([list(column) for column in columns], PAIRS), pairs)


def short_rows(rows: int, *, seed: int = 1, copies: float = 0.1) -> Iterator[pa.Table]:
    """Rows of 8 to 15 words with the frequencies of Zipf's law, in tables of a column `text`, with no loop over rows.

    Of each table the share `copies` repeats another row with one word more at the end, or one less. The other row is of
    the same table or of the first one, half and half, so that groups lie near each other and far apart.
    """
    known = pa.array(syllables(_COMMON), pa.string())
    pool, pool_lengths = np.zeros((0, _MOST_WORDS), dtype=np.int32), np.zeros(0, dtype=np.int64)
    for first in range(0, rows, _ROWS_AT_ONCE):
        rng = np.random.default_rng([seed, first])
        count = min(_ROWS_AT_ONCE, rows - first)
        lengths = rng.integers(8, _MOST_WORDS, count)
        ids = _zipf(rng, (count, _MOST_WORDS))
        shuffled = rng.permutation(count)
        copied, originals = np.split(shuffled, [int(count * copies)])
        far = copied[: len(copied) // 2] if first else copied[:0]
        near = copied[len(far) :]
        for copy, their_ids, their_lengths, choice in (
            (near, ids, lengths, originals),
            (far, pool, pool_lengths, np.arange(len(pool))),
        ):
            source = rng.choice(choice, len(copy)) if len(copy) else copy
            length = their_lengths[source]
            one_more = ids[copy, length]
            ids[copy] = their_ids[source]
            ids[copy, length] = one_more
            lengths[copy] = length + rng.choice((-1, 1), len(copy))
        if not first:
            pool, pool_lengths = ids[originals[:_POOL]], lengths[originals[:_POOL]]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        flat = ids[np.arange(_MOST_WORDS) < lengths[:, None]]
        lists = pa.LargeListArray.from_arrays(pa.array(offsets), known.take(pa.array(flat)))
        yield pa.table({"text": pc.binary_join(lists, " ").cast(pa.string())})


def syllables(count: int) -> list[str]:
    """So many different words of two and three syllables, the short ones first."""
    parts = ["".join(pair) for pair in product("bdfgjklmnprstvwz", "aeiou")]
    base = len(parts)
    short = ["".join(pair) for pair in product(parts, parts)][:count]
    # A stride without a common factor visits each word of three syllables once, those of one beginning far apart.
    numbers = [number * 10_007 % base**3 for number in range(count - len(short))]
    return short + [parts[n // base**2] + parts[n // base % base] + parts[n % base] for n in numbers]


def _similarities(rows: list[int], family: list[tuple[str, Ids]]) -> Iterator[tuple[int, int, float, str]]:
    sets = [set(zip(*(member[at:].tolist() for at in range(_NGRAM)), strict=False)) for _, member in family]
    for one, other in combinations(range(len(family)), 2):
        shared = len(sets[one] & sets[other])
        if shared:
            edit = family[other][0] if one == 0 else f"{family[one][0]} / {family[other][0]}"
            i, j = sorted((rows[one], rows[other]))
            yield i, j, shared / (len(sets[one]) + len(sets[other]) - shared), edit


def _family(rng: np.random.Generator, words: tuple[int, int], alone: float) -> list[tuple[str, Ids]]:
    """A document and its copies, each with the name of its edit."""
    if rng.random() < _SHARE_SHIFTED:
        edit = SHIFTED[rng.integers(len(SHIFTED))]
        document = _words(rng, 300 if edit.startswith("3") else 1_000)
        if edit.startswith("3"):
            return [("", document), (edit, _replaced(rng, document, np.sort(rng.choice(300, 3, replace=False))))]
        parts = (_words(rng, 10), document) if edit.startswith("10") else (document, _words(rng, 50))
        return [("", document), (edit, np.concatenate(parts))]
    length = round(math.exp(rng.uniform(math.log(words[0]), math.log(words[1]))))
    family = [("", _words(rng, length))]
    if rng.random() >= alone:
        for _ in range(int(rng.integers(1, 5))):
            edit = list(_EDITS)[rng.integers(len(_EDITS))]
            family.append((edit, _EDITS[edit](rng, family[0][1], rng.uniform(_LEAST_SIMILAR, 1))))
    return family


def _words(rng: np.random.Generator, count: int) -> Ids:
    return rng.integers(0, _VOCABULARY, count)


def _zipf(rng: np.random.Generator, shape: tuple[int, int]) -> npt.NDArray[np.int32]:
    """Word numbers whose frequency falls as one over their rank."""
    ranks = np.exp(rng.random(shape, dtype=np.float32) * np.float32(math.log(_COMMON)))
    return np.asarray(ranks, dtype=np.int32) - 1


# Each edit is of the extent that makes about the wanted similarity, of a document that has `n` shingles. Far apart, an
# edit of one word touches five shingles.


def _shingles(document: Ids) -> int:
    return len(document) - _NGRAM + 1


def _places(rng: np.random.Generator, document: Ids, count: float) -> Ids:
    return np.sort(rng.choice(len(document), max(1, min(round(count), len(document) // 2)), replace=False))


def _block(rng: np.random.Generator, document: Ids, length: float) -> Ids:
    size = max(1, min(round(length), len(document) - _NGRAM))
    return np.arange(size) + rng.integers(0, len(document) - size + 1)


def _replaced(rng: np.random.Generator, document: Ids, places: Ids) -> Ids:
    copy = document.copy()
    copy[places] = _words(rng, len(places))
    return copy


def _insert_words(rng: np.random.Generator, document: Ids, wanted: float) -> Ids:
    count = _shingles(document) * (1 - wanted) / (_NGRAM - 1 + _NGRAM * wanted)
    places = _places(rng, document, count)
    return np.insert(document, places, _words(rng, len(places)))


def _insert_passage(rng: np.random.Generator, document: Ids, wanted: float) -> Ids:
    n = _shingles(document)
    size = max(1, round((n - _NGRAM + 1) / wanted - n))
    return np.insert(document, rng.integers(len(document) + 1), _words(rng, size))


def _delete_words(rng: np.random.Generator, document: Ids, wanted: float) -> Ids:
    count = _shingles(document) * (1 - wanted) / (_NGRAM + (_NGRAM - 1) * wanted)
    return np.delete(document, _places(rng, document, count))


def _delete_passage(rng: np.random.Generator, document: Ids, wanted: float) -> Ids:
    return np.delete(document, _block(rng, document, _shingles(document) * (1 - wanted) - _NGRAM + 1))


def _replace_words(rng: np.random.Generator, document: Ids, wanted: float) -> Ids:
    count = _shingles(document) * (1 - wanted) / (_NGRAM * (1 + wanted))
    return _replaced(rng, document, _places(rng, document, count))


def _replace_passage(rng: np.random.Generator, document: Ids, wanted: float) -> Ids:
    size = _shingles(document) * (1 - wanted) / (1 + wanted) - _NGRAM + 1
    return _replaced(rng, document, _block(rng, document, size))


def _prepend(rng: np.random.Generator, document: Ids, wanted: float) -> Ids:
    return np.concatenate([_words(rng, max(1, round(_shingles(document) * (1 / wanted - 1)))), document])


def _append(rng: np.random.Generator, document: Ids, wanted: float) -> Ids:
    return np.concatenate([document, _words(rng, max(1, round(_shingles(document) * (1 / wanted - 1))))])


_EDITS: dict[str, Edit] = {
    "insert words": _insert_words,
    "insert a passage": _insert_passage,
    "delete words": _delete_words,
    "delete a passage": _delete_passage,
    "replace words": _replace_words,
    "replace a passage": _replace_passage,
    "prepend": _prepend,
    "append": _append,
    "copy": lambda _, document, __: document.copy(),
}
