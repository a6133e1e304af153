"""`Embed` and `FitEmbed` write vectors wherever steps work, and recipes can hold what embeds."""

from __future__ import annotations

import pickle
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pytest
from datasets import Dataset, DatasetDict, List, Value
from datasets.fingerprint import Hasher

from tilth import Pipeline, recipe
from tilth.catalog import catalog
from tilth.embed import Embed, Embedder, FitEmbed, Model2Vec, SentenceTransformer, TfidfSvd, VLLMEmbedder
from tilth.errors import ArgumentError, ColumnTypeError, MissingColumnError, RecipeError
from tilth.filters import WordCount

TEXTS = ["Sort a list", None, "Sorting lists", "", "Name a prime", "Write about the sea", "Ein Satz", "列表"]
VECTORS = List(Value("float32"), length=32)


@pytest.fixture
def ds():
    return Dataset.from_dict({"text": TEXTS, "id": list(range(len(TEXTS)))})


@pytest.fixture
def step(ds):
    return Embed("text", TfidfSvd(dims=32).fitted(ds, "text"))


@dataclass(frozen=True)
class Constant(Embedder):
    """The same vector for every text."""

    size: int = 2

    @property
    def dims(self):
        return self.size

    def embed(self, texts):
        return np.full((len(texts), self.size), self.size**-0.5, dtype=np.float32)


def vectors_in(made):
    return np.stack(made.with_format("numpy")["embedding"][:])


def test_apply_and_both_ways_of_map_write_the_same_vectors(ds, step):
    made = step.apply(ds)
    assert made.features["embedding"] == VECTORS
    assert made["id"][:] == ds["id"][:]
    expected = step.embedder.embed(pa.array(TEXTS))
    assert np.linalg.norm(expected, axis=1).round(5).tolist() == [1, 0, 1, 0, 1, 1, 1, 1]
    assert np.array_equal(vectors_in(made), expected)
    mapped = ds.with_format("arrow").map(step, batched=True, batch_size=3)
    assert mapped.features["embedding"] == VECTORS
    assert np.array_equal(vectors_in(mapped), expected)
    plain = ds.map(step, batched=True, batch_size=3)
    assert plain.features["embedding"] == List(Value("float32"))
    assert np.array_equal(vectors_in(plain), expected)
    fixed = ds.map(step, batched=True, features=made.features)
    assert fixed.features == made.features
    pandas = ds.with_format("pandas").map(step, batched=True)
    assert np.array_equal(vectors_in(pandas), expected)


def test_processes_and_splits_and_streams_give_the_same(ds, step):
    expected = vectors_in(step.apply(ds))
    assert np.array_equal(vectors_in(ds.map(step, batched=True, num_proc=2)), expected)
    both = step.apply(DatasetDict({"train": ds, "test": ds.select([0, 2])}))
    assert np.array_equal(vectors_in(both["test"]), expected[[0, 2]])
    stream = step.apply(ds.to_iterable_dataset())
    assert np.array_equal(np.array([row["embedding"] for row in stream], dtype=np.float32), expected)


def test_rows_that_were_chosen_have_their_own_vectors(ds, step):
    expected = vectors_in(step.apply(ds))
    for chosen in ([5, 2, 0], [1, 3], [], [4]):
        made = step.apply(ds.select(chosen))
        assert made.features["embedding"] == VECTORS
        assert made["id"][:] == chosen
        assert np.array_equal(np.array(made["embedding"][:], dtype=np.float32).reshape(-1, 32), expected[chosen])


@pytest.mark.parametrize("kind", [pa.large_string(), pa.string()])
def test_chunks_and_types_of_text_make_no_difference(ds, step, kind):
    chunks = pa.chunked_array([pa.array(TEXTS[:3], kind), pa.array([], kind), pa.array(TEXTS[3:], kind)])
    made = step.apply(Dataset(pa.table({"text": chunks})))
    assert np.array_equal(vectors_in(made), vectors_in(step.apply(ds)))


def test_a_pipeline_writes_vectors_of_the_rows_that_are_left(ds, step, tmp_path):
    curated = Pipeline(WordCount("text", min=2), step).run(ds, cache_dir=tmp_path)
    assert curated.dataset.features["embedding"] == VECTORS
    kept = curated.dataset["id"][:]
    assert kept == [0, 2, 4, 5, 6, 7]
    assert np.array_equal(vectors_in(curated.dataset), vectors_in(step.apply(ds))[kept])
    again = Pipeline(WordCount("text", min=2), step).run(ds, cache_dir=tmp_path)
    assert all(record.cached for record in again.ledger.steps)


