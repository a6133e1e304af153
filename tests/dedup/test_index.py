"""A row that an index has never survives; all else goes or stays as if all rows were compared at once."""

from __future__ import annotations

import gc
import os
import pickle
import random
import re
import warnings
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, DatasetDict
from hypothesis import given, settings
from hypothesis import strategies as st

from tilth import Pipeline, recipe
from tilth.dedup import Exact, Index, MinHash, NotIn
from tilth.dedup import index as index_module
from tilth.dedup._located import Located
from tilth.dedup._look_up import located
from tilth.dedup._shingle_sets import shingle_sets, similarities
from tilth.dedup._sorted_keys import _first_from, find_equal, find_ranges, sort
from tilth.errors import ArgumentError, ColumnTypeError, MissingColumnError
from tilth.filters import WordCount
from tilth.text.strings import from_python
from tilth.text.threads import set_threads
from tilth.text.words import words

DATA = Path(os.environ.get("TILTH_DATA", Path(__file__).parents[3] / "shared" / "data"))
NEAR = "the quick brown fox jumps over the lazy dog while the cat sleeps on the mat all day"
VOCABULARY = [f"w{number}" for number in range(30)]


def table_of(texts, **columns) -> Dataset:
    return Dataset(pa.table({"text": pa.array(texts, pa.string()), "at": pa.array(range(len(texts))), **columns}))


def rows_of(ds: Dataset) -> list[int]:
    return ds["at"][:]


def shingles(text, ngram):
    found = words(text)
    return {tuple(found[at : at + ngram]) for at in range(max(1, len(found) - ngram + 1))}


def jaccard(one, other, ngram):
    one, other = shingles(one, ngram), shingles(other, ngram)
    return len(one & other) / len(one | other)


@st.composite
def corpora(draw, most=40):
    """Texts of which many are variants of a few, with nulls and copies among them, cut into old and new ones."""
    rng = random.Random(draw(st.integers(0, 10**6)))
    bases = [rng.choices(VOCABULARY, k=rng.randint(2, 30)) for _ in range(5)]
    texts = []
    for _ in range(draw(st.integers(0, most))):
        text = list(rng.choice(bases))
        for _ in range(rng.choice([0, 0, 1, 1, 2, 3, 5])):
            text[rng.randrange(len(text))] = rng.choice(VOCABULARY)
        texts.append(None if rng.random() < 0.05 else rng.choice([" ", "  "]).join(text))
    cut = draw(st.integers(0, len(texts)))
    return table_of(texts[:cut]), table_of(texts[cut:])


NEARLY = st.builds(
    MinHash,
    st.just("text"),
    threshold=st.sampled_from([0.4, 0.6, 0.8, 1.0]),
    ngram=st.integers(1, 4),
    num_perm=st.sampled_from([16, 64, 128]),
    keep=st.sampled_from(["first", "last", "longest"]),
    verify=st.booleans(),
    unit=st.sampled_from(["word", "word", "char"]),
    cluster=st.just("direct"),
)


@pytest.mark.parametrize("step", [Exact("text"), MinHash("text"), MinHash("text", verify=False)])
def test_a_copy_of_an_indexed_row_never_survives_however_often_it_is_there(step):
    index = Index.build(table_of(["A"]), step)
    new = table_of(["A", "A", "A", "B", "B", "C"])
    assert step.apply(new, index=index)["text"][:] == ["B", "C"]
    assert step.apply(new, index=index, within=False)["text"][:] == ["B", "B", "C"]
    assert replace_keep(step, "none").apply(new, index=index)["text"][:] == ["C"]
    assert step.apply(new)["text"][:] == ["A", "B", "C"]


def replace_keep(step, keep):
    return Exact(*step.columns, keep=keep) if isinstance(step, Exact) else replace(step, keep=keep)


@settings(max_examples=60, deadline=None)
@given(corpora(), NEARLY)
def test_with_an_index_of_rows_that_stay_the_same_new_rows_stay_as_across_splits(corpus, step):
    old, new = corpus
    old = step.apply(old)
    together = step.apply(DatasetDict(old=old, new=new), across=["old", "new"])
    assert rows_of(together["old"]) == rows_of(old)
    assert rows_of(step.apply(new, index=Index.build(old, step))) == rows_of(together["new"])


