"""`Exact` keeps one row of each group of equal rows, and nothing that differs is ever called equal."""

from __future__ import annotations

import datetime
import pickle

import numpy as np
import pyarrow as pa
import pytest
from datasets import Dataset, DatasetDict, Image
from hypothesis import given, settings
from hypothesis import strategies as st

import tilth
from tilth.dedup import Exact, _equal
from tilth.errors import ArgumentError, MissingColumnError
from tilth.text.strings import from_python
from tilth.text.unicode import ROLE, SPACE, tables

PIECES = ["a", "A", "b", "É", "é", "ß", "SS", "ǅ", "Ⱥ", "İ", "中", "\u0301", " ", "  ", "\t", "\n", "\u00a0", "\u3000"]
PIECES += ["\x00", "\x1c", "\u200b", "😀", "<script>", "Hello there, World", "x" * 9, "eight by"]
TEXT = st.one_of(st.text(max_size=12), st.lists(st.sampled_from(PIECES), max_size=8).map("".join))


def folded(text: str) -> str:
    known = tables()
    spaced = "".join(" " if known.classes[ord(c)] & ROLE == SPACE else chr(known.lower[ord(c)]) for c in text)
    return " ".join(piece for piece in spaced.split(" ") if piece)


def table_of(texts: list[str | None]) -> Dataset:
    return Dataset(pa.table({"text": pa.array(texts, pa.string())}))


def kept_rows(step: Exact, ds: Dataset) -> list[int]:
    return step.run(ds).origin.tolist()


def test_case_and_white_space_make_no_difference_and_nothing_else_does():
    ds = table_of(["One two", " one\u00a0\n TWO\t", "one two.", "onetwo", "ONE TWO", "", "  \n", "straße", "STRASSE"])
    assert kept_rows(Exact("text"), ds) == [0, 2, 3, 5, 7, 8]


def test_without_normalize_only_equal_bytes_are_equal():
    ds = table_of(["a b", "a  b", "A b", "a b", "a b "])
    assert kept_rows(Exact("text", normalize=False), ds) == [0, 1, 2, 4]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(st.none(), TEXT), max_size=12), st.booleans())
def test_exactly_the_first_of_each_group_stays(texts, normalize):
    first: dict[str, int] = {}
    for row, text in enumerate(texts):
        if text is not None:
            first.setdefault(folded(text) if normalize else text, row)
    outcome = Exact("text", normalize=normalize).run(table_of(texts))
    assert outcome.origin.tolist() == sorted(first.values())
    evidence = [] if outcome.dropped.evidence is None else outcome.dropped.evidence.to_pylist()
    for row, code, why in zip(outcome.dropped.rows, outcome.dropped.codes, evidence, strict=True):
        text = texts[row]
        if text is None:
            assert (code, why["kept_row"]) == (1, None)
        else:
            assert (code, why["kept_row"]) == (2, first[folded(text) if normalize else text])


@settings(max_examples=200, deadline=None)
@given(TEXT, st.text(alphabet=" abAB\n\u00a0é", max_size=40))
def test_digests_are_equal_for_texts_that_fold_to_the_same(text, padding):
    texts = from_python([padding + text + padding, folded(padding + text + padding), text + "q"])
    digests = np.zeros((3, 2), dtype=np.uint64)
    _equal.digest(texts, True, digests)
    assert (digests[0] == digests[1]).all()
    assert (digests[0] == digests[2]).all() == (folded(padding + text + padding) == folded(text + "q"))
    same = _equal.equal(
        texts, np.array([0, 0], dtype=np.int64), from_python([folded(padding + text + padding), "q"]), True
    )
    assert same.tolist() == [True, folded(padding + text + padding) == "q"]


def test_texts_of_any_length_are_compared_to_their_last_byte():
    for length in range(1, 40):
        one = ("ab cd efg hij klmnop " * 3)[:length].strip()
        others = [one[:place] + "#" + one[place + 1 :] for place in range(len(one))] + [one, one + "#"]
        for is_folded in (True, False):
            leader_of = np.zeros(len(others), dtype=np.int64)
            same = _equal.equal(from_python([one]), leader_of, from_python(others), is_folded)
            assert same.tolist() == [False] * len(one) + [True, False]
            digests = np.zeros((len(others), 2), dtype=np.uint64)
            _equal.digest(from_python(others), is_folded, digests)
            assert len(np.unique(digests, axis=0)) == len(others)


@pytest.mark.parametrize("normalize", [True, False])
def test_rows_whose_digests_collide_are_still_told_apart(monkeypatch, normalize):
    whole = _equal.digest

    def four_bits(text, is_folded, digests):
        whole(text, is_folded, digests)
        digests[:, 0] &= np.uint64(15)
        digests[:, 1] = 0

    texts = [f"text {number % 300}" for number in range(900)]
    expected = Exact("text", normalize=normalize).run(table_of(texts))
    monkeypatch.setattr(_equal, "digest", four_bits)
    found = Exact("text", normalize=normalize).run(table_of(texts))
    assert found.origin.tolist() == expected.origin.tolist() == list(range(300))
    assert found.dropped.evidence.to_pylist() == expected.dropped.evidence.to_pylist()


