"""Near-duplicates are found, verified exactly, and one of each group stays: the one that was asked for."""

from __future__ import annotations

import errno
import json
import os
import re
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, DatasetDict
from hypothesis import given, settings
from hypothesis import strategies as st

from tilth.dedup import MinHash
from tilth.dedup import minhash as minhash_module
from tilth.dedup._compare import similarities
from tilth.dedup._fold import fold
from tilth.dedup._greedy import Chains
from tilth.dedup._keys import KeyStore
from tilth.dedup._located import Texts
from tilth.dedup._sketch import SKETCH_VERSION, Shape, sketch
from tilth.dedup._sketch import shingle as shingle_kernel
from tilth.dedup.minhash import best_shape
from tilth.errors import ArgumentError, ColumnTypeError, MissingColumnError
from tilth.frame import Frame
from tilth.pipeline import Pipeline
from tilth.text.strings import from_python
from tilth.text.threads import set_threads
from tilth.text.words import words

DATA = Path(os.environ.get("TILTH_DATA", Path(__file__).parents[3] / "shared" / "data"))
PINNED_KEYS = [5689687443472870846, 18251790092633493103, 6009702421568839562, 16082090262898447866]
PINNED_PRINTS = [246, 139, 41, 121, 244, 10, 227, 151, 211, 35, 206, 94, 122, 237, 50, 103]
PINNED_DIGESTS = ["0x36495ada2bb3e99a", "0x99f381978999789d", "0xead108ba31cc596b", "0xe1911749dd0b1397"]
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


@given(
    texts=st.lists(TEXTS, min_size=1, max_size=8),
    pairs=st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), min_size=1, max_size=12),
    ngram=st.integers(1, 6),
    kind=st.sampled_from([pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())]),
)
@settings(max_examples=150, deadline=None)
def test_verified_similarity_is_the_jaccard_of_the_shingle_sets(texts, pairs, ngram, kind):
    column = pa.chunked_array([pa.array(texts[:3], pa.string()), pa.array(texts[3:], pa.string())]).cast(kind)
    one, other = (np.array([pair[side] % len(texts) for pair in pairs]) for side in (0, 1))
    rows = np.arange(len(texts))[::-1].copy()
    located = Texts(Frame(Dataset(pa.table({"text": column}))), "text").at(rows)
    found = similarities(located, rows[one], rows[other], 0, ngram)
    expected = [jaccard(texts[i], texts[j], ngram) for i, j in zip(one, other, strict=True)]
    assert found == pytest.approx(expected, abs=1e-6)


@given(units=st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=60), ngram=st.integers(1, 12))
@settings(max_examples=150, deadline=None)
def test_shingle_hashes_are_the_polynomial_of_their_units(units, ngram):
    base, fold_ = 0xD6E8FEB86659FD93, 0xFF51AFD7ED558CCD
    out = np.zeros(len(units) + 1, dtype=np.uint64)
    count = shingle_kernel(np.array(units, dtype=np.uint64), len(units), ngram, out)
    size = min(ngram, len(units))
    expected = []
    for at in range(len(units) - size + 1):
        value = size * fold_
        for unit in units[at : at + size]:
            value = (value * base + unit) % 2**64
        expected.append(value)
    assert out[:count].tolist() == expected


@given(texts=st.lists(st.one_of(TEXTS, st.text(max_size=30)), max_size=12), ngram=st.integers(1, 4))
@settings(max_examples=100, deadline=None)
def test_digests_are_equal_exactly_for_equal_words(texts, ngram):
    _, _, digests = sketch(from_python(texts), Shape(0, ngram, 16, 4, 4, 1))
    for one in range(len(texts)):
        for other in range(one):
            assert (digests[one] == digests[other]).all() == (words(texts[one]) == words(texts[other]))


