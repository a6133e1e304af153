"""`Decontaminate` finds benchmark rows in other data, says where, and never finds nothing for want of looking."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, DatasetDict
from hypothesis import given, settings
from hypothesis import strategies as st

import tilth
from tilth import Pipeline, recipe
from tilth.dedup import Decontaminate, HashPack, _nearest
from tilth.dedup._ngrams import ANCHOR, fingerprints, search
from tilth.embed import Embedder, TfidfSvd
from tilth.embed.embedder import unit
from tilth.errors import ArgumentError, ColumnTypeError, MissingColumnError, SourceError
from tilth.text.strings import from_python
from tilth.text.words import words

DATA = Path(os.environ.get("TILTH_DATA", Path(__file__).parents[3] / "shared" / "data"))
QUESTIONS = [
    "Natalia sold clips to forty eight of her friends in April, and then she sold half as many clips in May. How many?",
    "A robe takes two bolts of blue fibre and half that much white fibre; how many bolts in total does it take?",
    "Which of these rivers flows through the largest number of capital cities on its way from the source to the sea?",
    "Who wrote the first of these plays?",
]
GOLDEN = "6f8121b97aed6b2c678cc3cd2a8fef54"
WORDS = st.sampled_from(["a", "b", "c", "Dé", "中"])


def table_of(texts: list[str | None]) -> pa.Table:
    return pa.table({"text": pa.array(texts, pa.string())})


def judged(step: Decontaminate, texts: list[str | None]) -> list[int]:
    return step.verdict(table_of(texts)).codes.tolist()


def evidence(step: Decontaminate, text: str) -> dict[str, object]:
    return step.verdict(table_of([text])).evidence.to_pylist()[0]


def against(*texts: str | None) -> Dataset:
    return Dataset(pa.table({"question": pa.array(texts, pa.string())}))


@pytest.fixture
def step() -> Decontaminate:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Decontaminate("text", against(*QUESTIONS))


def test_a_benchmark_row_is_found_whatever_its_case_punctuation_and_surroundings(step):
    one = QUESTIONS[0]
    texts = [one, one.upper(), one.replace(",", "").replace(" ", "  \n"), f"Question: {one}\nAnswer: 72", one * 2]
    assert judged(step, texts) == [2] * 5
    assert judged(step, ["", "Natalia sold clips.", "nothing of the kind " * 50]) == [0, 0, 0]


def test_the_evidence_names_the_row_and_shows_the_place(step):
    text = "Émile asks: " + QUESTIONS[1] + " Thanks."
    found = evidence(step, text)
    assert (found["benchmark"], found["row"], found["overlap"]) == ("benchmark", 1, 1.0)
    inside = text.encode()[found["start"] : found["end"]].decode()
    assert inside == QUESTIONS[1].rstrip("?")
    assert found["text"] == inside


def test_the_text_shown_is_short_however_long_the_match():
    question = " ".join(f"wörd{number}" for number in range(500))
    found = evidence(Decontaminate("text", against(question)), "¡" + question)
    assert len(found["text"]) == 200
    assert found["end"] == len(("¡" + question).encode())


def test_a_null_is_a_reason_of_its_own_and_has_no_overlap(step):
    assert judged(step, [None, QUESTIONS[0], None]) == [1, 2, 1]
    assert step.metrics(table_of([None, QUESTIONS[0], "x"]))["overlap"].to_pylist() == [None, 1.0, 0.0]


@pytest.mark.parametrize("texts", [[], [None, None], [""]])
def test_data_without_a_word_is_judged_too(step, texts):
    verdict = step.verdict(table_of(texts))
    assert verdict.codes.tolist() == [1 if text is None else 0 for text in texts]
    assert verdict.evidence.null_count == len(texts)


def test_a_part_counts_from_min_overlap_on():
    question = " ".join(f"w{number}" for number in range(17))
    # Seventeen words are five n-grams of thirteen; fifteen of those words are three.
    part = " ".join(f"w{number}" for number in range(15))
    for min_overlap, code in [(0.6, 2), (0.61, 0), (0.2, 2), (1.0, 0)]:
        step = Decontaminate("text", against(question), min_overlap=min_overlap)
        assert judged(step, [part, question]) == [code, 2]
    assert step.scores().apply(Dataset(table_of([part])))["overlap"][:] == [pytest.approx(0.6)]


def test_a_repeated_n_gram_counts_once():
    question = "a b c d e f g h i j k l m " * 3
    step = Decontaminate("text", against(question))
    once = "a b c d e f g h i j k l m"
    assert step.metrics(table_of([once, once + " x " + once]))["overlap"].to_pylist() == [pytest.approx(1 / 13)] * 2


def test_a_short_benchmark_row_is_found_whole_and_only_whole():
    short = "what is the boiling point of pure water"
    step = Decontaminate("text", against(short, *QUESTIONS[:3]))
    assert judged(step, [f"Tell me: {short.title()}?", short[:-6], short]) == [2, 0, 2]
    assert evidence(step, "So, " + short + "?")["text"] == short


@pytest.mark.filterwarnings("ignore:Decontaminate")
def test_rows_below_min_words_count_only_as_the_whole_of_a_text():
    with pytest.warns(UserWarning, match="1 of the 4 rows of benchmark 'benchmark' have fewer than min_words=8"):
        step = Decontaminate("text", against(*QUESTIONS), min_words=8)
    texts = [QUESTIONS[3], f" {QUESTIONS[3].upper()} ", f"Now: {QUESTIONS[3]}", QUESTIONS[3][:-8]]
    assert judged(step, texts) == [2, 2, 0, 0]
    assert evidence(step, texts[1]) == {
        "benchmark": "benchmark",
        "row": 3,
        "overlap": 1.0,
        "start": 1,
        "end": len(texts[1]) - 2,
        "text": texts[1][1:-2],
    }
    assert judged(Decontaminate("text", against(*QUESTIONS)), texts) == [2, 2, 2, 0]
    # An n-gram that is as long does not make it one.
    step = Decontaminate("text", against("a b c d", "e f g h i j k l"), ngram=4, min_words=5)
    assert judged(step, ["a b c d", "x a b c d", "a b c", "a"]) == [2, 0, 0, 0]
    assert judged(Decontaminate("text", against("a", "e f g h i j k l")), ["A!", "a a", ""]) == [2, 0, 0]


def test_boilerplate_of_the_format_does_not_count():
    head = "Answer the following question by choosing exactly one of the four options that are given below it:"
    rows = [f"{head} item{number} " + " ".join(f"x{number}y{k}" for k in range(14)) for number in range(30)]
    innocent = f"{head} something else entirely"
    assert judged(Decontaminate("text", against(*rows), min_overlap=0.1), [innocent, rows[3]]) == [0, 2]
    everywhere = Decontaminate("text", against(*rows), min_overlap=0.1, max_rows=30, max_share=1)
    assert judged(everywhere, [innocent, rows[3]]) == [2, 2]


def test_boilerplate_shows_in_a_benchmark_of_few_rows_too():
    head = "Answer the following question by choosing exactly one of the four options that are given below it:"
    rows = [f"{head} item{number} " + " ".join(f"x{number}y{k}" for k in range(14)) for number in range(4)]
    innocent = f"{head} something else entirely"
    assert judged(Decontaminate("text", against(*rows), min_overlap=0.1), [innocent, rows[3]]) == [0, 2]
    assert judged(Decontaminate("text", against(*rows[:3]), min_overlap=0.1), [innocent, rows[2]]) == [2, 2]
    assert judged(Decontaminate("text", against(*rows), min_overlap=0.1, max_share=1), [innocent, rows[3]]) == [2, 2]


def test_a_row_of_nothing_but_boilerplate_is_looked_for_as_a_whole():
    base = [f"w{number}" for number in range(14)]
    rows = [" ".join(base) + end for end in ["", *(f" z{number}" * 20 for number in range(20))]]
    step = Decontaminate("text", against(*rows))
    assert judged(step, [rows[0], " ".join(base[:13])]) == [2, 0]


def test_rows_that_are_equal_do_not_make_each_other_boilerplate():
    step = Decontaminate("text", against("padding " * 20, *[QUESTIONS[0]] * 40))
    assert judged(step, [QUESTIONS[0]]) == [2]
    assert evidence(step, QUESTIONS[0])["row"] == 1


def test_the_best_of_several_benchmarks_is_named():
    step = Decontaminate("text", {"b": against(QUESTIONS[1]), "a": against(QUESTIONS[2], QUESTIONS[0])})
    assert [evidence(step, text)["benchmark"] for text in QUESTIONS[:3]] == ["a", "b", "a"]
    assert evidence(step, QUESTIONS[0])["row"] == 1


def test_of_two_rows_that_are_held_alike_the_first_is_named(step):
    for text in (QUESTIONS[1] + QUESTIONS[2], QUESTIONS[2] + QUESTIONS[1]):
        assert evidence(step, text)["row"] == 1


def expected(benchmark: list[str], text: str, ngram: int, min_words: int, max_rows: int) -> float:
    """The rule in plain Python."""

    def grams(tokens: list[str], size: int) -> set[tuple[str, ...]]:
        return {tuple(tokens[at : at + size]) for at in range(len(tokens) - size + 1)}

    every = list(dict.fromkeys(tuple(words(row)) for row in benchmark))
    rows = [row for row in every if len(row) >= min_words]
    most = min(max_rows, len(rows) / 2) if len(rows) >= 4 else max_rows
    sets = [grams(list(row), ngram) for row in rows]
    sets = [{gram for gram in one if sum(gram in other for other in sets) <= most} for one in sets]
    tokens = words(text)
    best = float(0 < len(tokens) < min_words and tuple(tokens) in every)
    for row, one in zip(rows, sets, strict=True):
        if one:
            best = max(best, len(one & grams(tokens, ngram)) / len(one))
        elif row in grams(tokens, len(row)):
            best = 1.0
    return best


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.lists(WORDS, max_size=14).map(" ".join), max_size=8),
    st.lists(st.lists(WORDS, max_size=30).map("-".join), min_size=1, max_size=4),
    st.integers(1, 9),
    st.integers(ANCHOR, 7),
    st.integers(1, 3),
)
def test_the_overlap_is_that_of_the_rule(benchmark, texts, ngram, min_words, max_rows):
    benchmark = [*benchmark, "there is always one row that is long enough to be looked for"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        step = Decontaminate("text", against(*benchmark), ngram=ngram, min_words=min_words, max_rows=max_rows)
    found = step.metrics(table_of(texts))["overlap"].to_pylist()
    assert found == [pytest.approx(expected(benchmark, text, ngram, min_words, max_rows)) for text in texts]


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=30), st.text(max_size=30))
def test_hostile_text_around_a_question_hides_nothing_and_the_span_is_right(before, after):
    step = Decontaminate("text", against(QUESTIONS[2]))
    text = f"{before}. {QUESTIONS[2]} .{after}"
    found = evidence(step, text)
    assert text.encode()[found["start"] : found["end"]].decode() == QUESTIONS[2].rstrip("?")


def test_hashes_are_the_same_on_every_machine():
    found = fingerprints(from_python(["The quick brown fox jumps over the lazy dog", "中文 字"]), 5)
    assert found[0].tolist() == [9, 3]
    assert found[3].tolist() == [0, 5, 5]
    assert HashPack.build({"fox": ["The quick brown fox jumps over the lazy dog"]}, ngram=5).fingerprint == GOLDEN


def test_a_row_of_ten_megabytes():
    step = Decontaminate("text", against(*QUESTIONS[:3]))
    huge = "lorem ipsum dolor " * (10 * 2**20 // 18)
    assert judged(step, [huge, huge + QUESTIONS[0]]) == [0, 2]


def test_it_works_in_filter_and_map_and_on_streams(step):
    ds = Dataset(table_of([QUESTIONS[0], "clean", None, "also clean"] * 3))
    kept = ["clean", "also clean"] * 3
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert step.apply(ds)["text"][:] == kept
        assert ds.filter(step, batched=True)["text"][:] == kept
        assert ds.filter(step, batched=True, num_proc=2)["text"][:] == kept
        assert [row["text"] for row in step.apply(ds.to_iterable_dataset())] == kept
        curated = Pipeline(step).run(ds)
    assert curated.dataset["text"][:] == kept
    assert sorted(set(curated.rejected["reason"][:])) == ["contaminated", "null_text"]


class TestBenchmarks:
    def test_a_benchmark_that_has_nothing_to_look_for_is_refused(self, tmp_path):
        for benchmark, said in [
            (against(), "no word in any of its 0 rows"),
            (against(None, None), "no word in any of its 2 rows"),
            (against("", "?!"), "no word in any of its 2 rows"),
            (against("yes", "no idea"), "longest row has 2 words and min_words=6"),
            ({"good": against(*QUESTIONS), "bad": against("yes")}, "benchmark 'bad'"),
        ]:
            with warnings.catch_warnings(), pytest.raises(ArgumentError, match=said):
                warnings.simplefilter("ignore")
                Decontaminate("text", benchmark)
        against("yes", "no").to_parquet(tmp_path / "short.parquet")
        lazy = Decontaminate("text", str(tmp_path / "short.parquet"))
        with pytest.raises(ArgumentError, match="nothing to look for"):
            lazy.apply(Dataset(table_of(["x"])))

    def test_the_column_is_the_one_named_or_the_one_of_the_same_name_or_the_only_one(self):
        ds = Dataset.from_dict({"question": [QUESTIONS[0]], "answer": [QUESTIONS[1]], "n": [1]})
        assert judged(Decontaminate("text", ds, "question"), QUESTIONS[:2]) == [2, 0]
        assert judged(Decontaminate("text", ds, against_column="answer"), QUESTIONS[:2]) == [0, 2]
        named = Dataset.from_dict({"question": [QUESTIONS[0]], "text": [QUESTIONS[1]]})
        assert judged(Decontaminate("text", named), QUESTIONS[:2]) == [0, 2]
        each = Decontaminate("text", {"a": ds, "b": named}, {"a": "answer", "b": "question"})
        assert judged(each, QUESTIONS[:3]) == [2, 2, 0]
        assert judged(Decontaminate("text", {"a": ds, "b": named}, {"a": "question"}), QUESTIONS[:3]) == [2, 2, 0]
        with pytest.raises(ArgumentError, match="'c', but the benchmarks are"):
            Decontaminate("text", {"a": ds}, {"c": "question"})
        with pytest.raises(ArgumentError, match=r"\['question', 'answer'\].*'text'.*against_column"):
            Decontaminate("text", ds)
        with pytest.raises(MissingColumnError, match="Did you mean 'question'"):
            Decontaminate("text", ds, "questions")
        with pytest.raises(ColumnTypeError, match="'n'"):
            Decontaminate("text", ds, "n")
        with pytest.raises(ArgumentError, match="none of the columns"):
            Decontaminate("text", Dataset.from_dict({"n": [1]}))

    def test_what_is_no_benchmark_is_refused(self):
        for wrong in (None, 3, "", {}, {"a": 3}, [QUESTIONS[0]], DatasetDict({"test": against(*QUESTIONS)})["test"][0]):
            with pytest.raises((ArgumentError, SourceError)):
                Decontaminate("text", wrong).apply(Dataset(table_of(["x"])))
        with pytest.raises(ArgumentError, match=r"'gsm8k'.*splits \['test', 'train'\]"):
            Decontaminate("text", {"gsm8k": DatasetDict({"train": against("a"), "test": against("a")})})

    def test_bad_arguments_are_refused_by_name(self):
        for name, value in [
            ("ngram", 0),
            ("min_overlap", 0.0),
            ("min_overlap", 1.1),
            ("min_words", 3),
            ("max_rows", 0),
            ("max_share", 0.0),
            ("max_share", 1.5),
            ("embedder", "tfidf"),
            ("min_similarity", 0.0),
            ("min_similarity", 1.1),
        ]:
            with pytest.raises(ArgumentError, match=name):
                Decontaminate("text", against(*QUESTIONS), **{name: value})

    def test_a_source_is_read_on_first_use_and_kept_as_it_was_given(self, tmp_path):
        path = tmp_path / "quiz.v1.parquet"
        step = Decontaminate("text", str(path))
        assert step.against == str(path)
        with pytest.raises(SourceError, match="quiz"):
            step.apply(Dataset(table_of(["x"])))
        against(*QUESTIONS[:3]).to_parquet(path)
        step = Decontaminate("text", str(path))
        assert judged(step, [QUESTIONS[0], "x"]) == [2, 0]
        assert evidence(step, QUESTIONS[0])["benchmark"] == "quiz"
        for given_as in (
            {"quiz": str(path)},
            {"path": str(path)},
            {"quiz": {"path": str(path), "split": "train"}},
            path,
        ):
            assert Decontaminate("text", given_as).fingerprint == step.fingerprint

    def test_a_source_is_known_by_what_it_holds(self, tmp_path):
        path = tmp_path / "quiz.jsonl"
        against(*QUESTIONS[:2]).to_json(path)
        before = Decontaminate("text", str(path))
        from_data = Decontaminate("text", {"quiz": against(*QUESTIONS[:2])})
        assert before.fingerprint == from_data.fingerprint
        state = pickle.dumps(before)
        against(*QUESTIONS[1:3]).to_json(path)
        after = Decontaminate("text", str(path))
        assert after.fingerprint != before.fingerprint
        assert pickle.dumps(after) != state

    def test_a_recipe_holds_it(self, tmp_path):
        against(*QUESTIONS[:3]).to_parquet(tmp_path / "quiz.parquet")
        pack = HashPack.build({"quiz": QUESTIONS[:3]})
        pack.save(tmp_path / "quiz.pack")
        path = str(tmp_path / "quiz.parquet")
        for given_as in (path, {"quiz": path}, {"quiz": {"path": path, "split": "train"}}, pack):
            columns = {"quiz": "question"} if given_as == {"quiz": path} else None
            text = recipe.dumps(Pipeline(Decontaminate("text", given_as, columns)))
            assert judged(recipe.loads(text).pipeline.steps[0], [QUESTIONS[0], "x"]) == [2, 0]


@dataclass(frozen=True)
class Bag(Embedder):
    """A vector that says which of a few words a text has."""

    vocabulary: tuple[str, ...] = ("sold", "clips", "april", "robe", "fibre", "rivers", "sea", "plays")
    asked: ClassVar[list[str]] = []

    @property
    def dims(self):
        return len(self.vocabulary)

    def embed(self, texts):
        texts = texts.to_pylist()
        self.asked.extend(texts)
        found = [[word in words(text or "") for word in self.vocabulary] for text in texts]
        return unit(np.array(found, dtype=np.float32).reshape(len(texts), self.dims))


class TestRephrased:
    texts = ("In April her friends were sold clips.", QUESTIONS[0], None, "clips", "", "The fibre of a robe.", "other")

    def test_a_row_as_similar_as_said_goes_for_a_reason_of_its_own(self):
        step = Decontaminate("text", {"quiz": against(*QUESTIONS)}, embedder=Bag(), min_similarity=0.9)
        verdict = step.verdict(table_of(list(self.texts)))
        assert verdict.reasons == ("null_text", "contaminated", "rephrased")
        assert verdict.codes.tolist() == [3, 2, 1, 0, 0, 3, 0]
        why = verdict.evidence.to_pylist()
        nothing = {"overlap": None, "start": None, "end": None, "text": None}
        assert why[0] == {"benchmark": "quiz", "row": 0, **nothing, "similarity": pytest.approx(1)}
        assert why[5] == {"benchmark": "quiz", "row": 1, **nothing, "similarity": pytest.approx(1)}
        assert (why[1]["row"], why[1]["overlap"], why[1]["similarity"]) == (0, 1.0, None)
        assert [why[row] for row in (2, 3, 4, 6)] == [None] * 4
        lower = Decontaminate("text", {"quiz": against(*QUESTIONS)}, embedder=Bag(), min_similarity=0.57)
        assert judged(lower, list(self.texts)) == [3, 2, 1, 3, 0, 3, 0]

    def test_similarity_is_a_metric(self):
        step = Decontaminate("text", against(*QUESTIONS), embedder=Bag())
        found = step.scores().apply(Dataset(table_of(list(self.texts))))
        third = pytest.approx(1 / 3**0.5)
        assert found["similarity"][:] == [pytest.approx(1), pytest.approx(1), None, third, 0, pytest.approx(1), 0]
        assert found["overlap"][:] == [0, 1, None, 0, 0, 0, 0]
        assert "similarity" not in Decontaminate("text", against(*QUESTIONS)).metrics(table_of(["a"]))

    def test_only_rows_that_are_still_clean_are_embedded(self):
        step = Decontaminate("text", against(*QUESTIONS), embedder=Bag())
        Bag.asked.clear()
        judged(step, list(self.texts))
        assert [text for text in self.texts if text not in (None, QUESTIONS[0])] == Bag.asked
        Bag.asked.clear()
        judged(step, [None, QUESTIONS[1]])
        assert Bag.asked == []

    def test_short_and_repeated_benchmark_rows_are_not_compared(self):
        benchmark = against("sea plays", *[QUESTIONS[1]] * 3, "Sea and plays and rivers, the three of them, the three.")
        with pytest.warns(UserWarning, match="min_words"):
            step = Decontaminate("text", benchmark, embedder=Bag(), min_similarity=0.95)
        assert judged(step, ["plays at sea", "fibre of a robe"]) == [0, 3]
        assert evidence(step, "fibre of a robe")["row"] == 1

    def test_an_embedder_that_must_be_fitted_is_fitted_to_the_benchmarks(self, tmp_path):
        texts = [
            "Natalia had forty eight friends who bought clips from her in April, and half as many in May.",
            "Hello.",
        ]
        by_data = Decontaminate("text", {"quiz": against(*QUESTIONS)}, embedder=TfidfSvd(dims=64), min_similarity=0.5)
        assert judged(by_data, texts) == [3, 0]
        assert evidence(by_data, texts[0])["row"] == 0
        against(*QUESTIONS).to_parquet(tmp_path / "quiz.parquet")
        path = str(tmp_path / "quiz.parquet")
        by_path = Decontaminate("text", path, embedder=TfidfSvd(dims=64), min_similarity=0.5)
        assert by_path.embedder == TfidfSvd(dims=64)
        assert by_path.fingerprint == by_data.fingerprint
        assert judged(by_path, texts) == [3, 0]
        again = recipe.loads(recipe.dumps(Pipeline(by_path))).pipeline.steps[0]
        assert again == by_path
        assert judged(again, texts) == [3, 0]

    def test_the_embedder_is_part_of_what_a_step_is(self):
        def make(**fields):
            return Decontaminate("text", against(*QUESTIONS), **fields)

        # Other punctuation leaves the same hashes, but not the same vectors.
        shouted = Decontaminate("text", against(*[text + "!" for text in QUESTIONS]), embedder=Bag())
        steps = [make(), make(embedder=Bag()), make(embedder=Bag(("clips", "fibre", "rivers", "plays"))), shouted]
        steps.append(make(embedder=Bag(), min_similarity=0.5))
        assert len({step.fingerprint for step in steps}) == len({pickle.dumps(step) for step in steps}) == 5
        assert make(embedder=Bag()).fingerprint == steps[1].fingerprint
        assert make(min_similarity=0.5).fingerprint == steps[0].fingerprint
        copy = pickle.loads(pickle.dumps(steps[1]))
        assert copy == steps[1]
        assert judged(copy, list(self.texts)) == judged(steps[1], list(self.texts))

    def test_a_pack_of_hashes_alone_cannot_serve_it(self, tmp_path):
        bare = HashPack.build({"quiz": QUESTIONS})
        with pytest.raises(ArgumentError, match=r"a pack of hashes holds none.*HashPack\.build"):
            Decontaminate("text", bare, embedder=Bag())
        lazy = Decontaminate("text", str(bare.save(tmp_path / "bare.pack")), embedder=Bag())
        with pytest.raises(ArgumentError, match="a pack of hashes holds none"):
            lazy.apply(Dataset(table_of(["x"])))

    def test_a_pack_with_vectors_does_what_its_benchmark_does(self, tmp_path):
        pack = HashPack.build({"quiz": QUESTIONS}, embedder=Bag())
        assert "vectors of 8 numbers" in repr(pack)
        path = pack.save(tmp_path / "quiz.pack")
        loaded = HashPack.load(path)
        assert loaded == pack != HashPack.build({"quiz": QUESTIONS})
        assert loaded.vectors.tobytes() == pack.vectors.tobytes()
        assert path.read_bytes() == loaded.to_bytes() == pickle.loads(pickle.dumps(pack)).to_bytes()
        by_data = Decontaminate("text", {"quiz": against(*QUESTIONS)}, embedder=Bag())
        for given_as in (pack, str(path)):
            step = Decontaminate("text", given_as, embedder=Bag())
            assert judged(step, list(self.texts)) == judged(by_data, list(self.texts)) == [3, 2, 1, 0, 0, 3, 0]
            assert step.fingerprint == by_data.fingerprint
        assert judged(Decontaminate("text", pack), list(self.texts)) == [0, 2, 1, 0, 0, 0, 0]
        with pytest.raises(ArgumentError, match="not made by embedder=Bag"):
            Decontaminate("text", pack, embedder=Bag(("clips", "fibre")))
        with pytest.raises(ArgumentError, match="not made by embedder=TfidfSvd"):
            Decontaminate("text", pack, embedder=TfidfSvd())
        with pytest.raises(ArgumentError, match="must be an embedder that is fitted"):
            HashPack.build({"quiz": QUESTIONS}, embedder=TfidfSvd())
        whole = bytearray(path.read_bytes())
        held = pack.vectors.tobytes()
        whole[whole.index(held) + 3] ^= 0x41
        path.write_bytes(whole)
        with pytest.raises(SourceError, match="checksum"):
            HashPack.load(path)

    def test_an_embedder_that_sees_nothing_in_a_benchmark_is_refused(self):
        blind = Bag(("absent", "missing"))
        with pytest.raises(ArgumentError, match="finds nothing in any row of benchmark 'b'"):
            Decontaminate(
                "text",
                {"a": against("is one absent from the row of words here"), "b": against(*QUESTIONS)},
                embedder=blind,
            )

    def test_it_works_in_filter_and_map_and_on_streams(self):
        ds = Dataset(table_of([*self.texts] * 3))
        step = Decontaminate("text", against(*QUESTIONS), embedder=Bag())
        kept = ["clips", "", "other"] * 3
        assert step.apply(ds)["text"][:] == kept
        assert ds.filter(step, batched=True, num_proc=2)["text"][:] == kept
        assert ds.with_format("arrow").filter(step, batched=True).with_format(None)["text"][:] == kept
        assert [row["text"] for row in step.apply(ds.to_iterable_dataset())] == kept
        curated = Pipeline(step).run(ds)
        assert Counter(curated.rejected["reason"][:]) == {"rephrased": 6, "contaminated": 3, "null_text": 3}
        nothing = step.verdict(table_of([]))
        assert (len(nothing.codes), len(nothing.evidence)) == (0, 0)

    def test_results_do_not_depend_on_threads_or_batches(self, monkeypatch):
        rng = np.random.default_rng(3)
        known = sorted({word for text in QUESTIONS for word in words(text)})
        texts = [" ".join(rng.choice(known, rng.integers(1, 30))) for _ in range(500)]
        step = Decontaminate("text", against(*QUESTIONS), embedder=TfidfSvd(dims=64), min_similarity=0.4)
        whole = step.verdict(table_of(texts))
        assert 50 < (whole.codes == 3).sum() < 450
        similarities = step.metrics(table_of(texts))["similarity"]
        for rows in (7, 64, 501):
            monkeypatch.setattr(tilth.frame, "BATCH_ROWS", rows)
            for count in (1, 2):
                tilth.set_threads(count)
                ds = Dataset(table_of(texts))
                assert step.apply(ds)["text"][:] == [texts[row] for row in np.flatnonzero(whole.codes == 0)]
                assert step.scores().apply(ds)["similarity"][:] == similarities.to_pylist()
                rejected = Pipeline(step).run(ds).rejected
                assert rejected["text"][:] == [texts[row] for row in np.flatnonzero(whole.codes)]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 40), st.integers(1, 30), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_the_nearest_is_that_of_all_products(rows, others, dims, seed):
    rng = np.random.default_rng(seed)
    # Few values, so that many products are equal.
    vectors = unit(rng.integers(-1, 2, (rows, dims)))
    benchmark = unit(rng.integers(-1, 2, (others, dims)) + (rng.random((others, 1)) < 0.1))
    exact = vectors.astype(np.float64) @ benchmark.astype(np.float64).T
    before = _nearest._ROWS_AT_ONCE, _nearest._OTHERS_AT_ONCE
    found = []
    try:
        for _nearest._ROWS_AT_ONCE, _nearest._OTHERS_AT_ONCE in (before, (3, 4), (1, 1)):
            best, most = _nearest.nearest(vectors, benchmark)
            found.append((best.tolist(), most.tolist()))
            for row in range(rows):
                if not vectors[row].any():
                    assert (best[row], most[row]) == (-1, 0)
                else:
                    assert most[row] == pytest.approx(exact[row].max(), abs=1e-6)
                    assert exact[row, best[row]] == pytest.approx(exact[row].max(), abs=1e-12)
                    same = [at for at in range(others) if (benchmark[at] == benchmark[best[row]]).all()]
                    assert best[row] == same[0]
    finally:
        _nearest._ROWS_AT_ONCE, _nearest._OTHERS_AT_ONCE = before
    assert found[0] == found[1] == found[2]


class TestHashPack:
    def test_a_pack_comes_back_from_disk_as_it_was(self, tmp_path):
        pack = HashPack.build({"b": QUESTIONS, "a": against("just a few words", None)}, ngram=5)
        path = pack.save(tmp_path / "folder" / "benchmarks.pack")
        loaded = HashPack.load(path)
        assert loaded == pack
        assert hash(loaded) == hash(pack)
        assert loaded.table.equals(pack.table)
        assert loaded.names == ("a", "b")
        assert loaded.source == str(path)
        assert path.read_bytes() == loaded.to_bytes() == pickle.loads(pickle.dumps(pack)).to_bytes()
        assert pack != HashPack.build({"b": QUESTIONS, "a": against("just a few words", None)}, ngram=6)
        assert "a: 2 rows, 0 n-grams; b: 4 rows" in repr(pack)

    def test_a_pack_does_what_its_benchmark_does(self, tmp_path):
        pack = HashPack.build({"benchmark": QUESTIONS[:3]})
        path = pack.save(tmp_path / "quiz.pack")
        arrow = pack.save(tmp_path / "quiz.arrow")
        by_data = Decontaminate("text", against(*QUESTIONS[:3]))
        for given_as in (pack, str(path), path, str(arrow)):
            step = Decontaminate("text", given_as)
            assert judged(step, [*QUESTIONS[:3], "x"]) == [2, 2, 2, 0]
            assert step.fingerprint == by_data.fingerprint
        with pytest.raises(ArgumentError, match=r"ngram=8.*13"):
            Decontaminate("text", pack, ngram=8)

    def test_no_text_is_in_it(self, tmp_path):
        held = HashPack.build({"quiz": QUESTIONS}).save(tmp_path / "quiz.pack").read_bytes().lower()
        assert not any(word.encode() in held for text in QUESTIONS for word in words(text) if len(word) > 4)

    def test_a_pack_cut_short_anywhere_is_refused(self, tmp_path):
        whole = HashPack.build({"quiz": QUESTIONS[:2]}, ngram=8).to_bytes()
        path = tmp_path / "cut.pack"
        for length in [*range(0, len(whole), 97), len(whole) - 1]:
            path.write_bytes(whole[:length])
            with pytest.raises(SourceError, match=r"cut\.pack"):
                HashPack.load(path)

    def test_a_changed_byte_is_never_read_as_something_else(self, tmp_path):
        pack = HashPack.build({"quiz": QUESTIONS[:2]}, ngram=8)
        whole = bytearray(pack.to_bytes())
        path = tmp_path / "changed.pack"
        refused = 0
        for at in range(0, len(whole), 13):
            changed = bytes(whole[:at]) + bytes([whole[at] ^ 0x41]) + bytes(whole[at + 1 :])
            path.write_bytes(changed)
            try:
                # A byte of padding may change nothing.
                assert HashPack.load(path) == pack
            except SourceError:
                refused += 1
        assert refused > 20

    def test_another_version_is_refused_by_name(self, tmp_path, monkeypatch):
        pack = HashPack.build({"quiz": QUESTIONS[:2]})
        path = pack.save(tmp_path / "quiz.pack")
        import tilth.dedup.hash_pack as module

        monkeypatch.setattr(module, "FORMAT", 2)
        with pytest.raises(SourceError, match="format version 1, but this version of tilth reads 2"):
            HashPack.load(path)
        monkeypatch.undo()
        monkeypatch.setattr("tilth.text.words.HASH_VERSION", 99)
        with pytest.raises(SourceError, match=r"word hashes version \d+, but this version of tilth reads 99"):
            Decontaminate("text", str(path)).apply(Dataset(table_of(["x"])))

    def test_what_is_no_pack_is_refused(self, tmp_path):
        (tmp_path / "text.pack").write_text("no pack")
        (tmp_path / "empty.pack").touch()
        with pa.ipc.new_file(str(tmp_path / "table.pack"), table_of([]).schema) as writer:
            writer.write_table(table_of(["x"]))
        for name, said in [("text", "cut short"), ("empty", "cut short"), ("table", "no pack"), ("absent", "No such")]:
            with pytest.raises(SourceError, match=said):
                HashPack.load(tmp_path / f"{name}.pack")

    def test_build_refuses_what_it_cannot_hash(self):
        for wrong in (None, {}, QUESTIONS, against(*QUESTIONS)):
            with pytest.raises(ArgumentError, match=r"HashPack\.build"):
                HashPack.build(wrong)
        with pytest.raises(ArgumentError, match="ngram"):
            HashPack.build({"a": QUESTIONS}, ngram=0)
        with pytest.raises(ArgumentError, match="nothing to look for"):
            HashPack.build({"a": [""]})
        with pytest.raises(MissingColumnError, match="'a'"):
            HashPack.build({"a": QUESTIONS}, column="question")


def test_a_step_is_known_as_the_same_in_every_process():
    program = (
        "import warnings; warnings.simplefilter('ignore')\n"
        "from datasets import Dataset\n"
        "from datasets.fingerprint import Hasher\n"
        "from tilth.dedup import Decontaminate\n"
        "from tests.dedup.test_decontaminate import QUESTIONS, against\n"
        "step = Decontaminate('text', {'b': against(*QUESTIONS), 'a': against(QUESTIONS[0])})\n"
        "print(step.fingerprint, Hasher.hash(step))\n"
    )
    root = Path(__file__).parents[2]
    said = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=root,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(said) == 1
    assert len(said.pop().split()) == 2


@pytest.mark.filterwarnings("ignore:Decontaminate")
def test_use_does_not_change_what_a_step_is(step):
    before = pickle.dumps(step)
    judged(step, [QUESTIONS[0]])
    assert pickle.dumps(step) == before
    assert judged(pickle.loads(before), [QUESTIONS[0], "x"]) == [2, 0]


@pytest.mark.skipif(not (DATA / "decontam_gold").exists(), reason="needs the gold data; set TILTH_DATA to its folder")
def test_planted_benchmark_rows_are_found_and_clean_rows_stay():
    benchmarks = {
        "gsm8k_test": Dataset(pq.read_table(DATA / "gsm8k/gsm8k_test.parquet", columns=["question"])),
        "humaneval": Dataset(pq.read_table(DATA / "humaneval/humaneval.parquet", columns=["prompt"])),
    }
    mix = pq.read_table(DATA / "decontam_gold/mix_A.parquet")
    verdict = Decontaminate("text", benchmarks).verdict(mix)
    kinds = np.array(mix.column("kind").to_pylist())
    found = verdict.codes == 2
    assert not found[kinds == "clean"].any()
    assert found[kinds == "verbatim"].all()
    assert found[kinds == "embedded"].all()
    assert found[kinds == "light_edit"].mean() > 0.97
    for row, why in enumerate(verdict.evidence.to_pylist()):
        if why is not None:
            assert (why["benchmark"], why["row"]) == (mix["bench"][row].as_py(), mix["bench_idx"][row].as_py())


@pytest.mark.skipif(not (DATA / "decontam_gold").exists(), reason="needs the gold data; set TILTH_DATA to its folder")
@pytest.mark.parametrize(("min_similarity", "found", "wrong"), [(0.55, 80, 50), (0.7, 20, 2)])
def test_some_rephrased_questions_are_found_by_tf_idf(min_similarity, found, wrong):
    benchmark = Dataset(pq.read_table(DATA / "gsm8k/gsm8k_test.parquet", columns=["question"]))
    mix = pq.read_table(DATA / "decontam_gold/mix_A.parquet")
    step = Decontaminate("text", benchmark, embedder=TfidfSvd(), min_similarity=min_similarity)
    verdict = step.verdict(mix)
    kinds, subs = np.array(mix["kind"].to_pylist()), np.array(mix["sub"].to_pylist())
    assert (verdict.codes == 3)[subs == "rephrase_en"].sum() >= found
    assert (verdict.codes > 1)[kinds == "clean"].sum() <= wrong
    for row in np.flatnonzero((verdict.codes == 3) & (subs == "rephrase_en")):
        assert verdict.evidence[int(row)]["row"].as_py() == mix["bench_idx"][int(row)].as_py()


def test_the_search_gives_places_in_bytes_for_words_without_spaces():
    step = Decontaminate("text", against("今天天气很好我们去公园散步吧好吗朋友"))
    text = "他说:「今天天气很好,我们去公园散步吧!好吗,朋友?」"
    _, best, spans = search(from_python([text]), step._prepared.index)
    assert best.tolist() == [0]
    assert text.encode()[spans[0, 0] : spans[0, 1]].decode() == "今天天气很好,我们去公园散步吧!好吗,朋友"