def test_bytes_that_are_not_utf8_stay_different():
    data = b"\xff\xfe\xff"
    broken = pa.Array.from_buffers(
        pa.string(), 3, [None, pa.py_buffer(np.array([0, 1, 2, 3], np.int32)), pa.py_buffer(data)]
    )
    assert kept_rows(Exact("text"), Dataset(pa.table({"text": broken}), fingerprint="broken")) == [0, 1]


def test_all_columns_must_be_equal():
    ds = Dataset.from_dict({"a": ["x", "x", "X", "xy"], "b": ["1", "2", "1", ""]})
    assert kept_rows(Exact("a", "b"), ds) == [0, 1, 3]
    # The border between columns is part of what is compared.
    assert kept_rows(Exact("a", "b"), Dataset.from_dict({"a": ["xy", "x"], "b": ["", "y"]})) == [0, 1]


def test_a_null_equals_a_null_and_a_row_of_nulls_is_a_reason_of_its_own():
    ds = Dataset.from_dict({"a": ["x", "x", None, None, "x", "x"], "b": ["1", None, None, "1", "", None]})
    outcome = Exact("a", "b").run(ds)
    assert outcome.dropped.rows.tolist() == [2, 5]
    assert [Exact.reasons[code - 1] for code in outcome.dropped.codes] == ["null_text", "duplicate"]
    assert outcome.dropped.evidence.to_pylist() == [{"kept_row": None}, {"kept_row": 1}]


@pytest.mark.parametrize(
    "values",
    [
        pa.array([1, 2, 1, 3]),
        pa.array([0.5, 1.5, 0.5, float("inf")]),
        pa.array([True, False, True, None]),
        pa.array([b"\xff", b"\xfe", b"\xff", b""]),
        pa.array([b"ab", b"cd", b"ab", b"ef"], pa.binary(2)),
        pa.array(["a", "b", "a", "c"]).dictionary_encode(),
        pa.array(["a", "b", "A", "c"], pa.large_string()),
        pa.array([datetime.date(2020, 1, day) for day in (1, 2, 1, 3)]),
        pa.array([datetime.timedelta(days=day) for day in (1, 2, 1, 3)]),
        pa.array([[1, 2], [2, 1], [1, 2], []]),
        pa.array([[["a"]], [["a", None]], [["a"]], None]),
        pa.array(
            [{"role": "user", "n": 1}, {"role": "user", "n": 2}, {"role": "user", "n": 1}, {"role": None, "n": 1}]
        ),
    ],
    ids=lambda values: str(values.type),
)
def test_values_of_any_type_are_compared(values):
    ds = Dataset(pa.table({"value": values}))
    assert kept_rows(Exact("value"), ds)[:2] == [0, 1]
    assert 2 in Exact("value").run(ds).dropped.rows


def test_images_are_compared_by_what_they_hold():
    rows = [{"bytes": b"1", "path": None}, {"bytes": b"2", "path": None}, {"bytes": b"1", "path": None}]
    ds = Dataset.from_dict({"image": rows}).cast_column("image", Image(decode=False))
    assert kept_rows(Exact("image"), ds) == [0, 1]


def test_a_slice_of_a_column_is_read_as_that_slice():
    table = pa.table({"id": pa.array([b"a", b"b", b"a", b"c", b"b"]), "text": ["a", "b", "a", "c", "b"]}).slice(1)
    for column in ("id", "text"):
        assert kept_rows(Exact(column), Dataset(table)) == [0, 1, 2]


@pytest.mark.parametrize(
    ("keep", "kept"),
    [
        ("first", [0, 3]),
        ("last", [3, 4]),
        ("longest", [2, 3]),
        ("shortest", [0, 3]),
        ("none", [3]),
        ("max:score", [1, 3]),
        ("min:score", [2, 3]),
        ({"source": ["gold", "web"]}, [3, 4]),
    ],
)
def test_the_policy_says_which_copy_stays(keep, kept):
    ds = Dataset.from_dict(
        {
            "text": ["a b", "A b", "a    b", "other", "a b"],
            "score": [2.0, 9.0, 1.0, 0.0, None],
            "source": ["web", None, "web", "x", "gold"],
        }
    )
    outcome = Exact("text", keep=keep).run(ds)
    assert outcome.origin.tolist() == kept
    if keep != "none":
        assert {why["kept_row"] for why in outcome.dropped.evidence.to_pylist()} == set(kept) - {3}
    else:
        assert [why["kept_row"] for why in outcome.dropped.evidence.to_pylist()] == [None, 0, 0, 0]


