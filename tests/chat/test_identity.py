import os
import subprocess
import sys
import textwrap

SCRIPT = """
import sys
from datasets import Dataset
from datasets.fingerprint import Hasher
from transformers import AutoTokenizer
from tilth.chat import ApplyTemplate, ToMessages

made_by = AutoTokenizer.from_pretrained(sys.argv[1])
step = ApplyTemplate(made_by, mask="assistant", template_kwargs={"b": 1, "a": [True, None]})
to_messages = ToMessages("sharegpt", columns={"conversations": "c", "system": "s"})
before = [step.fingerprint, Hasher.hash(step), to_messages.fingerprint, Hasher.hash(to_messages)]
made_by(["a", "what is this"], padding=True, truncation=True, max_length=3)
step.apply(Dataset.from_dict({"messages": [[{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]]}))
to_messages.apply(Dataset.from_dict({"c": [[{"from": "human", "value": "q"}]], "s": ["s"]}))
after = [step.fingerprint, Hasher.hash(step), to_messages.fingerprint, Hasher.hash(to_messages)]
again = ApplyTemplate(made_by, mask="assistant", template_kwargs={"a": [True, None], "b": 1})
assert before == after, (before, after)
assert [again.fingerprint, Hasher.hash(again)] == before[:2]
print(*before)
"""


def run(code, *arguments, seed="0"):
    environment = {**os.environ, "PYTHONHASHSEED": seed, "HF_HUB_OFFLINE": "1"}
    made = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments], env=environment, capture_output=True, text=True
    )
    assert made.returncode == 0, made.stderr
    return made.stdout.split()


def test_steps_are_known_by_the_same_hashes_before_and_after_use_in_every_process(tmp_path):
    from tests.chat.chats import tokenizer

    tokenizer("{{ a }}{{ b }}{% for m in messages %}{{ m.content }}{% endfor %}").save_pretrained(tmp_path)
    first = run(SCRIPT, str(tmp_path), seed="1")
    assert len(set(first)) == 4
    assert run(SCRIPT, str(tmp_path), seed="2") == first


def test_the_room_loads_no_heavy_package():
    heavy = ("transformers", "tokenizers", "jinja2", "numba")
    assert run(f"import sys, tilth.chat; print(*[name for name in {heavy} if name in sys.modules])") == []
