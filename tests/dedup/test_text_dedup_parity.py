"""The same rows through text-dedup's own functions and through ours: every difference is of a kind that is known.

Both bring rows together by bands of a MinHash. text-dedup then connects whatever shares a band, unverified, and has
another idea of a word. So two rows that only one of them puts together differ by one of these:

- `unverified`: text-dedup connected them through a pair that is below the threshold;
- `words`: they are connected by similar pairs under one definition of a word and not under the other;
- `bands`: they are connected by similar pairs, and one of them missed such a pair, as any banding may.

A pair that ours has and that is none of these would be a fault.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections import Counter
from itertools import combinations
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tilth.bench.corpora import write_documents
from tilth.bench.quality import shingles
from tilth.bench.speed import dataset, peer
from tilth.dedup import MinHash

DATA = Path(os.environ.get("TILTH_DATA", Path(__file__).parents[3] / "shared" / "data"))
SENTENCE = "the quick brown fox jumps over the lazy dog while the cat sleeps on the mat all day"


@pytest.fixture(scope="module")
def python():
    """An interpreter that has text-dedup."""
    if importlib.util.find_spec("text_dedup") is not None:
        return Path(sys.executable)
    if "TILTH_PEERS" not in os.environ:
        pytest.skip("text-dedup is not installed; make .venv/.dev, or TILTH_PEERS, the interpreter of make peers")
    return Path(os.environ["TILTH_PEERS"])


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Documents and edited copies whose words lie one space apart, so that both see the same words."""
    path = tmp_path_factory.mktemp("made") / "rows.parquet"
    write_documents(path, None, 250, words=(40, 300), seed=5)
    return path


@pytest.fixture(scope="module")
def side(python, made):
    """text-dedup on these documents with bands that miss no pair near the threshold."""
    return theirs(python, made, threshold=0.7, num_perm=160, shape=[40, 4])


def write(folder, texts):
    pq.write_table(pa.table({"text": pa.array(texts, pa.string())}), folder / "rows.parquet")
    return folder / "rows.parquet"