def test_clusters_and_marks_say_what_would_go_and_drop_nothing():
    ds = table_of(["a b", "c", None, "A  b", "d", "C", "a b"])
    step = Exact("text", keep="last")
    assert step.clusters(ds).to_dict() == {
        "row": [1, 5, 0, 3, 6],
        "cluster": [5, 5, 6, 6, 6],
        "kept_row": [5, 5, 6, 6, 6],
        "similarity": [1.0] * 5,
    }
    marked = step.apply(ds, mark_only=True)
    assert marked["text"][:] == ds["text"][:]
    assert marked["duplicate_of"][:] == [6, 5, None, 6, None, None, None]
    assert marked["duplicate_reason"][:] == ["duplicate", "duplicate", "null_text", "duplicate", None, None, None]
    assert marked["cluster"][:] == [6, 5, None, 6, None, 5, 6]


def test_a_test_set_is_taken_out_of_a_training_set():
    parts = DatasetDict(
        {
            "train": Dataset.from_dict({"q": ["1 + 1", "2 + 2", "1 + 1", "3"], "n": [1, 2, 1, 3], "id": [0, 1, 2, 3]}),
            "test": Dataset.from_dict({"n": [2, 3], "q": ["2  + 2", "4"]}),
        }
    )
    taken = Exact("q", "n").apply(parts, across=["test", "train"])
    assert taken["test"].to_dict() == parts["test"].to_dict()
    assert taken["train"]["id"][:] == [0, 3]


def test_any_view_of_a_dataset_gives_the_same_rows():
    ds = Dataset.from_dict({"text": [f"text {number % 7}" for number in range(50)]})
    step = Exact("text")
    expected = step.apply(ds)["text"][:]
    assert step.apply(ds.with_format("arrow")).with_format(None)["text"][:] == expected
    shuffled = ds.shuffle(seed=3)
    assert step.apply(shuffled)["text"][:] == list(dict.fromkeys(shuffled["text"][:]))
    evens = ds.select(range(0, 50, 2))
    assert step.apply(evens)["text"][:] == list(dict.fromkeys(evens["text"][:]))
    assert step.apply(DatasetDict({"a": ds, "b": evens}))["b"]["text"][:] == step.apply(evens)["text"][:]


def test_results_do_not_depend_on_threads_or_batches(monkeypatch):
    texts = [f"text {(number * 7919) % 500}" for number in range(3000)]
    whole = kept_rows(Exact("text"), table_of(texts))
    monkeypatch.setattr(tilth.frame, "BATCH_ROWS", 37)
    monkeypatch.setattr(tilth.dedup.exact, "_BYTES_AT_ONCE", 100)
    for count in (1, 3):
        tilth.set_threads(count)
        try:
            assert kept_rows(Exact("text"), table_of(texts)) == whole
        finally:
            tilth.set_threads(None)


def test_nothing_and_nothing_but_nulls():
    assert kept_rows(Exact("text"), table_of([])) == []
    assert kept_rows(Exact("text"), table_of([None, None])) == []
    assert kept_rows(Exact("text"), Dataset(pa.table({"text": pa.nulls(2)}))) == []
    assert kept_rows(Exact("text"), table_of([""] * 3)) == [0]


def test_a_row_of_ten_megabytes():
    huge = "Long  Text " * (10 * 2**20 // 11)
    assert kept_rows(Exact("text"), table_of([huge, huge.lower(), huge + "!"])) == [0, 2]


def test_characters_that_grow_when_folded_have_room():
    assert kept_rows(Exact("text"), table_of(["Ⱥ" * 100_000, "ⱥ" * 100_000, "ⱥ" * 99_999])) == [0, 2]


def test_a_million_equal_rows_take_no_time():
    ds = Dataset(pa.table({"text": pa.array(["the same"]).take(pa.array(np.zeros(1_000_000, dtype=np.int64)))}))
    outcome = Exact("text").run(ds)
    assert outcome.origin.tolist() == [0]
    assert len(outcome.dropped.rows) == 999_999


def test_bad_arguments_are_refused_by_name():
    for make, named in [
        (lambda: Exact(), "columns"),
        (lambda: Exact("a", "a"), "columns"),
        (lambda: Exact(["a"]), "columns"),
        (lambda: Exact("a", normalize="yes"), "normalize"),
        (lambda: Exact("a", keep="best"), "keep"),
    ]:
        with pytest.raises(ArgumentError, match=named):
            make()
    with pytest.raises(MissingColumnError, match="txt"):
        Exact("txt").apply(table_of(["a"]))
    with pytest.raises(MissingColumnError, match="score"):
        Exact("text", keep="max:score").apply(table_of(["a"]))


def test_the_step_survives_pickling_and_names_what_it_reads():
    step = Exact("a", "b", normalize=False, keep="max:score")
    copy = pickle.loads(pickle.dumps(step))
    assert copy == step
    assert copy.fingerprint == step.fingerprint != Exact("a", "b", keep="max:score").fingerprint
    assert step.reads == ("a", "b", "score")
