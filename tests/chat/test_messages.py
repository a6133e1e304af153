import pickle

import pyarrow as pa
import pytest
from datasets import Dataset, IterableDataset
from hypothesis import given, settings
from hypothesis import strategies as st

from tilth.chat import ToMessages
from tilth.errors import ArgumentError, ColumnTypeError, MissingColumnError
from tilth.step import EVERY_COLUMN

TYPE = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))


def message(role, content):
    return {"role": role, "content": content}


def messages_of(columns, **arguments):
    return ToMessages(**arguments).apply(Dataset.from_dict(columns))["messages"][:]


@pytest.mark.parametrize(
    ("columns", "format", "expected"),
    [
        ({"prompt": ["a"], "completion": ["b"]}, "prompt_completion", [("user", "a"), ("assistant", "b")]),
        ({"question": ["a"], "answer": ["b"]}, "prompt_completion", [("user", "a"), ("assistant", "b")]),
        ({"prompt": ["a"], "response": ["b"]}, "prompt_completion", [("user", "a"), ("assistant", "b")]),
        ({"instruction": ["a"], "output": ["b"]}, "alpaca", [("user", "a"), ("assistant", "b")]),
        ({"instruction": ["a"], "input": ["i"], "output": ["b"]}, "alpaca", [("user", "a\n\ni"), ("assistant", "b")]),
        ({"instruction": ["a"], "input": [" \n"], "output": ["b"]}, "alpaca", [("user", "a"), ("assistant", "b")]),
        (
            {"instruction": ["a"], "context": ["i"], "response": ["b"]},
            "alpaca",
            [("user", "a\n\ni"), ("assistant", "b")],
        ),
        (
            {"system_prompt": ["s"], "question": ["a"], "response": ["b"]},
            "prompt_completion",
            [("system", "s"), ("user", "a"), ("assistant", "b")],
        ),
        (
            {"conversations": [[{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]]},
            "sharegpt",
            [("user", "a"), ("assistant", "b")],
        ),
        (
            {"messages": [[{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]]},
            "openai",
            [("user", "a"), ("assistant", "b")],
        ),
    ],
)
def test_each_format_is_told_from_its_columns(columns, format, expected):
    columns = {**columns, "id": [7]}
    ds = Dataset.from_dict(columns)
    assert ToMessages().detect(ds).format == format
    assert messages_of(columns) == [[message(*pair) for pair in expected]]
    assert ToMessages().apply(ds).data.schema.field("messages").type == TYPE


def test_sharegpt_roles_get_the_names_that_templates_know():
    said = ["system", "human", "gpt", "function_call", "observation", "GPT", "narrator"]
    rows = [[{"from": role, "value": "x"} for role in said]]
    roles = [each["role"] for each in messages_of({"conversations": rows})[0]]
    assert roles == ["system", "user", "assistant", "assistant", "tool", "assistant", "narrator"]


def test_a_missing_text_makes_its_row_null_and_no_other():
    columns = {
        "instruction": ["a", None, "a", "a", ""],
        "input": ["i", "i", None, "i", ""],
        "output": ["b", "b", "b", None, ""],
    }
    made = messages_of(columns)
    assert made[0] == [message("user", "a\n\ni"), message("assistant", "b")]
    assert made[2] == [message("user", "a"), message("assistant", "b")]
    assert made[4] == [message("user", ""), message("assistant", "")]
    assert made[1] is None
    assert made[3] is None


def test_a_missing_message_makes_its_conversation_null_and_an_empty_one_stays():
    rows = [
        [{"from": "human", "value": "a"}],
        [{"from": "human", "value": None}],
        None,
        [],
        [{"from": None, "value": "a"}],
        [None],
        [{"from": "gpt", "value": ""}],
    ]
    assert messages_of({"conversations": rows}) == [
        [message("user", "a")],
        None,
        None,
        [],
        None,
        None,
        [message("assistant", "")],
    ]


def test_further_fields_of_openai_messages_stay_and_excuse_a_null_content():
    call = [{"name": "f"}]
    rows = [
        [{"role": "user", "content": "a"}, {"role": "assistant", "content": None, "tool_calls": call}],
        [{"role": "assistant", "content": None}],
    ]
    made = messages_of({"messages": rows}, system="s")
    assert made[0] == [
        {"role": "system", "content": "s", "tool_calls": None},
        {"role": "user", "content": "a", "tool_calls": None},
        {"role": "assistant", "content": None, "tool_calls": call},
    ]
    assert made[1] is None


def test_a_system_message_comes_first_unless_there_is_one():
    rows = [
        [{"from": "human", "value": "a"}],
        [{"from": "system", "value": "own"}, {"from": "human", "value": "a"}],
        [],
        None,
    ]
    assert messages_of({"conversations": rows}, system="s") == [
        [message("system", "s"), message("user", "a")],
        [message("system", "own"), message("user", "a")],
        [],
        None,
    ]


def test_a_system_column_goes_before_the_argument():
    columns = {"prompt": ["a", "a", "a"], "completion": ["b", "b", "b"], "system": ["own", None, ""]}
    assert [row[0] for row in messages_of(columns, system="s")] == [
        message("system", "own"),
        message("system", "s"),
        message("system", "s"),
    ]
    assert [len(row) for row in messages_of(columns)] == [3, 2, 2]
    columns = {"messages": [[message("user", "a")]] * 2, "system": ["own", None]}
    assert messages_of(columns) == [[message("system", "own"), message("user", "a")], [message("user", "a")]]


def test_other_column_names_are_given_by_part():
    step = ToMessages("prompt_completion", columns={"prompt": "ask", "completion": "reply"})
    assert step.reads == ("ask", "reply")
    assert step.reads_text == ("ask", "reply")
    ds = Dataset.from_dict({"ask": ["a"], "reply": ["b"], "messages": [[message("user", "z")]]})
    assert step.apply(ds)["messages"][:] == [[message("user", "a"), message("assistant", "b")]]
    step = ToMessages("sharegpt", columns={"conversations": "dialog", "system": "s"})
    assert (step.reads, step.reads_text) == (("dialog", "s"), ("s",))


def test_what_is_read_is_every_column_only_when_the_format_is_to_be_found():
    assert ToMessages().reads == EVERY_COLUMN
    assert ToMessages("alpaca").reads == ("instruction", "input", "output")
    assert ToMessages("openai").reads == ("messages",)
    assert ToMessages("openai").reads_text == ()


def test_no_format_and_two_formats_are_refused_with_the_columns_present():
    with pytest.raises(ArgumentError, match=r"no conversation in the columns \[text: string, label: int64\]"):
        ToMessages().apply(Dataset.from_dict({"text": ["a"], "label": [1]}))
    both = {"prompt": ["a"], "completion": ["b"], "messages": [[message("user", "a")]]}
    with pytest.raises(ArgumentError, match=r"openai .* and prompt_completion .* in the columns"):
        ToMessages().apply(Dataset.from_dict(both))
    assert messages_of(both, format="openai") == [[message("user", "a")]]
    with pytest.raises(ArgumentError, match=r"output from any of \['output', 'response'\]"):
        ToMessages().detect(pa.schema([(name, pa.string()) for name in ("instruction", "output", "response")]))


def test_a_column_of_another_type_does_not_count():
    with pytest.raises(ArgumentError, match="no conversation"):
        ToMessages().detect(pa.schema([("prompt", pa.string()), ("completion", pa.int64())]))
    with pytest.raises(ColumnTypeError, match="'completion' as text, but it holds int64"):
        ToMessages("prompt_completion").detect(pa.schema([("prompt", pa.string()), ("completion", pa.int64())]))
    with pytest.raises(ColumnTypeError, match="list of structs with role and content"):
        ToMessages("openai").apply(Dataset.from_dict({"messages": ["a"]}))
    with pytest.raises(MissingColumnError, match="'input'"):
        ToMessages("alpaca").apply(Dataset.from_dict({"instruction": ["a"], "output": ["b"]}))
    with pytest.raises(TypeError, match="known features"):
        ToMessages().detect("rows.jsonl")


def test_a_system_message_cannot_join_messages_that_are_not_text():
    blocks = [{"role": "user", "content": [{"type": "text", "text": "a"}]}]
    ds = Dataset.from_dict({"messages": [blocks]})
    assert ToMessages().apply(ds)["messages"][0] == blocks
    with pytest.raises(ColumnTypeError, match="messages of text"):
        ToMessages(system="s").apply(ds)


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"format": "chatml"}, "format"),
        ({"system": 3}, "system"),
        ({"into": ""}, "into"),
        ({"columns": {"prompt": "a", "completion": "b"}}, "columns"),
        ({"format": "alpaca", "columns": {"instruction": "a"}}, "columns"),
        ({"format": "openai", "columns": {"messages": "a", "answer": "b"}}, "columns"),
    ],
)
def test_a_bad_argument_is_refused_by_name(arguments, field):
    with pytest.raises(ArgumentError, match=rf"{field}="):
        ToMessages(**arguments)


