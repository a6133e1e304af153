"""Conversations through a model's chat template: as text, as tokens, and as labels for the assistant's turns only."""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tilth.chat.layout import is_json, is_list
from tilth.chat.templates import TEMPLATES
from tilth.chat.tokenizer import FrozenTokenizer
from tilth.errors import ArgumentError, ColumnTypeError, TilthError
from tilth.step import Columns, MapStep, require

if TYPE_CHECKING:
    from tokenizers import Encoding
    from transformers import PreTrainedTokenizerBase

    from tilth.chat.render import Message, Renderer, Span

IGNORED = -100
"""The label of a token that is not in the loss, as PyTorch's cross entropy has it."""
ENCODE_CHARACTERS = 2**20
"""About how much text is given to the tokenizer at once: its answer takes a hundred times as much memory."""


class TemplateError(TilthError, ValueError):
    """A template cannot write a conversation, or its turns cannot be told apart; the message names row and message."""


@dataclass(frozen=True)
class ApplyTemplate(MapStep):
    """Write conversations the way a model was trained to read them.

    The text is what `tokenizer.apply_chat_template` of transformers gives. With `tokenize=True` it is encoded too, once
    and without special tokens, which the template writes itself: columns `input_ids` and, with `mask="assistant"`,
    `labels`, both `list<int32>`. A label is the token where the assistant wrote it and -100 elsewhere; TRL's
    `SFTTrainer` and transformers' `Trainer` both take a dataset with these two columns as it is.

    What the assistant wrote is what the template marks with `{% generation %}`. Most templates mark nothing; then it is
    what each turn adds to the text beyond the generation prompt. It includes the token that ends the turn, and no
    blanks that the template writes after that token.

    A null or empty conversation gives null. Keys of a message that are null, which is how Arrow fills up structs, do
    not reach the template.

    Nothing stops the text of a row from containing control tokens such as `<|im_end|>`, which the tokenizer then takes
    as such. Filter or escape rows that you do not trust.

    Args:
        tokenizer: a transformers tokenizer, of which a copy is taken and which is never changed; or the path or Hub
            name of one, which is loaded on first use and known by that name alone.
        template: a chat template as Jinja text, the name of one of the tokenizer's, or a built-in one ("chatml",
            "plain"). The default is the tokenizer's own.
        column: the conversations, a list of messages with `role`, `content` and any other keys.
        into: the column for text.
        tokenize: write tokens instead of text.
        mask: "assistant" to write `labels` too, which implies `tokenize`.
        add_generation_prompt: end with the opening of an answer, for inference.
        template_kwargs: further variables for the template, such as `{"enable_thinking": False}` or `tools`.
        on_error: "raise", or "null" to give null for a row that the template cannot write.

    Raises:
        ArgumentError: no template is given, or the template reads none of a variable in `template_kwargs`.
        TemplateError: a row cannot be written, with `on_error="raise"`.
        MissingExtraError: a tokenizer is named and transformers is not installed.

    Examples:
        >>> from datasets import Dataset
        >>> messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
        >>> ds = ApplyTemplate(template="chatml").apply(Dataset.from_dict({"messages": [messages]}))
        >>> print(ds["text"][0])
        <|im_start|>user
        Hi<|im_end|>
        <|im_start|>assistant
        Hello<|im_end|>
        <BLANKLINE>
    """

    tokenizer: PreTrainedTokenizerBase | FrozenTokenizer | str | None = None
    template: str | None = None
    column: str = "messages"
    into: str = "text"
    tokenize: bool = False
    mask: Literal["assistant"] | None = None
    add_generation_prompt: bool = False
    template_kwargs: Mapping[str, Any] | None = None
    on_error: Literal["raise", "null"] = "raise"

    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if self.tokenizer is not None and not isinstance(self.tokenizer, str):
            self._set(tokenizer=FrozenTokenizer.of(self.tokenizer))
        require(self.mask in (None, "assistant"), self, "mask", "'assistant' or None")
        require(self.on_error in ("raise", "null"), self, "on_error", "'raise' or 'null'")
        require(isinstance(self.column, str) and bool(self.column), self, "column", "the name of a column")
        require(isinstance(self.into, str) and bool(self.into), self, "into", "the name of a column")
        kwargs = self.template_kwargs
        require(kwargs is None or isinstance(kwargs, Mapping), self, "template_kwargs", "a mapping or None")
        require(self.template is None or isinstance(self.template, str), self, "template", "text or None")
        if self.mask is not None:
            self._set(tokenize=True)
        if self.tokenizer is None:
            require(not self.tokenize, self, "tokenizer", "given where tokens are wanted (tokenize=True, or a mask)")
            require(self.template is not None, self, "template", _SOURCES)
        if not isinstance(self.tokenizer, str):
            # A name is looked up on first use; everything else can be refused at once.
            _ = self._source
            if self.tokenize:
                _ = self._tokenizer.encoder

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    @property
    def reads_text(self) -> tuple[str, ...]:
        """Nothing: messages are lists."""
        return ()

    @property
    def writes(self) -> tuple[str, ...]:
        """The column `into`, or `input_ids` and `labels`."""
        if not self.tokenize:
            return (self.into,)
        return ("input_ids",) if self.mask is None else ("input_ids", "labels")

    def check(self, schema: pa.Schema) -> None:
        """Refuse data without conversations, before any work."""
        super().check(schema)
        kind = schema.field(self.column).type
        if not _holds_messages(kind):
            raise ColumnTypeError(
                str(self), self.column, kind, "a list of messages with role and content (ToMessages makes one)"
            )

    def transform(self, table: pa.Table) -> Columns:
        """The text or the tokens of each conversation."""
        texts: list[str | None] = []
        spans: list[list[Span]] = []
        for row, messages in enumerate(table.column(self.column).to_pylist()):
            text: str | None = None
            found: list[Span] = []
            if messages:
                try:
                    text, found = self._write(row, messages)
                except TemplateError:
                    if self.on_error == "raise":
                        raise
            texts.append(text)
            spans.append(found)
        if not self.tokenize:
            # Not `string`: a batch of long conversations may exceed its two GiB.
            return {self.into: pa.array(texts, pa.large_string() if _is_long(texts) else pa.string())}
        return self._encoded(texts, spans)

    @cached_property
    def _tokenizer(self) -> FrozenTokenizer:
        if isinstance(self.tokenizer, FrozenTokenizer):
            return self.tokenizer
        if isinstance(self.tokenizer, str):
            return FrozenTokenizer.load(self.tokenizer)
        return FrozenTokenizer(None, {}, {})

    @cached_property
    def _source(self) -> str:
        """The template as Jinja text."""
        own = self._tokenizer.chat_templates
        if self.template is None:
            if "default" not in own:
                named = f" It has templates named {sorted(own)}." if own else ""
                raise ArgumentError(
                    f"ApplyTemplate: the tokenizer {self._tokenizer!r} has no chat template of its own.{named} "
                    f"Give one: template={_SOURCES}."
                )
            return own["default"]
        if self.template in own or self.template in TEMPLATES:
            return own.get(self.template) or TEMPLATES[self.template]
        require("{" in self.template, self, "template", _SOURCES)
        return self.template

    @cached_property
    def _renderer(self) -> Renderer:
        from jinja2 import TemplateSyntaxError

        from tilth.chat.render import Renderer

        kwargs = {name: _plain(value) for name, value in (self.template_kwargs or {}).items()}
        # An empty list of tools makes some templates announce that there are tools.
        kwargs = {
            name: None if name in ("tools", "documents") and not value else value for name, value in kwargs.items()
        }
        try:
            renderer = Renderer(self._source, {**self._tokenizer.special_tokens, **kwargs})
        except TemplateSyntaxError as error:
            raise ArgumentError(f"ApplyTemplate: the template is not Jinja: line {error.lineno}: {error}") from error
        for name in kwargs:
            if name not in renderer.reads or name in ("messages", "add_generation_prompt"):
                known = sorted(renderer.reads - {"messages", "add_generation_prompt"})
                raise ArgumentError(
                    f"ApplyTemplate: template_kwargs has {name!r}, which this template does not take; it takes {known}."
                )
        return renderer

    def _write(self, row: int, given: Sequence[Any]) -> tuple[str, list[Span]]:
        """One conversation as text, and where the assistant speaks in it.

        Raises:
            TemplateError: the template refuses it.
        """
        from tilth.chat.spans import SpanError, assistant_spans

        renderer, prompt = self._renderer, self.add_generation_prompt
        messages = [_message(self, row, number, message) for number, message in enumerate(given)]
        try:
            if self.mask is None:
                return renderer.render(messages, prompt), []
            if renderer.marks:
                return renderer.render_marked(messages, prompt)
            text = renderer.render(messages, prompt)
            plain = renderer.render(messages, False) if prompt else text
            if not text.startswith(plain):
                raise ValueError("the template writes the conversation differently with a generation prompt")
            return text, assistant_spans(renderer.render, messages, plain, renderer.prompts)
        except SpanError as error:
            raise _failed(self, row, messages, error.message, error) from error
        except Exception as error:
            raise _failed(self, row, messages, _culprit(renderer, messages, prompt), error) from error

    def _encoded(self, texts: Sequence[str | None], spans: Sequence[Sequence[Span]]) -> Columns:
        encoder = self._tokenizer.encoder
        control = {number for number, token in encoder.get_added_tokens_decoder().items() if token.content.strip()}
        rows = [row for row, text in enumerate(texts) if text is not None]
        encode = encoder.encode_batch_fast if self.mask is None else encoder.encode_batch
        lengths = np.zeros(len(texts), dtype=np.int64)
        ids: list[npt.NDArray[np.int32]] = []
        labels: list[npt.NDArray[np.int32]] = []
        for part in _slices(rows, texts):
            for row, encoding in zip(part, encode([texts[row] for row in part], add_special_tokens=False), strict=True):
                tokens = np.array(encoding.ids, dtype=np.int32)
                lengths[row] = len(tokens)
                ids.append(tokens)
                if self.mask is not None:
                    labels.append(_labels(texts[row] or "", spans[row], encoding, tokens, control))
        null = pa.array(np.array([text is None for text in texts], dtype=np.bool_))
        columns = {"input_ids": _lists(ids, lengths, null)}
        if self.mask is not None:
            columns["labels"] = _lists(labels, lengths, null)
        return columns