@given(texts=st.lists(st.lists(st.sampled_from("ab"), min_size=4, max_size=6).map(" ".join), max_size=20))
@settings(max_examples=60, deadline=None)
def test_the_order_of_words_tells_digests_apart(texts):
    texts = [*texts, "a b b a", "b a a b", "a b a c a c a b a", "a c a b a b a c a"]
    for ngram in (1, 2):
        _, _, digests = sketch(from_python(texts), Shape(0, ngram, 16, 4, 4, 1))
        found = {tuple(digest) for digest in digests.tolist()}
        assert len(found) == len(set(texts))


def test_sketches_are_pinned():
    # Indexes outlive processes: whoever changes a value here raises SKETCH_VERSION.
    texts = ["a b c d e f", "the quick brown fox " * 40, "中文字", ""]
    keys, prints, digests = sketch(from_python(texts), Shape(0, 3, 16, 4, 4, 1))
    assert SKETCH_VERSION == 3
    assert [int(value) for value in keys[0]] == PINNED_KEYS
    assert prints[0].tolist() == PINNED_PRINTS
    assert [hex(int(value)) for value in digests[:, 0]] == PINNED_DIGESTS


def test_sketches_agree_in_the_share_of_the_jaccard_similarity():
    rng = np.random.default_rng(0)
    for length, edits in ((8, 1), (30, 1), (200, 4), (2_000, 30)):
        errors = []
        for _ in range(60):
            text = random_text(rng, length)
            other = variant(rng, text, edits)
            _, prints, _ = sketch(from_python([text, other]), Shape(0, 3, 256, 32, 8, 7))
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
    curve = step.curve()
    assert curve(at) == pytest.approx(1 - (1 - at**rows) ** bands)
    assert curve.at_threshold == pytest.approx(float(curve(0.7)))
    assert curve.at_threshold > 0.97
    assert float(curve(curve.middle)) == pytest.approx(0.5)
    assert f"{curve.at_threshold:.3f}" in repr(curve)
    assert "<polyline" in curve._repr_html_()
    assert MinHash("text", bands=10, rows=4).shape == (10, 4)
    assert best_shape(0.5, 128)[1] < best_shape(0.9, 128)[1]


def test_the_curve_is_plotted():
    pytest.importorskip("matplotlib").use("Agg")
    curve = MinHash("text", threshold=0.7).curve()
    ax = curve.plot()
    drawn = [line.get_ydata() for line in ax.lines if len(line.get_xdata()) > 100]
    assert drawn[0] == pytest.approx(curve(np.linspace(0, 1, 401)))
    assert curve.plot(ax) is ax


def test_the_share_of_candidates_is_that_of_the_curve():
    rng = np.random.default_rng(7)
    shape = Shape(0, 1, 128, 16, 8, 3)
    shared = 0
    texts = []
    for _ in range(400):
        # Two sets of 90 words that share 60: a similarity of a half.
        found = [f"w{n}" for n in rng.choice(10**9, 120, replace=False)]
        texts += [" ".join(found[:90]), " ".join(found[30:])]
    keys, _, _ = sketch(from_python(texts), shape)
    shared = (keys[:, ::2] == keys[:, 1::2]).any(axis=0).mean()
    expected = MinHash("text", bands=16, rows=8).curve()(0.5)
    assert abs(shared - expected) < 4 * np.sqrt(expected * (1 - expected) / 400)


