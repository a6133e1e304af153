"""A fingerprint is the majority of the bits of the shingles; no pair within the distance is missed or met in vain."""

from __future__ import annotations

import json
import os
import pickle
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, DatasetDict
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.steps_for_tests import AtLeast
from tilth.dedup import SimHash
from tilth.dedup._digest import digest
from tilth.dedup._hamming import masks_for, nearest
from tilth.dedup._simhash import fingerprints
from tilth.dedup._sketch import shingle
from tilth.errors import ArgumentError, ColumnTypeError, MissingColumnError
from tilth.pipeline import Pipeline
from tilth.text.bits import mix
from tilth.text.strings import from_python, strings_of
from tilth.text.threads import set_threads
from tilth.text.unicode import tables
from tilth.text.words import hash_words, words

DATA = Path(os.environ.get("TILTH_DATA", Path(__file__).parents[3] / "shared" / "data"))
WORDS = st.sampled_from(["a", "b", "c", "the", "naïve", "猫", "ไ", "e\u0301", "😀", "x1", "_"])
TEXTS = st.one_of(st.lists(WORDS, max_size=40).map(" ".join), st.text(max_size=30))


def build(texts, **columns):
    return Dataset(pa.table({"text": pa.array(texts, pa.string()), **columns}))


def random_text(rng, length):
    return " ".join(f"w{number}" for number in rng.integers(0, 50_000, length))


def variant(rng, text, edits):
    found = text.split()
    for _ in range(edits):
        found[rng.integers(len(found))] = f"edit{rng.integers(10**9)}"
    return " ".join(found)


def majority(text, ngram):
    """The fingerprint of a text and how many votes there are, bit by bit."""
    known = tables()
    data = np.frombuffer(text.encode(), dtype=np.uint8)
    units = np.empty(len(data) + 2, dtype=np.uint64)
    count = hash_words(data, 0, len(data), known.classes, known.lower, units) if len(data) else 0
    hashes = np.empty(len(data) + 2, dtype=np.uint64)
    count = shingle(units, count, ngram, hashes)
    votes = {max(1, mixed(int(value))) for value in hashes[:count]}
    least = [min(votes)] if len(votes) % 2 == 0 else []
    cast = [*votes, *least]
    bits = [sum(vote >> bit & 1 for vote in cast) * 2 > len(cast) for bit in range(64)]
    return sum(one << bit for bit, one in enumerate(bits)), len(votes)


def mixed(value):
    return int(mix.py_func(np.uint64(value)))


def distances(prints):
    return np.bitwise_count(prints[:, None] ^ prints[None, :])


def stars(prints, distance):
    near, stands = distances(prints) <= distance, list(range(len(prints)))
    for row in range(len(prints)):
        better = [other for other in range(row) if near[row, other] and stands[other] == other]
        stands[row] = better[0] if better else row
    return stands


def components(prints, distance):
    near, stands = distances(prints) <= distance, [-1] * len(prints)
    for first in range(len(prints)):
        reached = [first] if stands[first] < 0 else []
        for row in reached:
            stands[row] = first
            reached += [int(other) for other in np.flatnonzero(near[row]) if stands[other] < 0 and other not in reached]
    return stands


@settings(max_examples=150, deadline=None)
@given(st.lists(TEXTS, min_size=1, max_size=6), st.integers(1, 5))
def test_a_fingerprint_is_the_majority_of_the_bits_of_the_different_shingles(texts, ngram):
    prints, shingles, _ = fingerprints(from_python(texts), 0, ngram)
    with np.errstate(over="ignore"):
        expected = [majority(text, ngram) for text in texts]
    assert list(zip(prints.tolist(), shingles.tolist(), strict=True)) == expected


def test_a_fingerprint_of_many_shingles_counts_all_of_them():
    rng = np.random.default_rng(0)
    for length in (254, 255, 256, 257, 509, 510, 511, 1021, 3000):
        text = random_text(rng, length)
        with np.errstate(over="ignore"):
            assert (fingerprints(from_python([text]), 0, 1)[0][0], 1) == (majority(text, 1)[0], 1)


