"""Groups from pairs: one row stands for the others, nothing is in two groups, and each way to look at them agrees."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pyarrow as pa
import pytest
from datasets import Dataset, DatasetDict, IterableDataset, load_dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.steps_for_tests import AtLeast
from tilth.dedup import Exact
from tilth.dedup._fold import fold
from tilth.dedup.groups import Cluster, Deduplicator, Groups, Pairs, check_cluster, grouped, in_splits
from tilth.dedup.keep import Keep, check_keep, priority
from tilth.errors import ArgumentError, MissingColumnError
from tilth.pipeline import Pipeline


@dataclass(frozen=True)
class Near(Deduplicator):
    """Rows whose numbers are at most `within` apart; their similarity is 1 less a tenth of the distance."""

    column: str = "number"
    within: int = 1
    keep: Keep = "first"
    cluster: Cluster = "direct"

    reads_text = ()

    def __post_init__(self):
        check_keep(self, self.keep)
        check_cluster(self, self.cluster)

    def groups(self, ds, splits=None):
        numbers = ds[self.column][:]
        found = Groups.alone(len(ds))
        found.codes[[number is None for number in numbers]] = 1
        order = in_splits(priority(self, self.keep, ds, [self.column]), splits)
        order = order[found.codes[order] == 0]
        near = [
            (one, other, 1 - abs(numbers[one] - numbers[other]) / 10)
            for one, other in combinations(sorted(order.tolist()), 2)
            if abs(numbers[one] - numbers[other]) <= self.within
        ]
        kept, similarity = grouped(order, pairs_of(near), self.cluster, len(ds))
        found.enter(order, kept[order], similarity[order])
        return found


def pairs_of(near):
    one, other = (np.array([pair[side] for pair in near], dtype=np.int64) for side in (0, 1))
    return Pairs(one, other, np.array([pair[2] for pair in near], dtype=np.float32))


def numbers(values, **columns):
    return Dataset(pa.table({"number": pa.array(values, pa.int64()), **columns}))


@st.composite
def graphs(draw):
    n = draw(st.integers(0, 12))
    order = draw(st.permutations(range(n)))[: draw(st.integers(0, n))]
    possible = list(combinations(sorted(order), 2))
    chosen = draw(st.lists(st.sampled_from(possible), unique=True, max_size=20)) if possible else []
    turned = [pair[::-1] if draw(st.booleans()) else pair for pair in chosen]
    return n, order, [(*pair, draw(st.integers(0, 64)) / 64) for pair in turned]


@settings(max_examples=300, deadline=None)
@given(graphs())
def test_in_direct_groups_the_best_similar_row_that_stays_stands_for_a_row(graph):
    n, order, near = graph
    similar = {frozenset(pair[:2]): pair[2] for pair in near}
    stands = list(range(n))
    for place, row in enumerate(order):
        better = [other for other in order[:place] if stands[other] == other and frozenset((row, other)) in similar]
        stands[row] = better[0] if better else row
    kept, similarity = grouped(np.array(order, dtype=np.int64), pairs_of(near), "direct", n)
    assert kept.tolist() == stands
    assert similarity.tolist() == [similar.get(frozenset((row, stands[row])), 1.0) for row in range(n)]


@settings(max_examples=300, deadline=None)
@given(graphs(), st.booleans())
def test_in_components_the_best_of_all_connected_rows_stands_for_them(graph, measured):
    n, order, near = graph
    similar = {frozenset(pair[:2]): pair[2] for pair in near}
    stands = list(range(n))
    for first in order:
        if stands[first] != first:
            continue
        reached = [first]
        for row in reached:
            reached += [other for other in order if frozenset((row, other)) in similar and other not in reached]
        for row in reached:
            stands[row] = first
    calls = []

    def measure(rows, others):
        calls.extend(zip(rows.tolist(), others.tolist(), strict=True))
        return np.full(len(rows), 0.125, dtype=np.float32)

    kept, similarity = grouped(
        np.array(order, dtype=np.int64), pairs_of(near), "component", n, measure if measured else None
    )
    assert kept.tolist() == stands
    for row in range(n):
        pair = frozenset((row, stands[row]))
        best = max([value for both, value in similar.items() if row in both], default=0)
        lacking = 0.125 if measured else best
        assert similarity[row] == (1 if stands[row] == row else similar.get(pair, lacking))
    unpaired = [
        (row, stands[row]) for row in order if stands[row] != row and frozenset((row, stands[row])) not in similar
    ]
    assert calls == (unpaired if measured else [])


def test_a_long_chain_is_one_component_and_several_stars():
    n = 200_000
    chain = Pairs(np.arange(n - 1), np.arange(1, n), np.full(n - 1, 0.9, dtype=np.float32))
    for order in (np.arange(n), np.arange(n)[::-1].copy()):
        assert (grouped(order, chain, "component", n)[0] == order[0]).all()
        kept, _ = grouped(order, chain, "direct", n)
        assert (np.diff(np.flatnonzero(kept == np.arange(n))) == 2).all()


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 5), max_size=6), st.randoms())
def test_an_earlier_split_comes_first_and_the_order_within_a_split_stays(sizes, random):
    split_of = [split for split, size in enumerate(sizes) for _ in range(size)]
    order = list(range(len(split_of)))
    random.shuffle(order)
    found = in_splits(np.array(order, dtype=np.int64), sizes).tolist()
    assert found == sorted(order, key=lambda row: split_of[row])
    assert in_splits(np.array(order, dtype=np.int64), None).tolist() == order


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), max_size=40), st.integers(0, 63), st.randoms())
def test_fold_finds_the_first_of_equal_digests_in_any_order(keys, shift, random):
    digests = np.array(keys, dtype=np.uint64).reshape(len(keys), 2) << np.uint64(shift)
    order = list(range(len(keys)))
    random.shuffle(order)
    order = order[: random.randint(0, len(keys))]
    values = [tuple(row) for row in digests.tolist()]
    assert fold(digests).tolist() == [values.index(value) for value in values]
    taken = [values[row] for row in order]
    assert fold(digests, np.array(order, dtype=np.int64)).tolist() == [taken.index(value) for value in taken]


def test_fold_of_many_rows_in_many_parts():
    rng = np.random.default_rng(0)
    digests = rng.integers(0, 2**64, (200_000, 2), dtype=np.uint64)
    source = rng.integers(0, 100_000, 100_000)
    digests[100_000:] = digests[source]
    expected = np.concatenate([np.arange(100_000), source])
    assert (fold(digests) == expected).all()
    # Rows that agree in half of their digest are not the same.
    digests[:, 0] &= np.uint64(0xFF00000000000000)
    assert (fold(digests) == expected).all()


def test_a_copy_shares_the_fate_of_its_original():
    found = Groups.alone(6)
    found.enter(np.array([0, 2]), np.array([0, 0]), np.array([1, 0.75], dtype=np.float32))
    found.copy(np.array([1, 3, 5]), np.array([0, 2, 4]))
    assert found.kept.tolist() == [0, 0, 0, 0, 4, 4]
    assert found.codes.tolist() == [0, 2, 3, 3, 0, 2]
    assert found.similarity.tolist() == [1, 1, 0.75, 0.75, 1, 1]


VALUES = [10, 20, 11, None, 9, 20, 30, 12]


def test_clusters_lists_the_members_of_groups_and_drops_nothing():
    ds = numbers(VALUES)
    rows = [{"row": row, "cluster": 0, "kept_row": 0, "similarity": s} for row, s in ((0, 1.0), (2, 0.9), (4, 0.9))]
    rows += [{"row": row, "cluster": 1, "kept_row": 1, "similarity": 1.0} for row in (1, 5)]
    found = Near().clusters(ds)
    assert rounded(found.to_list()) == rows
    assert found.features["similarity"].dtype == "float32"
    chained = Near(cluster="component").clusters(ds).to_list()
    assert [row["row"] for row in chained] == [0, 2, 4, 7, 1, 5]
    assert len(ds) == 8
    assert Near().clusters(numbers([])).to_list() == []
    assert Near().clusters(numbers([None, 1])).column_names == ["row", "cluster", "kept_row", "similarity"]


def rounded(rows):
    return [{key: round(value, 5) if key == "similarity" else value for key, value in row.items()} for row in rows]


def test_clusters_of_which_no_row_is_kept_still_have_a_number():
    found = Near(keep="none").clusters(numbers(VALUES))
    assert found["kept_row"][:] == [None] * 5
    assert found["cluster"][:] == [0, 0, 0, 1, 1]


def test_clusters_are_of_one_dataset():
    with pytest.raises(TypeError, match=r"Near\.clusters works on a Dataset, not on DatasetDict"):
        Near().clusters(DatasetDict({"train": numbers([1])}))
    with pytest.raises(MissingColumnError, match="number"):
        Near().clusters(Dataset.from_dict({"text": ["a"]}))


@pytest.mark.parametrize("cluster", ["direct", "component"])
@pytest.mark.parametrize("keep", ["first", "last", "max:score", "none"])
def test_every_way_to_look_at_groups_says_the_same(keep, cluster):
    rng = np.random.default_rng(1)
    values = [None if value > 95 else value for value in rng.integers(0, 100, 60).tolist()]
    ds = numbers(values, score=pa.array(rng.integers(0, 9, 60)))
    step = Near(keep=keep, cluster=cluster)
    outcome = step.run(ds)
    assert step.apply(ds)["number"][:] == [values[row] for row in outcome.origin]
    marked = step.apply(ds, mark_only=True)
    assert marked.select_columns(["number", "score"]).to_dict() == ds.to_dict()
    reasons = dict(zip(outcome.dropped.rows.tolist(), outcome.dropped.codes.tolist(), strict=True))
    why = dict(zip(outcome.dropped.rows.tolist(), outcome.dropped.evidence.to_pylist(), strict=True))
    clusters = {row["row"]: row for row in step.clusters(ds).to_list()}
    for row, marks in enumerate(marked.to_list()):
        assert marks["duplicate_reason"] == (step.reasons[reasons[row] - 1] if row in reasons else None)
        assert marks["duplicate_of"] == why.get(row, {"kept_row": None})["kept_row"]
        assert marks["duplicate_similarity"] == why.get(row, {"similarity": None})["similarity"]
        assert marks["cluster"] == (clusters[row]["cluster"] if row in clusters else None)
        if row in clusters and keep != "none":
            assert clusters[row]["kept_row"] not in reasons
        if row in clusters and keep == "none":
            assert row in reasons
    for row, code in reasons.items():
        assert (code == 1) == (values[row] is None)


def test_marks_keep_the_format_and_the_order_of_any_view():
    ds = numbers(VALUES, name=pa.array(list("abcdefgh")))
    expected = Near().apply(ds, mark_only=True)
    assert expected.features["duplicate_of"].dtype == "int64"
    assert expected.features["duplicate_reason"].dtype == "string"
    padded = numbers([9, *VALUES, 9], name=pa.array(list("xabcdefghx")))
    assert Near().apply(padded.select(range(1, 9)), mark_only=True).to_dict() == expected.to_dict()
    turned = numbers(VALUES[::-1], name=pa.array(list("hgfedcba"))).select(range(7, -1, -1))
    assert Near().apply(turned, mark_only=True).to_dict() == expected.to_dict()
    arrow = Near().apply(ds.with_format("arrow", columns=["name"]), mark_only=True)
    assert arrow.format["type"] == "arrow"
    assert "number" not in arrow.format["columns"]
    assert arrow.with_format(None).to_dict() == expected.to_dict()
    parts = Near().apply(DatasetDict({"train": ds, "test": numbers([1, 2])}), mark_only=True)
    assert parts["train"].to_dict() == expected.to_dict()
    assert parts["test"]["duplicate_of"][:] == [None, 0]
    assert Near().apply(numbers([]), mark_only=True).column_names == ["number", *expected.column_names[2:]]


def test_marks_that_are_on_disk_are_not_made_again(tmp_path, monkeypatch):
    numbers(VALUES).to_parquet(tmp_path / "data.parquet")
    ds = load_dataset("parquet", data_files=str(tmp_path / "data.parquet"), split="train", cache_dir=str(tmp_path))
    first = Near().apply(ds, mark_only=True)
    monkeypatch.setattr(Near, "groups", None)
    again = Near().apply(ds, mark_only=True)
    assert again.to_dict() == first.to_dict()
    assert again._fingerprint == first._fingerprint
    with pytest.raises(TypeError):
        Near(within=2).apply(ds, mark_only=True)


def test_a_column_is_never_overwritten_by_marks(monkeypatch):
    ds = numbers([1, 2], cluster=pa.array([0, 0]))
    monkeypatch.setattr(Near, "groups", None)
    with pytest.raises(ArgumentError, match=r"Near: mark_only adds the columns .*, but the data has \['cluster'\]"):
        Near().apply(ds, mark_only=True)


def test_a_stream_is_refused_with_or_without_marks():
    stream = IterableDataset.from_generator(lambda: iter([{"number": 1}]))
    for mark_only in (False, True):
        with pytest.raises(TypeError, match="cannot run on an IterableDataset"):
            Near().apply(stream, mark_only=mark_only)
    with pytest.raises(TypeError, match="not to list"):
        Near().apply([1], mark_only=True)


def test_across_splits_the_row_of_the_split_named_first_stays():
    parts = DatasetDict(
        {
            "train": numbers([1, 5, None, 9, 30]),
            "other": numbers([1, 5]),
            "test": numbers([10, 6, 6, 40]),
        }
    )
    taken = Near().apply(parts, across=["test", "train"])
    assert list(taken) == ["train", "other", "test"]
    assert taken["test"]["number"][:] == [10, 6, 40]
    assert taken["train"]["number"][:] == [1, 30]
    assert taken["other"]["number"][:] == [1, 5]
    turned = Near().apply(parts, across=("train", "test"))
    assert turned["train"]["number"][:] == [1, 5, 9, 30]
    assert turned["test"]["number"][:] == [40]
    # What `keep` says holds within a split only.
    assert Near(keep="last").apply(parts, across=["test", "train"])["test"]["number"][:] == [10, 6, 40]
    assert Near(keep="min:number").apply(parts, across=["test", "train"])["train"]["number"][:] == [1, 30]
    assert Near(keep="none").apply(parts, across=["test", "train"])["train"]["number"][:] == [1, 30]
    assert Near(keep="none").apply(parts, across=["test", "train"])["test"]["number"][:] == [40]


def test_across_splits_of_any_view_and_of_no_rows():
    train = numbers([7, 3, 1, 50]).with_format("numpy")
    parts = DatasetDict({"train": train.select([3, 2, 1]), "test": numbers([99, 2]).select([1]), "none": numbers([])})
    taken = Near().apply(parts, across=["none", "test", "train"])
    assert taken["train"].format["type"] == "numpy"
    assert taken["train"]["number"][:].tolist() == [50]
    assert taken["test"]["number"][:] == [2]
    assert len(taken["none"]) == 0
    again = Near().apply(parts, across=["none", "test", "train"])
    turned = Near().apply(parts, across=["train", "test", "none"])
    assert taken["train"]._fingerprint == again["train"]._fingerprint != turned["train"]._fingerprint


def test_a_wrong_across_is_refused_by_name():
    parts = DatasetDict({"train": numbers([1]), "test": numbers([1])})
    for across in (["train", "dev"], ["train", "train"], [], "train", [1]):
        with pytest.raises(ArgumentError, match=r"Near: across=.* is not allowed; .* of \['train', 'test'\]"):
            Near().apply(parts, across=across)
    with pytest.raises(ArgumentError, match="Dataset has none"):
        Near().apply(parts["train"], across=["train"])
    with pytest.raises(ArgumentError, match="mark_only and across"):
        Near().apply(parts, across=["train"], mark_only=True)
    with pytest.raises(MissingColumnError, match="number"):
        Near().apply(DatasetDict({"a": numbers([1]), "b": Dataset.from_dict({"n": [1]})}), across=["a", "b"])


def test_a_wrong_kind_of_group_is_refused_by_name():
    with pytest.raises(ArgumentError, match="Near: cluster='star' is not allowed; it must be 'direct' or 'component'"):
        Near(cluster="star")


def test_the_column_of_the_policy_is_read_and_only_the_text_must_be_text():
    assert Near(keep="max:score").reads == ("number", "score")
    assert Near(keep="max:number").reads == ("number",)
    assert Exact("a", "b", keep={"source": ["web"]}).reads == ("a", "b", "source")


@pytest.mark.parametrize("keep", ["first", "none"])
def test_in_a_pipeline_the_evidence_names_rows_of_the_source(keep, tmp_path):
    texts = pa.array(["x", *["long enough"] * 6])
    ds = numbers([1, 50, 60, None, 51, 90, 50], text=texts, id=pa.array(range(7)))
    curated = Pipeline(AtLeast("text", 5), Near(keep=keep)).run(ds, cache_dir=tmp_path)
    rejected = {row["id"]: row for row in curated.rejected.to_list()}
    assert sorted(rejected) == ([0, 1, 3, 4, 6] if keep == "none" else [0, 3, 4, 6])
    assert curated.dataset["id"][:] == [row for row in range(7) if row not in rejected]
    assert rejected[3]["reason"] == "null_text"
    for row, similarity in ((4, 0.9), (6, 1.0)):
        assert rejected[row]["reason"] == "near_duplicate"
        assert json.loads(rejected[row]["evidence"]) == pytest.approx({"kept_row": 1, "similarity": similarity})
