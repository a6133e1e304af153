import json
import pickle
import time

import pyarrow as pa
import pytest
from datasets import Dataset, Features, Json, List
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.chat.chats import (
    CHATML,
    CHATML_MARKED,
    INST,
    NO_PROMPT,
    OPENS_THINKING,
    THINKING,
    chat,
    tokenizer,
    word_tokenizer,
)
from tilth.chat import ApplyTemplate, TemplateError, ToMessages
from tilth.errors import ArgumentError, ColumnTypeError, MissingColumnError
from tilth.pipeline import Pipeline


def rows(*conversations, **columns):
    return Dataset.from_dict({"messages": list(conversations), **columns})


def learned(step, conversation):
    """The tokens in the loss, as text, with a bar between stretches of them."""
    made = step.apply(rows(conversation))[0]
    backend = step._tokenizer.encoder
    assert len(made["labels"]) == len(made["input_ids"])
    stretches, inside = [], False
    for token, label in zip(made["input_ids"], made["labels"], strict=True):
        assert label in (token, -100)
        if label != -100:
            if not inside:
                stretches.append([])
            stretches[-1].append(token)
        inside = label != -100
    return [backend.decode(stretch, skip_special_tokens=False) for stretch in stretches]


letters = st.one_of(
    st.sampled_from("ab \n\t<>|é語😀\u0301\u202e\x00\ufeff"),
    st.sampled_from(
        ["<|im_end|>", "<s>", "</s>", "{{ x }}", "\r\n", "<script>", "assistant", "\ufdd0\ufdd1", "\ufdd3"]
    ),
)
contents = st.lists(letters, max_size=6).map("".join)
chats = st.lists(contents, min_size=1, max_size=6).map(lambda parts: chat(*parts))


@pytest.mark.parametrize("template", [CHATML, CHATML_MARKED, INST, THINKING, OPENS_THINKING, NO_PROMPT])
@pytest.mark.parametrize("prompt", [False, True])
def test_text_and_tokens_are_those_of_transformers(template, prompt):
    made_by = tokenizer(template)
    conversations = [chat("what is this? é😀", " it is\n"), chat("a"), chat("a", "b", "<|im_end|>", "\n\nd", "e")]
    text = ApplyTemplate(made_by, add_generation_prompt=prompt).apply(rows(*conversations))
    expected = made_by.apply_chat_template(conversations, tokenize=False, add_generation_prompt=prompt)
    assert text["text"][:] == expected
    tokens = ApplyTemplate(made_by, tokenize=True, add_generation_prompt=prompt).apply(rows(*conversations))
    expected = made_by.apply_chat_template(conversations, add_generation_prompt=prompt)["input_ids"]
    assert tokens["input_ids"][:] == expected
    assert tokens.column_names == ["messages", "input_ids"]


MADE_BY = tokenizer(CHATML)
# Where offsets leave blanks out, transformers loses the turns that begin with one.
UNTRIMMED = tokenizer(CHATML, trim_offsets=False)
FROM_PREFIXES = ApplyTemplate(MADE_BY, mask="assistant")
FROM_MARKS = ApplyTemplate(MADE_BY, template=CHATML_MARKED, mask="assistant")
BUILT_IN = ApplyTemplate(MADE_BY, template="chatml", mask="assistant")


@settings(max_examples=150, deadline=None)
@given(st.lists(chats, min_size=1, max_size=4))
def test_labels_are_the_mask_of_transformers_with_and_without_marks_in_the_template(conversations):
    expected = UNTRIMMED.apply_chat_template(
        conversations, chat_template=CHATML_MARKED, return_assistant_tokens_mask=True, tokenize=True
    )
    for step in (FROM_PREFIXES, FROM_MARKS, BUILT_IN):
        made = step.apply(rows(*conversations))
        assert made["input_ids"][:] == expected["input_ids"]
        masks = [[int(label != -100) for label in labels] for labels in made["labels"]]
        assert masks == expected["assistant_masks"]


def test_the_end_of_a_turn_is_learned_and_neither_header_nor_blanks_after_it_are():
    step = ApplyTemplate(tokenizer(CHATML), mask="assistant")
    assert learned(step, chat("q", "yes", "r", " no \n", system="s")) == ["yes<|im_end|>", " no \n<|im_end|>"]
    assert learned(step, chat("q", "", "r", "\n")) == ["<|im_end|>", "\n<|im_end|>"]
    assert learned(step, chat("q")) == []


