"""Rows whose vectors are alike: no pair is missed where all are compared, few are elsewhere, and every one is exact."""

from __future__ import annotations

import json
import os
import pickle
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, DatasetDict
from datasets.fingerprint import Hasher
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.steps_for_tests import AtLeast
from tilth import recipe
from tilth.dedup import Semantic, _alike, _near, _space, semantic
from tilth.dedup._alike import InCells
from tilth.dedup._graph import InGraph
from tilth.dedup._products import COLUMNS, multiplied, panels_of
from tilth.dedup._space import Cells, Space, room
from tilth.embed import Embed, Embedder, TfidfSvd
from tilth.embed.embedder import unit
from tilth.errors import ArgumentError, ColumnTypeError, MissingColumnError, MissingExtraError, StepError
from tilth.pipeline import Pipeline
from tilth.text.threads import set_threads

DATA = Path(os.environ.get("TILTH_DATA", Path(__file__).parents[3] / "shared" / "data"))
QUESTIONS = ["How do I sort a list?", "How do I sort a list", "How can I sort lists?", "Name a prime."]


@dataclass(frozen=True)
class Numbers(Embedder):
    """A text of numbers is that vector; words are nothing."""

    size: int = 2

    @property
    def dims(self):
        return self.size

    def embed(self, texts):
        rows = [re.findall(r"-?\d+", text or "") for text in texts.to_pylist()]
        return unit(
            np.array([[float(number) for number in row] or [0.0] * self.size for row in rows], dtype=np.float64)
        )


def build(texts, **columns):
    return Dataset(pa.table({"text": pa.array(texts, pa.string()), **columns}))


def with_vectors(vectors, kind=None, **columns):
    kind = kind or pa.list_(pa.float32(), vectors.shape[1])
    texts = [f"row {row}" for row in range(len(vectors))]
    return build(texts, vector=pa.array(vectors.tolist(), kind), **columns)


