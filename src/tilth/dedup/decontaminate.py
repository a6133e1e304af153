"""Benchmark decontamination: rows that hold a benchmark question, found by the word n-grams that they share with it.

The measure is that of GPT-3 (Brown et al., 2020, arXiv:2005.14165, appendix C): n-grams of 13 words without case and
punctuation. Instead of any one shared n-gram, a row must hold a good part of one benchmark row.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from datasets import Dataset

from tilth.dedup.hash_pack import HashPack, is_pack, is_source, packed
from tilth.errors import ArgumentError
from tilth.step import Columns, FilterStep, Verdict, identity, require
from tilth.text.strings import Strings, strings

if TYPE_CHECKING:
    from tilth.dedup._ngrams import Index

Against: TypeAlias = "HashPack | Dataset | str | Mapping[str, Any]"

_SHOWN = 200
_PREPARING = Lock()
_MANY = 0.1


@dataclass(frozen=True)
class Decontaminate(FilterStep):
    """Drop rows that hold a benchmark row, whole or in good part.

    A row is contaminated when it has at least `min_overlap` of the distinct word n-grams of one benchmark row. Words
    are those of `tilth.text.words`, so case, punctuation and white space make no difference. A benchmark row of fewer
    than `ngram` words, or one whose n-grams are all boilerplate, is looked for as a whole. Paraphrases and translations
    share no n-grams: they are not found. A null is dropped by a reason of its own, `null_text`.

    The evidence names the benchmark, its row (the first, where rows of it are equal), the share of it that was found,
    and where in the text: bytes of UTF-8 from `start` to `end`, and the text there, up to 200 characters.

    Args:
        column: the text to judge.
        against: the benchmark: a `Dataset`, a `HashPack`, a source (the path of a saved pack, or whatever
            `tilth.sources.load` reads), or a mapping of names to datasets or sources. A source may be given with its
            split and configuration: `{"path": "owner/name", "split": "test", "name": "main"}`. Sources are read on
            first use.
        against_column: the benchmark's text, or a mapping of benchmarks to theirs; where it is not named, the column
            called as `column` is, else the only one that holds text.
        ngram: words in an n-gram; that of the pack where a pack is given.
        min_overlap: share of a benchmark row's n-grams, above 0 and at most 1.
        min_words: benchmark rows of fewer words, 4 or more, are not looked for: what is that short occurs everywhere.
        max_rows: an n-gram in more different rows of a benchmark than this is boilerplate of its format and does not
            count.

    Raises:
        ArgumentError: the benchmark gives nothing to look for, or it is not clear which of its columns to read.

    Examples:
        >>> from datasets import Dataset
        >>> question = "A train leaves at noon and drives 60 miles an hour, how far is it at three in the afternoon?"
        >>> ds = Dataset.from_dict({"text": ["Solve: " + question.upper(), "A train of thought."]})
        >>> Decontaminate("text", against=Dataset.from_dict({"question": [question]})).apply(ds)["text"][:]
        ['A train of thought.']
    """

    column: str
    against: Against
    against_column: str | Mapping[str, str] | None = None
    ngram: int = 13
    min_overlap: float = 0.6
    min_words: int = 8
    max_rows: int = 10

    version: ClassVar[int] = 1
    reasons: ClassVar[tuple[str, ...]] = ("null_text", "contaminated")

    def __post_init__(self) -> None:
        require(1 <= self.ngram <= 1000, self, "ngram", "from 1 to 1000")
        require(0 < self.min_overlap <= 1, self, "min_overlap", "above 0 and at most 1")
        require(self.min_words >= 4, self, "min_words", "4 or more")
        require(self.max_rows >= 1, self, "max_rows", "one or more")
        against = self.against
        if isinstance(against, Dataset) or (isinstance(against, Mapping) and any(map(_is_data, against.values()))):
            self._set(against=self._hashed())
        elif isinstance(against, Mapping):
            require(bool(against), self, "against", "a mapping with one benchmark or more")
            self._set(against=dict(against))
        elif isinstance(against, Path):
            self._set(against=str(against))
        else:
            allowed = "a Dataset, a HashPack, a path or owner/name on the Hub, or a mapping of names to those"
            require(isinstance(against, HashPack | str) and against != "", self, "against", allowed)
        if isinstance(self.against, HashPack):
            # A pack has no columns left to choose from.
            self._set(against_column=None)
            _ = self._index

    @property
    def reads_text(self) -> tuple[str, ...]:
        """The text."""
        return (self.column,)

    @cached_property
    def pack(self) -> HashPack:
        """The benchmarks as hashes; read when they are asked for first."""
        return self.against if isinstance(self.against, HashPack) else self._hashed()

    def check(self, schema: pa.Schema) -> None:
        """Refuse data or benchmarks that this step cannot work on, before any work."""
        super().check(schema)
        _ = self._ready

    def metrics(self, table: pa.Table) -> Columns:
        """`overlap`: the largest share of a benchmark row that each text holds, from 0 to 1."""
        text = strings(table, self.column, str(self))
        overlap, _, _ = self._searched(text)
        return {"overlap": pa.array(overlap, mask=~text.valid)}

    def verdict(self, table: pa.Table) -> Verdict:
        """Judge each text by the benchmark row of which it holds the largest share."""
        text = strings(table, self.column, str(self))
        overlap, best, spans = self._searched(text)
        # The share is kept in 32 bits, so a threshold such as 0.6 is met by three n-grams in five.
        contaminated = text.valid & (best >= 0) & (overlap >= np.float32(self.min_overlap))
        evidence = self._evidence(text, contaminated, overlap, best, spans)
        return Verdict.first_of(null_text=~text.valid, contaminated=contaminated, evidence=evidence)

    def _searched(self, text: Strings) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32], npt.NDArray[np.int64]]:
        from tilth.dedup._ngrams import search

        return search(text, self._ready)

    def _evidence(
        self,
        text: Strings,
        contaminated: npt.NDArray[np.bool_],
        overlap: npt.NDArray[np.float32],
        best: npt.NDArray[np.int32],
        spans: npt.NDArray[np.int64],
    ) -> pa.Array:
        names = pa.array(self.pack.names, pa.string())
        rows = np.where(contaminated, best, 0)
        shown = np.full(len(text), None, dtype=object)
        for row in np.flatnonzero(contaminated):
            start, end = text.offsets[row] + spans[row]
            piece = text.data[start : min(end, start + 4 * _SHOWN)].tobytes().decode("utf-8", "ignore")
            shown[row] = piece[:_SHOWN]
        fields = {
            "benchmark": names.take(pa.array(self.pack.numbers("benchmark")[rows])),
            "row": pa.array(self.pack.numbers("row")[rows]),
            "overlap": pa.array(overlap),
            "start": pa.array(spans[:, 0]),
            "end": pa.array(spans[:, 1]),
            "text": pa.array(shown, pa.string()),
        }
        return pa.StructArray.from_arrays(list(fields.values()), list(fields), mask=pa.array(~contaminated))

    @property
    def _ready(self) -> Index:
        if "_index" not in self.__dict__:
            # Batches are judged on several threads; the first one prepares.
            with _PREPARING:
                return self._index
        return self._index

    @cached_property
    def _index(self) -> Index:
        pack = self.pack
        require(self.ngram == pack.ngram, self, "ngram", f"{pack.ngram}, which the pack was built with")
        return _indexed(self, pack, self.min_words, self.max_rows)

    def _hashed(self) -> HashPack:
        against = self.against
        if isinstance(against, str) and is_pack(Path(against)):
            return HashPack.load(against)
        if isinstance(against, str):
            against = {Path(against).name.split(".")[0] or against: against}
        elif is_source(against):
            against = {Path(against["path"]).name.split(".")[0]: against}  # type: ignore[index]
        elif isinstance(against, Dataset):
            against = {"benchmark": against}
        if not isinstance(against, Mapping):
            raise ArgumentError(f"{self}: against={against!r} names no benchmark.")
        return packed(against, self.against_column, self.ngram, self.column)

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        if not isinstance(self.against, HashPack):
            # A path alone would bring back results for what it held yesterday.
            state["content"] = self.pack.fingerprint
        return state


@identity.register
def _(value: Decontaminate) -> object:
    """By content: a benchmark is the same whether it came as a dataset, a pack or a path."""
    fields = {name: identity(getattr(value, name)) for name in ("column", "min_overlap", "min_words", "max_rows")}
    return ["tilth.dedup.decontaminate.Decontaminate", value.version, fields, value.pack.fingerprint]


def _is_data(value: object) -> bool:
    return not isinstance(value, str | Path) and not is_source(value) and value is not None


def _indexed(step: Decontaminate, pack: HashPack, min_words: int, max_rows: int) -> Index:
    """What to look for: the n-grams that count, and whole rows where there are none.

    Raises:
        ArgumentError: a benchmark has nothing to look for.
    """
    from tilth.dedup._ngrams import index

    benchmark, words, whole = pack.numbers("benchmark"), pack.numbers("words"), pack.numbers("whole")
    offsets, grams = pack.grams
    # Rows that say the same are one row, by its first; otherwise a row that comes often would pass for boilerplate.
    _, first = np.unique(np.stack([benchmark.astype(np.uint64), whole]), axis=1, return_index=True)
    sought = np.zeros(len(pack), dtype=np.bool_)
    sought[first] = True
    sought &= words >= min_words
    for number, name in enumerate(pack.names):
        rows = benchmark == number
        _refuse_or_warn(step, name, words[rows], min_words)
        if not (rows & sought).any():
            raise ArgumentError(f"{step}: benchmark {name!r} gives nothing to look for.")

    row_of = np.repeat(np.arange(len(pack)), np.diff(offsets))
    pairs = np.flatnonzero(sought[row_of])
    pairs = pairs[np.lexsort((grams[pairs], benchmark[row_of[pairs]]))]
    owner, hashes = benchmark[row_of[pairs]], grams[pairs]
    begins = np.ones(len(pairs), dtype=np.bool_)
    begins[1:] = (owner[1:] != owner[:-1]) | (hashes[1:] != hashes[:-1])
    group = np.cumsum(begins) - 1
    pairs = pairs[np.bincount(group)[group] <= max_rows] if len(pairs) else pairs

    counts = np.bincount(row_of[pairs], minlength=len(pack)).astype(np.int32)
    alone = np.flatnonzero(sought & (counts == 0))
    counts[alone] = 1
    return index(
        pack.ngram,
        np.concatenate([grams[pairs], whole[alone]]),
        np.concatenate([row_of[pairs], alone]),
        counts,
        words[alone],
        pack.numbers("anchor")[alone],
    )


def _refuse_or_warn(step: Decontaminate, name: str, words: npt.NDArray[np.int64], min_words: int) -> None:
    short = int((words < min_words).sum())
    if short == len(words):
        raise ArgumentError(
            f"{step}: benchmark {name!r} gives nothing to look for: its longest row has {int(words.max(initial=0))} "
            f"words and min_words={min_words}. Lower min_words (4 at least), or choose another against_column."
        )
    if short > _MANY * len(words):
        warnings.warn(
            f"{step}: {short} of the {len(words)} rows of benchmark {name!r} have fewer than min_words={min_words} "
            f"words and are not looked for.",
            UserWarning,
            stacklevel=2,
        )