def test_the_end_of_a_turn_is_learned_where_it_is_also_the_padding():
    step = ApplyTemplate(tokenizer(INST, pad_token="</s>"), mask="assistant")
    assert learned(step, chat("q", "yes", "r", "no")) == ["yes</s>", "no</s>"]


def test_a_header_that_cannot_be_asked_for_is_found_by_a_second_answer():
    step = ApplyTemplate(tokenizer(NO_PROMPT), mask="assistant")
    assert learned(step, chat("q", "xyz", "r", "yes", system="s")) == ["xyz<|im_end|>", "yes<|im_end|>"]


def test_reasoning_that_only_the_last_turn_shows_is_learned_there_and_not_missed_before():
    step = ApplyTemplate(tokenizer(THINKING), mask="assistant")
    shown = "<think>\n\n</think>\n\nno<|im_end|>"
    assert learned(step, chat("q", "yes", "r", "no")) == ["yes<|im_end|>", shown]
    spoken = chat("q", "yes")
    spoken[1]["reasoning_content"] = "it is"
    assert learned(step, spoken) == ["<think>\nit is\n</think>\n\nyes<|im_end|>"]
    quiet = ApplyTemplate(step.tokenizer, mask="assistant", template_kwargs={"enable_thinking": False})
    assert learned(quiet, chat("q", "yes", "r", "no")) == ["yes<|im_end|>", "no<|im_end|>"]


def test_a_generation_prompt_that_goes_further_than_the_answer_is_cut_where_they_part():
    step = ApplyTemplate(tokenizer(OPENS_THINKING), mask="assistant")
    assert learned(step, chat("q", "yes", "r", "no")) == ["yes", "no"]
    assert learned(step, chat("q", "yes  ", "r", " no")) == ["yes  ", " no"]
    assert learned(step, chat("q", "<think>so</think>yes")) == ["so</think>yes"]


def test_a_generation_prompt_at_the_end_is_not_learned():
    step = ApplyTemplate(tokenizer(CHATML), mask="assistant", add_generation_prompt=True)
    assert learned(step, chat("q", "yes", "r")) == ["yes<|im_end|>"]


@pytest.mark.parametrize("marked", [False, True])
def test_a_span_may_begin_and_end_at_the_first_token(marked):
    template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    if marked:
        template = "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}"
    step = ApplyTemplate(tokenizer(template), mask="assistant")
    made = step.apply(rows([{"role": "assistant", "content": "a"}]))[0]
    assert len(made["input_ids"]) == 1
    assert made["labels"] == made["input_ids"]


def test_tokens_that_do_not_cover_the_blanks_are_masked_right():
    step = ApplyTemplate(word_tokenizer(), mask="assistant")
    assert learned(step, chat("what is", "  it is  ", "this", "that")) == ["it is <|im_end|>", "that <|im_end|>"]


def test_a_bos_is_written_once_and_padding_of_the_tokenizer_is_not_taken_over():
    made_by = tokenizer(INST)
    made_by(["a", "what is this"], padding="max_length", truncation=True, max_length=4)
    made = ApplyTemplate(made_by, tokenize=True).apply(rows(chat("what is this?", "it is"), chat("a", "b")))
    bos = made_by.convert_tokens_to_ids("<s>")
    assert [ids.count(bos) for ids in made["input_ids"]] == [1, 1]
    assert len(made["input_ids"][0]) > 8
    assert len(made["input_ids"][0]) != len(made["input_ids"][1])


def test_empty_and_null_conversations_give_null():
    ds = rows(chat("q", "a"), [], None)
    assert ApplyTemplate(template="plain").apply(ds)["text"][:] == ["User: q\n\nAssistant: a\n\n", None, None]
    made = ApplyTemplate(tokenizer(), mask="assistant").apply(ds)
    assert made["input_ids"][1:] == made["labels"][1:] == [None, None]
    assert made["input_ids"][0] is not None