def bunches(rng, n, dims, width=0.3):
    """Vectors in bunches of which some lie so near each other that the edges of groups matter."""
    centres = rng.standard_normal((max(1, n // 12), dims))
    vectors = centres[rng.integers(0, len(centres), n)] + width * rng.standard_normal((n, dims))
    return unit(vectors)


def cosines(vectors):
    exact = vectors.astype(np.float64)
    exact /= np.sqrt((exact**2).sum(axis=1))[:, None]
    return exact @ exact.T


def stars(near):
    stands = list(range(len(near)))
    for row in range(len(near)):
        better = [other for other in np.flatnonzero(near[row, :row]) if stands[other] == other]
        stands[row] = int(better[0]) if better else row
    return stands


def components(near):
    stands = [-1] * len(near)
    for first in range(len(near)):
        reached = [first] if stands[first] < 0 else []
        for row in reached:
            stands[row] = first
            reached += [int(other) for other in np.flatnonzero(near[row]) if stands[other] < 0 and other not in reached]
    return stands


def pairs_of(found):
    return {(min(pair), max(pair)) for pair in zip(found.one.tolist(), found.other.tolist(), strict=True)}


def in_order(search):
    """What a search finds, in terms of places."""
    (direct, how), (connected, far) = search.direct(), search.connected()
    found = search.pairs(10**9)
    return direct, how, connected, far, found


@pytest.fixture
def small(monkeypatch):
    """Blocks and samples so small that few rows go through all there is for many."""
    monkeypatch.setattr(_alike, "_BLOCK", 24)
    monkeypatch.setattr(_alike, "_ROWS_AT_ONCE", 10)
    monkeypatch.setattr(_alike, "_PROBES_AT_ONCE", 50)
    monkeypatch.setattr(_space, "_FEW", 8)
    monkeypatch.setattr(_space, "_CANDIDATE_NS", 0.0)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 70), st.integers(1, 70), st.integers(1, 80), st.integers(0, 2**32))
def test_products_are_those_of_the_matrices(n, many, depth, seed):
    rng = np.random.default_rng(seed)
    one = rng.standard_normal((n, depth)).astype(np.float32)
    other = rng.standard_normal((many, depth)).astype(np.float32)
    made = multiplied(one, panels_of(other), many)
    assert np.abs(made - one.astype(np.float64) @ other.T.astype(np.float64)).max() < 1e-4


@pytest.mark.parametrize("dims", [1, 2, 15, 16, 17, 64, 257])
def test_a_cosine_is_exact_and_that_of_equal_vectors_is_one(dims):
    vectors = bunches(np.random.default_rng(dims), 50, dims)
    space = Space.of(np.concatenate([vectors, vectors]))
    one, other = (side.ravel() for side in np.meshgrid(np.arange(50), np.arange(50)))
    found = space.cosines(one, other + 50)
    assert np.abs(found - cosines(vectors)[one, other]).max() < 1e-7
    assert (found[one == other] == 1).all()


@pytest.mark.parametrize("dims", [3, 20, 200])
def test_the_product_of_bounded_rows_is_never_less_than_the_cosine(dims):
    vectors = bunches(np.random.default_rng(dims), 400, dims)
    vectors[5] = vectors[6]
    space = Space.of(vectors)
    places = np.arange(400)
    coordinates = space.coordinates(places, 128)
    for depth in range(0, min(dims, 128) + 1, 7):
        rows = space.bounded(places, coordinates, depth)
        assert (rows @ rows.T - cosines(vectors)).min() > -_space.ROUNDING / 10


def test_directions_are_orthonormal_and_nearly_those_of_the_most_length():
    rng = np.random.default_rng(0)
    vectors = unit(rng.standard_normal((2000, 200)) * np.linspace(1, 0.02, 200) ** 2)
    space = Space.of(vectors)
    along = space.coordinates(np.arange(2000), 64)
    assert np.abs(space._directions @ space._directions.T - np.eye(128)).max() < 1e-5
    best = np.linalg.svd(vectors, compute_uv=False) ** 2
    assert (along**2).sum() > 0.99 * best[:64].sum()


def test_directions_of_vectors_in_few_dimensions_bound_just_as_well():
    rng = np.random.default_rng(0)
    vectors = unit(rng.standard_normal((300, 3)) @ rng.standard_normal((3, 40)))
    space = Space.of(vectors)
    rows = space.bounded(np.arange(300), space.coordinates(np.arange(300), 16), 16)
    assert np.abs(rows @ rows.T - cosines(vectors)).max() < 1e-4


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 300), st.integers(1, 90), st.integers(1, 30), st.booleans(), st.integers(0, 2**32))
def test_the_nearest_cells_of_a_row_are_those_with_the_largest_products(many, probed, n, level, seed):
    rng = np.random.default_rng(seed)
    centres, rows = (unit(rng.standard_normal((count, 5))) for count in (many, n))
    if level:
        # Scores that are all equal leave the choice open, but not how many are chosen.
        centres[:] = centres[0]
    cells = Cells(many, 5, panels_of(centres))
    found, scores = cells.nearest(rows, probed), rows.astype(np.float64) @ centres.T
    assert found.shape == (n, min(probed, many))
    for row in range(n):
        assert len(set(found[row].tolist())) == found.shape[1]
        chosen = np.sort(scores[row, found[row]])
        assert np.abs(chosen - np.sort(scores[row])[-len(chosen) :]).max() < 2e-4
        assert scores[row, found[row, 0]] > scores[row].max() - 2e-4


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 130), st.integers(1, 40), st.sampled_from([0.31, 0.6, 0.8, 0.93]))
def test_no_pair_is_missed_and_groups_are_those_of_the_pairs(seed, n, dims, threshold):
    rng = np.random.default_rng(seed)
    vectors, order = bunches(rng, n, dims), rng.permutation(n)
    near = cosines(vectors[order]) >= threshold
    space = Space.of(vectors)
    with pytest.MonkeyPatch.context() as patch:
        small.__wrapped__(patch)
        for cells, probed in (
            ((None, 1), (Cells.learnt(space.coordinates(np.arange(n), 64), 7), 7)) if n else ((None, 1),)
        ):
            search = InCells(space, order, threshold, cells, probed)
            direct, how, connected, far, found = in_order(search)
            assert direct.tolist() == stars(near)
            assert connected.tolist() == components(near)
            assert pairs_of(found) == set(zip(*(side.tolist() for side in np.nonzero(np.triu(near, 1))), strict=True))
            exact = cosines(vectors[order])
            for stands, cosine in ((direct, how), (connected, far)):
                assert np.abs(cosine - exact[np.arange(n), stands]).max(initial=0) < 1e-6
            assert np.abs(found.similarity - exact[found.one, found.other]).max(initial=0) < 1e-6


def test_many_rows_are_grouped_as_the_matrix_of_all_cosines_says():
    rng = np.random.default_rng(3)
    vectors, order = bunches(rng, 9_000, 100, 0.6), rng.permutation(9_000)
    exact = cosines(vectors[order])
    space = Space.of(vectors)
    for threshold in (0.7, 0.85):
        near = exact >= threshold
        search = InCells(space, order, threshold)
        assert search.depth is not None
        direct, _, connected, _, found = in_order(search)
        assert direct.tolist() == stars(near)
        assert len(found.one) == np.triu(near, 1).sum()
        assert (connected[found.one] == connected[found.other]).all()
        assert (connected <= direct).all()


