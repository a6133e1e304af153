"""Tokenizers and chat templates for the tests of this room: tiny, and each with a trait that real ones have."""

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

CONTROL = [
    "<s>",
    "</s>",
    "<|im_start|>",
    "<|im_end|>",
    "<think>",
    "</think>",
    "[INST]",
    "[/INST]",
    "<|user|>",
    "<|bot|>",
]

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>' + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
# The same text with the assistant's part marked.
CHATML_MARKED = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' }}"
    "{% if m['role'] == 'assistant' %}{% generation %}{{ m['content'] + '<|im_end|>' }}{% endgeneration %}"
    "{% else %}{{ m['content'] + '<|im_end|>' }}{% endif %}{{ '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
# Writes the BOS, trims, has no generation prompt, and refuses what does not alternate.
INST = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}"
    "{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] | trim + ' [/INST]' }}"
    "{% else %}{{ ' ' + m['content'] | trim + eos_token }}{% endif %}{% endfor %}"
)
# Shows the reasoning of the last turn only, as an empty block where there is none.
THINKING = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' }}"
    "{% if m.role == 'assistant' and loop.last %}"
    "{{ '<think>\\n' + (m.reasoning_content or '') + '\\n</think>\\n\\n' }}{% endif %}"
    "{{ m.content + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}"
    "{% if enable_thinking is defined and not enable_thinking %}"
    "{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}{% endif %}"
)
# Opens the reasoning in the generation prompt, and stores no reasoning; has no end of turn.
OPENS_THINKING = (
    "{% for m in messages %}{{ ('<|bot|>' if m.role == 'assistant' else '<|user|>') + m.content }}{% endfor %}"
    "{% if add_generation_prompt %}<|bot|><think>{% endif %}"
)
# A header, but no way to ask for it alone.
NO_PROMPT = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endfor %}"


def tokenizer(template=CHATML, trim_offsets=True, **special):
    """A byte-level BPE with the traits of a real one: control tokens, a BOS of its own, offsets without blanks."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=CONTROL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(["what is this, it is that\n\nuser assistant system question answer"] * 3, trainer)
    start = backend.token_to_id("<s>")
    backend.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=trim_offsets),
            processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", start)]),
        ]
    )
    given = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "</s>", **special}
    made = PreTrainedTokenizerFast(tokenizer_object=backend, **given)
    made.chat_template = template
    return made


def word_tokenizer(template=CHATML):
    """A tokenizer whose tokens do not cover the blanks of a text, nor words it does not know."""
    backend = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.WordLevelTrainer(special_tokens=["[UNK]", *CONTROL], show_progress=False)
    backend.train_from_iterator(["user assistant what is this it is that"], trainer)
    made = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>", unk_token="[UNK]")
    made.chat_template = template
    return made


def chat(*contents, system=None):
    """A conversation in which user and assistant take turns."""
    opening = [] if system is None else [{"role": "system", "content": system}]
    return opening + [
        {"role": "assistant" if turn % 2 else "user", "content": content} for turn, content in enumerate(contents)
    ]
