import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.chat.chats import CHATML, CHATML_MARKED, NO_PROMPT, OPENS_THINKING, THINKING
from tilth.chat.render import Renderer
from tilth.chat.spans import WHOLE, _by_prefixes, _by_windows, _shared, _shared_tail, assistant_spans

parts = st.text(st.sampled_from("ab\n <|>é"), max_size=4)
messages = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant", "tool"]), "content": parts}), max_size=80
)


@settings(max_examples=60, deadline=None)
@given(messages)
def test_spans_from_prefixes_are_those_that_the_template_marks(conversation):
    plain, marked = Renderer(CHATML, {}), Renderer(CHATML_MARKED, {})
    text, expected = marked.render_marked(conversation)
    assert text == plain.render(conversation)
    found = assistant_spans(plain.render, conversation, text, plain.prompts)
    # A prefix shows what a turn adds, which is one line break more than the template marks.
    assert [(start, end - 1) for start, end in found] == expected


@pytest.mark.parametrize("template", [CHATML, NO_PROMPT, OPENS_THINKING, THINKING])
@settings(max_examples=40, deadline=None)
@given(st.data())
def test_windows_find_what_prefixes_find_or_nothing(template, data):
    turns = data.draw(st.lists(st.tuples(parts, st.lists(parts, min_size=0, max_size=2)), min_size=13, max_size=30))
    conversation = [{"role": "system", "content": data.draw(parts)}]
    for asked, answers in turns:
        conversation.append({"role": "user", "content": asked})
        conversation += [{"role": "assistant", "content": answer} for answer in answers]
    renderer = Renderer(template, {})
    text = renderer.render(conversation)
    found = _by_windows(renderer.render, conversation, text, renderer.prompts)
    exact = [span for _, span in _by_prefixes(renderer.render, conversation, text, renderer.prompts)]
    assert found is None or found == exact


def test_windows_work_for_turns_in_order():
    renderer = Renderer(THINKING, {})
    conversation = [{"role": ("user", "assistant")[n % 2], "content": str(n)} for n in range(4 * WHOLE)]
    text = renderer.render(conversation)
    exact = [span for _, span in _by_prefixes(renderer.render, conversation, text, renderer.prompts)]
    assert _by_windows(renderer.render, conversation, text, renderer.prompts) == exact


@settings(max_examples=300, deadline=None)
@given(st.text("ab", max_size=40), st.text("ab", max_size=40), st.integers(0, 10))
def test_shared_beginnings_and_tails_are_what_a_loop_finds(one, other, start):
    common = 0
    while common < min(len(one), len(other)) and one[common] == other[common]:
        common += 1
    assert _shared(one, other) == common
    start = min(start, len(other))
    tails = [
        len(one) - at for at in range(len(one) + 1) if other[start:].startswith(one[at:]) and (one[at:] or not one)
    ]
    assert _shared_tail(one, other, start) == (tails[0] if tails else None)


def test_marks_keep_clear_of_a_text_that_holds_them():
    renderer = Renderer(CHATML_MARKED, {})
    content = "\ufdd0\ufdd1\ufdd2"
    text, spans = renderer.render_marked([{"role": "assistant", "content": content}])
    assert [text[start:end] for start, end in spans] == [f"{content}<|im_end|>"]
    every = "".join(map(chr, range(0xFDD0, 0xFDF0)))
    with pytest.raises(ValueError, match="generation"):
        renderer.render_marked([{"role": "assistant", "content": every}])