@pytest.mark.usefixtures("small")
def test_rows_that_are_all_alike_are_no_list_of_pairs():
    rng = np.random.default_rng(0)
    vectors = unit(np.ones(40) + 0.01 * rng.standard_normal((3_000, 40)))
    space = Space.of(vectors)
    compared = []
    for kind in (InCells, InGraph):
        search = kind(space, np.arange(3_000), 0.9)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                search, "add", lambda block, search=search, add=search.add: (compared.append(block), add(block))
            )
            direct, _ = search.direct()
        # All that is ever compared with is the one row that stays.
        assert direct.max() == 0
        assert sum(len(block.ranks) for block in compared) == 1
        compared.clear()
        assert search.connected()[0].max() == 0
    assert InCells(space, np.arange(3_000), 0.9).pairs(1_000_000) is None


@pytest.mark.usefixtures("small")
def test_a_walk_through_the_graph_finds_most_and_nothing_else():
    rng = np.random.default_rng(0)
    vectors, order = bunches(rng, 2_000, 30), rng.permutation(2_000)
    near = cosines(vectors[order]) >= 0.9
    direct, how, connected, _, found = in_order(InGraph(Space.of(vectors), order, 0.9))
    expected = set(zip(*(side.tolist() for side in np.nonzero(np.triu(near, 1))), strict=True))
    assert pairs_of(found) <= expected
    assert len(pairs_of(found)) > 0.99 * len(expected)
    assert near[np.arange(2_000), direct].all()
    assert (direct[direct] == direct).all()
    assert (how >= np.float32(0.9)).all()
    assert (direct == stars(near)).mean() > 0.99
    assert (connected == components(near)).mean() > 0.99


def test_where_cells_would_miss_too_much_all_rows_are_compared():
    rng = np.random.default_rng(0)
    # Nothing holds these together, and pairs of them are hardly nearer to each other than to the rest.
    vectors = unit(rng.standard_normal((6_000, 60)))
    space, order = Space.of(vectors), np.arange(6_000)
    loose = InCells.with_recall(space, order, 0.45)
    assert loose.cells is None
    bunched = Space.of(bunches(rng, 6_000, 60, 0.1))
    tight = InCells.with_recall(bunched, order, 0.9)
    assert tight.cells is not None
    assert tight.probed == _space.PROBED
    nearly, exact = tight.pairs(10**9), InCells(bunched, order, 0.9).pairs(10**9)
    assert len(nearly.one) > 0.99 * len(exact.one) > 10_000


@pytest.mark.parametrize("search", ["exact", "approximate", "usearch"])
def test_every_row_that_goes_is_as_similar_as_asked_to_the_very_row_that_stays(search):
    vectors = bunches(np.random.default_rng(0), 3_000, 24)
    ds = with_vectors(vectors)
    exact = cosines(vectors)
    dropped = Semantic("text", threshold=0.9, embeddings="vector", search=search).run(ds).dropped
    kept = np.array(dropped.evidence.field("kept_row").to_pylist())
    similarity = np.array(dropped.evidence.field("similarity").to_pylist())
    assert len(kept) > 1_000
    assert not set(kept.tolist()) & set(dropped.rows.tolist())
    assert (exact[dropped.rows, kept] >= 0.9 - 1e-7).all()
    assert np.abs(exact[dropped.rows, kept] - similarity).max() < 1e-6


@pytest.mark.parametrize("search", ["exact", "approximate", "usearch"])
@pytest.mark.parametrize("cluster", ["direct", "component"])
def test_the_number_of_threads_makes_no_difference(search, cluster):
    vectors = bunches(np.random.default_rng(0), 5_000, 24, 0.35)
    found = []
    for count in (1, 2, 3):
        set_threads(count)
        groups = Semantic("text", threshold=0.85, embeddings="vector", search=search, cluster=cluster).groups(
            with_vectors(vectors)
        )
        found.append((groups.kept, groups.similarity, groups.codes))
    assert all(np.array_equal(one, other) for again in found[1:] for one, other in zip(found[0], again, strict=True))


