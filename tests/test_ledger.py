"""Every row is in the account once, with what became of it and where it came from."""

from __future__ import annotations

import datetime
import json
import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tilth.errors import AccountingError
from tilth.ledger import Ledger, StepRecord, as_json

REASONS = ("null_text", "short", "copy")
LAW = settings(max_examples=80, deadline=None)


def lists(values):
    return pa.array(values, pa.list_(pa.int64()))


def rows(*numbers):
    return np.array(numbers, dtype=np.int64)


def codes(*numbers):
    return np.array(numbers, dtype=np.uint8)


@st.composite
def histories(draw):
    """A ledger of random drops and additions, and the same account kept in plain Python."""
    source = draw(st.integers(0, 12))
    ledger = Ledger(source)
    fate: dict[int, tuple[str, str, object] | None] = dict.fromkeys(range(source))
    depth = dict.fromkeys(range(source), 0)
    parents = {}
    for step in range(draw(st.integers(0, 6))):
        alive = [row for row, what in fate.items() if what is None]
        record = StepRecord(f"step {step}", "Step", "dataset", rows_in=len(alive))
        ledger.steps.append(record)
        if alive:
            gone = sorted(draw(st.lists(st.sampled_from(alive), unique=True)))
            why = [draw(st.integers(1, 3)) for _ in gone]
            proof = draw(st.sampled_from([None, [row * 10 if row % 2 else None for row in gone]]))
            evidence = None if proof is None else pa.chunked_array([pa.array(proof, pa.int32())])
            ledger.drop(step, rows(*gone), codes(*why), REASONS, evidence)
            for place, row in enumerate(gone):
                shown = None if proof is None or proof[place] is None else json.dumps(proof[place])
                fate[row] = (record.name, REASONS[why[place] - 1], shown)
            record.dropped = {reason: why.count(code) for code, reason in enumerate(REASONS, 1) if code in why}
        known = sorted(fate)
        made = draw(
            st.lists(st.lists(st.sampled_from(known), max_size=3, unique=True) if known else st.just([]), max_size=3)
        )
        if made:
            fresh = ledger.add(step, lists(made))
            assert fresh.tolist() == list(range(len(fate), len(fate) + len(made)))
            for row, of in zip(fresh.tolist(), made, strict=True):
                fate[row], parents[row] = None, of
                depth[row] = 1 + max((depth[parent] for parent in of), default=0)
        record.added = len(made)
        record.rows_out = sum(what is None for what in fate.values())
    return ledger, fate, depth, parents


@given(histories())
@LAW
def test_whatever_happens_the_account_reconciles(history):
    ledger, fate, depth, parents = history
    kept = rows(*(row for row, what in fate.items() if what is None))
    ledger.check(kept)
    ledger.check(kept[::-1])
    gone = {row: what for row, what in fate.items() if what is not None}
    assert ledger.rejected_rows().tolist() == sorted(gone)
    assert ledger.added == len(parents)
    assert ledger.source_rows + ledger.added == len(kept) + len(gone)
    told = ledger.rejections().to_pylist()
    assert [(row["rejected_by"], row["reason"], row["evidence"]) for row in told] == [gone[row] for row in sorted(gone)]
    every = rows(*sorted(fate))
    assert ledger.depth_of(every).tolist() == [depth[row] for row in sorted(fate)]
    assert [of for array in ledger.parents for of in array.to_pylist()] == [parents[row] for row in sorted(parents)]


@given(histories(), st.data())
@LAW
def test_a_row_that_is_lost_or_counted_twice_is_noticed(history, data):
    ledger, fate, _, _ = history
    kept = [row for row, what in fate.items() if what is None]
    wrong = []
    if kept:
        at = data.draw(st.integers(0, len(kept) - 1))
        wrong += [kept[:at] + kept[at + 1 :], [*kept, kept[at]]]
    wrong += [[*kept, row] for row, what in fate.items() if what is not None]
    wrong += [[*kept, len(fate)]]
    for numbers in wrong:
        with pytest.raises(AccountingError, match=rf"{ledger.source_rows} rows in \+ {ledger.added} added should be"):
            ledger.check(rows(*numbers))