def test_a_shingle_that_is_repeated_votes_once():
    once = "a b c d e f g h i j k l"
    prints, shingles, digests = fingerprints(from_python([once, once + " k l k l k l k l", "k l " * 9]), 0, 1)
    assert prints[0] == prints[1] != prints[2]
    assert shingles.tolist() == [12, 12, 2]
    assert (digests[0] != digests[1]).any()


@settings(max_examples=200, deadline=None)
@given(st.lists(TEXTS, min_size=2, max_size=8))
def test_digests_are_equal_exactly_for_equal_sequences_of_words(texts):
    texts = [*texts, "a b b a", "b a a b", "a a", "a", "", "!", "A, a?"]
    digests = fingerprints(from_python(texts), 0, 1)[2].tolist()
    for one, text in enumerate(texts):
        for other in range(one):
            assert (digests[one] == digests[other]) == (words(text) == words(texts[other]))


def test_a_digest_depends_on_every_unit_and_its_place():
    rng = np.random.default_rng(1)
    units = rng.integers(0, 2**64, 50, dtype=np.uint64)
    units[10] = 0
    seen = {digest(units, count) for count in range(51)}
    for at in range(50):
        other = units.copy()
        other[at] ^= np.uint64(1)
        seen.add(digest(other, 50))
        seen.add(digest(np.roll(units, at + 1), 50))
    # Rolled by its length it is itself.
    assert len(seen) == 51 + 50 + 49