def test_what_is_found_does_not_depend_on_how_the_data_is_held(tmp_path):
    rng = np.random.default_rng(0)
    vectors = bunches(rng, 400, 12)
    whole = with_vectors(vectors)
    table = whole.data.table
    chunked = Dataset(pa.concat_tables([table.slice(at, 37) for at in range(0, 400, 37)]))
    turned = whole.select(range(399, -1, -1)).select(range(399, -1, -1))
    large = Dataset(table.set_column(0, "text", table["text"].cast(pa.large_string())))
    whole.save_to_disk(tmp_path / "saved")
    saved = Dataset.load_from_disk(str(tmp_path / "saved"))
    step = Semantic("text", threshold=0.9, embeddings="vector")
    expected = step.groups(whole)
    assert (expected.codes == 3).sum() > 100
    for ds in (chunked, turned, large, saved, whole.with_format("numpy")):
        found = step.groups(ds.with_format(None))
        assert np.array_equal(found.kept, expected.kept)
        assert np.array_equal(found.similarity, expected.similarity)
    some = rng.permutation(400)[:250]
    picked = step.apply(whole.select(some))
    near = cosines(vectors[some]) >= 0.9
    assert picked["text"][:] == [f"row {some[row]}" for row, stands in enumerate(stars(near)) if stands == row]


@pytest.mark.parametrize(
    "kind",
    [
        pa.list_(pa.float32()),
        pa.list_(pa.float64()),
        pa.large_list(pa.float32()),
        pa.list_(pa.float32(), 12),
        pa.list_(pa.float64(), 12),
        pa.list_(pa.float16()),
        pa.list_(pa.int64()),
        pa.list_(pa.uint8(), 12),
    ],
    ids=str,
)
def test_vectors_of_every_type_are_read(kind):
    vectors = np.round(np.abs(bunches(np.random.default_rng(0), 200, 12)) * 100)
    values = vectors.astype(np.uint8) if pa.types.is_integer(kind.value_type) else vectors.astype(np.float16)
    rows = [None, *values.tolist(), None]
    kind_of_rows = pa.array([None if row is None else list(row) for row in rows], kind)
    ds = build([f"row {row}" for row in range(202)], vector=kind_of_rows)
    found = Semantic("text", threshold=0.95, embeddings="vector").groups(ds)
    assert (found.kept[1:-1] - 1).tolist() == stars(cosines(values.astype(np.float64)) >= 0.95)
    assert found.codes[0] == found.codes[-1] == 0


def test_a_row_without_a_vector_is_like_no_other_and_stays():
    nan, inf = float("nan"), float("inf")
    vectors = [
        [1.0, 0.0],
        [0.0, 0.0],
        [0.0, 0.0],
        None,
        None,
        [nan, 1.0],
        [nan, 1.0],
        [inf, 1.0],
        [None, 1.0],
        [],
        [1.0, 0.0],
    ]
    ds = build([f"row {row}" for row in range(11)], vector=pa.array(vectors, pa.list_(pa.float32())))
    found = Semantic("text", threshold=0.01, embeddings="vector").groups(ds)
    assert found.kept.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0]


def test_vectors_of_differing_lengths_are_refused_by_row():
    step = Semantic("text", threshold=0.9, embeddings="vector")
    rows = [None, [1.0, 0.0], None, [1.0, 0.0, 0.0]]
    ds = build(["a", "b", "c", "d"], vector=pa.array(rows, pa.list_(pa.float32())))
    message = "Semantic: the vector in row 3 of 'vector' has 3 numbers, but those before it have 2."
    with pytest.raises(ArgumentError, match=re.escape(message)):
        step.apply(ds)
    # The same where they are not read at once, among copies.
    long = [[1.0, 0.0]] * 20_000 + [[1.0, 0.0, 0.0]]
    ds = build(["same"] + [f"row {row}" for row in range(20_000)], vector=pa.array(long, pa.list_(pa.float32())))
    with pytest.raises(ArgumentError, match="the vector in row 20000 of 'vector' has 3 numbers"):
        step.apply(ds)


def test_equal_texts_are_duplicates_and_a_null_or_blank_text_is_like_nothing():
    texts = ["1 0", None, "1 0", "2 0", "2 0", "", " ", "", "\u3000\n", "word", "0 1", None, "5 1"]
    outcome = Semantic("text", Numbers(), 0.99).run(build(texts))
    reasons = [None] * len(texts)
    for row, code in zip(outcome.dropped.rows, outcome.dropped.codes, strict=True):
        reasons[row] = Semantic.reasons[code - 1]
    near, null, copy = "near_duplicate", "null_text", "duplicate"
    assert reasons == [None, null, copy, near, near, None, None, copy, None, None, None, null, None]
    kept = dict(zip(outcome.dropped.rows.tolist(), outcome.dropped.evidence.to_pylist(), strict=True))
    assert kept[1] == {"kept_row": None, "similarity": None}
    assert kept[2] == {"kept_row": 0, "similarity": 1.0}
    assert kept[4] == {"kept_row": 0, "similarity": 1.0}