@settings(max_examples=40, deadline=None)
@given(corpora(), NEARLY.map(lambda step: replace(step, cluster="component")))
def test_with_components_all_that_is_connected_with_an_indexed_row_goes(corpus, step):
    old, new = corpus
    together = step.apply(DatasetDict(old=old, new=new), across=["old", "new"])
    assert rows_of(step.apply(new, index=Index.build(old, step))) == rows_of(together["new"])


@settings(max_examples=40, deadline=None)
@given(corpora(), st.booleans(), st.sampled_from(["first", "last", "longest"]))
def test_with_equal_rows_an_index_of_all_rows_does_what_splits_do(corpus, normalize, keep):
    old, new = corpus
    step = Exact("text", normalize=normalize, keep=keep)
    together = step.apply(DatasetDict(old=old, new=new), across=["old", "new"])
    index = Index.build(old, step)
    assert rows_of(step.apply(new, index=index)) == rows_of(together["new"])
    seen = {step_text(text, normalize) for text in old["text"][:] if text is not None}
    expected = [
        at for at, text in enumerate(new["text"][:]) if text is not None and step_text(text, normalize) not in seen
    ]
    assert rows_of(step.apply(new, index=index, within=False)) == expected


def step_text(text, normalize):
    return " ".join(text.lower().split()) if normalize else text


@settings(max_examples=40, deadline=None)
@given(corpora(), NEARLY)
def test_every_indexed_row_counts_as_one_that_stays(corpus, step):
    old, new = corpus
    index = Index.build(old, step)
    alone = [
        row
        for row, text in enumerate(new["text"][:])
        if text is not None and not any(len(step.apply(pair)) == 1 for pair in with_each(old, text))
    ]
    assert rows_of(step.apply(new, index=index, within=False)) == alone
    assert rows_of(step.apply(new, index=index)) == [alone[row] for row in rows_in(step, new.select(alone))]


def with_each(old, text):
    return [table_of([other, text]) for other in old["text"][:] if other is not None]


def rows_in(step, ds):
    return step.run(ds).origin.tolist()


@settings(max_examples=30, deadline=None)
@given(corpora(), NEARLY, st.lists(st.integers(0, 40), max_size=4))
def test_batch_after_batch_gives_what_all_at_once_gives(corpus, step, cuts):
    step = replace(step, keep="first")
    texts = [text for part in corpus for text in part["text"][:]]
    whole = table_of(texts)
    ends = sorted(min(cut, len(texts)) for cut in cuts)
    index, kept = Index.build(whole.select([]), step), []
    for lo, hi in pairwise([0, *ends, len(texts)]):
        stay = step.apply(whole.select(np.arange(lo, hi)), index=index)
        index.append(stay)
        kept += rows_of(stay)
    assert kept == rows_of(step.apply(whole))
    assert len(index) == len(kept)


@settings(max_examples=30, deadline=None)
@given(corpora(), NEARLY, st.integers(1, 8), st.integers(1, 4))
def test_how_an_index_is_cut_into_parts_and_segments_makes_no_difference(corpus, step, rows, parts):
    old, new = corpus
    whole = NotIn(step, Index.build(old, step)).run(new)
    index_module.SEGMENT_ROWS, before = rows, index_module.SEGMENT_ROWS
    try:
        cut = Index.build(old.select([]), step)
        ends = np.linspace(0, len(old), parts + 1).astype(int)
        for lo, hi in pairwise(ends):
            cut.append(old.select(np.arange(lo, hi)))
        in_pieces = NotIn(step, cut).run(new)
        index_module.SEGMENT_ROWS = before
        known = cut.fingerprint
        cut.compact()
    finally:
        index_module.SEGMENT_ROWS = before
    assert len(cut._segments) <= 1
    assert cut.fingerprint == known
    for outcome in (in_pieces, NotIn(step, cut).run(new)):
        assert outcome.origin.tolist() == whole.origin.tolist()
        assert without_parts(outcome) == without_parts(whole)
    # A part that begins at row 0 of the whole has other numbers for its rows, but the row is the same.
    begins = dict(
        zip([part.name for part in cut.parts], np.cumsum([0, *(part.rows for part in cut.parts)]), strict=False)
    )
    for one, other in zip(in_pieces.dropped.evidence.to_pylist(), whole.dropped.evidence.to_pylist(), strict=True):
        if one["indexed"] is not None:
            assert begins[one["indexed"]["part"]] + one["indexed"]["row"] == other["indexed"]["row"]


