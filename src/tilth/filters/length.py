"""Word-count bounds. A text outside them is rarely an instruction, or rarely an answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa

from tilth.step import Columns, FilterStep, Verdict, require
from tilth.text.strings import strings


@dataclass(frozen=True)
class WordCount(FilterStep):
    """Keep rows whose text has between `min` and `max` words, both inclusive.

    A word is a maximal run of letters, numbers and `_`; a character of a script without spaces is a word by itself
    (`tilth.text.words`). The evidence of a dropped row is its number of words.

    Args:
        column: the text.
        min: fewest words that stay.
        max: most words that stay; no bound when None.

    Examples:
        >>> from datasets import Dataset
        >>> ds = Dataset.from_dict({"text": ["one two three", "one", "", None]})
        >>> WordCount("text", min=2).apply(ds)["text"][:]
        ['one two three']
    """

    column: str
    min: int = 1
    max: int | None = None

    version: ClassVar[int] = 1
    reasons: ClassVar[tuple[str, ...]] = ("null_text", "too_few_words", "too_many_words")

    def __post_init__(self) -> None:
        require(self.min >= 0, self, "min", "zero or more")
        require(self.max is None or self.min <= self.max, self, "max", f"at least min={self.min}, or None")

    def metrics(self, table: pa.Table) -> Columns:
        """`words`, int64; null where there is no text."""
        from tilth.text.words import count_words

        text = strings(table, self.column, str(self))
        return {"words": pa.array(count_words(text), mask=~text.valid)}

    def verdict(self, table: pa.Table) -> Verdict:
        """Rows with a number of words within the bounds stay."""
        words = self.metrics(table)["words"]
        null = np.asarray(words.is_null().to_numpy(zero_copy_only=False), dtype=np.bool_)
        count = words.fill_null(0).to_numpy()
        return Verdict.first_of(
            null_text=null,
            too_few_words=count < self.min,
            too_many_words=np.zeros(len(count), dtype=np.bool_) if self.max is None else count > self.max,
            evidence=words,
        )
