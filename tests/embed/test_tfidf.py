"""`TfidfSvd`: features are words and runs of characters, and inner products of vectors are their TF-IDF cosines."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

import tilth
from tilth.embed import TfidfSvd, _tfidf_kernel, tfidf
from tilth.errors import ArgumentError, ColumnTypeError, MissingColumnError, MissingExtraError
from tilth.text.strings import from_python, strings_of
from tilth.text.unicode import ROLE, SPACELESS, tables
from tilth.text.words import words

STSB = Path(__file__).parents[2] / "../shared/data/stsb_multi/stsb.parquet"

PIECES = ["sort", "Sorting", "lists", "a", "I", "_x", "42", "naïve", "ÉCOLE", "école", "Straße", "İs", "हिन्दी", "नमस्ते"]
PIECES += [
    "中文",
    "中",
    "ไทย",
    "日本語テキスト",
    "한국어",
    "😀",
    "e\u0301",
    "\u0301",
    "\u200d",
    " ",
    "\n",
    ".",
    "--",
    "\x00",
    "x" * 9,
]
TEXT = st.one_of(st.text(max_size=20), st.lists(st.sampled_from(PIECES), max_size=12).map("".join))

QUESTIONS = [
    "How do I sort a list of numbers in Python?",
    "What is the way to sort lists of numbers in Python",
    "Name three prime numbers.",
    "Name five prime numbers greater than ten.",
    "Write a poem about the sea.",
    "Write a short poem about the sea and the wind.",
    "Translate the sentence to French.",
    "Translate this sentence into German.",
    "Wie sortiere ich eine Liste von Zahlen?",
    "Nenne drei Primzahlen.",
    "如何对列表排序",
    "列表怎么排序",
]


def features_of(text: str | None, ngram: int, characters: int) -> Counter[tuple[str, ...]]:
    """The plain way: each feature once, in the order in which it comes first."""
    found: list[tuple[str, ...]] = []
    known = words(text or "")
    for size in range(1, ngram + 1):
        found += [("words", *known[at : at + size]) for at in range(len(known) - size + 1)]
    for word in known if characters else []:
        if tables().classes[ord(word[0])] & ROLE != SPACELESS:
            edged = f" {word} "
            found += [("characters", edged[at : at + characters]) for at in range(len(edged) - characters + 1)]
    return Counter(found)


def table_of(texts, kind=None):
    return Dataset(pa.table({"text": pa.array(texts, kind or pa.string())}))


def column(ds):
    return ds.data.column("text")


def vectors_of(texts, step=None, ds=None):
    step = step or TfidfSvd()
    return step.fitted(ds or table_of(texts), "text").embed(pa.array(texts, pa.string()))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.none() | TEXT, max_size=6), st.integers(1, 3), st.sampled_from([0, 2, 3, 5]))
def test_features_are_words_and_runs_of_characters(texts, ngram, characters):
    offsets, hashes, counts = _tfidf_kernel.features(from_python(texts), ngram, characters)
    assert len(offsets) == len(texts) + 1
    named: dict[tuple[str, ...], int] = {}
    for row, text in enumerate(texts):
        here = slice(offsets[row], offsets[row + 1])
        expected = features_of(text, ngram, characters)
        assert counts[here].tolist() == list(expected.values())
        for feature, value in zip(expected, hashes[here].tolist(), strict=True):
            assert named.setdefault(feature, value) == value
    assert len(set(named.values())) == len(named)


def test_a_text_of_many_features_is_counted_in_full():
    text = " ".join(f"word{number % 7000} shared" for number in range(20_000))
    texts = ["few words", text, "few words", None, text + " more"]
    offsets, _, counts = _tfidf_kernel.features(from_python(texts), 2, 3)
    for row in (0, 1, 2, 4):
        assert counts[offsets[row] : offsets[row + 1]].tolist() == list(features_of(texts[row], 2, 3).values())


def test_bytes_that_are_no_text_part_words():
    data = b"good\xff\xfemorning \xe4\xb8 caf\xc3\xa9\xc3"
    broken = pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(np.int32([0, len(data)])), pa.py_buffer(data)])
    _, _, counts = _tfidf_kernel.features(strings_of(broken), 1, 3)
    assert counts.tolist() == list(features_of("good morning café", 1, 3).values())
    fitted = TfidfSvd().fitted(table_of(QUESTIONS), "text")
    assert np.allclose(fitted.embed(broken), fitted.embed(pa.array(["good morning café"])))


def exact_vectors(texts, step):
    """Weighted features of each text, in full, at length 1, over all features and over those of two texts or more."""
    rows = [features_of(text, step.ngram, step.characters) for text in texts]
    times = Counter(feature for row in rows for feature in row)
    full = sum(bool(row) for row in rows)
    names = sorted(times)
    matrix = np.zeros((len(texts), len(names)))
    for number, row in enumerate(rows):
        for feature, count in row.items():
            rarity = (1 + np.log((1 + full) / (1 + times[feature]))) ** 1.5
            matrix[number, names.index(feature)] = (1 + np.log(count)) * rarity
    lengths = np.linalg.norm(matrix, axis=1, keepdims=True)
    return matrix / np.where(lengths > 0, lengths, 1), names, np.array([times[name] > 1 for name in names])


@pytest.mark.parametrize(
    "step", [TfidfSvd(4096, 0), TfidfSvd(4096, 8), TfidfSvd(4096, 8, ngram=2, characters=4)], ids=str
)
def test_inner_products_are_the_cosines_of_all_features(step):
    texts = [*QUESTIONS, "sort sort sort sort a list", "list list of of numbers", None, "", "?!"]
    exact, _, _ = exact_vectors(texts, step)
    vectors = vectors_of(texts, step)
    assert vectors.shape == (len(texts), 4096)
    assert np.abs(vectors @ vectors.T - exact @ exact.T).max() < 0.08
    assert np.abs(vectors @ vectors.T - exact @ exact.T).mean() < 0.01


def test_with_directions_alone_a_vector_is_the_projection_on_them():
    step = TfidfSvd(8, 8)
    exact, names, often = exact_vectors(QUESTIONS, step)
    fitted = step.fitted(table_of(QUESTIONS), "text")
    gram = fitted.directions.T @ fitted.directions
    assert np.allclose(gram, np.eye(8), atol=1e-4)
    # The vocabulary is sorted by hash: find the order of the names in it by the features of each name's text.
    offsets, hashes, _ = _tfidf_kernel.features(from_python(QUESTIONS), 1, 3)
    named = {}
    for row, text in enumerate(QUESTIONS):
        named |= dict(zip(features_of(text, 1, 3), hashes[offsets[row] : offsets[row + 1]].tolist(), strict=True))
    places = [fitted.vocabulary.tolist().index(named[name]) for name, kept in zip(names, often, strict=True) if kept]
    projected = exact[:, often] @ fitted.directions[places]
    expected = projected / np.linalg.norm(projected, axis=1, keepdims=True)
    assert np.allclose(fitted.embed(pa.array(QUESTIONS)), expected, atol=1e-4)
    energy = np.linalg.norm(projected) ** 2
    assert energy > 0.97 * (np.linalg.svd(exact[:, often], compute_uv=False)[:8] ** 2).sum()


def test_what_says_the_same_in_other_words_is_nearer_than_what_does_not():
    vectors = vectors_of(QUESTIONS)
    for one in range(0, len(QUESTIONS), 2):
        if one != 8:
            assert np.argsort(-(vectors @ vectors[one]))[1] == one + 1


def test_words_that_were_never_seen_still_tell_texts_apart():
    fitted = TfidfSvd().fitted(table_of(QUESTIONS), "text")
    same, other, again = fitted.embed(pa.array(["zyzzyva quokka", "wombat axolotl", "quokka zyzzyva"]))
    assert same @ again == pytest.approx(1)
    assert abs(same @ other) < 0.5


def test_nothing_to_embed_gives_zeros_and_everything_else_length_one():
    vectors = vectors_of([None, "", " \n", "?!", "\u0301", "a", "中"])
    assert np.linalg.norm(vectors, axis=1).round(5).tolist() == [0, 0, 0, 0, 0, 1, 1]


@pytest.mark.parametrize("texts", [[], [None], ["", None], ["a"], ["same same"] * 5, ["a b", "c d"]])
def test_data_with_little_to_learn_from_is_no_trouble(texts):
    fitted = TfidfSvd().fitted(table_of(texts), "text")
    vectors = fitted.embed(pa.array(["a b", *texts], pa.string()))
    assert vectors.shape == (len(texts) + 1, 256)
    assert np.isfinite(vectors).all()
    assert np.linalg.norm(vectors[0]) == pytest.approx(1)


def ways_to_hold(texts):
    whole = table_of(texts)
    chunks = [pa.array(texts[at : at + 5], pa.string()) for at in range(0, len(texts), 5)]
    mixed = np.random.default_rng(1).permutation(len(texts))
    back = np.argsort(mixed)
    return {
        "large_string": table_of(texts, pa.large_string()),
        "dictionary": Dataset(pa.table({"text": pa.array(texts, pa.string()).dictionary_encode()})),
        "chunked": Dataset(pa.table({"text": pa.chunked_array(chunks)})),
        "selected": Dataset(pa.table({"text": pa.array(["x", *texts, "y"])})).select(range(1, len(texts) + 1)),
        "filtered": Dataset(pa.table({"text": pa.array([t for text in texts for t in ("skip", text)])})).select(
            range(1, 2 * len(texts), 2)
        ),
        "shuffled": whole.select(mixed).select(back),
        "formatted": whole.with_format("numpy"),
    }


@pytest.mark.parametrize("budget", [tfidf._BYTES_LEARNT_FROM, 4_000])
def test_how_the_data_is_held_makes_no_difference(budget, monkeypatch):
    monkeypatch.setattr(tfidf, "_BYTES_LEARNT_FROM", budget)
    texts = [f"{QUESTIONS[number % 12]} {number % 31} {'long ' * (number % 7)}" for number in range(200)] + [None, ""]
    expected = TfidfSvd(sample=150).fitted(table_of(texts), "text")
    vectors = expected.embed(pa.array(texts))
    for way, ds in ways_to_hold(texts).items():
        fitted = TfidfSvd(sample=150).fitted(ds, "text")
        assert (fitted.fingerprint, way) == (expected.fingerprint, way)
        assert np.array_equal(fitted.embed(ds.with_format("arrow")[:]["text"]), vectors), way


@pytest.mark.parametrize("budget", [tfidf._BYTES_LEARNT_FROM, 1_000])
def test_how_much_is_read_at_once_makes_no_difference(budget, monkeypatch):
    monkeypatch.setattr(tfidf, "_BYTES_LEARNT_FROM", budget)
    ds = table_of([f"{QUESTIONS[number % 12]} {number % 31}" for number in range(100)])
    expected = TfidfSvd().fitted(ds, "text")
    monkeypatch.setattr(tfidf, "_ROWS_READ", 7)
    monkeypatch.setattr(tfidf, "_ROWS_AT_ONCE", 3)
    assert TfidfSvd().fitted(ds, "text") == expected
    assert np.array_equal(TfidfSvd().fitted(ds, "text").embed(column(ds)), expected.embed(column(ds)))


def test_threads_make_no_difference():
    ds = table_of([f"{QUESTIONS[number % 12]} {number * 7919 % 1000}" for number in range(5000)])
    made = []
    for count in (1, 2, 3):
        tilth.set_threads(count)
        fitted = TfidfSvd().fitted(ds, "text")
        made.append((fitted.fingerprint, fitted.embed(column(ds)).tobytes()))
    assert made[0] == made[1] == made[2]


def test_another_process_learns_the_same():
    code = (
        "import tests.embed.test_tfidf as t; from tilth.embed import TfidfSvd; "
        "f = TfidfSvd().fitted(t.table_of(t.QUESTIONS), 'text'); "
        "print(TfidfSvd(dims=64).fingerprint, f.fingerprint, f.embed(t.pa.array(t.QUESTIONS)).tobytes().hex()[:64])"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2], timeout=120
    )
    assert run.returncode == 0, run.stderr
    fitted = TfidfSvd().fitted(table_of(QUESTIONS), "text")
    vectors = fitted.embed(pa.array(QUESTIONS)).tobytes().hex()[:64]
    assert run.stdout.split() == [TfidfSvd(dims=64).fingerprint, fitted.fingerprint, vectors]


def test_only_the_sample_is_learnt_from_and_the_seed_draws_it():
    ds = table_of([f"{QUESTIONS[number % 12]} {number}" for number in range(300)])
    few = TfidfSvd(sample=20).fitted(ds, "text")
    assert len(few.vocabulary) < len(TfidfSvd().fitted(ds, "text").vocabulary)
    assert few != TfidfSvd(sample=20, seed=1).fitted(ds, "text")
    assert few == TfidfSvd(sample=20).fitted(ds, "text")


def test_of_too_many_features_the_most_frequent_are_remembered():
    ds = table_of(["the cat", "the dog", "the cow", "cow dog", "the end"])
    fitted = TfidfSvd(features=1, characters=0).fitted(ds, "text")
    _, hashes, _ = _tfidf_kernel.features(from_python(["the"]), 1, 0)
    assert fitted.vocabulary.tolist() == hashes.tolist()
    assert fitted.weights[0] < fitted.rare


def test_a_fitted_embedder_survives_a_pickle():
    fitted = TfidfSvd(dims=64).fitted(table_of(QUESTIONS), "text")
    vectors = fitted.embed(pa.array(QUESTIONS))
    back = pickle.loads(pickle.dumps(fitted))
    assert back == fitted
    assert hash(back) == hash(fitted)
    assert back.fingerprint == fitted.fingerprint
    assert np.array_equal(back.embed(pa.array(QUESTIONS)), vectors)


def test_a_row_of_ten_megabytes_is_embedded():
    long = "All work and no play makes Jack a dull boy. " * 230_000
    vectors = vectors_of([long, "All work and no play makes Jack a dull boy", "Name a prime"])
    assert vectors[0] @ vectors[1] > 0.9 > vectors[0] @ vectors[2]


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"dims": 3}, "dims=3 is not allowed; it must be from 4 to 4096"),
        ({"dims": 8, "directions": 9}, "directions=9 is not allowed; it must be from 0 to dims=8, or None"),
        ({"ngram": 0}, "ngram=0 is not allowed; it must be from 1 to 8"),
        ({"characters": 1}, "characters=1 is not allowed; it must be from 2 to 8, or 0"),
        ({"characters": 9}, "characters=9"),
        ({"features": 0}, "features=0 is not allowed; it must be from 1 to 4194304"),
        ({"sample": 0}, "sample=0 is not allowed; it must be one or more"),
        ({"seed": -1}, "seed=-1 is not allowed"),
    ],
)
def test_bad_arguments_are_refused_by_name(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        TfidfSvd(**arguments)


def test_it_must_be_fitted_to_text_that_is_there():
    assert not TfidfSvd().is_fitted
    with pytest.raises(ArgumentError, match="must be fitted before it can embed"):
        TfidfSvd().embed(pa.array(["a"]))
    ds = Dataset.from_dict({"text": ["a"], "n": [1]})
    with pytest.raises(MissingColumnError, match=r"'texd'.*Did you mean 'text'"):
        TfidfSvd().fitted(ds, "texd")
    with pytest.raises(ColumnTypeError, match="'n' as text, but it holds int64"):
        TfidfSvd().fitted(ds, "n")


def test_an_embedder_of_other_hashes_is_refused():
    fitted = TfidfSvd().fitted(table_of(QUESTIONS), "text")
    object.__setattr__(fitted, "hash_version", -1)
    with pytest.raises(ArgumentError, match="fit it again"):
        fitted.embed(pa.array(["a"]))


def test_without_scikit_learn_the_extra_is_named_and_a_random_projection_still_works(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.utils.extmath", None)
    with pytest.raises(MissingExtraError, match=r"TfidfSvd needs the package 'scikit-learn'.*tilth\[embed\]"):
        TfidfSvd().fitted(table_of(QUESTIONS), "text")
    assert len(vectors_of(QUESTIONS, TfidfSvd(directions=0))) == len(QUESTIONS)


@pytest.mark.skipif(not STSB.exists(), reason="../shared/data is absent")
@pytest.mark.parametrize(
    "language, least", [("en", 0.76), ("de", 0.73), ("fr", 0.74), ("ru", 0.71), ("zh", 0.73), ("ja", 0.68)]
)
def test_similarities_follow_human_judgement(language, least):
    from scipy.stats import spearmanr

    rows = Dataset.from_parquet(str(STSB), cache_dir=None).with_format("arrow")[:]
    rows = rows.filter(pa.compute.equal(rows["lang"], language))
    ones, others = rows["sentence1"], rows["sentence2"]
    fitted = TfidfSvd().fitted(Dataset(pa.table({"text": pa.chunked_array([*ones.chunks, *others.chunks])})), "text")
    similarity = (fitted.embed(ones) * fitted.embed(others)).sum(axis=1)
    assert spearmanr(similarity, rows["score"].to_numpy()).statistic > least