def without_parts(outcome):
    return [(why["kept_row"], why["similarity"]) for why in outcome.dropped.evidence.to_pylist()]


@settings(max_examples=40, deadline=None)
@given(corpora(), NEARLY.filter(lambda step: step.verify and step.unit == "word"))
def test_the_evidence_names_a_row_that_is_as_similar_as_it_says(corpus, step):
    old, new = corpus
    ids = pa.array([f"row {at}" if at % 3 else None for at in range(len(old))], pa.string())
    old = old.add_column("id", ids)
    outcome = NotIn(step, Index.build(old, step, name="old", id_column="id")).run(new)
    texts = new["text"][:]
    for row, code, why in zip(
        outcome.dropped.rows, outcome.dropped.codes, outcome.dropped.evidence.to_pylist(), strict=True
    ):
        match NotIn.reasons[code - 1]:
            case "null_text":
                assert texts[row] is None
                assert why == {"kept_row": None, "similarity": None, "indexed": None}
            case "indexed":
                match = why["indexed"]
                assert why["kept_row"] is None
                assert match["part"] == "old"
                assert match["id"] == (f"row {match['row']}" if match["row"] % 3 else None)
                similarity = jaccard(texts[row], old[match["row"]]["text"], step.ngram)
                assert why["similarity"] == pytest.approx(similarity)
                assert similarity >= step.threshold - 1e-6
                copies = [other for other in old["text"][:] if other is not None and words(other) == words(texts[row])]
                assert (why["similarity"] == 1) >= bool(copies)
            case _:
                assert why["indexed"] is None
                similarity = jaccard(texts[row], texts[why["kept_row"]], step.ngram)
                assert why["similarity"] == pytest.approx(similarity)
                assert why["kept_row"] in outcome.origin


def test_a_row_that_is_connected_with_an_indexed_one_goes_with_its_own_similarity_to_it():
    words_of = NEAR.split()
    chain = [" ".join([*words_of[: len(words_of) - cut], *["other"] * cut]) for cut in (0, 2, 4, 6, 8)]
    for verify in (True, False):
        step = MinHash("text", threshold=0.6, ngram=1, bands=64, rows=1, cluster="component", verify=verify)
        index = Index.build(table_of(chain[:1]), step)
        outcome = NotIn(step, index).run(table_of([*chain[1:], "nothing of the kind"]))
        assert outcome.origin.tolist() == [4]
        found = [why["similarity"] for why in outcome.dropped.evidence.to_pylist()]
        assert found == pytest.approx([jaccard(chain[0], text, 1) for text in chain[1:]], abs=0.01 if verify else 0.15)
        assert found[-1] < 0.6
        assert {why["indexed"]["row"] for why in outcome.dropped.evidence.to_pylist()} == {0}


@pytest.mark.parametrize("kind", [pa.int64(), pa.uint8(), pa.string(), pa.large_string()])
def test_rows_are_named_by_the_column_that_the_user_says(kind):
    ids = pa.array([7, None, 9]).cast(kind)
    old = table_of(["one", "two", "three"], key=ids)
    index = Index.build(old, Exact("text"), name="a", id_column="key")
    index.append(table_of(["four", "one"], key=ids[:2]), name="b")
    index.append(table_of(["five"]), name="c", id_column=None)
    outcome = NotIn(Exact("text"), index).run(table_of(["five", "four", "three", "two", "one", "six"]))
    assert [tuple(why["indexed"].values()) for why in outcome.dropped.evidence.to_pylist()] == [
        ("c", 0, None),
        ("b", 0, "7"),
        ("a", 2, "9"),
        ("a", 1, None),
        ("a", 0, "7"),
    ]
    with pytest.raises(MissingColumnError, match="reads column 'key', which is not in the data"):
        index.append(table_of(["seven"]))
    with pytest.raises(ColumnTypeError, match="reads column 'at' as text or whole numbers, but it holds double"):
        Index.build(table_of(["a"]).remove_columns("at").add_column("at", [0.5]), Exact("text"), id_column="at")