_SOURCES = f"Jinja text, one of {sorted(TEMPLATES)}, or the name of one of the tokenizer's templates"
_REASONING = ("reasoning_content", "thinking", "reasoning")


def _message(step: ApplyTemplate, row: int, number: int, message: Any) -> Message:
    """A message as the template should see it: without null keys, and its reasoning under the names templates use."""
    from_json = isinstance(message, str)
    if from_json:
        message = json.loads(message)
    if not isinstance(message, dict):
        raise TemplateError(f"{step}: row {row} of the batch: message {number} is {message!r}; it must be a mapping.")
    # A null deep inside is padding if Arrow made the structs alike, and the writer's own if the message was JSON.
    plain = {key: value if from_json else _unpadded(value) for key, value in message.items() if value is not None}
    reasoning = next((plain[name] for name in _REASONING if name in plain), None)
    return plain if reasoning is None else {"thinking": reasoning, **plain, "reasoning_content": reasoning}


def _unpadded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _unpadded(item) for key, item in value.items() if item is not None}
    return [_unpadded(item) for item in value] if isinstance(value, list) else value


def _plain(value: Any) -> Any:
    """A value from a recipe or a caller in terms of JSON, which is all that a template should see."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _failed(
    step: ApplyTemplate, row: int, messages: Sequence[Message], number: int | None, error: Exception
) -> TemplateError:
    where = f"a conversation of {len(messages)} messages"
    if number is not None:
        message = messages[number]
        content = message.get("content")
        start = content[:40] if isinstance(content, str) else content
        where = f"message {number} (role {message.get('role')!r}, content {start!r})"
    return TemplateError(
        f"{step}: row {row} of the batch: {where}: {error}. Mend or drop the row, or pass on_error='null'."
    )


def _culprit(renderer: Renderer, messages: Sequence[Message], prompt: bool) -> int | None:
    """The message with which the template begins to fail, or None if it is none in particular."""
    works, fails = 0, len(messages)
    while fails - works > 1:
        middle = (works + fails) // 2
        try:
            renderer.render(messages[:middle], prompt and middle == len(messages))
            works = middle
        except Exception:
            fails = middle
    return fails - 1 if messages else None


def _labels(
    text: str, spans: Sequence[Span], encoding: Encoding, ids: npt.NDArray[np.int32], control: set[int]
) -> npt.NDArray[np.int32]:
    """The tokens that have a character in one of the spans, less the blanks after a span's last control token."""
    labels = np.full(len(ids), IGNORED, dtype=np.int32)
    # The offsets of all tokens as Python objects would take longer than rendering; only a few are looked at.
    chars, tokens = cast("Callable[[int], tuple[int, int]]", encoding.token_to_chars), range(len(ids))
    for start, end in spans:
        # Byte tokens of one character share its offsets, so both ends ascend.
        first = bisect_right(tokens, start, key=lambda token: chars(token)[1])
        last = stop = bisect_left(tokens, end, lo=first, key=lambda token: chars(token)[0])
        while stop > first and int(ids[stop - 1]) not in control and not text[slice(*chars(stop - 1))].strip():
            stop -= 1
        if stop > first and int(ids[stop - 1]) in control:
            last = stop
        labels[first:last] = ids[first:last]
    return labels


def _slices(rows: Sequence[int], texts: Sequence[str | None]) -> Iterator[list[int]]:
    part: list[int] = []
    size = 0
    for row in rows:
        part.append(row)
        size += len(texts[row] or "")
        if size >= ENCODE_CHARACTERS:
            yield part
            part, size = [], 0
    if part:
        yield part


def _lists(values: Sequence[npt.NDArray[np.int32]], lengths: npt.NDArray[np.int64], null: pa.Array) -> pa.Array:
    flat = np.concatenate(values) if values else np.zeros(0, dtype=np.int32)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(flat, pa.int32()), mask=null)


def _is_long(texts: Sequence[str | None]) -> bool:
    return sum(len(text) for text in texts if text is not None) * 4 >= 2**31


def _holds_messages(kind: pa.DataType) -> bool:
    if pa.types.is_null(kind):
        return True
    if not is_list(kind):
        return False
    item = kind.value_type
    if pa.types.is_struct(item):
        return any(item.field(place).name == "role" for place in range(item.num_fields))
    return bool(pa.types.is_null(item) or is_json(item))