def test_a_blank_text_is_like_nothing_whatever_its_vector():
    ds = build([" ", "\t", "a", "b"], vector=pa.array([[1.0, 0.0]] * 4))
    assert Semantic("text", threshold=0.9, embeddings="vector").groups(ds).kept.tolist() == [0, 1, 2, 2]


def test_equal_texts_are_embedded_once():
    seen = []

    @dataclass(frozen=True)
    class Counting(Numbers):
        def embed(self, texts):
            seen.extend(texts.to_pylist())
            return super().embed(texts)

    Semantic("text", Counting(), 0.9).apply(build(["1 2"] * 5_000 + ["2 1", None, "1 2"]))
    assert sorted(seen) == ["1 2", "2 1"]


@pytest.mark.parametrize(
    "keep, stays",
    [
        ("first", [0, 4]),
        ("last", [3, 4]),
        ("longest", [2, 4]),
        ("shortest", [0, 4]),
        ("max:score", [1, 4]),
        ("min:score", [0, 4]),
        ({"source": ["gold"]}, [3, 4]),
        ("none", [4]),
    ],
    ids=str,
)
def test_the_policy_says_which_row_stays(keep, stays):
    texts = ["1 0", "1 00", "1 0  ", "01 0", "0 1"]
    columns = {"score": [1, 9, 5, 2, 0], "source": ["web", "web", None, "gold", "web"], "id": list(range(5))}
    made = Semantic("text", Numbers(), 0.9, keep=keep).apply(build(texts, **columns))
    assert made["id"][:] == stays


def test_the_best_of_the_similar_rows_that_stay_stands_for_a_row():
    # The second is similar to the first and to the third, which are not similar to each other.
    ds = build(["10 0", "10 5", "10 11"])
    assert Semantic("text", Numbers(), 0.89).groups(ds).kept.tolist() == [0, 0, 2]
    assert Semantic("text", Numbers(), 0.89, keep="last").groups(ds).kept.tolist() == [0, 2, 2]
    chained = Semantic("text", Numbers(), 0.89, cluster="component").groups(ds)
    assert chained.kept.tolist() == [0, 0, 0]
    assert chained.similarity[2] == pytest.approx(10 / np.hypot(10, 11), abs=1e-6)


def test_a_threshold_of_one_takes_rows_with_equal_vectors_alone():
    rng = np.random.default_rng(0)
    vectors = unit(rng.standard_normal((50, 100)))
    nearly = vectors.copy()
    nearly[:, 0] += 1e-4
    ds = with_vectors(np.concatenate([vectors, vectors, nearly]))
    found = Semantic("text", threshold=1, embeddings="vector").groups(ds)
    assert found.kept.tolist() == [*range(50), *range(50), *range(100, 150)]
    assert (found.similarity == 1).all()


def test_pairs_are_listed_with_copies_among_them():
    texts = ["1 0", "0 1", "10 1", None, "1 0", "10 1", ""]
    found = Semantic("text", Numbers(), 0.9).pairs(build(texts))
    close = pytest.approx(10 / np.hypot(10, 1), abs=1e-6)
    assert found.column_names == ["row", "other", "similarity"]
    assert [tuple(row.values()) for row in found.to_list()] == [
        (0, 2, close),
        (0, 4, 1.0),
        (0, 5, close),
        (2, 4, close),
        (2, 5, 1.0),
        (4, 5, close),
    ]
    assert len(Semantic("text", Numbers(), 0.9).pairs(build([None]))) == 0


def test_too_many_pairs_are_refused_before_they_are_made(monkeypatch):
    monkeypatch.setattr(semantic, "MOST_PAIRS", 100)
    step = Semantic("text", Numbers(), 0.9)
    assert len(step.pairs(build(["1 0"] * 9))) == 36
    for texts in (["1 0"] * 20, [f"{number} 0" for number in range(1, 20)]):
        with pytest.raises(ArgumentError, match="Semantic finds more than 100 pairs; `clusters` lists the groups"):
            step.pairs(build(texts))


def test_clusters_marks_and_splits_are_those_of_every_deduplicator():
    step = Semantic("text", Numbers(), 0.9)
    ds = build(["1 0", "0 1", "10 1", None])
    close = pytest.approx(10 / np.hypot(10, 1), abs=1e-6)
    assert step.clusters(ds).to_list() == [
        {"row": 0, "cluster": 0, "kept_row": 0, "similarity": 1.0},
        {"row": 2, "cluster": 0, "kept_row": 0, "similarity": close},
    ]
    marked = step.apply(ds, mark_only=True)
    assert marked["duplicate_of"][:] == [None, None, 0, None]
    assert marked["duplicate_reason"][:] == [None, None, "near_duplicate", "null_text"]
    splits = DatasetDict(train=build(["10 1", "0 1", "7 7"]), test=build(["1 0", "1 10", "1 10"]))
    made = step.apply(splits, across=["test", "train"])
    assert (made["test"]["text"][:], made["train"]["text"][:]) == (["1 0", "1 10"], ["7 7"])