def test_rows_are_marked_instead_of_dropped():
    step = MinHash("text")
    index = Index.build(table_of([NEAR]), step, name="old")
    new = table_of([NEAR + " long", "a", "b", "a", None])
    marked = step.apply(new, index=index, mark_only=True)
    assert rows_of(marked) == rows_of(new)
    assert marked["duplicate_reason"][:] == ["indexed", None, None, "duplicate", "null_text"]
    assert marked["duplicate_of"][:] == [None, None, None, 1, None]
    assert marked["cluster"][:] == [None, 1, None, 1, None]
    assert marked["duplicate_of_indexed"][:] == [{"part": "old", "row": 0, "id": None}, None, None, None, None]
    similarity = marked["duplicate_similarity"][:]
    assert similarity[0] == pytest.approx(jaccard(NEAR, NEAR + " long", 5))
    assert similarity[1:] == [None, None, 1, None]
    with pytest.raises(ArgumentError, match="duplicate_of_indexed"):
        step.apply(marked, index=index, mark_only=True)


def test_each_split_is_held_against_the_index_and_splits_against_each_other_if_so_wanted():
    step = Exact("text")
    index = Index.build(table_of(["a"]), step)
    splits = DatasetDict(train=table_of(["a", "b", "c"]), test=table_of(["b", "a", "d"]))
    found = step.apply(splits, index=index)
    assert {name: part["text"][:] for name, part in found.items()} == {"train": ["b", "c"], "test": ["b", "d"]}
    found = step.apply(splits, index=index, across=["test", "train"])
    assert {name: part["text"][:] for name, part in found.items()} == {"train": ["c"], "test": ["b", "d"]}


def test_columns_may_have_another_name_in_the_new_data():
    index = Index.build(table_of([NEAR]), MinHash("text"))
    assert len(MinHash("body").apply(Dataset.from_dict({"body": [NEAR, "x"]}), index=index)) == 1
    index.append(Dataset.from_dict({"body": ["x"]}), columns="body")
    assert len(MinHash("body").apply(Dataset.from_dict({"body": [NEAR, "x"]}), index=index)) == 0
    pair = Index.build(Dataset.from_dict({"a": ["1"], "b": ["2"]}), Exact("a", "b"))
    assert len(Exact("c", "d").apply(Dataset.from_dict({"c": ["1", "2"], "d": ["2", "1"]}), index=pair)) == 1
    with pytest.raises(ArgumentError, match=r"columns=\('b', 'a'\) is not allowed.*use Exact\('a', 'b'\)"):
        NotIn(Exact("b", "a"), pair)
    with pytest.raises(ArgumentError, match=r"columns='a' is not allowed; it must name as many as .*\['a', 'b'\]"):
        pair.append(Dataset.from_dict({"a": ["1"]}), columns="a")


STRANGE = [
    "中文字符没有空格",
    "ภาษาไทยไม่มีวรรค",
    "👩‍🚀👩‍🚀 e\u0301\u0301",
    "\u202eright to left",
    "\x00\x01",
    "",
    " \n",
    "\ud7ff",
]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
@pytest.mark.parametrize(
    "step", [Exact("text"), MinHash("text"), MinHash("text", unit="char"), MinHash("text", ngram=20)]
)
def test_any_text_is_known_again(step, kind):
    old = Dataset(pa.table({"text": pa.array([*STRANGE, None, "x " * 100_000], kind)}))
    new = Dataset(
        pa.table(
            {"text": pa.chunked_array([pa.array([text], kind) for text in [*reversed(STRANGE), "x " * 100_000, "y"]])}
        )
    )
    index = Index.build(old, step)
    assert step.apply(new, index=index)["text"][:] == ["y"]
    assert step.apply(new.select([0, 9, 3, 1]), index=index)["text"][:] == ["y"]
    assert len(Index.build(old.shuffle(seed=1), step)) == len(old)


