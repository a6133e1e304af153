"""Recall and precision are what a count by hand gives, and the reference is plain Python."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilth.bench.quality import Gold, Reference, judge, listed, shingles
from tilth.text.words import words

TEXTS = ["a b c d e f", "a b c d e f g", "a b c d e g", "x y z w v u", "x y z w v u"]


@pytest.fixture
def path(tmp_path):
    pq.write_table(pa.table({"text": TEXTS}), tmp_path / "docs.parquet")
    return tmp_path / "docs.parquet"


@pytest.fixture
def gold(path):
    i, j = np.array([0, 0, 1, 3]), np.array([1, 2, 2, 4])
    texts = Reference(path, 2)
    similarity = np.array([texts.jaccard(one, other) for one, other in zip(i.tolist(), j.tolist(), strict=True)])
    return Gold("five", texts, i, j, similarity, ("append", "replace", "append / replace", "copy"))


def test_the_reference_is_the_jaccard_similarity_of_sets_of_words(gold):
    # ab bc cd de ef | + fg | ab bc cd de eg
    assert gold.jaccard == pytest.approx([5 / 6, 4 / 6, 4 / 7, 1])


@given(st.text(alphabet=st.sampled_from("aB_1 \n\té\u0301猫ไก，,.")), st.integers(1, 4))
def test_a_text_line_by_line_has_the_words_of_the_whole(text, ngram):
    found = words(text)
    assert shingles(text, ngram) == {tuple(found[at : at + ngram]) for at in range(max(1, len(found) - ngram + 1))}


def test_characters_can_be_the_units():
    assert shingles("Ab c\n猫", 2, "char") == {("a", "b"), ("b", "c"), ("c", "猫")}


def test_a_pair_is_found_when_one_of_it_goes(gold):
    found = judge("mine", gold, 0.6, {1: 0})
    assert (found.pairs, found.recall) == (3, pytest.approx(1 / 3))
    assert judge("mine", gold, 0.6, {0: 1, 3: 4}).recall == 1
    assert judge("mine", gold, 0.9, {}).recall == 0
    assert found.edits == {"append": (1, 1.0), "replace": (1, 0.0), "copy": (1, 0.0)}


def test_a_dropped_row_is_right_when_it_is_similar_to_the_row_that_is_named(gold):
    assert judge("mine", gold, 0.8, {1: 0, 4: 3}).precision == 1
    assert judge("mine", gold, 0.8, {1: 0, 2: 0}).precision == 0.5
    assert judge("mine", gold, 0.8, {1: 3}).precision == 0
    assert judge("mine", gold, 5 / 6, {1: 0}).precision == 1
    assert judge("mine", gold, 0.8, {1: 0, 2: -1}).precision is None
    assert judge("mine", gold, 0.8, {}).precision is None


def test_bands_hold_each_pair_once(gold):
    found = judge("mine", gold, 0.55, {1: 0})
    assert [(low, pairs) for low, pairs, _ in found.bands if pairs] == [(0.55, 1), (0.65, 1), (0.8, 1), (0.95, 1)]
    assert sum(pairs for _, pairs, _ in found.bands) == found.pairs
    assert [recall for _, pairs, recall in found.bands if pairs] == [1, 0, 1, 0]
    assert math.isnan(found.bands[1][2])


def test_a_list_of_pairs_is_measured_anew(path):
    table = pa.table({"i": [0, 3], "j": [1, 4], "jaccard": [0.1, 0.1]})
    pq.write_table(table, path.with_name("pairs.parquet"))
    gold = listed("listed", path.parent, 2)
    assert gold.jaccard == pytest.approx([5 / 6, 1])
