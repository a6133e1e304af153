"""Embedders that hand texts to a model: what the model is given, and what is made of what it gives."""

from __future__ import annotations

import gc
import pickle
import sys
from dataclasses import dataclass
from threading import Thread
from types import ModuleType, SimpleNamespace
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pytest

from tilth.embed import Model2Vec, SentenceTransformer, VLLMEmbedder
from tilth.embed.embedder import _LOADED, ModelEmbedder, unit
from tilth.errors import ArgumentError, ColumnTypeError, MissingExtraError


@dataclass(frozen=True)
class Letters(ModelEmbedder):
    """How often a text has each of the letters a to d."""

    name: str = "letters"

    calls: ClassVar[list[list[str]]] = []
    loads: ClassVar[list[str]] = []

    def load(self):
        self.loads.append(self.name)
        return SimpleNamespace()

    def encode(self, model, texts):
        self.calls.append(texts)
        return [[text.count(letter) for letter in "abcd"] for text in texts]

    @property
    def dims(self):
        return 4


@pytest.fixture(autouse=True)
def _nothing_called():
    Letters.calls.clear()
    Letters.loads.clear()


@pytest.fixture(scope="module")
def static_model(tmp_path_factory):
    """A folder with a static model: a vector for each of some words."""
    model2vec = pytest.importorskip("model2vec")
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.normalizers import Lowercase
    from tokenizers.pre_tokenizers import Whitespace

    known = ["[UNK]", "[PAD]", "sort", "order", "list", "array", "sea", "ocean"]
    tokenizer = Tokenizer(WordLevel({word: place for place, word in enumerate(known)}, unk_token="[UNK]"))
    tokenizer.normalizer = Lowercase()
    tokenizer.pre_tokenizer = Whitespace()
    vectors = np.zeros((len(known), 6), dtype=np.float32)
    for place, word in enumerate(known[2:]):
        vectors[known.index(word), place // 2] = 1 + place
    folder = tmp_path_factory.mktemp("static")
    model2vec.StaticModel(vectors, tokenizer, normalize=False).save_pretrained(str(folder))
    return str(folder)


def test_rows_have_length_one_and_nothing_to_embed_gives_zeros():
    vectors = Letters().embed(pa.array(["aab", None, "", " \n\u3000", "zzz", "dddd"]))
    assert vectors.dtype == np.float32
    expected = np.array([[2, 1, 0, 0]] + [[0] * 4] * 4 + [[0, 0, 0, 1]]) / np.array([[5**0.5]] + [[1]] * 5)
    assert np.allclose(vectors, expected)


def test_a_model_sees_each_text_once_and_no_blank_one():
    texts = pa.array(["a", "b", None, "a", " ", "b", "a"])
    assert Letters().embed(texts).argmax(axis=1).tolist() == [0, 1, 0, 0, 0, 1, 0]
    assert Letters.calls == [["a", "b"]]


def test_a_model_is_not_asked_where_there_is_nothing():
    assert Letters().embed(pa.array([None, ""], pa.string())).shape == (2, 4)
    assert Letters().embed(pa.array([], pa.string())).shape == (0, 4)
    assert Letters.calls == []


@pytest.mark.parametrize("rows", [2, 100])
def test_texts_of_any_arrow_type_in_any_chunks(rows, monkeypatch):
    monkeypatch.setattr("tilth.embed.embedder._TEXTS_AT_ONCE", rows)
    texts = ["aab", None, "c", "", "aab", "d😀", "c"]
    expected = Letters().embed(pa.array(texts))
    assert expected.any(axis=1).tolist() == [True, False, True, False, True, True, True]
    for kind in (pa.large_string(), pa.string_view()):
        assert np.array_equal(Letters().embed(pa.array(texts, kind)), expected)
    assert np.array_equal(Letters().embed(pa.array(texts).dictionary_encode()), expected)
    assert np.array_equal(Letters().embed(pa.array(["x", *texts]).slice(1)), expected)
    assert np.array_equal(Letters().embed(pa.chunked_array([texts[:3], [], texts[3:]], pa.string())), expected)
    assert not Letters().embed(pa.nulls(3)).any()
    with pytest.raises(ColumnTypeError):
        Letters().embed(pa.array([1, 2]))


def test_bytes_that_are_no_text_reach_the_model_as_replacement_characters():
    data = b"a\xffb"
    broken = pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(np.int32([0, 3])), pa.py_buffer(data)])
    Letters().embed(broken)
    assert Letters.calls == [["a\ufffdb"]]