def test_bytes_that_are_not_utf8_are_known_again():
    offsets = np.array([0, 3, 5, 8], np.int32)
    data = b"\xff\xfe\xffab\xff\xfe\xff"
    broken = pa.Array.from_buffers(pa.string(), 3, [None, pa.py_buffer(offsets), pa.py_buffer(data)])
    ds = Dataset(pa.table({"text": broken}), fingerprint="broken")
    for step in (Exact("text", normalize=False), MinHash("text")):
        assert NotIn(step, Index.build(ds.select([0]), step)).run(ds).dropped.rows.tolist() == [0, 2]


@pytest.mark.parametrize("step", [Exact("text"), MinHash("text"), MinHash("text", cluster="component", verify=False)])
def test_nothing_on_either_side_is_no_trouble(step):
    none, some = table_of([]), table_of(["a", None, "a"])
    empty = Index.build(none, step)
    assert (len(empty), empty.nbytes) == (0, 0)
    assert rows_of(step.apply(some, index=empty)) == [0]
    assert rows_of(step.apply(some, index=empty, within=False)) == [0, 2]
    assert len(step.apply(none, index=Index.build(some, step))) == 0
    nulls = Index.build(table_of([None, None]), step)
    assert len(nulls) == 2
    assert step.apply(some, index=nulls, mark_only=True)["duplicate_of_indexed"][:] == [None, None, None]


def test_what_is_there_before_takes_no_room():
    index = Index.build(table_of(["a", "a", None, "b"]), Exact("text"), name="x")
    part = index.append(table_of(["b", "c", "c", None]), name="y")
    assert [(part.rows, part.stored) for part in index.parts] == [(4, 2), (4, 1)]
    assert index.parts[1] == part
    assert "8 rows, 3 stored; x, y" in repr(index)
    many = Index.build(table_of([]), Exact("text"), name="0")
    for number in range(1, 9):
        many.append(table_of([]), name=str(number))
    assert repr(many).endswith("0, 1, ..., 7, 8)")


def test_threads_make_no_difference():
    rng = random.Random(5)
    texts = [" ".join(rng.choices(VOCABULARY, k=12)) for _ in range(3000)]
    new = [" ".join([*text.split()[:-1], "w0"]) for text in texts[:1500]] + texts[2000:2500]
    step = MinHash("text", ngram=2, threshold=0.6)
    found = []
    for count in (1, 2):
        set_threads(count)
        index = Index.build(table_of(texts), step)
        outcome = NotIn(step, index).run(table_of(new))
        found.append(
            (index.fingerprint, index._manifest.segments[0].files, outcome.origin.tolist(), outcome.dropped.evidence)
        )
    assert found[0] == found[1]
    assert len(found[0][2]) < 600


BUILT = MinHash("text", threshold=0.7, ngram=3, num_perm=64, seed=5, fold_numbers=True)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (
            replace(BUILT, ngram=5),
            r"MinHash: ngram=5 is not allowed, since the index was built with ngram=3; use MinHash\(ngram=3\)",
        ),
        (replace(BUILT, num_perm=128), r"num_perm=128 .* built with num_perm=64"),
        (replace(BUILT, seed=1), r"seed=1 .* built with seed=5; use MinHash\(seed=5\)"),
        (replace(BUILT, unit="char"), r"unit='char' .* built with unit='word'"),
        (replace(BUILT, fold_numbers=None), r"fold_numbers=False .* built with fold_numbers=True"),
        (replace(BUILT, fold_case=False), r"fold_case=False .* built with fold_case=True"),
        (replace(BUILT, punctuation=True), r"punctuation=True .* built with punctuation=False"),
        (
            replace(BUILT, threshold=0.9),
            r"bands=\d+, rows=\d+, which are chosen for threshold=0\.9, are not allowed, .* built with bands=(\d+), "
            r"rows=(\d+); use MinHash\(bands=\1, rows=\2\)",
        ),
        (replace(BUILT, bands=8, rows=8), r"bands=8, rows=8 are not allowed"),
        (Exact("text"), "Exact: the index was built by MinHash; use that, or build an index by Exact"),
    ],
)
def test_a_field_that_makes_other_signatures_is_refused_by_name(step, message):
    index = Index.build(table_of([NEAR]), BUILT)
    with pytest.raises(ArgumentError, match=message):
        step.apply(table_of(["a"]), index=index)