def theirs(python, path, **options):
    script = Path(__file__).with_name("text_dedup_side.py")
    done = subprocess.run(
        [python, "-P", script, path, json.dumps({"ngram": 5, **options})], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def together(labels):
    """All pairs of rows that have one label."""
    rows = {}
    for row, label in enumerate(labels):
        rows.setdefault(label, []).append(row)
    return {pair for members in rows.values() for pair in combinations(members, 2)}


def connected(rows, edges):
    """The least row that each row is connected with."""
    label = list(range(rows))

    def root(row):
        while label[row] != row:
            row = label[row]
        return row

    for one, other in edges:
        low, high = sorted((root(one), root(other)))
        label[high] = low
    return [root(row) for row in range(rows)]


def similar(sets, threshold):
    """The pairs of rows whose sets are as similar as that, of all pairs."""
    for one, other in combinations(range(len(sets)), 2):
        shared = len(sets[one] & sets[other])
        if shared and shared >= threshold * (len(sets[one]) + len(sets[other]) - shared) - 1e-9:
            yield one, other


def ours(path, their_side, **options):
    """The pairs that we put together, with the bands of the other side."""
    bands, rows = their_side["shape"]
    step = MinHash("text", bands=bands, rows=rows, cluster="component", **options)
    found = step.clusters(dataset(path))
    labels = list(range(len(their_side["clusters"])))
    for row, cluster in zip(found["row"][:], found["cluster"][:], strict=True):
        labels[row] = cluster
    return together(labels)


def differences(path, their_side, threshold, ngram=5, **options):
    """How many pairs of rows are put together by both, and by one alone for each kind of reason."""
    texts = pq.read_table(path)["text"].to_pylist()
    mine, their_own = (
        ours(path, their_side, threshold=threshold, ngram=ngram, **options),
        together(their_side["clusters"]),
    )
    exact_mine = together(connected(len(texts), similar([shingles(text, ngram) for text in texts], threshold)))
    exact_theirs = together(connected(len(texts), similar([set(row) for row in their_side["shingles"]], threshold)))
    found = Counter(both=len(mine & their_own))
    for pair in their_own - mine:
        if pair not in exact_theirs:
            found["theirs, unverified"] += 1
        else:
            found["theirs, bands" if pair in exact_mine else "theirs, words"] += 1
    for pair in mine - their_own:
        if pair not in exact_mine:
            found["ours, unverified"] += 1
        else:
            found["ours, bands" if pair in exact_theirs else "ours, words"] += 1
    return found


def test_the_program_does_what_its_functions_do(python, made):
    step = MinHash("text", threshold=0.7, num_perm=90, bands=15, rows=6)
    by_program = peer("text-dedup", python, made, step)
    root = dict(by_program["dropped"])
    by_functions = theirs(python, made, threshold=0.7, num_perm=90, shape=[15, 6])
    assert together([root.get(row, row) for row in range(250)]) == together(by_functions["clusters"])
    assert by_program["kept"] == len(set(by_functions["clusters"]))


def test_with_bands_that_miss_nothing_we_differ_only_in_what_is_verified(made, side):
    found = differences(made, side, 0.7, num_perm=160)
    assert found["both"] > 100
    assert found["theirs, unverified"] > 20
    assert set(found) == {"both", "theirs, unverified"}


def test_the_similar_pairs_in_the_clusters_of_text_dedup_make_our_clusters(made, side):
    sets = [set(row) for row in side["shingles"]]
    verified = set(similar(sets, 0.7)) & together(side["clusters"])
    assert together(connected(len(sets), verified)) == ours(made, side, threshold=0.7, num_perm=160)


def test_with_the_defaults_of_text_dedup_we_differ_near_the_threshold(python, made):
    side = theirs(python, made, threshold=0.7, num_perm=250)
    assert side["shape"] == [25, 10]
    found = differences(made, side, 0.7, num_perm=250)
    assert not found["ours, unverified"]
    assert not found["ours, words"] and not found["theirs, words"]
    # Twenty-five bands of ten bring a pair of similarity 0.7 together one time in two, by chance of the hashes.
    assert found["ours, bands"] + found["theirs, bands"] < 0.25 * found["both"]


def test_without_verification_we_are_wrong_only_near_the_threshold(made, side):
    texts = pq.read_table(made)["text"].to_pylist()
    sets = [shingles(text, 5) for text in texts]
    right, near = together(connected(250, similar(sets, 0.7))), together(connected(250, similar(sets, 0.58)))
    unverified = ours(made, side, threshold=0.7, num_perm=160, verify=False)
    assert unverified != right
    assert unverified <= near
    assert len(unverified - right) < len(together(side["clusters"]) - right)


PAIRS = {
    "case": (SENTENCE, SENTENCE.upper(), {"ours", "theirs"}),
    "other separators": (SENTENCE.replace(" ", "-"), SENTENCE.replace(" ", "+"), {"ours", "theirs"}),
    # Between a comma and a space text-dedup sees a word of no letters, which is in every shingle around it.
    "commas": (SENTENCE, SENTENCE.replace(" ", ", "), {"ours"}),
    "spaces": (SENTENCE, SENTENCE.replace(" ", "  "), {"ours"}),
    # A mark belongs to its letter for us and ends the word for text-dedup.
    "marks": (SENTENCE.replace("o", "o\u0301"), SENTENCE.replace("o", "o\u0302"), {"theirs"}),
    # Without spaces a sentence is one word to text-dedup, and as many as it has characters to us.
    "no spaces": (
        "敏捷的棕色狐狸跳过了那只懒狗然后跑进了森林里",
        "敏捷的棕色狐狸跳过了那只懒狗然后跑进了森林中",
        {"ours"},
    ),
}


@pytest.fixture(scope="module")
def pairs(python, tmp_path_factory):
    """What each joins of the rows of `PAIRS`."""
    path = write(tmp_path_factory.mktemp("pairs"), [text for one, other, _ in PAIRS.values() for text in (one, other)])
    said = theirs(python, path, threshold=0.7, num_perm=160, shape=[40, 4])
    return {"ours": ours(path, said, threshold=0.7, num_perm=160), "theirs": together(said["clusters"])}


@pytest.mark.parametrize("name", PAIRS)
def test_another_idea_of_a_word_is_why(pairs, name):
    place = 2 * list(PAIRS).index(name)
    assert {who for who, joined in pairs.items() if (place, place + 1) in joined} == PAIRS[name][2]


def test_rows_of_few_words_are_thrown_away_by_text_dedup_and_kept_by_us(python, tmp_path):
    texts = ["yes", "no", "yes", "I do not know", SENTENCE]
    path = write(tmp_path, texts)
    side = theirs(python, path, threshold=0.7, num_perm=160, shape=[40, 4], min_length=5)
    # Its program filters such rows out; its functions give them all the same empty sketch.
    assert together(side["clusters"]) == set(combinations(range(4), 2))
    assert MinHash("text", threshold=0.7).apply(dataset(path))["text"][:] == ["yes", "no", "I do not know", SENTENCE]


@pytest.mark.parametrize(("name", "ngram", "rows"), [("nd_tweets", 3, 1_500), ("nd_docs_A", 5, 300)])
def test_on_real_rows_each_difference_is_of_a_known_kind(python, tmp_path, name, ngram, rows):
    if not (DATA / name).is_dir():
        pytest.skip("no ../shared/data")
    # Those that have a near-duplicate, and others.
    pairs = pq.read_table(DATA / name / "pairs.parquet")
    some = sorted({*pairs["i"].to_pylist()[:rows], *pairs["j"].to_pylist()[:rows], *range(rows // 4)})[:rows]
    path = write(tmp_path, pq.read_table(DATA / name / "docs.parquet")["text"].take(some).to_pylist())
    side = theirs(python, path, threshold=0.7, num_perm=160, shape=[40, 4], ngram=ngram)
    found = differences(path, side, 0.7, ngram, num_perm=160)
    print(name, dict(found))
    assert found["both"] > 10
    assert found["theirs, words"] + found["ours, words"] > 0
    assert not found["ours, unverified"]
    assert found["ours, bands"] + found["theirs, bands"] <= 0.01 * found["both"]