def test_keys_that_are_null_do_not_reach_the_template():
    template = "{% for m in messages %}{{ m | tojson }}{% endfor %}"
    call = {"name": "f", "arguments": {"x": 1}}
    conversation = [
        {"role": "user", "content": "q", "tool_calls": None},
        {"role": "assistant", "content": None, "tool_calls": [call, {"name": "g", "arguments": {"y": "<é>"}}]},
    ]
    text = ApplyTemplate(template=template).apply(rows(conversation))["text"][0]
    decoder = json.JSONDecoder()
    user, end = decoder.raw_decode(text)
    assistant, end = decoder.raw_decode(text, end)
    assert user == {"role": "user", "content": "q"}
    assert assistant == {
        "role": "assistant",
        "tool_calls": [{"name": "f", "arguments": {"x": 1}}, {"name": "g", "arguments": {"y": "<é>"}}],
    }


def test_messages_as_json_keep_the_nulls_inside_them():
    conversation = [
        {"role": "user", "content": [{"type": "text", "text": None}]},
        {"role": "assistant", "content": "a"},
    ]
    ds = Dataset.from_dict({"messages": [conversation]}, features=Features({"messages": List(Json())}))
    template = "{% for m in messages %}{{ m.content | tojson }}{% endfor %}"
    made = ApplyTemplate(template=template).transform(ds.data.table)["text"]
    assert made[0].as_py() == '[{"type": "text", "text": null}]"a"'


def test_a_null_content_is_a_missing_one():
    conversation = [{"role": "user", "content": None}, {"role": "assistant", "content": "a"}]
    assert ApplyTemplate(template="plain").apply(rows(conversation))["text"][0] == "User: \n\nAssistant: a\n\n"
    with pytest.raises(TemplateError, match=r"row 0 of the batch: message 0 \(role 'user', content None\)"):
        ApplyTemplate(tokenizer(CHATML)).apply(rows(conversation))


def test_an_error_of_the_template_names_the_row_and_the_message():
    ds = rows(chat("q", "a"), [*chat("q", "a", "b"), {"role": "user", "content": "twice the same role"}])
    step = ApplyTemplate(tokenizer(INST))
    with pytest.raises(
        TemplateError, match=r"row 1 .* message 3 \(role 'user', content 'twice the same role'\): roles must alternate"
    ):
        step.apply(ds)
    kept = ApplyTemplate(tokenizer(INST), on_error="null").apply(ds)
    assert [text is None for text in kept["text"]] == [False, True]
    with pytest.raises(TemplateError, match="message 1 is None"):
        step.apply(rows([*chat("q"), None]))


def test_a_template_that_rewrites_earlier_turns_is_refused_for_labels_and_not_for_text():
    counting = "{% for m in messages %}{{ messages | length }}{{ m.role }}{{ m.content }}{% endfor %}"
    assert ApplyTemplate(template=counting).apply(rows(chat("q", "a")))["text"][0] == "2userq2assistanta"
    step = ApplyTemplate(tokenizer(counting), mask="assistant")
    with pytest.raises(TemplateError, match=r"message 1 .*differently when more follows"):
        step.apply(rows(chat("q", "a", "r", "b")))


def test_a_template_cannot_reach_python_from_the_sandbox():
    for attack in (
        "{{ ''.__class__.__mro__ }}",
        "{{ messages.append(1) }}",
        "{% set ns = namespace() %}{% set ns.__class__ = 1 %}",
        "{{ dict.__init__.__globals__ }}",
        "{{ namespace(_x=1) }}",
    ):
        with pytest.raises(TemplateError):
            ApplyTemplate(template=attack).apply(rows(chat("q")))


def test_the_usual_extras_of_templates_work():
    template = (
        "{{ strftime_now('%Y') | length }}{% for m in messages %}{% if loop.index > 1 %}{% break %}{% endif %}"
        "{{ m | tojson(indent=1) }}{% endfor %}{% set ns = namespace(x=1) %}{% set ns.x = 2 %}{{ ns.x }}"
        "{{ dict(a=1).a }}\n{% if true %}\n  kept{% endif %}"
    )
    made_by = tokenizer(template)
    conversation = chat("é", "b")
    expected = made_by.apply_chat_template(conversation, tokenize=False)
    assert ApplyTemplate(made_by).apply(rows(conversation))["text"][0] == expected