def test_fit_embed_fits_to_the_rows_that_reach_it(ds, tmp_path):
    pipeline = Pipeline(WordCount("text", min=2), FitEmbed("text", TfidfSvd(dims=32), into="v"), WordCount("text"))
    curated = pipeline.run(ds, cache_dir=tmp_path)
    assert curated.dataset.features["v"] == VECTORS
    left = ds.select(curated.dataset["id"][:])
    expected = TfidfSvd(dims=32).fitted(left, "text").embed(pa.array(left["text"][:]))
    assert np.array_equal(np.stack(curated.dataset.with_format("numpy")["v"][:]), expected)
    assert curated.ledger.steps[1].rows_out == curated.ledger.steps[1].rows_in == 6


def test_fit_embed_replaces_a_column_in_its_place_and_keeps_everything_else(ds):
    old = ds.add_column("embedding", [0] * len(ds)).select_columns(["embedding", "text"]).select([4, 0, 2])
    made = FitEmbed("text", TfidfSvd(dims=32)).apply(old.with_format("numpy"))
    assert made.column_names == ["embedding", "text"]
    assert made.features["embedding"] == VECTORS
    assert made.format["type"] == "numpy"
    assert made["text"][:].tolist() == ["Name a prime", "Sort a list", "Sorting lists"]
    assert FitEmbed("text", TfidfSvd(dims=32)).apply(ds.select([])).features["embedding"] == VECTORS


def test_fit_embed_takes_an_embedder_that_needs_no_fitting(ds):
    assert FitEmbed("text", Constant()).apply(ds)["embedding"][0] == pytest.approx([0.5**0.5] * 2)


def test_a_step_knows_what_it_reads_and_writes(ds, step):
    for each in (step, FitEmbed("text", TfidfSvd(dims=32))):
        assert each.schema(ds.features.arrow_schema).field("embedding").type == pa.list_(pa.float32(), 32)
    assert (step.reads, step.reads_text, step.writes) == (("text",), ("text",), ("embedding",))
    assert FitEmbed("text", TfidfSvd(), into="v").writes == ("v",)


def test_wrong_columns_are_refused(ds, step):
    for each in (Embed("texd", step.embedder), FitEmbed("texd", TfidfSvd())):
        with pytest.raises(MissingColumnError, match="Did you mean 'text'"):
            each.apply(ds)
    for each in (Embed("id", step.embedder), FitEmbed("id", TfidfSvd())):
        with pytest.raises(ColumnTypeError, match="reads column 'id' as text"):
            each.apply(ds)


@pytest.mark.parametrize("kind", [Embed, FitEmbed])
def test_bad_arguments_are_refused_by_name(kind, step):
    for arguments, message in (
        (("", step.embedder), "column='' is not allowed; it must be the name of a column"),
        (("text", "TfidfSvd"), "embedder='TfidfSvd' is not allowed; it must be an embedder"),
        (("text", step.embedder, ""), "into='' is not allowed"),
    ):
        with pytest.raises(ArgumentError, match=message):
            kind(*arguments)


def test_an_embedder_that_is_not_fitted_is_refused_with_what_to_do():
    with pytest.raises(ArgumentError, match=r"must be fitted: TfidfSvd\(\)\.fitted\(ds, 'text'\); or use FitEmbed"):
        Embed("text", TfidfSvd())


def test_steps_are_known_by_what_embeds(ds, step):
    same = Embed("text", TfidfSvd(dims=32).fitted(ds, "text"))
    other = Embed("text", TfidfSvd(dims=32).fitted(ds.select([0, 2]), "text"))
    assert step == same
    assert step.fingerprint == same.fingerprint != other.fingerprint
    step.apply(ds)
    assert Hasher.hash(step) == Hasher.hash(same) != Hasher.hash(other)
    back = pickle.loads(pickle.dumps(step))
    assert (back, back.fingerprint) == (step, step.fingerprint)
    assert FitEmbed("text", TfidfSvd()).fingerprint != FitEmbed("text", TfidfSvd(dims=64)).fingerprint


