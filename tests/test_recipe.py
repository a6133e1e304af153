"""A recipe says what a pipeline is; when it cannot, the error says where."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from tilth import Pipeline, catalog, dedup, filters, recipe
from tilth.catalog import parameters
from tilth.errors import MissingExtraError, RecipeError
from tilth.sources import Source
from tilth.step import FilterStep, MapStep, Verdict, require


@dataclass(frozen=True)
class Between(FilterStep):
    """Keep texts of a length."""

    column: str
    min: int = 1
    max: int | None = None
    share: float = 0.5
    unit: Literal["word", "character"] = "word"
    words: tuple[str, ...] = ()
    strict: bool = False
    weights: dict[str, float] = field(default_factory=dict)
    reasons: ClassVar[tuple[str, ...]] = ("short",)

    def __post_init__(self) -> None:
        require(self.max is None or self.min <= self.max, self, "max", f"at least min={self.min}, or None")

    def verdict(self, table: pa.Table) -> Verdict:
        return Verdict(np.zeros(table.num_rows, dtype=np.uint8), self.reasons)


@dataclass(frozen=True, init=False)
class Upper(MapStep):
    """Columns as positional arguments."""

    columns: tuple[str, ...]
    form: str | None

    def __init__(self, *columns: str, form: str | None = "NFC") -> None:
        self._set(columns=columns, form=form)

    @property
    def writes(self) -> tuple[str, ...]:
        return self.columns

    def transform(self, table: pa.Table) -> dict[str, Any]:
        return {name: table[name] for name in self.columns}


@dataclass(frozen=True)
class Against(Between):
    """Holds what YAML cannot."""

    column: str = "text"
    against: object = None


@dataclass(frozen=True)
class Wrapped(MapStep):
    """A step within a step."""

    inner: FilterStep
    writes: ClassVar[tuple[str, ...]] = ()

    def transform(self, table: pa.Table) -> dict[str, Any]:
        return {}


@dataclass(frozen=True)
class NeedsExtra(Against):
    """Cannot be made here."""

    def __post_init__(self) -> None:
        raise MissingExtraError("NeedsExtra", "thing", "things")


OWN = (Between, Upper, Against, Wrapped, NeedsExtra)


def read(text: str) -> recipe.Recipe:
    return recipe.loads(text, "r.yaml", extra=OWN)


def fault(text: str) -> str:
    with pytest.raises(RecipeError) as caught:
        read(text)
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is None
    return str(caught.value)


def steps(*lines: str) -> str:
    return "tilth: 1\nsteps:\n" + "\n".join(lines)


tricky = [
    "1e5",
    "yes",
    "1:30",
    "0x10",
    "010",
    "~",
    "null",
    "1_000",
    ".5",
    "2024-01-01",
    "=",
    "<<",
    "- a",
    "a: b",
    "# c",
]
texts = st.text(max_size=12) | st.sampled_from(tricky)
between = st.builds(
    lambda low, extra, **fields: Between(min=low, max=None if extra is None else low + extra, **fields),
    low=st.integers(-(10**20), 10**20),
    extra=st.none() | st.integers(0, 9),
    column=texts,
    share=st.floats(allow_nan=False),
    unit=st.sampled_from(["word", "character"]),
    words=st.lists(texts, max_size=3).map(tuple),
    strict=st.booleans(),
    weights=st.dictionaries(texts, st.floats(allow_nan=False), max_size=3),
)
upper = st.builds(lambda columns, form: Upper(*columns, form=form), st.lists(texts, max_size=3), st.none() | texts)
names = st.none() | st.sampled_from(["a", "Between", "Between 2", "yes", "1", "no: #", "名"])


@given(st.lists(st.tuples(names, between | upper | st.builds(Wrapped, between)), min_size=1, max_size=4), st.data())
@settings(max_examples=150, deadline=None)
def test_a_pipeline_comes_back_from_its_recipe(parts, data):
    seen: set[str] = set()
    items = []
    for name, step in parts:
        items.append(step if name is None or name in seen else (name, step))
        seen.add(name)
    pipeline = Pipeline(*items)
    source = data.draw(st.none() | st.builds(Source, st.text(min_size=1), st.none() | st.text(min_size=1)))
    text = recipe.dumps(pipeline, source)
    back = recipe.loads(text, extra=OWN)
    assert back.pipeline.steps == pipeline.steps
    assert back.pipeline.names == pipeline.names
    assert back.source == source
    assert [step.fingerprint for step in back.pipeline.steps] == [step.fingerprint for step in pipeline.steps]
    assert recipe.dumps(back.pipeline, back.source) == text


def test_a_name_that_the_pipeline_would_give_to_another_step_is_written():
    pipeline = Pipeline(("a", Between("x")), ("Between 2", Between("y")))
    assert read(recipe.dumps(pipeline)).pipeline.names == ("a", "Between 2")


def test_the_steps_of_the_rooms_come_back(tmp_path):
    path = tmp_path / "bench.jsonl"
    path.write_text('{"text": "one two three four five six seven eight nine ten"}\n')
    pipeline = Pipeline(
        filters.WordCount("text", min=2, max=9),
        filters.GopherQuality("text", min_doc_words=None, max_avg_word_length=11.5, stop_words=("no", "yes")),
        dedup.Exact("a", "b", normalize=False, keep="max:score"),
        dedup.MinHash("text", threshold=0.7, keep={"lang": ["de", "no"]}),
        dedup.Decontaminate("text", against={"bench": {"path": str(path), "split": "train"}}, ngram=8),
    )
    text = recipe.dumps(pipeline)
    back = recipe.loads(text).pipeline
    assert back.steps == pipeline.steps
    assert [step.fingerprint for step in back.steps] == [step.fingerprint for step in pipeline.steps]
    assert recipe.dumps(back) == text


def test_only_fields_that_differ_from_their_defaults_are_written():
    text = recipe.dumps(Pipeline(Upper("a", "b"), ("length", Between("a", min=3, unit="word"))), "data.jsonl")
    assert text == (
        "tilth: 1\n"
        "source: data.jsonl\n"
        "steps:\n"
        "- Upper:\n"
        "    columns: [a, b]\n"
        "- Between: {column: a, min: 3}\n"
        "  name: length\n"
    )


def test_scalars_are_read_as_yaml_1_2():
    step = read(
        steps("- Between: {column: no, share: 1e-5, words: [2024-01-01, 1:30, yes, 0x10, 010]}")
    ).pipeline.steps[0]
    assert step.column == "no"
    assert step.share == 1e-5
    assert step.words == ("2024-01-01", "1:30", "yes", "0x10", "010")


def test_a_step_may_be_a_bare_word_and_columns_a_single_one():
    pipeline = read(steps("- Against", "- Upper:", "- Upper: {columns: text}")).pipeline
    assert pipeline.steps == (Against(), Upper(), Upper("text"))


def test_the_source_may_name_a_split():
    assert read("tilth: 1\nsource: {path: a/b, split: test}\nsteps: [Against]").source == Source("a/b", "test")


def test_steps_of_the_rooms_are_found_by_room_and_class():
    for key, step in catalog.catalog().items():
        room, name = key.split(".")
        assert step.__module__.startswith(f"tilth.{room}")
        assert step.__name__ == name
        assert all(parameter.name.isidentifier() for parameter in parameters(step))


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ["r.yaml: the file is empty"]),
        ("# nothing", ["r.yaml: the file is empty"]),
        ("- a\n- b", ["r.yaml, line 1", "a recipe must be a mapping", "tilth, source, steps"]),
        ("tilth: 1\nsteps: [\n", ["r.yaml, line 3", "not YAML"]),
        ("tilth: 1\nstep: []", ["line 2", "no key 'step'", "Did you mean 'steps'"]),
        ("steps: [Against]", ["r.yaml: the format is missing", "tilth: 1"]),
        ("tilth: 2\nsteps: [Against]", ["line 1", "field 'tilth'", "format 2 is unknown"]),
        ("tilth: true\nsteps: [Against]", ["format True is unknown"]),
        ("tilth: 1", ["no steps"]),
        ("tilth: 1\nsteps: []", ["line 2", "field 'steps'", "one step or more"]),
        ("tilth: 1\nsteps: Against", ["line 2", "field 'steps'"]),
        ("tilth: 1\ntilth: 1\nsteps: [Against]", ["line 2", "'tilth' is already on line 1"]),
        ("tilth: 1\nsource: {split: a}\nsteps: [Against]", ["line 2", "field 'source'", "path is missing"]),
        ("tilth: 1\nsource: {path: 3}\nsteps: [Against]", ["path is 3", "must be text"]),
        ("tilth: 1\nsource: {path: a, splt: b}\nsteps: [Against]", ["no key 'splt'", "Did you mean 'split'"]),
        (steps("- Betwen: {column: a}"), ["line 3, step 1 (Betwen)", "no such step", "Did you mean Between?"]),
        (steps("- clean.between: {column: a}"), ["Did you mean Between?"]),
        (steps("- os.system: {command: ls}"), ["step 1 (os.system)", "no such step"]),
        (steps("- Against", "- Between:", "    column: a", "    mni: 3"), ["line 6, step 2 (Between), field 'mni'"]),
        (steps("- Between: {column: a, mni: 3}"), ["column, min, max", "Did you mean 'min'?"]),
        (steps("- Between: {min: 3}"), ["step 1 (Between)", "the field 'column' is missing"]),
        (steps("- Between: {column: a, min: three}"), ["field 'min'", "'three' does not fit int", "valid integer"]),
        (steps("- Between: {column: a, min: true}"), ["field 'min'", "True does not fit int"]),
        (steps("- Between: {column: 3}"), ["field 'column'", "3 does not fit str"]),
        (steps("- Between: {column: a, unit: line}"), ["field 'unit'", "'word' or 'character'"]),
        (steps("- Between: {column: a, words: b}"), ["field 'words'", "'b' does not fit tuple[str, ...]"]),
        (steps("- Between:", "    column: a", "    min: 5", "    max: 2"), ["line 6", "field 'max'", "max=2 is not"]),
        (steps("- Between: {column: a, column: b}"), ["line 3", "'column' is already on line 3"]),
        (steps("- Between: [a]"), ["give its fields as a mapping"]),
        (steps("- Between:", "  column: a"), ["line 4", "'column' stands beside Between", "indent it"]),
        (steps("- name: a"), ["line 3, step 1", "the step is missing"]),
        (steps("- {Against: , name: 3}"), ["field 'name'", "3 is not text"]),
        (steps("- [a]"), ["step 1", "must be written as"]),
        (steps("- {Against: , name: a}", "- {Against: , name: a}"), ["line 4, step 2", "already the name of step 1"]),
        (steps("- {Against: , name: ' a'}"), ["line 3", "a step name must be"]),
        (steps("- Between: {column: !!python/name:os.system x}"), ["line 3", "tag", "not allowed"]),
        (steps("- Between: {column: !!binary aGk=}"), ["tag", "not allowed"]),
        (steps("- Between: {column: !!int x}"), ["'x' is not a value of its type"]),
        (steps("- &a [*a]"), ["line 3", "refers to itself"]),
        (steps("- ? [a]\n  : b"), ["a key must be a word"]),
        ("[" * 20_000, ["nested too deep"]),
        ("tilth: 1\nsteps: [Against]\n--- \ntilth: 1", ["not YAML"]),
        ("tilth: 1\n\x00", ["line 2", "not text"]),
    ],
)  # fmt: skip
def test_an_error_names_file_line_step_and_field(text, parts):
    found = fault(text)
    for part in parts:
        assert part in found
    assert found.startswith("r.yaml")


def test_aliases_that_multiply_are_refused():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 9)]
    assert "without end" in fault("\n".join(lines))


def test_a_missing_extra_is_named_as_such():
    with pytest.raises(MissingExtraError, match=r"tilth\[things\]"):
        read(steps("- NeedsExtra"))


class _Named:
    def __init__(self, **names: str) -> None:
        self.__dict__.update(names)

    fingerprint = "0"


def test_a_value_is_written_as_the_name_it_knows_itself_by():
    assert "against: a.jsonl" in recipe.dumps(Pipeline(Against(against=_Named(source="a.jsonl"))))
    assert "against: owner/model" in recipe.dumps(Pipeline(Against(against=_Named(name_or_path="owner/model"))))
    assert "against: p/q.txt" in recipe.dumps(Pipeline(Against(against=Path("p/q.txt"))))


def test_a_value_without_a_name_is_refused_by_step_and_field():
    pipeline = Pipeline(Against(against=Dataset.from_dict({"text": ["a"]})))
    with pytest.raises(RecipeError, match=r"Against\.against holds a Dataset"):
        recipe.dumps(pipeline)


def test_a_lossy_recipe_says_what_it_left_out_and_is_refused_there():
    text = recipe.dumps(Pipeline(Against(against=Dataset.from_dict({"text": ["a"]}))), lossy=True)
    found = fault(text)
    assert "step 1 (Against), field 'against'" in found
    assert "a Dataset" in found


def test_a_file_is_read_from_disk(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text("\ufefftilth: 1\nsource: é.jsonl\nsteps: [Against]", encoding="utf-8")
    assert recipe.load(path, extra=OWN).source == Source("é.jsonl")
    with pytest.raises(RecipeError, match=r"no such recipe. Did you mean .*r\.yaml"):
        recipe.load(tmp_path / "rr.yaml")
    with pytest.raises(RecipeError, match="cannot be read"):
        recipe.load(tmp_path)
    path.write_bytes(b"tilth: \xff")
    with pytest.raises(RecipeError, match="byte 7 is not UTF-8"):
        recipe.load(path)