def test_a_fraction_leaves_about_so_many_rows_and_every_other_one_has_its_like():
    vectors = bunches(np.random.default_rng(0), 4_000, 20, 0.5)
    ds = with_vectors(vectors)
    exact = cosines(vectors)
    for fraction in (0.1, 0.35, 0.6, 0.9):
        for cluster in ("direct", "component"):
            step = Semantic("text", fraction=fraction, embeddings="vector", cluster=cluster)
            found = step.groups(ds)
            assert (found.codes == 0).mean() == pytest.approx(fraction, abs=0.01)
            threshold = step.threshold_for(ds)
            same = Semantic("text", threshold=threshold, embeddings="vector", cluster=cluster)
            assert same.threshold_for(ds) == threshold
            assert np.array_equal(same.groups(ds).kept, found.kept)
            if cluster == "direct":
                assert exact[np.arange(4_000), found.kept].min() >= threshold - 1e-6


def test_a_fraction_counts_copies_nulls_and_rows_without_a_vector():
    texts = [None] * 4 + ["1 0"] * 4 + ["", "a", "b"] + ["0 1"]
    # Five of twelve rows stay whatever is done: two alone by their vectors, and three that have none.
    for fraction in (0.42, 0.6, 0.99):
        step = Semantic("text", Numbers(), fraction=fraction)
        assert (step.groups(build(texts)).codes == 0).sum() == 5
        assert step.threshold_for(build(texts)) == 1.0
    assert Semantic("text", Numbers(), fraction=0.5).threshold_for(build([None, ""])) == 1.0


def test_rows_that_share_nothing_stay_even_if_fewer_were_to():
    ds = with_vectors(np.eye(16, dtype=np.float32))
    assert len(Semantic("text", fraction=0.25, embeddings="vector").apply(ds)) == 16


@pytest.mark.parametrize("texts", [[], [None], [None, None], [""], ["", " "], ["a"], ["a", None, "a"]], ids=str)
@pytest.mark.parametrize("how", [{"threshold": 0.5}, {"fraction": 0.5}], ids=str)
@pytest.mark.parametrize("search", ["auto", "approximate", "usearch"])
def test_few_rows_or_none(texts, how, search):
    for embedder in (Numbers(), TfidfSvd(dims=16)):
        step = Semantic("text", embedder, search=search, **how)
        made = step.apply(build(texts))
        assert made["text"][:] == list(dict.fromkeys(text for text in texts if text is not None))
    if "threshold" in how:
        assert len(step.pairs(build(texts))) == (1 if texts.count("a") == 2 else 0)


def test_text_of_any_kind_is_read():
    strange = [
        "猫が好きです",
        "猫が好きです。",
        "สวัสดีครับ",
        "😀 😀",
        "e\u0301 é",
        "\x00",
        "a" * 3_000_000,
        "\ufeff",
        "ا ب",
    ]
    made = Semantic("text", TfidfSvd(dims=64), 0.99).apply(build(strange * 2))
    assert made["text"][:] == [text for text in strange if text != "猫が好きです。"]
    raw = pa.Array.from_buffers(
        pa.string(), 3, [None, pa.py_buffer(np.array([0, 3, 6, 9], np.int32)), pa.py_buffer(b"a \xffa \xfea \xff")]
    )
    found = Semantic("text", TfidfSvd(dims=64), 0.999).groups(Dataset(pa.table({"text": raw})))
    assert found.codes[2] == 2


