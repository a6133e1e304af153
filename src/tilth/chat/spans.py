"""Which characters of a rendered conversation the assistant wrote, for templates that do not say so themselves.

What turn k adds is the difference between the renderings of the first k and the first k + 1 messages, less the
generation prompt, which the model is given. All renderings must agree with the text of the whole conversation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from tilth.chat.render import Messages, Span

Render: TypeAlias = Callable[[Messages, bool], str]

WHOLE = 24
"""Conversations of up to so many messages have every prefix rendered, which is quadratic; longer ones go by windows."""
TURNS = 8
"""User turns in a window."""
_KEY = 8


class SpanError(ValueError):
    """The template does not write a turn the same way with and without later turns.

    Attributes:
        message: the number of the message at fault, from zero.
    """

    def __init__(self, message: int, why: str) -> None:
        super().__init__(why)
        self.message = message


def assistant_spans(render: Render, messages: Messages, text: str, prompts: bool) -> list[Span]:
    """The spans of characters that the assistant's turns take in `text`, each with its end of turn.

    Args:
        render: renders messages, with or without a generation prompt.
        messages: the conversation.
        text: all of it rendered, without a generation prompt.
        prompts: whether the template has a generation prompt.

    Raises:
        SpanError: the turns cannot be found in `text`.
    """
    if len(messages) > WHOLE:
        spans = _by_windows(render, messages, text, prompts)
        if spans is not None:
            return spans
    return [span for _, span in _by_prefixes(render, messages, text, prompts)]


def _by_prefixes(render: Render, messages: Messages, text: str, prompts: bool) -> list[tuple[int, Span]]:
    found: list[tuple[int, Span]] = []
    after = 0
    for number, message in enumerate(messages):
        if message.get("role") != "assistant":
            continue
        try:
            own = text if number + 1 == len(messages) else render(messages[: number + 1], False)
        except Exception as error:
            raise SpanError(number, f"the template cannot end with this message: {error}") from error
        begin = start = _start(render, messages, number, own, prompts)
        if not text.startswith(own[:start]):
            # A part of the generation prompt, such as an empty <think> block, may be left out when more turns follow.
            start = _shared(own, text)
            if start < len(render(messages[:number], False)):
                raise SpanError(number, "the template writes what is before this message differently when more follows")
        length = _shared_tail(own[begin:], text, start)
        if length is None or start < after:
            raise SpanError(number, "the template writes this message differently when more follows")
        after = start + length
        found.append((number, (start, after)))
    return found


def _start(render: Render, messages: Messages, number: int, own: str, prompts: bool) -> int:
    """Where in `own`, the rendering up to and with message `number`, that message's own text begins."""
    if prompts:
        try:
            given = render(messages[:number], True)
        except Exception:  # Some templates refuse to render nothing, or a system message alone.
            given = None
        if given is not None and own.startswith(given):
            return len(given)
    # There is no prompt, or it goes further than a stored answer does, for example with an opening <think>. Then the
    # message begins where it would differ with another content.
    content = messages[number].get("content")
    first = content.lstrip()[:1] if isinstance(content, str) else ""
    other = {**messages[number], "content": "y" if first == "x" else "x"}
    try:
        return _shared(own, render([*messages[:number], other], False))
    except Exception as error:
        raise SpanError(number, f"the template does not show where this message begins: {error}") from error


def _shared_tail(own: str, text: str, start: int) -> int | None:
    """The length of the longest tail of `own` that `text` has at `start`; None where there is none but blanks.

    It is all of `own` for most templates. Some leave out the reasoning of a turn once other turns follow it.
    """
    if text.startswith(own, start):
        return len(own)
    key = text[start : start + _KEY]
    at = own.find(key) if key else -1
    while at >= 0:
        if text.startswith(own[at:], start):
            return len(own) - at
        at = own.find(key, at + 1)
    for at in range(max(0, len(own) - _KEY + 1), len(own)):
        if text.startswith(own[at:], start):
            return len(own) - at if own[at:].strip() else None
    return None


def _by_windows(render: Render, messages: Messages, text: str, prompts: bool) -> list[Span] | None:
    """The spans found in short stretches of the conversation and laid end to end; None where they do not fit.

    A window repeats the turn before it and shows the user message after it, so that its turns stand as in the whole.
    What lies between two spans and in them must be the same in `text`, character by character.
    """
    users = [number for number, message in enumerate(messages) if message.get("role") == "user"]
    if len(users) < 2:
        return None
    spans: list[Span] = []
    for turn in range(0, len(users), TURNS):
        opening = list(messages[: users[0]])
        first = users[max(0, turn - 1)]
        last = turn + TURNS >= len(users)
        window = [*opening, *messages[first : len(messages) if last else users[turn + TURNS] + 1]]
        fresh = len(opening) + users[turn] - first if turn else 0
        try:
            shown = render(window, False)
            found = _by_prefixes(render, window, shown, prompts)
        except Exception:
            return None
        known = [span for number, span in found if len(opening) <= number < fresh]
        if turn and not (known and spans):
            return None
        here = known[-1][1] if turn else 0
        there = spans[-1][1] if turn else 0
        for number, (start, end) in found:
            if number < fresh:
                continue
            between, turn_text = shown[here:start], shown[start:end]
            begin = there + len(between)
            if not text.startswith(between, there) or not text.startswith(turn_text, begin):
                return None
            spans.append((begin, begin + len(turn_text)))
            here, there = end, begin + len(turn_text)
    return spans


def _shared(one: str, other: str) -> int:
    """How many characters two texts have in common at their beginning."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
