"""Gopher's quality heuristics (Rae et al., 2021, arXiv:2112.11446, appendix A1.1): cheap signs that text is no prose.

All numbers that the rules look at come from one pass over the bytes (`_gopher_kernel`). The rules decide as those of
datatrove's `GopherQualityFilter` do on the same tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tilth.step import Columns, FilterStep, Verdict, require
from tilth.text.strings import Mask, strings
from tilth.text.unicode import EXTEND, ROLE, SPACELESS, WORD, tables

Values = npt.NDArray[Any]

_RULES = (
    ("too_few_words", "words", "min_doc_words"),
    ("too_many_words", "words", "max_doc_words"),
    ("short_words", "mean_word_length", "min_avg_word_length"),
    ("long_words", "mean_word_length", "max_avg_word_length"),
    ("too_many_hashes", "hash_ratio", "max_symbol_word_ratio"),
    ("too_many_ellipses", "ellipsis_ratio", "max_symbol_word_ratio"),
    ("too_many_bullets", "bullet_line_ratio", "max_bullet_lines_ratio"),
    ("too_many_ellipsis_lines", "ellipsis_line_ratio", "max_ellipsis_lines_ratio"),
    ("too_few_alphabetic_words", "alphabetic_word_ratio", "min_alphabetic_word_ratio"),
    ("too_few_stop_words", "stop_words", "min_stop_words"),
)
"""Each rule: its reason, the metric it looks at and the field that bounds that metric. The first that fails decides."""

LONGEST_STOP_WORD = 63
"""In characters: a kernel keeps the lengths of stop words in the bits of one number."""

_BOUNDS = tuple(dict.fromkeys(field for _, _, field in _RULES))
_RATIOS = tuple(field for field in _BOUNDS if field.endswith("_ratio"))


@dataclass(frozen=True)
class GopherQuality(FilterStep):
    """Keep rows whose text looks like prose by the rules of Gopher. `None` switches a rule off.

    A token is a word (`tilth.text.words`) or a maximal run of symbols, which are the characters in no word that are not
    space or control either. The evidence of a dropped row is the value that decided and the limit it broke.

    Args:
        column: the text.
        min_doc_words: fewest words.
        max_doc_words: most words.
        min_avg_word_length: least mean length of a word, in characters.
        max_avg_word_length: greatest mean length of a word, in characters.
        max_symbol_word_ratio: most `#` for each token; and most ellipses (`...` or U+2026) for each token.
        max_bullet_lines_ratio: greatest share of lines that start with `-` or U+2022.
        max_ellipsis_lines_ratio: greatest share of lines that end with an ellipsis.
        min_alphabetic_word_ratio: least share of tokens that have a letter.
        min_stop_words: fewest different stop words.
        stop_words: single words; case does not matter.

    Raises:
        ArgumentError: a bound is out of range, or a stop word is not one word.

    Examples:
        >>> from datasets import Dataset
        >>> ds = Dataset.from_dict({"text": ["the end of the story", "# # # the # of #"]})
        >>> GopherQuality("text", min_doc_words=2).apply(ds)["text"][:]
        ['the end of the story']
    """

    column: str
    min_doc_words: int | None = 50
    max_doc_words: int | None = 100_000
    min_avg_word_length: float | None = 3
    max_avg_word_length: float | None = 10
    max_symbol_word_ratio: float | None = 0.1
    max_bullet_lines_ratio: float | None = 0.9
    max_ellipsis_lines_ratio: float | None = 0.3
    min_alphabetic_word_ratio: float | None = 0.8
    min_stop_words: int | None = 2
    stop_words: tuple[str, ...] = ("the", "be", "to", "of", "and", "that", "have", "with")

    version: ClassVar[int] = 1
    reasons: ClassVar[tuple[str, ...]] = ("null_text", *(reason for reason, _, _ in _RULES))

    def __post_init__(self) -> None:
        for field in _BOUNDS:
            bound = getattr(self, field)
            require(bound is None or bound >= 0, self, field, "zero or more, or None")
        for field in _RATIOS:
            bound = getattr(self, field)
            require(
                field == "max_symbol_word_ratio" or bound is None or bound <= 1, self, field, "from 0 to 1, or None"
            )
        for least, most in (("min_doc_words", "max_doc_words"), ("min_avg_word_length", "max_avg_word_length")):
            low, high = getattr(self, least), getattr(self, most)
            require(low is None or high is None or low <= high, self, most, f"at least {least}={low}, or None")
        require(not isinstance(self.stop_words, str), self, "stop_words", "a sequence of words, not one string")
        # A recipe gives a list, which could not be hashed.
        self._set(stop_words=tuple(self.stop_words))
        for word in self.stop_words:
            require(_is_word(word), self, "stop_words", f"single words of 1 to {LONGEST_STOP_WORD} characters", word)
        different = len({fold(word) for word in self.stop_words})
        allowed = f"at most the {different} different stop_words, or None"
        require(self.min_stop_words is None or self.min_stop_words <= different, self, "min_stop_words", allowed)

    def metrics(self, table: pa.Table) -> Columns:
        """What the rules look at: `words` and `stop_words` as int64, the rest as float64; null where there is no text.

        A ratio of nothing is 0.
        """
        values, valid = self._measure(table)
        return {name: pa.array(column, mask=~valid) for name, column in values.items()}

    def verdict(self, table: pa.Table) -> Verdict:
        """Rows that break no rule stay; the others go for the first that they break."""
        values, valid = self._measure(table)
        broken: dict[str, Mask] = {"null_text": ~valid}
        for reason, metric, field in _RULES:
            bound = getattr(self, field)
            if bound is None:
                broken[reason] = np.zeros(len(valid), dtype=np.bool_)
            else:
                broken[reason] = values[metric] < bound if field.startswith("min_") else values[metric] > bound
        codes = Verdict.first_of(**broken).codes
        value, limit = np.zeros(len(codes)), np.zeros(len(codes))
        for code, (_, metric, field) in enumerate(_RULES, start=2):
            here = codes == code
            value[here] = values[metric][here]
            limit[here] = getattr(self, field) if here.any() else 0
        undecided = codes < 2
        evidence = pa.StructArray.from_arrays(
            [pa.array(value.round(6), mask=undecided), pa.array(limit, mask=undecided)], names=["value", "limit"]
        )
        return Verdict(codes, self.reasons, evidence)

    def _measure(self, table: pa.Table) -> tuple[dict[str, Values], Mask]:
        from tilth.filters import _gopher_kernel as kernel

        text = strings(table, self.column, str(self))
        counts = kernel.count(text, self.stop_words)
        words, tokens, lines = counts[:, kernel.WORDS], counts[:, kernel.TOKENS], counts[:, kernel.LINES]
        values = {
            "words": words,
            "mean_word_length": _ratio(counts[:, kernel.WORD_CHARACTERS], words),
            "hash_ratio": _ratio(counts[:, kernel.HASHES], tokens),
            "ellipsis_ratio": _ratio(counts[:, kernel.ELLIPSES], tokens),
            "bullet_line_ratio": _ratio(counts[:, kernel.BULLET_LINES], lines),
            "ellipsis_line_ratio": _ratio(counts[:, kernel.ELLIPSIS_LINES], lines),
            "alphabetic_word_ratio": _ratio(counts[:, kernel.ALPHABETIC_WORDS], tokens),
            "stop_words": counts[:, kernel.STOP_WORDS],
        }
        return values, text.valid


def fold(word: str) -> str:
    """A word in lower case as the kernels see it, character by character."""
    lower = tables().lower
    return "".join(chr(lower[ord(character)]) for character in word)


def _is_word(text: object) -> bool:
    if not isinstance(text, str) or not 1 <= len(text) <= LONGEST_STOP_WORD:
        return False
    first, *others = (int(tables().classes[ord(character)] & ROLE) for character in text)
    if first == SPACELESS:
        return all(role == EXTEND for role in others)
    return first == WORD and all(role in (WORD, EXTEND) for role in others)


def _ratio(part: npt.NDArray[np.int64], whole: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    return np.asarray(part / np.maximum(whole, 1), dtype=np.float64)