def test_a_record_that_does_not_add_up_is_noticed():
    ledger = Ledger(3)
    ledger.steps.append(StepRecord("clean", "Clean", "filter", rows_in=3, rows_out=2))
    with pytest.raises(AccountingError, match=r"clean: 3 rows in \+ 0 added is not 2 kept \+ 0 dropped\."):
        ledger.check(rows(0, 1, 2))


def test_a_row_cannot_be_dropped_twice():
    ledger = Ledger(5)
    ledger.drop(0, rows(1, 3), codes(1, 2), REASONS)
    before = ledger.dropped_by.copy()
    with pytest.raises(AccountingError, match="step 1 drops rows that an earlier step had dropped"):
        ledger.drop(1, rows(2, 3), codes(1, 1), REASONS)
    for wrong in (rows(2, 2), rows(4, 2), rows(-1, 2), rows(2, 5)):
        with pytest.raises(AccountingError, match="each row once, in ascending order, from 0 to 4"):
            ledger.drop(1, wrong, codes(1, 1), REASONS)
    with pytest.raises(AccountingError, match="step 0 has dropped rows before"):
        ledger.drop(0, rows(2), codes(1), REASONS)
    assert ledger.dropped_by.tolist() == before.tolist()
    ledger.drop(1, rows(), codes(), REASONS)
    ledger.drop(1, rows(2), codes(3), REASONS)
    assert ledger.rejected_rows().tolist() == [1, 2, 3]


def test_a_row_cannot_be_made_from_one_that_is_not_there():
    ledger = Ledger(2)
    for wrong in ([[0, 2]], [[-1]]):
        with pytest.raises(AccountingError, match="there are 2 rows"):
            ledger.add(0, lists(wrong))
    assert ledger.added == 0


def test_depth_counts_generations_along_the_longest_line():
    ledger = Ledger(2)
    child = ledger.add(0, lists([[0], [0, 1]]))
    grandchild = ledger.add(1, lists([[2], [0, 3], [], None]))
    later = ledger.add(2, lists([[4, 0, 2], [1]]))
    assert (child.tolist(), grandchild.tolist(), later.tolist()) == ([2, 3], [4, 5, 6, 7], [8, 9])
    assert ledger.depth.tolist() == [1, 1, 2, 2, 1, 1, 3, 1]
    assert ledger.depth_of(rows(9, 0, 8, 4)).tolist() == [1, 0, 3, 2]
    assert ledger.generators.tolist() == [0, 0, 1, 1, 1, 1, 2, 2]
    ledger.drop(3, rows(0, 4), codes(1, 1), REASONS)
    assert ledger.depth_of(rows(8)).tolist() == [3]


def test_parents_may_be_a_slice_of_a_longer_array():
    ledger = Ledger(4)
    ledger.add(0, lists([[3], [0, 1], None, [2]])[1:])
    assert [of for array in ledger.parents for of in array.to_pylist()] == [[0, 1], None, [2]]
    assert ledger.depth.tolist() == [1, 1, 1]


def test_the_account_of_a_million_rows_takes_at_most_sixteen_bytes_a_row():
    count = 1_000_000
    ledger = Ledger(count)
    assert ledger.nbytes <= 3 * count
    gone = np.arange(0, count, 3)
    evidence = pa.StructArray.from_arrays(
        [pa.array(gone), pa.array(np.linspace(0, 1, len(gone)))], names=["kept_row", "similarity"]
    )
    ledger.drop(0, gone, np.ones(len(gone), np.uint8), REASONS, evidence)
    rest = np.setdiff1d(np.arange(count), gone)
    ledger.drop(1, rest, np.ones(len(rest), np.uint8), REASONS, pa.array(rest))
    assert ledger.nbytes <= 16 * count