def test_tools_reach_the_template_and_an_empty_list_of_them_does_not():
    template = (
        "{% if tools is not none %}{{ tools | tojson }}{% endif %}{% for m in messages %}{{ m.content }}{% endfor %}"
    )
    tools = ({"type": "function", "function": {"name": "f"}},)
    made_by = tokenizer(template)
    step = ApplyTemplate(made_by, template_kwargs={"tools": tools})
    expected = made_by.apply_chat_template(chat("q"), tools=list(tools), tokenize=False)
    assert step.apply(rows(chat("q")))["text"][0] == expected
    assert ApplyTemplate(made_by, template_kwargs={"tools": []}).apply(rows(chat("q")))["text"][0] == "q"


def test_a_long_conversation_takes_time_in_proportion():
    turns = [f"word {number}" for number in range(10_000)]
    step = ApplyTemplate(tokenizer(CHATML), mask="assistant")
    began = time.process_time()
    said = learned(step, chat(*turns))
    assert time.process_time() - began < 20
    assert said == [f"{turn}<|im_end|>" for turn in turns[1::2]]


def test_a_row_of_ten_megabytes_is_whole():
    answer = "it is that é\n" * 800_000
    text = ApplyTemplate(template="plain").apply(rows(chat("q", answer)))["text"][0]
    assert text == f"User: q\n\nAssistant: {answer}\n\n"
    assert learned(ApplyTemplate(tokenizer(CHATML), mask="assistant"), chat("q", answer[:500_000])) == [
        answer[:500_000] + "<|im_end|>"
    ]


def test_no_rows_give_the_types_of_the_columns():
    item = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
    schema = pa.schema([("messages", item)])
    ids = pa.list_(pa.int32())
    assert ApplyTemplate(template="chatml").schema(schema).field("text").type == pa.string()
    step = ApplyTemplate(tokenizer(), mask="assistant")
    assert step.schema(schema).field("input_ids").type == step.schema(schema).field("labels").type == ids
    assert step.apply(Dataset(schema.empty_table())).data.schema.field("labels").type == ids
    nothing = step.apply(Dataset(pa.table({"messages": pa.nulls(2)})))
    assert nothing.data.schema.field("labels").type == ids
    assert nothing["labels"][:] == [None, None]


def test_map_batches_streams_and_pipelines_agree():
    ds = Dataset.from_dict({"question": [str(n) for n in range(7)], "answer": ["a"] * 7})
    to_messages, step = ToMessages(), ApplyTemplate(tokenizer(), mask="assistant")
    applied = step.apply(to_messages.apply(ds))["labels"][:]
    assert Pipeline(to_messages, step).run(ds).dataset["labels"][:] == applied
    mapped = ds.map(to_messages, batched=True).map(step, batched=True, batch_size=2)
    assert mapped["labels"][:] == applied
    shuffled = to_messages.apply(ds).select([3, 1, 1])
    assert step.apply(shuffled)["labels"][:] == [applied[3], applied[1], applied[1]]
    stream = step.apply(to_messages.apply(ds.to_iterable_dataset()))
    assert [row["labels"] for row in stream] == applied


def test_a_tokenizer_by_path_is_loaded_on_first_use(tmp_path):
    made_by = tokenizer(INST)
    made_by.save_pretrained(tmp_path)
    ApplyTemplate(str(tmp_path / "not there"), tokenize=True)
    by_name = ApplyTemplate(str(tmp_path), mask="assistant")
    assert (
        by_name.apply(rows(chat("q", "a")))[0]
        == ApplyTemplate(made_by, mask="assistant").apply(rows(chat("q", "a")))[0]
    )
    assert by_name.tokenizer == str(tmp_path)


def test_a_named_template_of_the_tokenizer_goes_before_a_built_in_one():
    made_by = tokenizer({"default": "{{ messages[0].content }}", "chatml": "own", "other": "{{ bos_token }}"})
    conversation = rows(chat("q"))
    assert ApplyTemplate(made_by).apply(conversation)["text"][0] == "q"
    assert ApplyTemplate(made_by, template="chatml").apply(conversation)["text"][0] == "own"
    assert ApplyTemplate(made_by, template="other").apply(conversation)["text"][0] == "<s>"
    made_by.chat_template = {"other": "x"}
    with pytest.raises(ArgumentError, match=r"no chat template of its own. It has templates named \['other'\]"):
        ApplyTemplate(made_by)