@pytest.mark.parametrize("name", ["alpaca", "sharegpt", "openai", "prompt_completion"])
def test_no_rows_give_the_type_of_the_column(name):
    lists = pa.list_(pa.struct([("from", pa.string()), ("value", pa.string())]))
    columns = {
        "alpaca": [("instruction", pa.string()), ("input", pa.string()), ("output", pa.string())],
        "sharegpt": [("conversations", lists)],
        "openai": [("messages", TYPE)],
        "prompt_completion": [("prompt", pa.string()), ("completion", pa.string())],
    }[name]
    schema = pa.schema(columns)
    for step in (ToMessages(), ToMessages(name), ToMessages(name, system="s")):
        assert step.schema(schema).field("messages").type == TYPE
        assert len(step.apply(Dataset(schema.empty_table()))) == 0


def test_columns_of_nothing_but_nulls_give_nulls():
    for columns in ({"prompt": pa.nulls(2), "completion": pa.nulls(2)}, {"messages": pa.nulls(2)}):
        made = ToMessages().transform(pa.table(columns))["messages"]
        assert (made.type, made.null_count) == (TYPE, 2)
    empty = pa.array([[], None, [None]], pa.list_(pa.null()))
    assert ToMessages().transform(pa.table({"messages": empty}))["messages"].to_pylist() == [[], None, None]


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())]
)
def test_every_type_of_text_can_be_read(kind):
    table = pa.table({name: pa.array(["a", None, "é"], pa.string()).cast(kind) for name in ("prompt", "completion")})
    made = ToMessages(system="s").transform(table)["messages"]
    assert [row and [each["content"] for each in row] for row in made.to_pylist()] == [
        ["s"] + ["a"] * 2,
        None,
        ["s"] + ["é"] * 2,
    ]