def test_what_has_no_direction_is_zeros():
    given = np.array([[3, 4], [0, 0], [np.nan, 1], [np.inf, 1], [1e-30, 0], [1e30, 1e30]])
    assert np.allclose(unit(given), [[0.6, 0.8], [0, 0], [0, 0], [0, 0], [1, 0], [0.5**0.5] * 2])


def test_equal_embedders_share_a_model_that_goes_with_the_last_of_them():
    one, other, third = Letters(), Letters(), Letters("more")
    for each in (one, other, third, pickle.loads(pickle.dumps(one))):
        each.embed(pa.array(["a"]))
    assert Letters.loads == ["letters", "more"]
    key = one.fingerprint
    assert key in _LOADED
    del one, each
    gc.collect()
    assert key in _LOADED
    del other
    gc.collect()
    assert key not in _LOADED


def test_a_model_works_for_one_thread_at_a_time():
    held = []

    @dataclass(frozen=True)
    class Alone(Letters):
        def encode(self, model, texts):
            held.append(self._loaded.lock.locked())
            return super().encode(model, texts)

    embedder, made = Alone(), []

    def work():
        made.extend(embedder.embed(pa.array([f"a{number}"])) for number in range(20))

    threads = [Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == len(held) == 80
    assert all(held)
    assert Letters.loads == ["letters"]


def test_what_is_loaded_is_neither_pickled_nor_part_of_the_identity():
    embedder = Letters()
    before = (embedder.fingerprint, pickle.dumps(embedder))
    embedder.embed(pa.array(["a"]))
    assert (embedder.fingerprint, pickle.dumps(embedder)) == before
    assert embedder.fingerprint != Letters("more").fingerprint


def test_a_static_model_sees_synonyms(static_model):
    embedder = Model2Vec(static_model)
    vectors = embedder.embed(pa.array(["Sort list", "order array", "sea", "unheard-of", None, "ocean sea sea"]))
    assert vectors.shape == (6, embedder.dims)
    assert embedder.dims == 6
    assert vectors[0] @ vectors[1] > 0.9
    assert vectors[0] @ vectors[2] == 0
    assert vectors[2] @ vectors[5] == pytest.approx(1)
    assert not vectors[[3, 4]].any()


def test_a_static_model_reads_so_many_tokens(static_model):
    texts = pa.array(["sea " * 3 + "sort " * 100])
    alike = [
        float(Model2Vec(static_model, most).embed(texts)[0] @ Model2Vec(static_model).embed(pa.array(["sea"]))[0])
        for most in (3, None)
    ]
    assert alike[0] == pytest.approx(1)
    assert alike[1] < 0.2


def test_a_static_model_does_not_fork_on_many_texts(static_model, monkeypatch):
    import model2vec.model

    monkeypatch.setattr(model2vec.model, "ProgressParallel", None)
    texts = pa.array([f"sea {number}" for number in range(11_000)])
    assert len(Model2Vec(static_model).embed(texts)) == 11_000


class FakeSentenceTransformer:
    """Notes what it is given, and gives vectors of two numbers that are not normalised."""

    def __init__(self, name, **options):
        self.made_with = (name, options)
        self.calls = []
        FAKES.append(self)

    def encode(self, texts, **arguments):
        self.calls.append((texts, arguments))
        return np.array([[len(text), 3.0] for text in texts])


FAKES: list = []


@pytest.fixture
def sentence_transformers(monkeypatch):
    FAKES.clear()
    module = ModuleType("sentence_transformers")
    module.SentenceTransformer = FakeSentenceTransformer
    monkeypatch.setitem(sys.modules, "sentence_transformers", module)


def test_sentence_transformers_is_given_texts_and_settings(sentence_transformers):
    embedder = SentenceTransformer("me/model", prompt="query: ", batch_size=7, options={"device": "cpu"})
    vectors = embedder.embed(pa.array(["four", None, "", "four"]))
    assert np.allclose(vectors, [[0.8, 0.6], [0, 0], [0, 0], [0.8, 0.6]])
    (model,) = FAKES
    assert model.made_with == ("me/model", {"device": "cpu"})
    assert model.calls[-1] == (["four"], {"prompt": "query: ", "batch_size": 7, "show_progress_bar": False})
    SentenceTransformer("me/model").embed(pa.array(["a"]))
    assert FAKES[1].calls[-1][1]["prompt"] is None


class FakeLLM:
    """An engine that refuses what vLLM refuses: prompts that are too long, unless they are to be cut."""

    longest = 20

    def __init__(self, model, **arguments):
        self.made_with = (model, arguments)
        self.prompts = []
        FAKES.append(self)

    def embed(self, prompts, *, use_tqdm=True, pooling_params=None, lora_request=None, tokenization_kwargs=None):
        assert use_tqdm is False
        if tokenization_kwargs != {"truncate_prompt_tokens": -1} and max(map(len, prompts)) > self.longest:
            raise ValueError("The decoder prompt is longer than the maximum model length")
        self.prompts += prompts
        return [
            SimpleNamespace(outputs=SimpleNamespace(embedding=[float(len(prompt[: self.longest])), 3.0]))
            for prompt in prompts
        ]


@pytest.fixture
def vllm(monkeypatch):
    FAKES.clear()
    module = ModuleType("vllm")
    module.LLM = FakeLLM
    monkeypatch.setitem(sys.modules, "vllm", module)


def test_vllm_is_given_texts_and_engine_arguments(vllm):
    embedder = VLLMEmbedder("me/model", prompt="q:", engine_args={"max_model_len": 64})
    assert np.allclose(embedder.embed(pa.array(["ab", None, "ab"])), [[0.8, 0.6], [0, 0], [0.8, 0.6]])
    (engine,) = FAKES
    assert engine.made_with == ("me/model", {"runner": "pooling", "max_model_len": 64})
    assert engine.prompts[-1] == "q:ab"


def test_vllm_cuts_a_text_that_is_too_long(vllm):
    vectors = VLLMEmbedder("me/model").embed(pa.array(["a" * 1000, "abcd"]))
    assert np.allclose(vectors[1], [0.8, 0.6])
    assert np.isclose(np.linalg.norm(vectors[0]), 1)


@pytest.mark.parametrize(
    "embedder, package, extra",
    [
        (Model2Vec("a"), "model2vec", "embed"),
        (SentenceTransformer("a"), "sentence-transformers", "sentence-transformers"),
        (VLLMEmbedder("a"), "vllm", "vllm"),
    ],
)
def test_an_absent_package_is_named_with_its_extra_at_the_first_use(embedder, package, extra, monkeypatch):
    monkeypatch.setitem(sys.modules, package.replace("-", "_"), None)
    name = type(embedder).__name__
    with pytest.raises(MissingExtraError, match=rf"{name}\('a'\) needs the package '{package}'.*tilth\[{extra}\]"):
        embedder.embed(pa.array(["text"]))


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Model2Vec(""), "Model2Vec: model='' is not allowed; it must be a folder or a name on the Hub"),
        (lambda: Model2Vec("a", 0), "max_tokens=0 is not allowed; it must be one or more, or None"),
        (lambda: SentenceTransformer("a", batch_size=0), "batch_size=0 is not allowed; it must be one or more"),
        (lambda: SentenceTransformer("a", options=[1]), "options=.* must be a mapping"),
        (lambda: VLLMEmbedder("a", engine_args=3), "engine_args=3 is not allowed; it must be a mapping"),
        (lambda: VLLMEmbedder(3), "VLLMEmbedder: model=3 is not allowed"),
    ],
)
def test_bad_arguments_are_refused_by_name(make, message):
    with pytest.raises(ArgumentError, match=message):
        make()


def test_mappings_in_any_order_make_equal_embedders_that_can_be_keys():
    one = SentenceTransformer("a", options={"device": "cpu", "truncate_dim": 8})
    other = SentenceTransformer("a", options={"truncate_dim": 8, "device": "cpu"})
    assert one == other
    assert len({one, other, VLLMEmbedder("a", engine_args={"seed": 1})}) == 2
    assert one.fingerprint == other.fingerprint
