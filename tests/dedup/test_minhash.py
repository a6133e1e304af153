"""Near-duplicates are found, verified exactly, and one of each group stays: the one that was asked for."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from tilth.dedup import MinHash
from tilth.dedup._sketch import similarities, sketch
from tilth.dedup.minhash import best_shape, fold
from tilth.errors import ArgumentError, ColumnTypeError, MissingColumnError
from tilth.pipeline import Pipeline
from tilth.text.strings import from_python
from tilth.text.threads import set_threads
from tilth.text.words import words

DATA = Path(os.environ.get("TILTH_DATA", Path(__file__).parents[3] / "shared" / "data"))
WORDS = st.sampled_from(["a", "b", "c", "the", "naïve", "猫", "ไ", "x1", "_"])
TEXTS = st.lists(WORDS, max_size=25).map(" ".join)


def build(texts, **columns):
    return Dataset(pa.table({"text": pa.array(texts, pa.string()), **columns}))


def shingles(text, ngram):
    found = words(text)
    return {tuple(found[at : at + ngram]) for at in range(max(1, len(found) - ngram + 1))}


def jaccard(one, other, ngram):
    one, other = shingles(one, ngram), shingles(other, ngram)
    return len(one & other) / len(one | other)


def variant(rng, text, edits):
    found = text.split()
    for _ in range(edits):
        found[rng.integers(len(found))] = f"edit{rng.integers(10**9)}"
    return " ".join(found)


def random_text(rng, length):
    return " ".join(f"w{n}" for n in rng.integers(0, 50_000, length))


def evidence(outcome):
    fields = outcome.dropped.evidence.flatten()
    return [field.to_pylist() for field in fields]


@given(pairs=st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=8), ngram=st.integers(1, 6))
@settings(max_examples=150, deadline=None)
def test_verified_similarity_is_the_jaccard_of_the_shingle_sets(pairs, ngram):
    leaders, others = from_python([one for one, _ in pairs]), from_python([other for _, other in pairs])
    found = similarities(leaders, np.arange(len(pairs)), others, np.arange(len(pairs)), ngram)
    assert found == pytest.approx([jaccard(one, other, ngram) for one, other in pairs], abs=1e-6)


@given(texts=st.lists(st.one_of(TEXTS, st.text(max_size=30)), max_size=12), ngram=st.integers(1, 4))
@settings(max_examples=100, deadline=None)
def test_digests_are_equal_exactly_for_equal_words(texts, ngram):
    _, _, digests = sketch(from_python(texts), ngram, 16, 4, 4, 1)
    for one in range(len(texts)):
        for other in range(one):
            assert (digests[one] == digests[other]).all() == (words(texts[one]) == words(texts[other]))


def test_sketches_agree_in_the_share_of_the_jaccard_similarity():
    rng = np.random.default_rng(0)
    for length, edits in ((30, 1), (200, 4), (2_000, 30)):
        errors = []
        for _ in range(60):
            text = random_text(rng, length)
            other = variant(rng, text, edits)
            _, prints, _ = sketch(from_python([text, other]), 3, 256, 32, 8, 7)
            errors.append((prints[0] == prints[1]).mean() - jaccard(text, other, 3))
        # The standard error of a mean of 60 estimates from 256 places is below 0.004.
        assert abs(np.mean(errors)) < 0.016
        assert np.std(errors) < 0.045


@given(texts=st.lists(TEXTS, min_size=1, max_size=25), threshold=st.sampled_from([0.3, 0.5, 0.8, 1.0]))
@settings(max_examples=100, deadline=None)
def test_every_dropped_row_is_as_similar_as_asked_to_the_row_that_stands_for_it(texts, threshold):
    outcome = MinHash("text", threshold=threshold, ngram=2).run(build(texts))
    dropped = set(outcome.dropped.rows.tolist())
    for row, kept, similarity in zip(outcome.dropped.rows.tolist(), *evidence(outcome), strict=True):
        assert kept not in dropped
        assert kept < row
        assert jaccard(texts[row], texts[kept], 2) == pytest.approx(similarity, abs=1e-6)
        assert similarity >= threshold - 1e-6


def test_no_two_kept_rows_are_near_duplicates():
    rng = np.random.default_rng(1)
    texts = []
    for _ in range(150):
        base = random_text(rng, int(rng.integers(80, 400)))
        texts += [base, *(variant(rng, base, int(rng.integers(1, 12))) for _ in range(3))]
    order = rng.permutation(len(texts))
    texts = [texts[at] for at in order]
    pairs = [
        (one, other)
        for one in range(len(texts))
        for other in range(one)
        if order[one] // 4 == order[other] // 4 and jaccard(texts[one], texts[other], 5) >= 0.8
    ]
    dropped = set(MinHash("text", threshold=0.8).run(build(texts)).dropped.rows.tolist())
    missed = [pair for pair in pairs if not dropped & set(pair)]
    assert len(pairs) > 100
    assert len(missed) <= 0.01 * len(pairs)


@pytest.mark.parametrize(
    "edit", ["10 words before 1000", "50 words after", "3 of 300 replaced"], ids=lambda edit: edit.replace(" ", "-")
)
def test_copies_that_are_shifted_are_found(edit):
    rng = np.random.default_rng(2)
    texts = []
    for _ in range(50):
        text = random_text(rng, 300 if "300" in edit else 1000)
        other = {
            "10 words before 1000": lambda text: random_text(rng, 10) + " " + text,
            "50 words after": lambda text: text + " " + random_text(rng, 50),
            "3 of 300 replaced": lambda text: variant(rng, text, 3),
        }[edit](text)
        texts += [text, other]
    dropped = MinHash("text", threshold=0.8).run(build(texts)).dropped.rows
    assert dropped.tolist() == list(range(1, 100, 2))


def test_a_chain_of_similar_rows_is_not_merged_into_one():
    rng = np.random.default_rng(3)
    chain = [random_text(rng, 400)]
    for _ in range(12):
        chain.append(variant(rng, chain[-1], 7))
    outcome = MinHash("text", threshold=0.8).run(build(chain))
    dropped = set(outcome.dropped.rows.tolist())
    assert len(dropped) < 12
    for row, kept, similarity in zip(outcome.dropped.rows.tolist(), *evidence(outcome), strict=True):
        assert jaccard(chain[row], chain[kept], 5) == pytest.approx(similarity, abs=1e-6)


COPIES = ["the cat sat on the mat", "THE CAT, sat on the mat!", "the cat sat -- on the mat"]


@pytest.mark.parametrize(
    ("keep", "kept"),
    [
        ("first", [0]),
        ("last", [2]),
        ("longest", [2]),
        ("shortest", [0]),
        ("max:stars", [1]),
        ("min:stars", [0]),
        ({"source": ["wiki", "web"]}, [2]),
        ("none", []),
    ],
    ids=str,
)
def test_the_copy_that_stays_is_the_one_asked_for(keep, kept):
    ds = build(COPIES, stars=[1, 9, None], source=["web", "books", "wiki"])
    step = MinHash("text", keep=keep)
    assert len(step.apply(ds)) == len(kept)
    outcome = step.run(ds)
    assert sorted(set(range(3)) - set(outcome.dropped.rows.tolist())) == kept


def test_ties_fall_to_the_earlier_row():
    ds = build(COPIES[:1] * 3, stars=[5, 5, 5])
    for keep in ("longest", "shortest", "max:stars", "min:stars", {"stars": [5]}):
        assert MinHash("text", keep=keep).run(ds).dropped.rows.tolist() == [1, 2]


def test_null_empty_and_short_texts_are_each_treated_as_what_they_are():
    ds = build([None, "", "", "yes", "no", "Yes!", None])
    curated = MinHash("text").run(ds)
    assert curated.dropped.rows.tolist() == [0, 2, 5, 6]
    assert [MinHash.reasons[code - 1] for code in curated.dropped.codes] == [
        "null_text",
        "duplicate",
        "duplicate",
        "null_text",
    ]


def test_sentences_without_spaces_do_not_collapse():
    rng = np.random.default_rng(4)
    texts = ["".join(chr(0x4E00 + n) for n in rng.integers(0, 3000, 30)) for _ in range(1000)]
    assert len(MinHash("text").run(build(texts)).dropped.rows) == 0
    assert len(MinHash("text").run(build([text + text[:1] for text in texts] + texts)).dropped.rows) == 1000


def test_a_million_equal_rows_are_folded_without_being_compared():
    ds = build(["the same text again and again"] * 1_000_000)
    assert len(MinHash("text").run(ds).dropped.rows) == 999_999


def test_the_result_does_not_depend_on_chunks_threads_or_an_index():
    rng = np.random.default_rng(5)
    base = [random_text(rng, 100) for _ in range(300)]
    texts = [variant(rng, base[at % 300], at % 4) for at in range(1200)]
    whole = pa.array(texts)
    chunked = pa.chunked_array([whole[:1], whole[1:1], whole[1:700], whole[700:]])
    expected = MinHash("text").run(build(texts)).dropped.rows.tolist()
    assert 100 < len(expected) < 1200
    assert MinHash("text").run(Dataset(pa.table({"text": chunked}))).dropped.rows.tolist() == expected
    assert (
        MinHash("text").run(Dataset(pa.table({"text": whole.cast(pa.large_string())}))).dropped.rows.tolist()
        == expected
    )
    padded = Dataset(pa.table({"text": ["x", *texts, "y"]}))
    assert MinHash("text").run(padded.select(range(1, 1201))).dropped.rows.tolist() == expected
    backwards = padded.select(list(range(1200, 0, -1)))
    assert MinHash("text", keep="last").run(backwards).dropped.rows.tolist() == sorted(1199 - row for row in expected)
    for threads in (1, 3):
        set_threads(threads)
        try:
            assert MinHash("text").run(build(texts)).dropped.rows.tolist() == expected
        finally:
            set_threads(None)


def test_without_verification_the_estimate_decides():
    rng = np.random.default_rng(6)
    texts = [random_text(rng, 500)]
    texts.append(variant(rng, texts[0], 2))
    outcome = MinHash("text", verify=False, num_perm=256).run(build(texts))
    assert evidence(outcome)[1][0] == pytest.approx(jaccard(*texts, 5), abs=0.1)


def test_the_curve_gives_the_probability_of_a_candidate():
    step = MinHash("text", threshold=0.7)
    bands, rows = step.shape
    assert bands * rows <= 128
    at = np.linspace(0, 1, 11)
    assert step.curve(at) == pytest.approx(1 - (1 - at**rows) ** bands)
    assert step.curve(0.7) > 0.97
    assert MinHash("text", bands=10, rows=4).shape == (10, 4)
    assert best_shape(0.5, 128)[1] < best_shape(0.9, 128)[1]


def test_rejected_rows_name_the_kept_row_of_the_source(tmp_path):
    ds = build(["too short", *COPIES, "another text that stands alone"])
    from tests.steps_for_tests import AtLeast

    curated = Pipeline(AtLeast("text", 12), MinHash("text")).run(ds, cache_dir=tmp_path)
    rejected = curated.rejected.to_list()
    assert [row["reason"] for row in rejected] == ["short", "duplicate", "duplicate"]
    assert [json.loads(row["evidence"]) for row in rejected[1:]] == [{"kept_row": 1, "similarity": 1.0}] * 2


def test_wrong_arguments_are_refused_by_name():
    for field, value, allowed in [
        ("threshold", 0, "above 0 and at most 1"),
        ("threshold", 1.1, "above 0 and at most 1"),
        ("ngram", 0, "from 1 to 1000"),
        ("num_perm", 1, "from 2 to 4096"),
        ("keep", "best", "'first', 'last'"),
        ("keep", {"a": ["x"], "b": ["y"]}, "'first', 'last'"),
    ]:
        with pytest.raises(ArgumentError, match=f"MinHash: {field}={re.escape(repr(value))} .*{allowed}"):
            MinHash("text", **{field: value})
    with pytest.raises(ArgumentError, match=r"bands=4.*together with rows"):
        MinHash("text", bands=4)
    with pytest.raises(ArgumentError, match=r"bands=20.*num_perm / rows = 12"):
        MinHash("text", bands=20, rows=10)
    with pytest.raises(MissingColumnError, match=r"max:stars|'stars'"):
        MinHash("text", keep="max:stars").apply(build(["a"]))
    with pytest.raises(ColumnTypeError, match="MinHash reads column 'id' as text"):
        MinHash("id").apply(build(["a"], id=[1]))


def test_fold_finds_the_first_of_equal_digests():
    digests = np.array([[3, 1], [2, 2], [3, 1], [3, 2], [2, 2]], dtype=np.uint64)
    assert fold(digests).tolist() == [0, 1, 0, 3, 1]
    assert fold(digests[:0]).tolist() == []


@pytest.mark.skipif(not DATA.exists(), reason="needs the corpora with exact near-duplicate pairs")
@pytest.mark.parametrize(("corpus", "ngram"), [("nd_docs_A", 5), ("nd_tweets", 3), ("nd_de_laws", 5)])
@pytest.mark.parametrize("threshold", [0.5, 0.8])
def test_recall_on_brute_force_pairs_is_at_least_99_percent(corpus, ngram, threshold):
    table = pq.read_table(DATA / corpus / "docs.parquet", columns=["text"])
    pairs = pq.read_table(DATA / corpus / "pairs.parquet")
    pairs = pairs.filter(pc.greater_equal(pairs["jaccard"], threshold))
    gone = np.zeros(table.num_rows, dtype=bool)
    gone[MinHash("text", threshold=threshold, ngram=ngram).run(Dataset(table)).dropped.rows] = True
    assert (gone[pairs["i"].to_numpy()] | gone[pairs["j"].to_numpy()]).mean() >= 0.99