@pytest.mark.parametrize("list_type", [pa.list_, pa.large_list, lambda item: pa.list_(item, 1)])
def test_every_type_of_list_can_be_read_also_from_a_slice(list_type):
    item = pa.struct([("value", pa.large_string()), ("from", pa.string()), ("weight", pa.int64())])
    rows = [[{"from": "human", "value": str(number), "weight": 1}] for number in range(5)]
    rows[2] = None
    table = pa.table({"conversations": pa.array(rows, list_type(item))})
    made = ToMessages().transform(table.slice(1, 3))["messages"].to_pylist()
    assert made == [[message("user", "1")], None, [message("user", "3")]]
    chunked = pa.concat_tables([table.slice(3), table.slice(0, 2)])
    made = ToMessages().transform(chunked)["messages"].to_pylist()
    assert [row[0]["content"] for row in made] == ["3", "4", "0", "1"]


def test_map_batches_streams_and_apply_agree():
    ds = Dataset.from_dict({"question": [str(n) for n in range(7)], "answer": ["x", None] * 3 + ["<script>\u202e\x00"]})
    applied = ToMessages().apply(ds)["messages"][:]
    assert ds.map(ToMessages(), batched=True, batch_size=2)["messages"][:] == applied
    assert ds.with_format("arrow").map(ToMessages(), batched=True).with_format(None)["messages"][:] == applied
    stream = ds.to_iterable_dataset()
    assert isinstance(stream, IterableDataset)
    assert [row["messages"] for row in ToMessages().apply(stream)] == applied


def test_equal_arguments_make_equal_steps():
    one = ToMessages("prompt_completion", columns={"prompt": "a", "completion": "b"})
    other = ToMessages("prompt_completion", columns={"completion": "b", "prompt": "a"})
    assert (one, one.fingerprint, hash(one)) == (other, other.fingerprint, hash(other))
    assert pickle.loads(pickle.dumps(one)) == one
    assert ToMessages(system="s").fingerprint != ToMessages().fingerprint


text = st.one_of(st.none(), st.text(st.characters(exclude_categories=["Cs"]), max_size=6))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(text, text, text, text), max_size=6), st.sampled_from([None, "s"]))
def test_interleaving_is_what_a_loop_over_rows_does(rows, system):
    def expected(own, instruction, extra, output):
        if instruction is None or output is None:
            return None
        asked = f"{instruction}\n\n{extra}" if extra and extra.strip("\t\n\v\f\r ") else instruction
        first = own or system
        return ([message("system", first)] if first else []) + [message("user", asked), message("assistant", output)]

    names = ("system", "instruction", "input", "output")
    table = pa.table({name: pa.array([row[i] for row in rows], pa.string()) for i, name in enumerate(names)})
    assert ToMessages(system=system).transform(table)["messages"].to_pylist() == [expected(*row) for row in rows]


said = st.one_of(
    st.none(),
    st.fixed_dictionaries({"role": st.sampled_from(["system", "user", "assistant", None]), "content": text}),
)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.one_of(st.none(), st.lists(said, max_size=4)), text), max_size=6),
    st.sampled_from([None, "s"]),
)
def test_rewriting_is_what_a_loop_over_rows_does(rows, system):
    def expected(messages, own):
        if messages is None or any(each is None or None in each.values() for each in messages):
            return None
        first = own or system
        opens = messages and messages[0]["role"] != "system" and first
        return ([message("system", first)] if opens else []) + messages

    table = pa.table(
        {
            "messages": pa.array([row[0] for row in rows], TYPE),
            "system": pa.array([row[1] for row in rows], pa.string()),
        }
    )
    assert ToMessages(system=system).transform(table)["messages"].to_pylist() == [expected(*row) for row in rows]
