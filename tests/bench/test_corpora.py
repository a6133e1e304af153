"""What a made corpus says of itself is so: every pair, its similarity, and how rows are spread."""

from __future__ import annotations

import re
from itertools import combinations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from tilth.bench import corpora
from tilth.bench.corpora import SHIFTED, short_rows, syllables, write_documents


def shingles(text):
    words = text.split(" ")
    return {tuple(words[at : at + 5]) for at in range(len(words) - 4)}


def jaccard(one, other):
    return len(one & other) / len(one | other)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    write_documents(folder / "rows.parquet", folder / "pairs.parquet", 160, words=(80, 400), seed=3)
    return pq.read_table(folder / "rows.parquet")["text"].to_pylist(), pq.read_table(folder / "pairs.parquet")


def test_the_pairs_are_all_pairs_that_share_anything_and_their_similarity_is_exact(made):
    texts, pairs = made
    sets = [shingles(text) for text in texts]
    exact = {
        (i, j): jaccard(sets[i], sets[j])
        for i, j in combinations(range(len(texts)), 2)
        if not sets[i].isdisjoint(sets[j])
    }
    listed = dict(
        zip(zip(pairs["i"].to_pylist(), pairs["j"].to_pylist(), strict=True), pairs["jaccard"].to_pylist(), strict=True)
    )
    assert len(listed) == len(pairs) > 100
    assert listed == pytest.approx(exact, abs=1e-12)


def test_every_kind_of_edit_is_there_and_similarities_are_spread(tmp_path):
    write_documents(tmp_path / "rows.parquet", tmp_path / "pairs.parquet", 3_000, words=(80, 300))
    pairs = pq.read_table(tmp_path / "pairs.parquet")
    edits = np.array(pairs["edit"].to_pylist())
    similarity = pairs["jaccard"].to_numpy()
    assert {edit for edit in edits if " / " not in edit} == {*corpora._EDITS, *SHIFTED}
    by_one = similarity[[" / " not in edit for edit in edits]]
    counts, _ = np.histogram(by_one, np.arange(0.5, 1.01, 0.1))
    assert counts.min() > 0.1 * len(by_one)
    for edit in corpora._EDITS:
        here = similarity[edits == edit]
        assert len(here) > 50
        assert here.min() == 1 if edit == "copy" else 0.4 < here.min() < 0.65 < 0.9 < here.max() < 1
    assert similarity[edits == SHIFTED[0]] == pytest.approx(996 / 1006)
    assert similarity[edits == SHIFTED[1]] == pytest.approx(996 / 1046)
    assert (similarity[edits == SHIFTED[2]] >= 281 / 311 - 1e-9).all()


def test_lengths_are_spread_over_what_is_asked_for(tmp_path):
    write_documents(tmp_path / "rows.parquet", None, 400, words=(80, 5_000), alone=1)
    words = pc.count_substring(pq.read_table(tmp_path / "rows.parquet")["text"], " ").to_numpy() + 1
    assert 80 <= words.min() < 100
    assert 4_000 < words.max() <= 5_000
    assert (words < 640).mean() == pytest.approx(0.5, abs=0.1)


def test_the_same_seed_makes_the_same_rows(tmp_path):
    for name, seed in (("one", 1), ("two", 1), ("three", 2)):
        write_documents(tmp_path / name, tmp_path / f"{name}-pairs", 50, words=(80, 120), seed=seed)
    assert pq.read_table(tmp_path / "one").equals(pq.read_table(tmp_path / "two"))
    assert pq.read_table(tmp_path / "one-pairs").equals(pq.read_table(tmp_path / "two-pairs"))
    assert not pq.read_table(tmp_path / "one").equals(pq.read_table(tmp_path / "three"))


def test_one_document_has_no_pairs(tmp_path):
    write_documents(tmp_path / "rows.parquet", tmp_path / "pairs.parquet", 1)
    assert pq.read_table(tmp_path / "pairs.parquet").num_rows == 0
    assert pq.read_table(tmp_path / "pairs.parquet").schema.equals(corpora.PAIRS)


def test_words_differ_and_short_ones_come_first():
    made = syllables(200_000)
    assert len(set(made)) == len(made)
    assert {len(word) for word in made[:6_400]} == {4}
    assert {len(word) for word in made[6_400:]} == {6}


def test_short_rows_are_as_many_and_as_long_as_said(monkeypatch):
    monkeypatch.setattr(corpora, "_ROWS_AT_ONCE", 1_000)
    tables = list(short_rows(2_500))
    assert [table.num_rows for table in tables] == [1_000, 1_000, 500]
    texts = pa.concat_tables(tables)["text"].to_pylist()
    assert all(re.fullmatch(r"[a-z]{4,6}( [a-z]{4,6}){6,15}", text) for text in texts)
    assert np.mean([text.count(" ") + 1 for text in texts]) == pytest.approx(11.5, abs=0.3)
    assert pa.concat_tables(short_rows(2_500)).equals(pa.concat_tables(tables))


def test_a_tenth_of_short_rows_are_another_with_a_word_more_or_less(monkeypatch):
    monkeypatch.setattr(corpora, "_ROWS_AT_ONCE", 1_000)
    tables = list(short_rows(3_000))
    texts = pa.concat_tables(tables)["text"].to_pylist()
    first = set(tables[0]["text"].to_pylist())
    by_start = {}
    for row, text in enumerate(texts):
        by_start.setdefault(" ".join(text.split()[:7]), []).append(row)
    groups = [rows for rows in by_start.values() if len(rows) > 1]
    copies = sum(len(rows) - 1 for rows in groups)
    assert 0.08 * len(texts) < copies < 0.12 * len(texts)
    for rows in groups:
        lengths = sorted(len(texts[row].split()) for row in rows)
        assert lengths[-1] - lengths[0] <= 2
    # Half of the copies of later tables are of rows of the first one.
    far = sum(any(row >= 1_000 for row in rows) and bool(first & {texts[row] for row in rows}) for rows in groups)
    assert far > 60


def test_the_frequencies_of_words_fall_as_those_of_a_language_do():
    text = " ".join(next(short_rows(20_000))["text"].to_pylist()).split()
    _, counts = np.unique(text, return_counts=True)
    counts = np.sort(counts)[::-1]
    assert counts[0] / counts[9] == pytest.approx(10, rel=0.5)
    assert counts[9] / counts[99] == pytest.approx(10, rel=0.3)