STEPS = (
    FitEmbed("text", TfidfSvd()),
    FitEmbed("text", TfidfSvd(dims=128, directions=0), into="v"),
    Embed("text", Model2Vec("minishlab/potion-base-8M", max_tokens=None)),
    Embed("text", SentenceTransformer("a/b", prompt="query: ", options={"device": "cpu", "truncate_dim": 8})),
    Embed("text", VLLMEmbedder("a/b", engine_args={"max_model_len": 512})),
)


def test_steps_come_back_from_a_recipe():
    pipeline = Pipeline(*STEPS)
    text = recipe.dumps(pipeline)
    back = recipe.loads(text).pipeline
    assert back.steps == pipeline.steps
    assert [step.fingerprint for step in back.steps] == [step.fingerprint for step in pipeline.steps]
    assert recipe.dumps(back) == text


def test_an_embedder_is_written_as_its_class_with_what_differs():
    assert recipe.dumps(Pipeline(*STEPS[:2])) == (
        "tilth: 1\n"
        "steps:\n"
        "- embed.FitEmbed: {column: text, embedder: TfidfSvd}\n"
        "- embed.FitEmbed:\n"
        "    column: text\n"
        "    embedder:\n"
        "      TfidfSvd: {dims: 128, directions: 0}\n"
        "    into: v\n"
    )


def test_an_embedder_of_ones_own_is_handed_in():
    pipeline = Pipeline(Embed("text", Constant(3)))
    text = recipe.dumps(pipeline)
    assert "Constant: {size: 3}" in text
    assert recipe.loads(text, extra=[Constant]).pipeline.steps == pipeline.steps
    with pytest.raises(RecipeError, match="there is no Embedder 'Constant'"):
        recipe.loads(text)


def test_what_was_fitted_is_no_part_of_a_recipe(step):
    with pytest.raises(RecipeError, match=r"embed\.Embed\.embedder holds a FittedTfidfSvd, which a recipe cannot hold"):
        recipe.dumps(Pipeline(step))
    with pytest.raises(RecipeError, match=r"line 4.*field 'embedder': this value could not be written"):
        recipe.loads(
            recipe.dumps(Pipeline(step), lossy=True).replace(
                "- embed.Embed: {column: text, ", "- embed.Embed: {column: text,\n    "
            )
        )


@pytest.mark.parametrize(
    "embedder, message",
    [
        ("{TfidfSvd: {dim: 3}}", "field 'embedder.dim': there is no such field; TfidfSvd has dims"),
        ("{TfidfSvd: {dims: 3}}", "field 'embedder.dims': TfidfSvd: dims=3 is not allowed; it must be from 4 to 4096"),
        ("{TfidfSvd: {dims: x}}", "field 'embedder.dims': 'x' does not fit int"),
        ("{TfidfSvd: [1]}", "field 'embedder': give its fields as a mapping: {dims: ..."),
        ("tfidfsvd", "field 'embedder': there is no Embedder 'tfidfsvd'.*Did you mean 'TfidfSvd'?"),
        ("Model2Vec", "field 'embedder': the field 'model' is missing"),
        ("{Embed: {column: a}}", "there is no Embedder 'Embed'"),
        ("{Embedder: {}}", "there is no Embedder 'Embedder'"),
        (
            "{TfidfSvd: {}, Model2Vec: {}}",
            "field 'embedder': it must be one of Model2Vec, SentenceTransformer, TfidfSvd",
        ),
        ("[TfidfSvd]", "field 'embedder': it must be one of"),
        ("null", "field 'embedder': FitEmbed: embedder=None is not allowed; it must be an embedder"),
        ("{Model2Vec: {model: a, max_tokens: 0}}", "field 'embedder.max_tokens': Model2Vec: max_tokens=0"),
    ],
)
def test_an_error_names_file_line_step_and_field(embedder, message):
    text = f"tilth: 1\nsteps:\n- embed.FitEmbed:\n    column: text\n    embedder: {embedder}\n"
    with pytest.raises(RecipeError) as caught:
        recipe.loads(text, "r.yaml")
    place, found = str(caught.value).split(", field", 1)
    assert place == "r.yaml, line 5, step 1 (embed.FitEmbed)"
    for part in message.removeprefix("field").split(".*"):
        assert part in found


def test_the_steps_of_the_room_are_in_the_catalog():
    assert {name for name in catalog() if name.startswith("embed.")} == {"embed.Embed", "embed.FitEmbed"}