def test_fields_that_make_no_difference_to_signatures_may_differ():
    bands, rows = BUILT.shape
    index = Index.build(table_of([NEAR, "a"]), BUILT)
    near = table_of([NEAR + " and night", NEAR])
    strict = replace(BUILT, threshold=0.99, bands=bands, rows=rows, keep="longest", cluster="component", verify=False)
    assert rows_of(BUILT.apply(near, index=index)) == []
    assert rows_of(strict.apply(near, index=index)) == [0]
    with pytest.raises(
        ArgumentError, match=r"verify=True is not allowed.*built with verify=False and has nothing to verify"
    ):
        BUILT.apply(near, index=Index.build(near, replace(BUILT, verify=False)))


def test_a_threshold_below_that_of_the_bands_is_warned_of_with_what_it_costs():
    bands, rows = BUILT.shape
    index = Index.build(table_of([NEAR]), BUILT)
    loose = replace(BUILT, threshold=0.4, bands=bands, rows=rows)
    with pytest.warns(
        UserWarning, match=r"threshold=0\.4 is below 0\.7, .* of pairs that are just so similar \d+% are"
    ):
        loose.apply(table_of(["a"]), index=index)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        BUILT.apply(table_of(["a"]), index=index)


def test_what_is_not_to_be_indexed_is_refused():
    index = Index.build(table_of(["a"]), Exact("text"), name="a")
    for step in (WordCount("text"), NotIn(Exact("text"), index)):
        with pytest.raises(ArgumentError, match=rf"of MinHash or Exact, not of {type(step).__name__}"):
            Index.build(table_of(["a"]), step)
        with pytest.raises(ArgumentError, match=r"step=.* is not allowed; it must be a MinHash or an Exact"):
            NotIn(step, index)
    with pytest.raises(TypeError, match="an index is made of a Dataset, not of DatasetDict; give it one split"):
        index.append(DatasetDict(train=table_of(["a"])))
    with pytest.raises(ArgumentError, match="has a part named 'a' already; give these rows another name"):
        index.append(table_of(["b"]), name="a")
    with pytest.raises(MissingColumnError, match="Exact reads column 'text'"):
        index.append(Dataset.from_dict({"body": ["a"]}))
    with pytest.raises(ColumnTypeError, match="reads column 'at' as text, but it holds int64"):
        Index.build(table_of(["a"]), MinHash("at"))
    with pytest.raises(ArgumentError, match="index=3 is not allowed; it must be an Index or the folder of one"):
        NotIn(Exact("text"), 3)
    with pytest.raises(ArgumentError, match="within=2 is not allowed"):
        NotIn(Exact("text"), index, 2)
    with pytest.raises(ArgumentError, match="within=False leaves nothing to compare rows with; give an index"):
        Exact("text").apply(table_of(["a"]), within=False)
    assert len(index) == 1


def test_a_pipeline_does_its_work_again_when_something_was_added(tmp_path):
    step = MinHash("text")
    folder = tmp_path / "seen"
    index = Index.build(table_of(["an older text"]), step, folder, name="old")
    pipeline = Pipeline(WordCount("text", min=1), NotIn(step, str(folder)))
    new = table_of([NEAR, NEAR + " long", "an older text", None, ""])

    def run():
        curated = pipeline.run(new, cache_dir=tmp_path / "cache")
        return curated, [record.cached for record in curated.report.steps]

    curated, cached = run()
    assert rows_of(curated.dataset) == [0]
    assert cached == [False, False]
    rejected = {row["at"]: row for row in curated.rejected}
    assert rejected[1]["reason"] == "near_duplicate"
    assert '"kept_row": 0' in rejected[1]["evidence"]
    assert rejected[2]["reason"] == "indexed"
    assert re.search(r'"part": "old", "row": 0, "id": null', rejected[2]["evidence"])
    assert run()[1] == [True, True]

    index.append(curated.dataset)
    curated, cached = run()
    assert cached == [True, False]
    assert rows_of(curated.dataset) == []
    assert run()[1] == [True, True]