def test_vectors_that_do_not_fit_into_memory_lie_in_a_file(monkeypatch):
    rng = np.random.default_rng(0)
    ds = with_vectors(bunches(rng, 700, 12))
    steps = [Semantic("text", threshold=0.9, embeddings="vector", search=search) for search in ("exact", "approximate")]
    held = [step.groups(ds).kept for step in steps]
    monkeypatch.setattr(_space, "_HELD", 100)
    assert isinstance(room(50, 2).base, np.memmap)
    for step, expected in zip(steps, held, strict=True):
        assert np.array_equal(step.groups(ds).kept, expected)
    monkeypatch.setattr(os, "posix_fallocate", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space left"):
        steps[0].groups(ds)


@pytest.mark.parametrize(
    "given, message",
    [
        ({"column": ""}, "column='' is not allowed"),
        ({"column": None}, "column=None is not allowed"),
        ({"embedder": None}, "embeddings=None is not allowed"),
        ({"embedder": None, "embeddings": ""}, "embeddings='' is not allowed"),
        ({"embedder": "TfidfSvd"}, "embedder='TfidfSvd' is not allowed"),
        ({"embeddings": "vector"}, "embeddings='vector' is not allowed; it must be None where an embedder"),
        ({"threshold": None}, "threshold=None is not allowed"),
        ({"threshold": 0}, "threshold=0 is not allowed; it must be above 0 and at most 1"),
        ({"threshold": 1.01}, "threshold=1.01 is not allowed"),
        ({"threshold": float("nan")}, "threshold=nan is not allowed"),
        ({"fraction": 0.5}, "threshold=0.9 is not allowed; it must be None where a fraction is given"),
        ({"threshold": None, "fraction": 0}, "fraction=0 is not allowed"),
        ({"threshold": None, "fraction": 1}, "fraction=1 is not allowed; it must be above 0 and below 1"),
        ({"threshold": None, "fraction": 0.5, "keep": "none"}, "keep='none' is not allowed"),
        ({"keep": "best"}, "keep='best' is not allowed"),
        ({"cluster": "star"}, "cluster='star' is not allowed"),
        ({"search": "faiss"}, "search='faiss' is not allowed"),
    ],
)
def test_bad_arguments_are_refused_by_name(given, message):
    with pytest.raises(ArgumentError, match=re.escape(f"Semantic: {message}")):
        Semantic(**({"column": "text", "embedder": Numbers(), "threshold": 0.9} | given))


def test_data_that_cannot_be_read_is_refused_before_any_work():
    ds = build(["a", "b"], vector=pa.array([[1.0], [2.0]]), words=pa.array([["a"], ["b"]]), number=[1, 2])
    for step, error, message in (
        (Semantic("txet", Numbers(), 0.9), MissingColumnError, "Did you mean 'text'"),
        (Semantic("text", threshold=0.9, embeddings="vectors"), MissingColumnError, "Did you mean 'vector'"),
        (Semantic("text", Numbers(), 0.9, keep="max:score"), MissingColumnError, "'score'"),
        (Semantic("vector", Numbers(), 0.9), ColumnTypeError, "reads column 'vector' as text"),
        (Semantic("text", threshold=0.9, embeddings="text"), ColumnTypeError, "'text' as vectors, lists of numbers"),
        (Semantic("text", threshold=0.9, embeddings="words"), ColumnTypeError, "'words' as vectors, lists of numbers"),
        (Semantic("text", threshold=0.9, embeddings="number"), ColumnTypeError, "'number' as vectors"),
    ):
        for work in (step.apply, step.pairs, step.threshold_for, step.clusters):
            with pytest.raises(error, match=message):
                work(ds)
    step = Semantic("text", Numbers(), fraction=0.5)
    with pytest.raises(ArgumentError, match=r"Semantic\.pairs needs a threshold"):
        step.pairs(ds)
    for work in (step.pairs, step.threshold_for):
        with pytest.raises(TypeError, match="works on a Dataset, not on DatasetDict; give it one split"):
            work(DatasetDict(train=ds))


def test_an_embedder_that_says_one_size_and_gives_another_is_caught():
    @dataclass(frozen=True)
    class Wrong(Numbers):
        def embed(self, texts):
            return super().embed(texts)[:, :1]

    with pytest.raises(
        StepError, match=r"gave vectors of shape \(1, 1\) for 1 texts, each of which should have 2 numbers"
    ):
        Semantic("text", Wrong(), 0.9).apply(build(["1 2"]))


def test_an_embedder_that_must_be_fitted_is_fitted_to_the_rows_at_hand():
    ds = build(QUESTIONS)
    unfitted, fitted = TfidfSvd(dims=64), TfidfSvd(dims=64).fitted(ds, "text")
    embedded = Embed("text", fitted).apply(ds)
    expected = ["How do I sort a list?", "How can I sort lists?", "Name a prime."]
    for step in (
        Semantic("text", unfitted, 0.9),
        Semantic("text", fitted, 0.9),
        Semantic("text", threshold=0.9, embeddings="embedding"),
    ):
        assert step.apply(embedded)["text"][:] == expected


def test_without_usearch_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "usearch.index", None)
    with pytest.raises(MissingExtraError, match=r"Semantic needs the package 'usearch'.*tilth\[semantic\]"):
        Semantic("text", Numbers(), 0.9, search="usearch").apply(build(["1 2", "2 1"]))