def test_a_component_is_all_that_similar_pairs_connect():
    rng = np.random.default_rng(8)
    texts = []
    for _ in range(20):
        chain_ = [random_text(rng, 300)]
        for _ in range(5):
            chain_.append(variant(rng, chain_[-1], 4))
        texts += chain_
    order = rng.permutation(len(texts))
    texts = [texts[at] for at in order]
    sets = [shingles(text, 5) for text in texts]
    parent = list(range(len(texts)))

    def root(row):
        while parent[row] != row:
            row = parent[row]
        return row

    for one in range(len(texts)):
        for other in range(one):
            both = len(sets[one] & sets[other])
            if both / (len(sets[one]) + len(sets[other]) - both) >= 0.8:
                one_root, other_root = root(one), root(other)
                parent[max(one_root, other_root)] = min(one_root, other_root)
    expected = [root(row) for row in range(len(texts))]
    found = MinHash("text", threshold=0.8, num_perm=256, cluster="component").groups(build(texts))
    assert (found.kept != np.array(expected)).mean() < 0.01
    for row in np.flatnonzero(found.kept != np.arange(len(texts))):
        assert found.similarity[row] == pytest.approx(jaccard(texts[row], texts[found.kept[row]], 5), abs=1e-6)
    assert found.similarity.min() < 0.8
    direct = MinHash("text", threshold=0.8, num_perm=256).groups(build(texts))
    assert (direct.codes > 0).sum() < (found.codes > 0).sum()


def test_a_false_candidate_between_two_pairs_does_not_join_them():
    # One band of one row makes candidates of nearly everything; only what is verified counts.
    rng = np.random.default_rng(9)
    one, other = random_text(rng, 60), random_text(rng, 60)
    texts = [one, variant(rng, one, 1), other, variant(rng, other, 1), " ".join([one, other])]
    step = MinHash("text", threshold=0.6, num_perm=64, bands=64, rows=1, ngram=1, cluster="component")
    assert step.groups(build(texts)).kept.tolist() == [0, 0, 2, 2, 4]


def test_clusters_are_shown_and_nothing_is_dropped():
    ds = build([*COPIES, "another text", None])
    found = MinHash("text").clusters(ds)
    assert found.to_dict() == {
        "row": [0, 1, 2],
        "cluster": [0, 0, 0],
        "kept_row": [0, 0, 0],
        "similarity": [1.0, 1.0, 1.0],
    }
    marked = MinHash("text", keep="last").apply(ds, mark_only=True)
    assert len(marked) == 5
    assert marked["duplicate_of"][:] == [2, 2, None, None, None]
    assert marked["duplicate_reason"][:] == ["duplicate", "duplicate", None, None, "null_text"]
    assert marked["cluster"][:] == [2, 2, 2, None, None]


def test_a_test_set_is_taken_out_of_a_training_set():
    splits = DatasetDict(
        train=build(["seen in the test", "only here", "twice", "twice"]),
        test=build(["seen in the test", "unseen", "unseen"]),
        other=build(["twice", "unseen"]),
    )
    done = MinHash("text", keep="last").apply(splits, across=["test", "train"])
    assert done["train"]["text"][:] == ["only here", "twice"]
    assert done["test"]["text"][:] == ["seen in the test", "unseen"]
    assert done["other"]["text"][:] == ["twice", "unseen"]
    with pytest.raises(ArgumentError, match=r"across=.*names? splits once"):
        MinHash("text").apply(splits, across=["test", "dev"])


def test_characters_are_units_where_they_are_asked_for():
    texts = ["one two three four", "onetwo threefour", "one two three five"]
    step = MinHash("text", unit="char", ngram=3, threshold=0.95)
    assert step.groups(build(texts)).kept.tolist() == [0, 0, 2]
    tight = [text.replace(" ", "") for text in texts]
    sets = [{text[at : at + 3] for at in range(len(text) - 2)} for text in tight]
    exact = len(sets[0] & sets[2]) / len(sets[0] | sets[2])
    loose = MinHash("text", unit="char", ngram=3, threshold=exact - 0.01).groups(build(texts))
    assert loose.similarity[2] == pytest.approx(exact, abs=1e-6)