def test_a_tokenizer_without_a_template_needs_one():
    with pytest.raises(ArgumentError, match=r"no chat template of its own. Give one: template=.*chatml"):
        ApplyTemplate(tokenizer(None))
    assert ApplyTemplate(tokenizer(None), template="chatml").apply(rows(chat("q")))["text"][0]


def test_a_tokenizer_that_was_used_is_the_same_and_is_left_as_it_was():
    made_by = tokenizer()
    one = ApplyTemplate(made_by, mask="assistant")
    made_by(["a", "what is this"], padding=True, truncation=True, max_length=3)
    state = made_by.backend_tokenizer.to_str()
    other = ApplyTemplate(made_by, mask="assistant")
    assert (one, one.fingerprint, hash(one)) == (other, other.fingerprint, hash(other))
    other.apply(rows(chat("q", "a")))
    assert made_by.backend_tokenizer.to_str() == state
    assert made_by.backend_tokenizer.padding is not None


def test_what_decides_the_result_decides_the_fingerprint():
    plain = ApplyTemplate(tokenizer())
    steps = [
        plain,
        ApplyTemplate(tokenizer(INST)),
        ApplyTemplate(tokenizer(eos_token="<|im_end|>")),
        ApplyTemplate(tokenizer(), tokenize=True),
        ApplyTemplate(tokenizer(THINKING), template_kwargs={"enable_thinking": True}),
        ApplyTemplate("name", template="chatml"),
        ApplyTemplate(template="chatml"),
    ]
    assert len({step.fingerprint for step in steps}) == len(steps)
    assert ApplyTemplate(tokenizer(), mask="assistant") == ApplyTemplate(tokenizer(), mask="assistant", tokenize=True)


def test_a_pickled_step_works_and_is_known_as_the_same():
    step = ApplyTemplate(tokenizer(), mask="assistant", template_kwargs={})
    before = step.apply(rows(chat("q", "a")))[0]
    again = pickle.loads(pickle.dumps(step))
    assert (again, again.fingerprint) == (step, step.fingerprint)
    assert again.apply(rows(chat("q", "a")))[0] == before
    assert len(repr(step)) < 400


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "template=None is not allowed"),
        ({"template": "chatlm"}, "template='chatlm' is not allowed; it must be Jinja text"),
        ({"template": "chatml", "tokenize": True}, "tokenizer=None is not allowed"),
        ({"template": "chatml", "mask": "assistant"}, "tokenizer=None is not allowed"),
        ({"template": "chatml", "mask": "user"}, "mask='user'"),
        ({"template": "chatml", "on_error": "skip"}, "on_error='skip'"),
        ({"template": "chatml", "into": ""}, "into=''"),
        ({"template": "chatml", "template_kwargs": 3}, "template_kwargs=3"),
        ({"template": "chatml", "tokenizer": 3}, "tokenizer=3"),
    ],
)
def test_a_bad_argument_is_refused_by_name(arguments, said):
    with pytest.raises(ArgumentError, match=said):
        ApplyTemplate(**arguments)


def test_a_broken_template_and_an_unknown_variable_are_refused_before_any_row():
    with pytest.raises(ArgumentError, match="not Jinja: line 2"):
        ApplyTemplate(template="{{ 1 }}\n{% if %}").apply(rows(chat("q")))
    with pytest.raises(
        ArgumentError, match=r"'enable_thinkng', which this template does not take; it takes .*enable_thinking"
    ):
        ApplyTemplate(tokenizer(THINKING), template_kwargs={"enable_thinkng": True}).apply(rows(chat("q")))


def test_a_column_that_holds_no_messages_is_refused():
    with pytest.raises(ColumnTypeError, match="ToMessages makes one"):
        ApplyTemplate(template="chatml").apply(Dataset.from_dict({"messages": ["a"]}))
    with pytest.raises(MissingColumnError, match="'messages'"):
        ApplyTemplate(template="chatml").apply(Dataset.from_dict({"text": ["a"]}))
