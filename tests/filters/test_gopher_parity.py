"""GopherQuality decides as datatrove's filter does when that is given our tokens. Needs `datatrove`; skips without."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.filters.test_gopher import tokens
from tilth.filters import GopherQuality
from tilth.text.unicode import EXTEND, ROLE, SPACELESS, WORD, tables
from tilth.text.words import words

theirs = pytest.importorskip("datatrove.pipeline.filters.gopher_quality_filter")
data = pytest.importorskip("datatrove.data")

DATA = Path(os.environ.get("TILTH_DATA", Path(__file__).parents[2] / "../shared/data"))
REASONS = {
    "gopher_short_doc": "too_few_words",
    "gopher_long_doc": "too_many_words",
    "gopher_below_avg_threshold": "short_words",
    "gopher_above_avg_threshold": "long_words",
    "gopher_too_many_hashes": "too_many_hashes",
    "gopher_too_many_ellipsis": "too_many_ellipses",
    "gopher_too_many_bullets": "too_many_bullets",
    "gopher_too_many_end_ellipsis": "too_many_ellipsis_lines",
    "gopher_below_alpha_threshold": "too_few_alphabetic_words",
    "gopher_enough_stop_words": "too_few_stop_words",
}

pieces = [
    "the ",
    "Of\n",
    "story ",
    "wÖrter ",
    "привет ",
    "12 ",
    "# ",
    "...",
    "… ",
    "\n- ",
    "\n• ",
    "\r\n",
    "-",
    "→ ",
    "_ ",
    "中",
]
documents = st.lists(st.sampled_from(pieces), min_size=1, max_size=60).map("".join)


class Symbols:
    """What datatrove asks for as its set of punctuation: every character that is in no word of ours."""

    def __contains__(self, character: str) -> bool:
        return int(tables().classes[ord(character)] & ROLE) not in (WORD, SPACELESS, EXTEND)


def our_split(text: str, language: str = "") -> list[str]:
    found = [words(token)[0] if is_word else token for token, is_word in tokens(text)]
    assert [token for token in found if words(token)] == words(text)
    return found


@pytest.fixture
def _on_our_tokens(monkeypatch):
    monkeypatch.setattr(theirs, "split_into_words", our_split)
    monkeypatch.setattr(theirs, "PUNCTUATION_SET", Symbols())


def decision_of_datatrove(text: str, **fields: object) -> str | None:
    if "min_alphabetic_word_ratio" in fields:
        fields["max_non_alpha_words_ratio"] = fields.pop("min_alphabetic_word_ratio")
    found = theirs.GopherQualityFilter(**fields).filter(data.Document(text=text, id="0"))
    return None if found is True else REASONS[found[1]]


def our_decisions(texts: list[str], **fields: object) -> list[str | None]:
    step = GopherQuality("text", **fields)
    codes = step.verdict(pa.table({"text": pa.array(texts, pa.string())})).codes
    return [None if code == 0 else step.reasons[code - 1] for code in codes]


bounds = st.fixed_dictionaries(
    {
        "min_doc_words": st.sampled_from([1, 5]),
        "max_doc_words": st.sampled_from([None, 20]),
        "min_avg_word_length": st.sampled_from([None, 2.5]),
        "max_avg_word_length": st.sampled_from([None, 4]),
        "max_symbol_word_ratio": st.sampled_from([None, 0.1, 0.25]),
        "max_bullet_lines_ratio": st.sampled_from([None, 0.3]),
        "max_ellipsis_lines_ratio": st.sampled_from([None, 0.25]),
        "min_alphabetic_word_ratio": st.sampled_from([None, 0.5]),
        "min_stop_words": st.sampled_from([None, 1, 2]),
    }
)


@pytest.mark.usefixtures("_on_our_tokens")
@given(documents, bounds)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_same_tokens_give_the_same_decision_for_the_same_reason(text, fields):
    assert our_decisions([text], **fields) == [decision_of_datatrove(text, **fields)]


@pytest.mark.usefixtures("_on_our_tokens")
@pytest.mark.parametrize(
    ("name", "column"), [("corpus/docs", "text"), ("corpus/man", "text"), ("alpaca_52k_rated/alpaca_en", "output")]
)
def test_real_documents_get_the_same_decision_for_the_same_reason(name, column):
    path = DATA / f"{name}.parquet"
    if not path.exists():
        pytest.skip(f"{path} is absent")
    every = pq.read_table(path, columns=[column]).column(column)
    some = every.take(pa.array(range(0, len(every), max(1, len(every) // 150)))).to_pylist()
    sample = [text for text in some if text and len(text) < 8_000 and tokens(text)]
    for fields in ({}, {"min_doc_words": 10, "min_alphabetic_word_ratio": 0.6, "max_symbol_word_ratio": 0.02}):
        expected = [decision_of_datatrove(text, **fields) for text in sample]
        assert our_decisions(sample, **fields) == expected
        assert len(set(expected)) > 1