@pytest.mark.parametrize(
    ("options", "equal"),
    [
        ({}, [0, 0, 0, 3, 3, 5, 5, 7]),
        ({"preset": "chat"}, [0, 0, 0, 3, 3, 5, 5, 7]),
        ({"preset": "code"}, [0, 1, 2, 3, 4, 5, 6, 7]),
        ({"preset": "web"}, [0, 0, 0, 3, 3, 5, 5, 5]),
        ({"fold_case": False}, [0, 1, 0, 3, 3, 5, 6, 7]),
        ({"preset": "code", "punctuation": False}, [0, 1, 0, 3, 3, 5, 6, 7]),
        ({"punctuation": True}, [0, 0, 2, 3, 4, 5, 5, 7]),
    ],
    ids=str,
)
def test_what_is_folded_is_what_the_options_say(options, equal):
    texts = ["a b c", "A b c", "a, b c", "x = y + z", "x = y - z", "On 3 May 1999", "on 3 May 1999", "on 12 may 2024"]
    assert MinHash("text", threshold=1.0, ngram=2, **options).groups(build(texts)).kept.tolist() == equal


def test_keys_on_disk_and_in_memory_give_the_same(monkeypatch):
    rng = np.random.default_rng(10)
    base = [random_text(rng, 60) for _ in range(200)]
    texts = [variant(rng, base[at % 200], at % 3) for at in range(900)] + [None, ""]
    expected = [MinHash("text", keep=keep).run(build(texts)) for keep in ("first", "last")]
    monkeypatch.setattr(minhash_module, "_BUDGET", 0)
    before = set(Path(tempfile.gettempdir()).glob("tilth-keys-*"))
    for keep, one in zip(("first", "last"), expected, strict=True):
        spilled = MinHash("text", keep=keep).run(build(texts))
        assert spilled.dropped.rows.tolist() == one.dropped.rows.tolist()
        assert spilled.dropped.evidence.equals(one.dropped.evidence)
    assert set(Path(tempfile.gettempdir()).glob("tilth-keys-*")) == before


def test_a_full_disk_is_an_error_and_leaves_nothing(monkeypatch, tmp_path):
    monkeypatch.setattr(minhash_module, "_BUDGET", 0)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OSError, match="No space left"):
        MinHash("text").run(build(COPIES))
    assert list(tmp_path.iterdir()) == []


@given(st.lists(st.integers(0, 30), max_size=300))
@settings(max_examples=50, deadline=None)
def test_the_row_before_with_the_same_key(values):
    keys = np.array(values, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    before = Chains(len(keys)).of(keys)
    some = np.arange(len(keys))[::-2].copy()
    assert Chains(len(some)).of(keys, some).tolist() == Chains(len(some)).of(keys[some].copy()).tolist()
    last: dict[int, int] = {}
    for row, value in enumerate(values):
        assert before[row] == last.get(value, -1)
        last[value] = row


def test_many_rows_are_parted_and_chained_as_few_are():
    rng = np.random.default_rng(11)
    values = rng.integers(0, 200_000, 400_000)
    keys = values.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    before = Chains(len(keys)).of(keys)
    first_of = fold(np.stack([keys, keys], axis=1))
    _, expected = np.unique(values, return_index=True)
    assert np.array_equal(np.flatnonzero(before < 0), np.sort(expected))
    assert np.array_equal(np.flatnonzero(first_of == np.arange(400_000)), np.sort(expected))
    assert np.array_equal(values[before[before >= 0]], values[before >= 0])


def test_keys_are_stored_by_band():
    rng = np.random.default_rng(12)
    keys = rng.integers(0, 2**64, (3, 1000), dtype=np.uint64)
    for budget in (0, 10**9):
        with KeyStore(3, 1000, budget) as store:
            assert store.spilled == (budget == 0)
            for first in (600, 0):
                store.put(first, keys[:, first : first + (400 if first else 600)])
            for band in range(3):
                assert np.array_equal(store.band(band), keys[band])


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
        ("unit", "sentence", "'word' or 'char'"),
        ("cluster", "all", "'direct' or 'component'"),
        ("preset", "prose", "None or one of"),
        ("fold_case", "yes", "True, False, or None"),
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
    assert fold(digests, np.array([4, 3, 1])).tolist() == [0, 1, 0]
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
