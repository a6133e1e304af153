"""The demo makes its rows from what is installed, and does the whole job on them and on a user's own."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest
from datasets import Dataset, Value, config

from tilth import demo, docstrings, recipe, sources
from tilth.chat import Layout
from tilth.errors import ArgumentError, SourceError


@pytest.fixture(autouse=True)
def _alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(config, "HF_DATASETS_CACHE", str(tmp_path / ".cache"))


CODE = '''
"""About the module."""
import os
if os.name == "nt":
    def windows(path: str) -> str:
        """Only there."""
try:
    class Base(object):
        """A class."""
        def run(self, *args: int, key="a", **rest) -> None:
            """Runs."""
        async def wait(self):
            """Waits."""
        def silent(self): pass
        class Inner:
            def deep(self, /): "Deep."
except ImportError:
    pass
def outer():
    """Outer."""
    def hidden():
        """Not reachable by name."""
x = """not a docstring"""
'''


def test_every_documented_object_is_found_with_its_signature():
    found = [(e.kind, e.path, e.signature, e.text) for e in docstrings.documented(ast.parse(CODE), "m")]
    assert found == [
        ("module", "m", "", "About the module."),
        ("function", "m.windows", "windows(path: str) -> str", "Only there."),
        ("class", "m.Base", "Base(object)", "A class."),
        ("function", "m.outer", "outer()", "Outer."),
        ("method", "m.Base.run", "run(self, *args: int, key='a', **rest) -> None", "Runs."),
        ("method", "m.Base.wait", "wait(self)", "Waits."),
        ("method", "m.Base.Inner.deep", "deep(self, /)", "Deep."),
    ]


@pytest.mark.parametrize(
    ("path", "module"),
    [
        ("a/b.py", "a.b"),
        ("a/__init__.py", "a"),
        ("a.py", "a"),
        ("a/tests/b.py", None),
        ("test/b.py", None),
        ("site-packages/a.py", None),
        ("../../bin/tool.py", None),
        ("a/b-c.py", None),
    ],
)
def test_modules_are_named_as_they_are_imported(path, module):
    assert docstrings.module_name(Path(path).parts) == module


@pytest.mark.parametrize("content", [b"def f(:\n '''x'''", b"'''\xff'''", b"'''\x00'''", b"''''''" + b"(" * 3000])
def test_a_file_that_is_no_python_gives_no_rows(tmp_path, content):
    (tmp_path / "bad.py").write_bytes(content)
    assert list(docstrings.rows_of_file(tmp_path / "bad.py", "bad", "p", "MIT")) == []
    assert list(docstrings.rows_of_file(tmp_path / "absent.py", "bad", "p", "MIT")) == []


def test_an_escaped_surrogate_becomes_text(tmp_path):
    (tmp_path / "odd.py").write_text('def f():\n    """A lone \\udc80 surrogate."""\n')
    (row,) = docstrings.rows_of_file(tmp_path / "odd.py", "odd", "p", "MIT")
    assert row["answer"] == "A lone ? surrogate."


def test_the_rows_are_text_in_a_file_and_the_same_every_time(tmp_path, monkeypatch):
    first = demo.build(400, tmp_path / "a")
    again = demo.build(400, tmp_path / "b")
    assert first.column_names == list(docstrings.COLUMNS)
    assert first.features == {name: Value("string") for name in docstrings.COLUMNS}
    assert len(first) == 400
    assert first.cache_files
    assert first.to_list() == again.to_list()
    assert all(row["question"] and row["answer"] and row["licence"] and row["kind"] in docstrings._ASK for row in first)
    assert any("`" in row["question"] for row in first)
    monkeypatch.setattr(docstrings, "rows", None)
    assert len(demo.build(400, tmp_path / "a")) == 400


@pytest.mark.slow
def test_an_installation_gives_twenty_thousand_rows(tmp_path):
    ds = demo.build(20_000, tmp_path)
    assert len(ds) == 20_000
    assert {"function", "method", "class", "module", "package"} <= set(ds.unique("kind"))
    assert len(set(ds["answer"][:])) < len(ds)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (
            {"id": 1, "instruction": "a", "input": "", "output": "b"},
            Layout("alpaca", {"instruction": "instruction", "input": "input", "output": "output"}),
        ),
        (
            {"prompt": "a", "completion": "b"},
            Layout("prompt_completion", {"prompt": "prompt", "completion": "completion"}),
        ),
        (
            {"answer": "b", "question": "a", "text": "c"},
            Layout("prompt_completion", {"prompt": "question", "completion": "answer"}),
        ),
        ({"messages": [{"role": "user", "content": "a"}], "source": "x"}, Layout("openai", {"messages": "messages"})),
        (
            {"conversations": [{"from": "human", "value": "a"}]},
            Layout("sharegpt", {"conversations": "conversations"}),
        ),
        ({"url": "a", "text": "b"}, "text"),
        ({"id": 3, "tweet": "b"}, "tweet"),
    ],
)
def test_the_text_columns_are_found_by_their_names(row, expected):
    assert demo.layout(Dataset.from_list([row])) == expected


@pytest.mark.parametrize("row", [{"a": "x", "b": "y"}, {"n": 1}])
def test_columns_that_say_nothing_are_refused(row):
    with pytest.raises(SourceError, match="instruction/output"):
        demo.layout(Dataset.from_list([row]))


def test_what_is_held_out_is_small_long_enough_and_not_kept():
    words = "one two three four five six seven"
    texts = [words if n % 3 else f"{words} eight" for n in range(9000)]
    ds = Dataset.from_dict({"module": [f"m{n // 10}" for n in range(9000)], "n": range(9000), "text": texts})
    rest, held = demo._hold_out(ds, "text", "module")
    assert sorted([*rest["n"][:], *held["n"][:]]) == list(range(9000))
    assert 0 < len(held) < 200
    assert all(n % 3 == 0 for n in held["n"])
    assert len(set(held["module"][:])) < 60
    rest, held = demo._hold_out(ds, "text")
    assert len(held) == 60
    assert all(n % 3 == 0 for n in held["n"])
    assert sorted([*rest["n"][:], *held["n"][:]]) == list(range(9000))
    assert demo._hold_out(ds.select(range(40)), "text")[1] is None
    assert demo._hold_out(ds.select([]), "text")[1] is None


def test_html_goes_where_most_of_the_data_has_it_and_stays_where_it_may_be_code(capsys):
    page = [f"<p>The {n}th answer is &quot;{n * n}&quot;, as you may see.</p>" for n in range(40)]
    code = [f"The {n}th answer is {n * n}, as you may see." for n in range(39)] + ["<ul><li>one</li></ul>"]
    for answers, expected in ((page, 'The 7th answer is "49", as you may see.'), (code, "<ul><li>one</li></ul>")):
        rows = Dataset.from_dict({"question": [f"What is answer {n}?" for n in range(40)], "answer": answers})
        rows.to_json("rows.jsonl")
        assert expected in demo.main("rows.jsonl", "out", overwrite=True).dataset["answer"][:]
    assert "HTML in 2.5% of 'answer': left as it is" in capsys.readouterr().out


def test_the_recipe_of_the_demo_runs_again():
    curated = demo.main(out="out", rows=6000)
    held_out = sources.load("out-held-out.parquet")
    assert not set(held_out["object"][:]) & set(curated.dataset["object"][:])
    again = recipe.load("out/recipe.yaml").pipeline
    assert [step.fingerprint for step in again.steps] == [step.fingerprint for step in curated.pipeline.steps]


def test_a_file_that_is_in_the_way_is_left_alone(tmp_path):
    (tmp_path / "out-held-out.parquet").write_text("mine")
    with pytest.raises(ArgumentError, match="held-out"):
        demo.main(out="out", rows=10)


def instructions(count: int) -> list[dict[str, str]]:
    return [
        {
            "instruction": f"What is the {n}th number after {n * 7}, and why would anyone want to know it?",
            "output": f"It is {n * 8}, because {n} is added {n} times to the number {n * 7} that you asked about.",
        }
        for n in range(count)
    ]


@pytest.mark.parametrize(
    ("rows", "kept"),
    [
        (instructions(100), range(90, 99)),
        ([{"text": row["output"]} for row in instructions(100)], range(90, 101)),
        (
            [
                {
                    "messages": [
                        {"role": "user", "content": row["instruction"]},
                        {"role": "assistant", "content": row["output"]},
                    ]
                }
                for row in instructions(100)
            ],
            range(90, 101),
        ),
        ([{"prompt": "なに?", "completion": f"{n} は数です。"} for n in range(10)], range(1, 11)),
    ],
)
def test_data_of_ones_own_goes_the_same_way(tmp_path, rows, kept):
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*rows, rows[0]]))
    curated = demo.main("rows.jsonl", "out")
    assert len(curated.dataset) in kept
    assert "text" in curated.dataset.column_names
    assert len(sources.load("out")) == len(curated.dataset)


def test_the_pipelines_can_be_written_as_recipes():
    alpaca = Layout("alpaca", {"instruction": "instruction", "output": "output"})
    for pipeline in (demo.pipeline(), demo.pipeline_for(alpaca), demo.pipeline_for("text")):
        assert recipe.loads(recipe.dumps(pipeline)).pipeline.steps == pipeline.steps