def test_a_step_is_known_by_what_is_in_the_index_and_not_by_where_it_is(tmp_path):
    step = Exact("text")
    index = Index.build(table_of(["a"]), step, name="x")
    live, folder = NotIn(step, index), tmp_path / "index"
    before = live.fingerprint
    index.save(folder)
    for same in (NotIn(step, str(folder)), NotIn(step, folder), NotIn(step, Index.load(folder))):
        assert same.fingerprint == before
        assert pickle.loads(pickle.dumps(same)).fingerprint == before
    assert NotIn(Exact("text", keep="last"), index).fingerprint != before
    assert NotIn(step, index, within=False).fingerprint != before
    new = table_of(["b", "c"])
    first = live.apply(new)
    index.append(table_of(["b"]))
    assert live.fingerprint != before
    again = live.apply(new)
    assert (rows_of(first), rows_of(again)) == ([0, 1], [1])
    assert first._fingerprint != again._fingerprint
    assert NotIn(step, str(folder)).apply(new)._fingerprint == again._fingerprint


def test_a_recipe_names_the_folder(tmp_path):
    step = MinHash("text", ngram=3)
    index = Index.build(table_of([NEAR]), step, tmp_path / "seen")
    written = recipe.dumps(Pipeline(NotIn(step, index, within=False)))
    assert f"index: {tmp_path / 'seen'}" in written
    read = recipe.loads(written).pipeline.steps[0]
    assert read == NotIn(step, str(tmp_path / "seen"), within=False)
    assert rows_of(read.apply(table_of([NEAR, "b"]))) == [1]
    with pytest.raises(Exception, match="a recipe cannot hold"):
        recipe.dumps(Pipeline(NotIn(step, Index.build(table_of([]), step))))


def test_an_index_that_was_not_saved_goes_with_the_object():
    index = Index.build(table_of(["a"]), Exact("text"))
    folder = index._folder
    assert index.source is None
    with pytest.raises(TypeError, match="was not saved, so no other process can open it; save it first"):
        pickle.dumps(index)
    child = os.fork()
    if child == 0:
        index._finalizer()
        os._exit(0)
    os.waitpid(child, 0)
    assert folder.exists()
    assert index.append(table_of(["b"])).stored == 1
    del index
    gc.collect()
    assert not folder.exists()


@settings(max_examples=100, deadline=None)
@given(st.lists(st.one_of(st.integers(0, 2**64 - 1), st.integers(0, 9), st.just(2**64 - 1)), max_size=300))
def test_keys_are_sorted_and_equal_ones_keep_their_order(values):
    keys = np.array(values, dtype=np.uint64)
    found, places = sort(keys)
    assert places.tolist() == np.argsort(keys, kind="stable").tolist()
    assert found.tolist() == sorted(values)
    for key in {0, 5, 2**64 - 1, *values[:20]}:
        first = np.searchsorted(found, np.uint64(key))
        for start in {0, first // 2, max(0, first - 9), first}:
            assert _first_from(found, np.uint64(key), np.int64(start)) == first


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 12), max_size=60), st.lists(st.integers(0, 12), max_size=60), st.integers(1, 2**60))
def test_ranges_and_equal_rows_are_those_of_a_plain_search(stored, sought, spread):
    held = np.array(stored, dtype=np.uint64) * np.uint64(spread)
    keys = np.array(sought, dtype=np.uint64) * np.uint64(spread)
    found, places = sort(held)
    lows, highs = np.zeros(len(keys), np.int64), np.zeros(len(keys), np.int64)
    find_ranges(sort(keys)[1], keys, found, lows, highs)
    for row, key in enumerate(keys):
        expected = np.searchsorted(found, key, "left"), np.searchsorted(found, key, "right")
        assert (lows[row], highs[row]) == (expected if expected[0] < expected[1] else (0, 0))
    # Rows whose first halves are the same are told apart by their second ones.
    seconds, others = (
        np.arange(len(held), dtype=np.uint64) % np.uint64(3),
        np.arange(len(keys), dtype=np.uint64) % np.uint64(4),
    )
    equal = np.full(len(keys), -1, np.int64)
    find_equal(sort(keys)[1].astype(np.int64), keys, others, found, places, seconds, 100, equal)
    for row, (key, other) in enumerate(zip(keys, others, strict=True)):
        matching = np.flatnonzero((held == key) & (seconds == other))
        assert equal[row] == (100 + matching[0] if len(matching) else -1)