def test_the_bytes_of_a_ledger_count_what_it_holds():
    ledger = Ledger(1000)
    assert ledger.nbytes == 3 * 1000
    evidence = pa.array(np.arange(10), pa.int64())
    ledger.drop(0, np.arange(10), np.ones(10, dtype=np.uint8), REASONS, evidence)
    assert ledger.nbytes == 3 * 1000 + evidence.nbytes
    parents = lists([[1, 2], [3]])
    ledger.add(1, parents)
    assert ledger.nbytes == 3 * 1002 + evidence.nbytes + parents.nbytes + 2 * (2 + 2)


def test_a_ledger_without_rejections_tells_of_none():
    told = Ledger(3).rejections()
    assert told.num_rows == 0
    assert told.schema == pa.schema({"rejected_by": pa.string(), "reason": pa.string(), "evidence": pa.string()})


# Evidence as JSON

TEXT = st.one_of(st.text(max_size=6), st.sampled_from(['"', "\n\t\\", "猫\u2028", "\x00", "</script>", "{}", "null"]))
FLOATS = st.one_of(st.floats(), st.sampled_from([math.nan, math.inf, -math.inf, -0.0, 1e300, 0.1]))
LEAVES = {
    pa.int8(): st.integers(-128, 127),
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.uint64(): st.integers(0, 2**64 - 1),
    pa.bool_(): st.booleans(),
    pa.float64(): FLOATS,
    pa.float32(): st.floats(width=32),
    pa.string(): TEXT,
    pa.large_string(): TEXT,
    pa.null(): st.none(),
}
NAMES = st.lists(
    st.one_of(st.text(max_size=3), st.sampled_from(['"', "é", "a b"])), min_size=1, max_size=3, unique=True
)


@st.composite
def arrays(draw):
    def shaped(levels):
        kind = draw(st.sampled_from(["leaf", "leaf", "struct", "list"])) if levels else "leaf"
        if kind == "leaf":
            kind = draw(st.sampled_from(list(LEAVES)))
            return kind, st.one_of(st.none(), LEAVES[kind]) if draw(st.booleans()) else LEAVES[kind]
        if kind == "list":
            inner, values = shaped(levels - 1)
            return pa.list_(inner), st.one_of(st.none(), st.lists(values, max_size=3))
        fields = {name: shaped(levels - 1) for name in draw(NAMES)}
        struct = st.fixed_dictionaries({name: values for name, (_, values) in fields.items()})
        if draw(st.booleans()):
            struct = st.one_of(st.none(), struct)
        return pa.struct({name: kind for name, (kind, _) in fields.items()}), struct

    kind, values = shaped(2)
    array = pa.array(draw(st.lists(values, max_size=6)), kind)
    return array.slice(draw(st.integers(0, len(array))))


@given(arrays())
@settings(max_examples=300, deadline=None)
def test_evidence_as_json_is_what_json_says(values):
    expected = [None if value is None else json.dumps(value, ensure_ascii=False) for value in values.to_pylist()]
    made = as_json(values)
    assert made.type == pa.string()
    assert made.to_pylist() == expected


def test_evidence_that_json_does_not_know_is_told_as_text():
    day = datetime.date(2024, 2, 29)
    assert as_json(pa.array([day, None])).to_pylist() == ['"2024-02-29"', None]
    assert as_json(pa.array([{"day": day}])).to_pylist() == ['{"day": "2024-02-29"}']
    assert as_json(pa.array([b"\xff"])).to_pylist() == [json.dumps(str(b"\xff"))]
    assert as_json(pa.array([{}], pa.struct([]))).to_pylist() == ["{}"]
    assert as_json(pa.array(["a", None, "a"]).dictionary_encode()).to_pylist() == ['"a"', None, '"a"']


def test_evidence_that_is_not_utf8_is_shown():
    column = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(np.array([0, 2], "<i4")), pa.py_buffer(b"a\xff")]
    )
    assert as_json(column).to_pylist() == [json.dumps("a\ufffd", ensure_ascii=False)]