@st.composite
def bunches(draw):
    """Fingerprints that lie in bunches, so that many are near each other and at the edge of being so."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    base = rng.integers(0, 2**64, draw(st.integers(1, 4)), dtype=np.uint64)
    n = draw(st.integers(0, 60))
    prints = base[rng.integers(0, len(base), n)]
    width = draw(st.integers(1, 64))
    for _ in range(draw(st.integers(0, 8))):
        flips = np.uint64(1) << rng.integers(0, width, n).astype(np.uint64)
        prints = np.where(rng.random(n) < 0.6, prints ^ flips, prints)
    return prints


@settings(max_examples=300, deadline=None)
@given(bunches(), st.integers(0, 16))
def test_no_pair_within_the_distance_is_missed(prints, distance):
    assert nearest(prints, distance, False).tolist() == stars(prints, distance)
    assert nearest(prints, distance, True).tolist() == components(prints, distance)


@pytest.mark.parametrize("distance", [1, 3, 4, 6])
def test_no_pair_is_missed_where_many_tables_are_used(distance):
    rng = np.random.default_rng(distance)
    base = rng.integers(0, 2**64, 6_000, dtype=np.uint64)
    flips = [sum(1 << int(bit) for bit in rng.permutation(64)[: at % (distance + 2)]) for at in range(6_000)]
    prints = np.concatenate([base, base ^ np.array(flips, dtype=np.uint64)])
    assert len(masks_for(prints, distance)) > 1
    within = np.bitwise_count(base ^ prints[6_000:]) <= distance
    expected = np.concatenate([np.arange(6_000), np.where(within, np.arange(6_000), np.arange(6_000, 12_000))])
    for connected in (False, True):
        assert (nearest(prints, distance, connected) == expected).all()


def test_every_choice_of_tables_covers_every_pair():
    rng = np.random.default_rng(2)
    for distance in range(17):
        for n in (1_000, 20_000, 1_000_000):
            masks = masks_for(rng.integers(0, 2**64, n, dtype=np.uint64), distance)
            for _ in range(50):
                flips = np.uint64(sum(1 << int(bit) for bit in rng.permutation(64)[:distance]))
                assert (masks & flips == 0).any()


def test_a_table_whose_buckets_would_be_large_goes_by_more_bits():
    rng = np.random.default_rng(3)
    spread = rng.integers(0, 2**64, 50_000, dtype=np.uint64)
    # Three quarters of each block are the same in all: 16 bits tell as little apart as 4.
    alike = spread & np.uint64(0x000F000F000F000F)
    few, more = (int(np.bitwise_count(masks_for(prints, 3)).min()) for prints in (spread, alike))
    assert few < more


def test_fingerprints_that_all_lie_close_together_do_not_all_meet():
    rng = np.random.default_rng(4)
    prints = np.unique(rng.integers(0, 2**20, 150_000, dtype=np.uint64) * np.uint64(0x1001001))
    rng.shuffle(prints)
    for connected in (False, True):
        stands = nearest(prints, 3, connected)
        stays = stands == np.arange(len(prints))
        assert 0 < stays.sum() < len(prints) / 2
        assert stays[stands].all()
        if not connected:
            assert (np.bitwise_count(prints ^ prints[stands]) <= 3).all()


def test_near_duplicates_go_and_name_what_stands_for_them():
    rng = np.random.default_rng(5)
    base = [random_text(rng, 400) for _ in range(40)]
    texts = base + [variant(rng, text, 1) for text in base] + [random_text(rng, 400) for _ in range(40)]
    outcome = SimHash("text").run(build(texts))
    rows = outcome.dropped.rows
    assert set(rows) <= set(range(40, 80))
    assert len(rows) > 30
    prints = fingerprints(from_python(texts), 0, 3)[0]
    for row, why in zip(rows.tolist(), outcome.dropped.evidence.to_pylist(), strict=True):
        assert why["kept_row"] == row - 40
        apart = int(np.bitwise_count(prints[row] ^ prints[row - 40]))
        assert why["similarity"] == 1 - apart / 64
        assert apart <= 3


@settings(max_examples=100, deadline=None)
@given(
    texts=st.lists(st.one_of(st.none(), TEXTS), max_size=20),
    keep=st.sampled_from(["first", "last", "longest"]),
    distance=st.integers(0, 16),
    least=st.integers(1, 6),
)
def test_what_stays_is_not_similar_and_what_goes_is(texts, keep, distance, least):
    step = SimHash("text", distance=distance, ngram=2, keep=keep, min_shingles=least)
    outcome = step.run(build(texts))
    prints, shingles, _ = fingerprints(strings_of(pa.array(texts, pa.string())), 0, 2)
    dropped = dict(zip(outcome.dropped.rows.tolist(), outcome.dropped.evidence.to_pylist(), strict=True))
    reasons = {row: step.reasons[code - 1] for row, code in zip(dropped, outcome.dropped.codes, strict=True)}
    for row, why in dropped.items():
        kept = why["kept_row"]
        assert (reasons[row] == "null_text") == (texts[row] is None) == (kept is None)
        if kept is None:
            continue
        assert kept not in dropped
        same = words(texts[row]) == words(texts[kept])
        assert (reasons[row] == "duplicate") == same
        if not same:
            assert np.bitwise_count(prints[row] ^ prints[kept]) <= distance
            assert min(shingles[row], shingles[kept]) >= least
    stays = [row for row in range(len(texts)) if row not in dropped]
    for one in stays:
        for other in stays[: stays.index(one)]:
            assert words(texts[one]) != words(texts[other])
            if min(shingles[one], shingles[other]) >= least:
                assert np.bitwise_count(prints[one] ^ prints[other]) > distance


def test_short_texts_go_as_identical_ones_only():
    texts = ["thank you", "thank you so", "Thank you!", "yes", "no", "", "?", None]
    step = SimHash("text", distance=16)
    outcome = step.run(build(texts))
    assert outcome.dropped.rows.tolist() == [2, 6, 7]
    assert [step.reasons[code - 1] for code in outcome.dropped.codes] == ["duplicate", "duplicate", "null_text"]


def test_a_copy_of_a_near_duplicate_goes_with_it():
    rng = np.random.default_rng(6)
    text = random_text(rng, 800)
    other = variant(rng, text, 1)
    outcome = SimHash("text", distance=8).run(build([other, text, text.upper(), other], score=[1, 2, 2, 1]))
    assert [why["kept_row"] for why in outcome.dropped.evidence.to_pylist()] == [0, 0, 0]
    assert outcome.dropped.codes.tolist() == [3, 3, 2]
    found = SimHash("text", distance=8, keep="none").run(build([other, text, text.upper(), other]))
    assert found.dropped.codes.tolist() == [3, 3, 3, 2]


def test_a_chain_is_one_component_and_no_star():
    rng = np.random.default_rng(7)
    chain = [random_text(rng, 600)]
    for _ in range(30):
        chain.append(variant(rng, chain[-1], 3))
    step = SimHash("text", distance=8, cluster="component")
    assert len(step.apply(build(chain))) == 1
    assert 1 < len(SimHash("text", distance=8).apply(build(chain))) < 31
    assert min(step.clusters(build(chain))["similarity"][:]) < 1 - 8 / 64


def test_units_are_words_or_characters():
    texts = ["全" + "".join(chr(0x4E00 + at) for at in range(120)), "".join(chr(0x4E00 + at) for at in range(120))]
    for unit in ("word", "char"):
        assert len(SimHash("text", unit=unit, distance=8).apply(build(texts))) == 1
    code = ["x = f(Y) + 1; " * 3 + "return x", "X = f(y) - 1; " * 3 + "return X"]
    assert len(SimHash("text").apply(build(code))) == 1
    assert len(SimHash("text", preset="code").apply(build(code))) == 2


def test_a_million_equal_rows_are_folded_and_a_million_equal_fingerprints_are_not_compared():
    words_ = "the same long enough text again and again and again"
    ds = Dataset(pa.table({"text": pa.array([words_]).take(pa.array(np.zeros(1_000_000, dtype=np.int64)))}))
    assert len(SimHash("text").run(ds).dropped.rows) == 999_999
    for connected in (False, True):
        assert not nearest(np.full(1_000_000, 7, dtype=np.uint64), 3, connected).any()


def test_the_result_does_not_depend_on_chunks_threads_or_an_index():
    rng = np.random.default_rng(8)
    base = [random_text(rng, 100) for _ in range(300)]
    texts = [variant(rng, base[at % 300], at % 3) for at in range(1200)]
    step = SimHash("text", distance=8)
    expected = step.run(build(texts)).dropped.rows.tolist()
    assert 100 < len(expected) < 1200
    whole = pa.array(texts)
    chunked = pa.chunked_array([whole[:1], whole[1:1], whole[1:700], whole[700:]])
    assert step.run(Dataset(pa.table({"text": chunked}))).dropped.rows.tolist() == expected
    assert step.run(Dataset(pa.table({"text": whole.cast(pa.large_string())}))).dropped.rows.tolist() == expected
    padded = Dataset(pa.table({"text": ["x", *texts, "y"]}))
    assert step.run(padded.select(range(1, 1201))).dropped.rows.tolist() == expected
    backwards = padded.select(list(range(1200, 0, -1)))
    turned = SimHash("text", distance=8, keep="last").run(backwards).dropped.rows.tolist()
    assert turned == sorted(1199 - row for row in expected)
    for count in (1, 3):
        set_threads(count)
        assert step.run(build(texts)).dropped.rows.tolist() == expected
        assert step.clusters(build(texts))["row"][:] == SimHash("text", distance=8).clusters(build(texts))["row"][:]


def test_bytes_that_are_not_utf8_and_huge_rows():
    data = b"\xff\xfe a b c d e f g\x80 h i" * 2
    offsets = pa.py_buffer(np.array([0, len(data) // 2, len(data)], np.int32))
    broken = pa.Array.from_buffers(pa.string(), 2, [None, offsets, pa.py_buffer(data)])
    ds = Dataset(pa.table({"text": broken}), fingerprint="broken")
    assert SimHash("text").run(ds).dropped.rows.tolist() == [1]
    huge = random_text(np.random.default_rng(11), 1_500_000)
    assert len(huge) > 8 * 2**20
    assert SimHash("text").run(build([huge, huge + "and more", "a"])).dropped.rows.tolist() == [1]


def test_nothing_and_nothing_but_nulls():
    assert len(SimHash("text").run(build([])).dropped.rows) == 0
    assert SimHash("text").run(build([None, None])).dropped.codes.tolist() == [1, 1]
    assert SimHash("text").run(build(["one"])).dropped.rows.tolist() == []


def test_marks_and_splits():
    rng = np.random.default_rng(9)
    text = random_text(rng, 500)
    near = variant(rng, text, 1)
    step = SimHash("text", distance=8)
    marked = step.apply(build([text, None, near, "x"]), mark_only=True)
    assert marked["duplicate_of"][:] == [None, None, 0, None]
    assert marked["duplicate_reason"][:] == [None, "null_text", "near_duplicate", None]
    parts = DatasetDict({"train": build([text, "x"]), "test": build([near, near + " y"])})
    taken = step.apply(parts, across=["test", "train"])
    assert taken["test"]["text"][:] == [near]
    assert taken["train"]["text"][:] == ["x"]


def test_in_a_pipeline_the_evidence_names_rows_of_the_source(tmp_path):
    rng = np.random.default_rng(10)
    text = random_text(rng, 500)
    curated = Pipeline(AtLeast("text", 5), SimHash("text", distance=8)).run(
        build(["x", text, variant(rng, text, 1), text]), cache_dir=tmp_path
    )
    rejected = curated.rejected.to_list()
    assert [row["reason"] for row in rejected] == ["short", "near_duplicate", "duplicate"]
    assert [json.loads(row["evidence"])["kept_row"] for row in rejected[1:]] == [1, 1]


def test_wrong_arguments_are_refused_by_name():
    for field, value, allowed in [
        ("distance", -1, "from 0 to 16"),
        ("distance", 17, "from 0 to 16"),
        ("ngram", 0, "from 1 to 1000"),
        ("min_shingles", 0, "one or more"),
        ("keep", "best", "'first', 'last'"),
        ("cluster", "star", "'direct' or 'component'"),
        ("unit", "byte", "'word' or 'char'"),
        ("preset", "news", "None or one of"),
        ("fold_case", 1, "True, False, or None"),
    ]:
        with pytest.raises(ArgumentError, match=f"SimHash: {field}={re.escape(repr(value))} .*{allowed}"):
            SimHash("text", **{field: value})
    with pytest.raises(MissingColumnError, match="'stars'"):
        SimHash("text", keep="max:stars").apply(build(["a"]))
    with pytest.raises(ColumnTypeError, match="SimHash reads column 'id' as text"):
        SimHash("id").apply(build(["a"], id=[1]))


def test_the_step_survives_pickling():
    step = SimHash("text", distance=5, keep={"source": ["web"]}, unit="char")
    copy = pickle.loads(pickle.dumps(step))
    assert copy == step
    assert copy.fingerprint == step.fingerprint != SimHash("text", distance=5).fingerprint


@pytest.mark.skipif(not DATA.exists(), reason="needs the corpora with exact near-duplicate pairs")
@pytest.mark.parametrize(
    ("corpus", "distance", "precision", "recall"),
    [
        ("nd_docs_A", 3, 0.99, 0.5),
        ("nd_docs_A", 8, 0.98, 0.88),
        ("nd_tweets", 3, 0.99, 0.15),
        ("nd_tweets", 8, 0.95, 0.6),
    ],
)
def test_pairs_on_real_texts_are_as_good_as_the_documentation_says(corpus, distance, precision, recall):
    texts = pq.read_table(DATA / corpus / "docs.parquet", columns=["text"])["text"]
    pairs = pq.read_table(DATA / corpus / "pairs.parquet")
    i, j, jaccard = (pairs[column].to_numpy() for column in ("i", "j", "jaccard"))
    known = {(one, other): value for one, other, value in zip(i.tolist(), j.tolist(), jaccard.tolist(), strict=True)}
    prints, shingles, _ = fingerprints(strings_of(texts), 0, 3)
    long = shingles >= 4
    near = []
    for row in range(len(prints)):
        others = np.flatnonzero((np.bitwise_count(prints[row] ^ prints[row + 1 :]) <= distance) & long[row + 1 :])
        near += [(row, row + 1 + other) for other in others.tolist()] if long[row] else []
    assert np.mean([known.get(pair, 0) >= 0.5 for pair in near]) >= precision
    wanted = {pair for pair, value in known.items() if value >= 0.8}
    assert len(wanted & set(near)) / len(wanted) >= recall