TEXTS = st.lists(st.sampled_from(["a", "b", "c", "the", "naïve", "猫", "ไ", "x1"]), max_size=30).map(" ".join)


@settings(max_examples=100, deadline=None)
@given(st.lists(TEXTS, min_size=1, max_size=6), st.lists(TEXTS, min_size=1, max_size=6), st.integers(1, 7))
def test_sets_and_their_similarity_are_those_of_plain_sets(old, new, ngram):
    kept, texts = from_python(old), from_python(new)
    offsets, members = shingle_sets(located(kept, np.arange(len(old))), 0, ngram)
    assert np.diff(offsets).tolist() == [len(shingles(text, ngram)) for text in old]
    one, other = (part.ravel() for part in np.meshgrid(np.arange(len(new)), np.arange(len(old)), indexing="ij"))
    starts, counts = members.ctypes.data + 8 * offsets[other], np.diff(offsets)[other]
    where: Located = located(texts, np.arange(len(new)))
    found = similarities(where, one, starts, counts, 0, ngram)
    expected = [jaccard(new[x], old[y], ngram) for x, y in zip(one, other, strict=True)]
    assert found.tolist() == np.array(expected, dtype=np.float32).tolist()


def test_rows_with_very_many_candidates_are_compared_with_all_of_them():
    # All share most of their words, so all share keys, and only one is similar enough.
    rng = random.Random(1)
    shared = [f"b{number}" for number in range(20)]
    others = [" ".join([*shared, *(f"x{rng.randrange(10**6)}" for _ in range(6))]) for _ in range(700)]
    step = MinHash("text", ngram=1, threshold=0.68)
    new = " ".join([*shared, *others[350].split()[20:23], "p", "q", "r"])
    index = Index.build(table_of(others), step)
    outcome = NotIn(step, index).run(table_of([new, " ".join([*shared, *"stuvwx"])]))
    assert outcome.origin.tolist() == [1]
    assert outcome.dropped.evidence[0].as_py()["indexed"]["row"] == 350


@pytest.mark.skipif(not (DATA / "nd_docs_A").exists(), reason="../shared/data is absent")
def test_on_real_documents_known_pairs_are_found_and_no_others():
    docs = pq.read_table(DATA / "nd_docs_A" / "docs.parquet", columns=["text"]).column("text")
    pairs = pq.read_table(DATA / "nd_docs_A" / "pairs.parquet").to_pandas()
    old, new = np.arange(0, len(docs), 2), np.arange(1, len(docs), 2)
    step = MinHash("text", threshold=0.8)
    index = Index.build(
        Dataset(pa.table({"text": docs.take(pa.array(old)), "id": old}), fingerprint="old"), step, id_column="id"
    )
    outcome = NotIn(step, index, within=False).run(
        Dataset(pa.table({"text": docs.take(pa.array(new))}), fingerprint="new")
    )
    dropped = set(new[outcome.dropped.rows].tolist())
    # Words are counted a little differently in the gold, so pairs near the threshold are left out on both sides.
    across = pairs[(pairs.i % 2) != (pairs.j % 2)]
    odd = np.where(across.i % 2 == 1, across.i, across.j)
    similar = set(odd[across.jaccard >= 0.86].tolist())
    assert len(similar) > 300
    assert len(similar & dropped) >= 0.98 * len(similar)
    possible = set(odd[across.jaccard >= 0.72].tolist())
    assert len(dropped - possible) <= 0.01 * len(dropped)
    for row, why in list(zip(outcome.dropped.rows, outcome.dropped.evidence.to_pylist(), strict=True))[::7]:
        match = docs[int(why["indexed"]["id"])].as_py()
        assert why["similarity"] == pytest.approx(jaccard(docs[int(new[row])].as_py(), match, 5))
