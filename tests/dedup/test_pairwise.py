"""All similar pairs are found and no other, by any metric, and the groups are made of them."""

from __future__ import annotations

import json
import os
import pickle
import re
from itertools import combinations
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, DatasetDict
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.steps_for_tests import AtLeast
from tilth.dedup import Pairwise, _compared, _join
from tilth.dedup._align import STRIP, common, common_long, edits, edits_long, mask_pattern, room_for, unmask
from tilth.dedup._tokens import Ragged, cuts, gram_tokens, number
from tilth.errors import ArgumentError, ColumnTypeError, MissingColumnError
from tilth.pipeline import Pipeline
from tilth.text.kernel import kernel
from tilth.text.threads import set_threads
from tilth.text.words import words

DATA = Path(os.environ.get("TILTH_DATA", Path(__file__).parents[3] / "shared" / "data"))
WORDS = st.sampled_from(["a", "b", "c", "D", "the", "naïve", "猫", "ไ", "e\u0301", "😀", "x1", "_", "ab"])
TEXTS = st.one_of(st.lists(WORDS, max_size=20).map(" ".join), st.text(max_size=12))
CLOSE = 1e-9


def build(texts, **columns):
    return Dataset(pa.table({"text": pa.array(texts, pa.string()), **columns}))


def shingles(units, ngram):
    return {tuple(units[at : at + ngram]) for at in range(max(1, len(units) - ngram + 1))}


def longest_common(one, other):
    row = [0] * (len(other) + 1)
    for value in one:
        before = 0
        for at, theirs in enumerate(other):
            above = row[at + 1]
            row[at + 1] = before + 1 if value == theirs else max(row[at + 1], row[at])
            before = above
    return row[-1]


def edit_distance(one, other):
    row = list(range(len(other) + 1))
    for line, value in enumerate(one):
        before, row[0] = row[0], line + 1
        for at, theirs in enumerate(other):
            above = row[at + 1]
            row[at + 1] = min(above + 1, row[at] + 1, before + (value != theirs))
            before = above
    return row[-1]


def similarity(metric, one, other, ngram):
    if one == other:
        return 1.0
    if metric == "jaccard":
        first, second = shingles(one, ngram), shingles(other, ngram)
        return len(first & second) / len(first | second)
    if not one or not other:
        return 0.0
    if metric == "rouge_l":
        return 2 * longest_common(one, other) / (len(one) + len(other))
    return 1 - edit_distance(one, other) / max(len(one), len(other))


def all_pairs(units, metric, threshold, ngram):
    found = {}
    for one, other in combinations(range(len(units)), 2):
        if units[one] is not None and units[other] is not None:
            value = similarity(metric, units[one], units[other], ngram)
            if value >= threshold - CLOSE:
                found[one, other] = value
    return found


def pairs_of(step, ds):
    found = step.pairs(ds)
    return dict(zip(zip(found["row"][:], found["other"][:], strict=True), found["similarity"][:], strict=True))