def test_a_recipe_holds_the_step_and_its_embedder():
    text = """
tilth: 1
steps:
  - dedup.Semantic:
      column: text
      embedder: {TfidfSvd: {dims: 64}}
      threshold: 0.9
      keep: longest
  - dedup.Semantic: {column: text, embeddings: embedding, fraction: 0.5}
"""
    pipeline = recipe.loads(text).pipeline
    first, second = pipeline.steps
    assert first == Semantic("text", TfidfSvd(dims=64), 0.9, keep="longest")
    assert second == Semantic("text", embeddings="embedding", fraction=0.5)
    again = recipe.loads(recipe.dumps(pipeline)).pipeline.steps
    assert [step.fingerprint for step in again] == [first.fingerprint, second.fingerprint]


def test_a_step_is_known_by_its_fields_and_carries_nothing_that_it_made():
    step = Semantic("text", TfidfSvd(dims=64), 0.9)
    before = Hasher.hash(step), step.fingerprint, pickle.dumps(step)
    ds = build(QUESTIONS)
    step.apply(ds)
    assert (Hasher.hash(step), step.fingerprint, pickle.dumps(step)) == before
    assert pickle.loads(pickle.dumps(step)) == step
    others = [
        Semantic("text", TfidfSvd(dims=32), 0.9),
        Semantic("text", TfidfSvd(dims=64), 0.8),
        Semantic("text", TfidfSvd(dims=64), 0.9, search="exact"),
        Semantic("text", TfidfSvd(dims=64), 0.9, cluster="component"),
        Semantic("text", TfidfSvd(dims=64), fraction=0.9),
        Semantic("text", embeddings="vector", threshold=0.9),
        Semantic("text", TfidfSvd(dims=64).fitted(ds, "text"), 0.9),
    ]
    assert len({each.fingerprint for each in [step, *others]}) == 8
    assert Semantic("text", Numbers(), 1).fingerprint == Semantic("text", Numbers(), 1.0).fingerprint
    assert step.apply(ds)._fingerprint == pickle.loads(pickle.dumps(step)).apply(ds)._fingerprint


def test_a_pipeline_says_what_became_of_each_row(tmp_path):
    ds = build(["a", *QUESTIONS, QUESTIONS[0]])
    step = Semantic("text", TfidfSvd(dims=64), 0.9)
    curated = Pipeline(AtLeast("text", 5), step).run(ds, cache_dir=tmp_path)
    assert curated.dataset["text"][:] == [QUESTIONS[0], QUESTIONS[2], QUESTIONS[3]]
    rejected = curated.rejected.to_list()
    assert [row["reason"] for row in rejected] == ["short", "near_duplicate", "duplicate"]
    # Rows are counted in the source.
    assert [json.loads(row["evidence"])["kept_row"] for row in rejected[1:]] == [1, 1]


@pytest.mark.slow
@pytest.mark.skipif(not DATA.is_dir(), reason="the real data is not here")
def test_on_real_text_nearly_all_pairs_are_found_and_those_found_are_exact():
    texts = pq.read_table(DATA / "nd_tweets" / "docs.parquet", columns=["text"])["text"].to_pylist()[:12_000]
    texts += pq.read_table(DATA / "alpaca_52k_rated" / "alpaca_en.parquet", columns=["instruction"])[
        "instruction"
    ].to_pylist()[:12_000]
    ds = build(list(dict.fromkeys(texts)))
    embedder = TfidfSvd().fitted(ds, "text")
    vectors = embedder.embed(ds.data.column("text"))
    expected = {}
    for lo in range(0, len(vectors), 2_000):
        row, other = np.nonzero(vectors[lo : lo + 2_000] @ vectors.T >= 0.7 - 1e-6)
        later = row + lo < other
        for one, two in zip((row[later] + lo).tolist(), other[later].tolist(), strict=True):
            expected[one, two] = float(vectors[one].astype(np.float64) @ vectors[two].astype(np.float64))
    for threshold in (0.7, 0.8, 0.9):
        surely = {pair for pair, cosine in expected.items() if cosine >= threshold + 1e-6}
        assert len(surely) > 100
        for search in ("exact", "approximate"):
            found = Semantic("text", embedder, threshold, search=search).pairs(ds).to_dict()
            pairs = dict(zip(zip(found["row"], found["other"], strict=True), found["similarity"], strict=True))
            assert all(abs(expected[pair] - cosine) < 1e-5 for pair, cosine in pairs.items())
            recall = len(surely & pairs.keys()) / len(surely)
            assert recall == 1 if search == "exact" else recall >= 0.99


def test_a_panel_is_as_wide_as_the_kernels_think():
    assert _near.ROWS <= COLUMNS
    assert COLUMNS % _near.ROWS == 0