@st.composite
def edited(draw, longest):
    """Rows of which some are others with a few edits, over a small or a larger alphabet."""
    alphabet = "abcdefghijkl"[: draw(st.sampled_from([2, 4, 12]))]
    letters = st.sampled_from(list(alphabet))
    base = draw(st.lists(st.lists(letters, max_size=longest), min_size=1, max_size=3))
    rows = []
    for _ in range(draw(st.integers(1, 10))):
        row = list(draw(st.sampled_from(base)))
        for _ in range(draw(st.integers(0, max(1, len(row) // 4)))):
            at = draw(st.integers(0, len(row)))
            row[at : at + draw(st.integers(0, 1))] = draw(st.lists(letters, max_size=1))
        rows.append(row)
    return rows


@settings(max_examples=300, deadline=None)
@given(
    rows=edited(30),
    metric=st.sampled_from(["jaccard", "rouge_l", "edit"]),
    threshold=st.sampled_from([0.05, 0.2, 0.3, 0.5, 0.6, 0.7, 0.75, 0.8, 0.9, 0.95, 1.0]),
    ngram=st.integers(1, 4),
    unit=st.sampled_from(["word", "char"]),
)
def test_all_similar_pairs_are_found_and_no_other(rows, metric, threshold, ngram, unit):
    step = Pairwise("text", metric, threshold, ngram if metric == "jaccard" else None, unit=unit)
    found = pairs_of(step, build([" ".join(row) for row in rows]))
    expected = all_pairs(rows, metric, threshold, ngram)
    assert list(found) == sorted(expected)
    assert found == pytest.approx(expected, abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(
    texts=st.lists(st.one_of(st.none(), TEXTS), max_size=10),
    metric=st.sampled_from(["jaccard", "rouge_l", "edit"]),
    threshold=st.sampled_from([0.3, 0.6, 0.8]),
)
def test_pairs_of_any_text(texts, metric, threshold):
    step = Pairwise("text", metric, threshold, 2 if metric == "jaccard" else None, unit="word")
    units = [None if text is None else words(text) for text in texts]
    assert pairs_of(step, build(texts)) == pytest.approx(all_pairs(units, metric, threshold, 2), abs=1e-6)


@pytest.mark.parametrize("gram", [1, 2, 3, 4])
def test_edits_are_found_by_ngrams_of_any_length(monkeypatch, gram):
    rng = np.random.default_rng(gram)
    threshold = 0.8
    monkeypatch.setattr(_compared, "_gram_for", lambda threshold: gram)
    rows = []
    for length in list(range(26)) + [70, 130] * 3:
        row = [str(letter) for letter in rng.choice(list("abcdef"), length)]
        rows += [row, row[1:], [*row, "g"], [*row[: length // 2], "h", *row[length // 2 + 1 :]]]
    expected = all_pairs(rows, "edit", threshold, 0)
    assert len(expected) > 100
    found = pairs_of(Pairwise("text", "edit", threshold), build(["".join(row) for row in rows]))
    assert found == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("metric", ["jaccard", "rouge_l", "edit"])
def test_many_rows_in_several_parts(metric):
    rng = np.random.default_rng(0)
    base = [[f"w{word}" for word in rng.zipf(1.3, rng.integers(5, 30)) % 500] for _ in range(30)]
    rows = [list(base[at % 30]) for at in range(150)]
    for at, row in enumerate(rows):
        for _ in range(at % 3):
            row[rng.integers(len(row))] = f"w{rng.integers(500)}"
    step = Pairwise("text", metric, 0.6, 2 if metric == "jaccard" else None, unit="word")
    expected = all_pairs(rows, metric, 0.6, 2)
    assert len(expected) > 150
    assert pairs_of(step, build([" ".join(row) for row in rows])) == pytest.approx(expected, abs=1e-6)


@kernel
def _set_pattern(room, values, first, last, begin, end, most):
    mask_pattern(room, values, first, last)
    found = common(room, last - first, values, begin, end), edits(room, last - first, values, begin, end, most)
    unmask(room, values, first, last)
    return found


def aligned(one, other, most=10**9):
    values = np.array(one + other, dtype=np.int32)
    room = room_for(int(values.max(initial=0)) + 1, max(len(one), len(other)))
    ends = 0, len(one), len(one), len(values)
    short = _set_pattern(room, values, *ends, most) if 0 < len(one) <= STRIP else None
    long = common_long(room, values, *ends), edits_long(room, values, *ends, most)
    assert not room.place.any()
    return short, long


@settings(max_examples=200, deadline=None)
@given(edited(200))
def test_bit_vectors_agree_with_the_matrix(rows):
    one, other = ([ord(letter) for letter in row or "m"] for row in (rows[0], rows[-1]))
    expected = longest_common(one, other), edit_distance(one, other)
    short, long = aligned(one, other)
    assert long == expected
    assert short in (None, expected)
    for most in (expected[1], expected[1] - 1, 0):
        found = [value[1] for value in aligned(one, other, most) if value is not None]
        assert all(value == expected[1] if expected[1] <= most else value > most for value in found)


@pytest.mark.parametrize("length", [1, 63, 64, 65, 127, 128, 129, 640, STRIP - 1, STRIP, STRIP + 1, 2 * STRIP + 100])
def test_patterns_at_the_edges_of_words_and_strips(length):
    rng = np.random.default_rng(length)
    for alphabet in (2, 30):
        one = rng.integers(0, alphabet, length).tolist()
        other = one[length // 3 :][:60] + rng.integers(0, alphabet, 30).tolist() + one[-30:]
        expected = longest_common(other, one), edit_distance(other, one)
        assert {found for found in aligned(one, other) if found is not None} == {expected}
        assert {found for found in aligned(other, one) if found is not None} == {expected}
        shifted = one[1:] + one[:1]
        # Of a row and itself, begun a value later, all but one are common, and two are edited at most.
        assert aligned(one, shifted)[1][0] >= length - 1
        assert aligned(one, shifted)[1][1] <= 2
        assert aligned(one, one)[1] == (length, 0)


def test_values_are_numbered_by_what_they_are():
    rng = np.random.default_rng(1)
    for size, kinds in ((0, 1), (1, 1), (100, 7), (50_000, 40_000), (300_000, 1000), (100_000, 1)):
        values = rng.integers(0, 2**64, kinds, dtype=np.uint64)[rng.integers(0, kinds, size)]
        values[: size // 10] = 0
        numbers, times = number(values)
        _, first, inverse, counts = np.unique(values, return_index=True, return_inverse=True, return_counts=True)
        assert len(times) == len(first)
        assert (numbers == numbers[first][inverse]).all()
        assert (times[numbers[first]] == counts).all()
        assert sorted(numbers[first]) == list(range(len(first)))


def test_tokens_count_how_often_an_ngram_was_there_before():
    rows = Ragged(np.array([1, 2, 1, 2, 1, 2, 9, 1, 2], dtype=np.int32), np.array([0, 5, 5, 6, 9]))
    tokens, times = gram_tokens(rows, 2)
    assert tokens.lengths.tolist() == [4, 0, 0, 2]
    first, last = tokens.values[:4].tolist(), tokens.values[4:].tolist()
    assert len(set(first)) == 4
    assert last[1] == first[0]
    assert last[0] not in first
    assert sorted(times) == [1, 1, 1, 1, 2]


@given(st.lists(st.integers(0, 1000), max_size=200))
def test_parts_hold_every_row_once(work):
    parts = cuts(np.array(work, dtype=np.int64))
    assert [row for lo, hi in parts for row in range(lo, hi)] == list(range(len(work)))
    assert len(parts) <= 64


def test_texts_without_units_equal_each_other_and_nothing_else():
    for metric in ("jaccard", "rouge_l", "edit"):
        step = Pairwise("text", metric, 0.01, unit="word")
        assert pairs_of(step, build(["", "!?", None, "a", " ", None])) == {(0, 1): 1.0, (0, 4): 1.0, (1, 4): 1.0}


def test_nothing_and_nothing_but_nulls():
    for metric in ("jaccard", "rouge_l", "edit"):
        step = Pairwise("text", metric)
        for texts in ([], [None, None], ["a"]):
            assert step.pairs(build(texts)).to_dict() == {"row": [], "other": [], "similarity": []}
            assert len(step.apply(build(texts))) == texts.count("a")
    assert Pairwise("text").pairs(build([])).features["similarity"].dtype == "float32"


def test_rouge_l_is_that_of_the_self_instruct_rule():
    texts = ["Write a story about a dog.", "Write a poem about a dog!", "write_a story", "Name three dogs"]
    assert pairs_of(Pairwise("text", "rouge_l", 0.7), build(texts)) == {(0, 1): pytest.approx(2 * 5 / 12)}
    assert Pairwise("text", "rouge_l", 0.7).apply(build(texts))["text"][:] == [texts[0], *texts[2:]]


def test_edits_are_of_characters_without_white_space_and_of_words_if_asked():
    texts = ["Colour of the sky", "color  ofthe sky", "The colour of the sky"]
    found = pairs_of(Pairwise("text", "edit", 0.8), build(texts))
    assert found == pytest.approx({(0, 1): 1 - 1 / 14, (0, 2): 1 - 3 / 17}, abs=1e-6)
    assert pairs_of(Pairwise("text", "edit", 0.8, unit="word"), build(texts)) == {(0, 2): pytest.approx(0.8)}
    assert pairs_of(Pairwise("text", "edit", 0.8, fold_case=False), build(texts)) == pytest.approx(
        {(0, 1): 1 - 2 / 14}, abs=1e-6
    )
    # A threshold that a similarity equals, though neither is exact in binary.
    assert pairs_of(Pairwise("text", "edit", 0.9), build(["abcdefghij", "abcdefghix"])) == {(0, 1): pytest.approx(0.9)}


CHAIN = ["a b c d e f", "a b c d e g", "a b c d h g", "a b c i h g", "z"]


def test_direct_groups_are_stars_and_components_are_chains():
    direct = Pairwise("text", "rouge_l", 0.8).run(build(CHAIN))
    assert direct.dropped.rows.tolist() == [1, 3]
    assert [why["kept_row"] for why in direct.dropped.evidence.to_pylist()] == [0, 2]
    for metric, unit in (("rouge_l", "word"), ("edit", "word"), ("jaccard", "word")):
        step = Pairwise("text", metric, 0.7, 1 if metric == "jaccard" else None, unit=unit, cluster="component")
        outcome = step.run(build(CHAIN))
        assert outcome.dropped.rows.tolist() == [1, 2, 3]
        whys = outcome.dropped.evidence.to_pylist()
        assert {why["kept_row"] for why in whys} == {0}
        units = [text.split() for text in CHAIN]
        assert [why["similarity"] for why in whys] == pytest.approx(
            [similarity(metric, units[0], units[row], 1) for row in (1, 2, 3)]
        )


@pytest.mark.parametrize(
    ("keep", "kept"),
    [
        ("first", [0, 4]),
        ("last", [3, 4]),
        ("longest", [2, 4]),
        ("shortest", [0, 4]),
        ("max:score", [1, 4]),
        ({"source": ["gold"]}, [3, 4]),
        ("none", [4]),
    ],
    ids=str,
)
def test_the_copy_that_stays_is_the_one_asked_for(keep, kept):
    texts = ["the cat sat on it", "the cat sat on IT", "the cat sat upon it", "The cat sat on it!", "a dog"]
    ds = build(texts, score=[1, 9, 3, None, 0], source=["web", "web", "web", "gold", "web"])
    outcome = Pairwise("text", "rouge_l", 0.75, keep=keep).run(ds)
    assert outcome.origin.tolist() == kept
    reasons = dict(zip(outcome.dropped.rows.tolist(), outcome.dropped.codes.tolist(), strict=True))
    if keep == "first":
        assert reasons == {1: 2, 2: 3, 3: 2}
    if keep == "longest":
        assert reasons == {0: 3, 1: 3, 3: 3}
    if keep == "none":
        assert reasons == {0: 3, 1: 2, 2: 3, 3: 2}


@settings(max_examples=100, deadline=None)
@given(rows=edited(15), threshold=st.sampled_from([0.4, 0.7]), keep=st.sampled_from(["first", "last", "shortest"]))
def test_groups_are_made_of_the_pairs(rows, threshold, keep):
    ds = build([" ".join(row) for row in rows])
    step = Pairwise("text", "edit", threshold, keep=keep)
    found = pairs_of(step, ds)
    outcome = step.run(ds)
    dropped = set(outcome.dropped.rows.tolist())
    for row, why in zip(outcome.dropped.rows.tolist(), outcome.dropped.evidence.to_pylist(), strict=True):
        assert why["kept_row"] not in dropped
        assert found[min(row, why["kept_row"]), max(row, why["kept_row"])] == why["similarity"]
    assert all(dropped & set(pair) for pair in found)


def test_copies_are_in_the_pairs_and_a_million_of_them_are_too_many(monkeypatch):
    found = pairs_of(Pairwise("text", "edit", 0.7), build(["abcd", "x", "abcd", "abce", "ABCE"]))
    assert found == {(0, 2): 1, (0, 3): 0.75, (0, 4): 0.75, (2, 3): 0.75, (2, 4): 0.75, (3, 4): 1}
    equal = Dataset(pa.table({"text": pa.array(["the same"]).take(pa.array(np.zeros(1_000_000, dtype=np.int64)))}))
    assert len(Pairwise("text").run(equal).dropped.rows) == 999_999
    with pytest.raises(ArgumentError, match=r"Pairwise: column 'text' has more than 134,217,728 pairs"):
        Pairwise("text").pairs(equal)
    monkeypatch.setattr(_join, "MOST_PAIRS", 20)
    rows = build([f"one two three four five six {number}" for number in range(8)])
    with pytest.raises(ArgumentError, match=r"more than 20 pairs .* threshold=0\.5\. Use MinHash"):
        Pairwise("text", "rouge_l", 0.5).run(rows)
    monkeypatch.setattr(_join, "MOST_PAIRS", 28)
    assert len(Pairwise("text", "rouge_l", 0.5).run(rows).dropped.rows) == 7


def test_the_result_does_not_depend_on_chunks_threads_or_an_index():
    rng = np.random.default_rng(2)
    base = [[f"w{word}" for word in rng.integers(0, 200, 12)] for _ in range(100)]
    texts = [" ".join([*base[at % 100][: at % 4], "new", *base[at % 100][at % 4 :]]) for at in range(600)]
    for metric in ("jaccard", "rouge_l", "edit"):
        step = Pairwise("text", metric, 0.6, 2 if metric == "jaccard" else None)
        expected = step.run(build(texts)).dropped.rows.tolist()
        pairs = step.pairs(build(texts)).to_dict()
        assert 100 < len(expected) < 600
        whole = pa.array(texts)
        chunked = pa.chunked_array([whole[:1], whole[1:1], whole[1:400], whole[400:]])
        assert step.run(Dataset(pa.table({"text": chunked}))).dropped.rows.tolist() == expected
        wide = Dataset(pa.table({"text": whole.cast(pa.large_string())}))
        assert step.run(wide).dropped.rows.tolist() == expected
        padded = Dataset(pa.table({"text": ["x", *texts, "y"]}))
        assert step.pairs(padded.select(range(1, 601))).to_dict() == pairs
        assert step.pairs(padded.with_format("numpy").select(range(1, 601))).to_dict() == pairs
        backwards = padded.select(list(range(600, 0, -1)))
        turned = {(599 - other, 599 - row) for row, other in pairs_of(step, backwards)}
        assert turned == set(zip(pairs["row"], pairs["other"], strict=True))
        for count in (1, 3):
            set_threads(count)
            assert step.pairs(build(texts)).to_dict() == pairs


def test_huge_rows():
    rng = np.random.default_rng(3)
    long = rng.integers(0, 5000, 60_000)
    other = np.delete(long, rng.integers(0, 60_000, 300))
    texts = [" ".join(map(str, row)) for row in (long, other, long[:40_000])]
    removed = len(long) - len(other)
    found = pairs_of(Pairwise("text", "edit", 0.9, unit="word"), build(texts))
    assert found == {(0, 1): pytest.approx(1 - removed / 60_000)}
    found = pairs_of(Pairwise("text", "rouge_l", 0.9), build(texts))
    assert found == {(0, 1): pytest.approx(2 * len(other) / (120_000 - removed))}
    repeated = "over and over again " * 600_000
    assert pairs_of(Pairwise("text", ngram=3), build([repeated, repeated + "x", "y"])) == {(0, 1): pytest.approx(0.8)}


def test_bytes_that_are_not_utf8():
    data = b"\xff\xfe ab\xff cd"
    offsets = pa.py_buffer(np.array([0, len(data), 2 * len(data)], np.int32))
    broken = pa.Array.from_buffers(pa.string(), 2, [None, offsets, pa.py_buffer(data * 2)])
    ds = Dataset(pa.table({"text": broken}), fingerprint="broken")
    for metric in ("jaccard", "rouge_l", "edit"):
        assert pairs_of(Pairwise("text", metric), ds) == {(0, 1): 1.0}


def test_marks_clusters_and_splits():
    texts = ["Name three colours", "Name three colors", None, "Add two and two", "name three COLOURS"]
    step = Pairwise("text", "edit", 0.8)
    assert step.clusters(build(texts))["row"][:] == [0, 1, 4]
    marked = step.apply(build(texts), mark_only=True)
    assert marked["duplicate_of"][:] == [None, 0, None, None, 0]
    assert marked["duplicate_reason"][:] == [None, "near_duplicate", "null_text", None, "duplicate"]
    taken = step.apply(DatasetDict({"train": build(texts), "test": build(texts[1:2])}), across=["test", "train"])
    assert taken["test"]["text"][:] == texts[1:2]
    assert taken["train"]["text"][:] == [texts[3]]


def test_in_a_pipeline_the_evidence_names_rows_of_the_source(tmp_path):
    texts = ["x", "Write a story about a dog", "Write a story about a cat", "Write a STORY about a dog"]
    curated = Pipeline(AtLeast("text", 5), Pairwise("text", "rouge_l", 0.7)).run(build(texts), cache_dir=tmp_path)
    rejected = curated.rejected.to_list()
    assert [row["reason"] for row in rejected] == ["short", "near_duplicate", "duplicate"]
    assert [json.loads(row["evidence"])["kept_row"] for row in rejected[1:]] == [1, 1]


def test_wrong_arguments_are_refused_by_name():
    for field, value, allowed in [
        ("metric", "cosine", "'jaccard', 'rouge_l' or 'edit'"),
        ("threshold", 0, "above 0 and at most 1"),
        ("threshold", 1.5, "above 0 and at most 1"),
        ("ngram", 0, "from 1 to 1000, or None for 5"),
        ("keep", "best", "'first', 'last'"),
        ("cluster", "star", "'direct' or 'component'"),
        ("unit", "byte", "'word' or 'char'"),
        ("preset", "news", "None or one of"),
    ]:
        with pytest.raises(ArgumentError, match=f"Pairwise: {field}={re.escape(repr(value))} .*{allowed}"):
            Pairwise("text", **{field: value})
    with pytest.raises(ArgumentError, match="Pairwise: ngram=3 is not allowed; it must be None: 'edit' has no n-grams"):
        Pairwise("text", "edit", ngram=3)
    with pytest.raises(MissingColumnError, match="'stars'"):
        Pairwise("text", keep="max:stars").apply(build(["a"]))
    for call in (Pairwise("id").apply, Pairwise("id").pairs):
        with pytest.raises(ColumnTypeError, match="Pairwise reads column 'id' as text"):
            call(build(["a"], id=[1]))
    with pytest.raises(TypeError, match=r"Pairwise\.pairs works on a Dataset, not on DatasetDict"):
        Pairwise("text").pairs(DatasetDict({"train": build(["a"])}))


def test_the_step_survives_pickling():
    step = Pairwise("text", "edit", 0.9, keep={"source": ["web"]}, unit="char")
    copy = pickle.loads(pickle.dumps(step))
    assert copy == step
    assert copy.fingerprint == step.fingerprint != Pairwise("text", "edit", 0.9, unit="char").fingerprint


def gold_of(corpus):
    texts = pq.read_table(DATA / corpus / "docs.parquet", columns=["text"])
    pairs = pq.read_table(DATA / corpus / "pairs.parquet")
    keys = zip(pairs["i"].to_pylist(), pairs["j"].to_pylist(), strict=True)
    return Dataset(texts), dict(zip(keys, pairs["jaccard"].to_pylist(), strict=True))


needs_data = pytest.mark.skipif(not DATA.exists(), reason="needs the corpora with exact near-duplicate pairs")


@needs_data
@pytest.mark.parametrize(
    ("corpus", "ngram", "unit"), [("nd_tweets", 3, "word"), ("nd_zh_poems", 4, "char"), ("nd_de_laws", 5, "word")]
)
def test_the_pairs_of_real_texts_are_those_of_brute_force(corpus, ngram, unit):
    ds, gold = gold_of(corpus)
    found = pairs_of(Pairwise("text", threshold=0.3, ngram=ngram, unit=unit), ds)
    assert found == pytest.approx(gold, abs=1e-6)


@needs_data
def test_pairs_that_differ_from_brute_force_do_so_by_what_a_word_is():
    ds, gold = gold_of("nd_docs_A")
    found = pairs_of(Pairwise("text", threshold=0.5, ngram=5), ds)
    wanted = {pair for pair, value in gold.items() if value >= 0.5}
    assert len(wanted & set(found)) >= 0.999 * len(wanted)
    differ = [pair for pair in wanted | set(found) if abs(found.get(pair, 0) - gold.get(pair, 0)) > 1e-6]
    assert len(differ) < 0.03 * len(wanted)
    texts = ds["text"][:]
    for one, other in differ[::10]:
        value = similarity("jaccard", words(texts[one]), words(texts[other]), 5)
        assert found.get((one, other), 0) == pytest.approx(value if value >= 0.5 else 0, abs=1e-6)
