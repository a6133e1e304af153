"""The command does what the library does, and tells a user's mistakes in one line."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
from datasets import config, enable_progress_bars
from typer.testing import CliRunner

import tilth
from tilth import cli, sources

RECIPE = """\
tilth: 1
source: rows.jsonl
steps:
  - filters.WordCount: {column: text, min: 2}
    name: not too short
"""


@pytest.fixture(autouse=True)
def _alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(config, "HF_DATASETS_CACHE", str(tmp_path / ".cache"))
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps({"text": "word " * n}) + "\n" for n in range(5)))
    yield
    enable_progress_bars()


def tilth_(*words: str):
    env = {"COLUMNS": "160", "TERM": "dumb", "TILTH_DATA": None, "TILTH_PEERS": None}
    return CliRunner().invoke(cli.app, [str(word) for word in words], env=env)


def refused(*words: str) -> str:
    result = tilth_(*words)
    assert result.exit_code == 1
    assert "Traceback" not in result.output
    assert result.stderr.count("\n") == 1
    return result.stderr


def texts(folder) -> list[str]:
    return sources.load(folder)["text"][:]


def test_a_run_writes_a_folder(tmp_path):
    result = tilth_("run", "recipe.yaml", "--out", "out")
    assert result.exit_code == 0, result.output
    assert "not too short" in result.stdout
    assert "Written to out" in result.stdout
    assert {"data", "rejected", "recipe.yaml", "README.md", "report.html"} <= {
        p.name for p in (tmp_path / "out").iterdir()
    }
    assert [text.split() for text in texts("out")] == [["word"] * n for n in (2, 3, 4)]


def test_a_run_without_a_folder_shows_the_funnel_and_writes_nothing(tmp_path):
    before = {path.name for path in tmp_path.iterdir()} | {".cache"}
    result = tilth_("run", "recipe.yaml", "--order", "planned")
    assert result.exit_code == 0, result.output
    assert "too_few_words" in result.stdout or "not too short" in result.stdout
    assert "--out" in result.stdout
    assert {path.name for path in tmp_path.iterdir()} <= before


@pytest.mark.parametrize("option", [["--trial", "3"], ["--plan"], ["--trial", "2", "--plan"]])
def test_a_trial_and_a_plan_run_nothing(tmp_path, option):
    result = tilth_("run", "recipe.yaml", *option, "--out", "out")
    assert result.exit_code == 0, result.output
    assert "not too short" in result.stdout
    assert not (tmp_path / "out").exists()


def test_data_on_the_command_line_replaces_the_source(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "train.jsonl").write_text('{"text": "from train"}\n')
    (tmp_path / "d" / "test.jsonl").write_text('{"text": "from test"}\n')
    assert tilth_("run", "recipe.yaml", "--data", "d", "--split", "test", "--out", "out").exit_code == 0
    assert texts("out") == ["from test"]
    assert "'test', 'train'" in refused("run", "recipe.yaml", "--data", "d")


def test_a_folder_that_holds_something_is_only_replaced_when_asked(tmp_path):
    assert tilth_("run", "recipe.yaml", "--out", "out").exit_code == 0
    (tmp_path / "rows.jsonl").write_text('{"text": "another text"}\n')
    assert "out is not empty" in refused("run", "recipe.yaml", "--out", "out")
    assert len(texts("out")) == 3
    assert tilth_("run", "recipe.yaml", "--out", "out", "--overwrite").exit_code == 0
    assert texts("out") == ["another text"]
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".out")]


def test_an_empty_folder_may_be_written_to(tmp_path):
    (tmp_path / "out").mkdir()
    assert tilth_("run", "recipe.yaml", "--out", "out").exit_code == 0
    assert len(texts("out")) == 3


def test_overwriting_leaves_alone_what_tilth_did_not_write(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years")
    assert "did not write" in refused("run", "recipe.yaml", "--out", "mine", "--overwrite")
    assert "did not write" in refused("run", "recipe.yaml", "--out", ".", "--overwrite")
    assert "is a file" in refused("run", "recipe.yaml", "--out", "rows.jsonl", "--overwrite")
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "years"


def test_a_save_that_fails_leaves_the_earlier_result(tmp_path, monkeypatch):
    assert tilth_("run", "recipe.yaml", "--out", "out").exit_code == 0

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tilth.Curated, "save", fail)
    assert "No space left" in refused("run", "recipe.yaml", "--out", "out", "--overwrite")
    assert len(texts("out")) == 3


def test_mistakes_are_told_in_one_line(tmp_path):
    assert "absent.yaml: there is no such recipe" in refused("run", "absent.yaml")
    assert "nothing.jsonl: there is no such file" in refused("run", "recipe.yaml", "--data", "nothing.jsonl")
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "recipe.yaml").write_text(RECIPE.replace("rows", "other"))
    (tmp_path / "kept" / "other.jsonl").write_text("{}")
    assert "add --data kept/other.jsonl" in refused("run", "kept/recipe.yaml")
    (tmp_path / "recipe.yaml").write_text(RECIPE.replace("min", "mni"))
    assert "recipe.yaml, line 4, step 1 (filters.WordCount), field 'mni'" in refused("run", "recipe.yaml")
    (tmp_path / "recipe.yaml").write_text(RECIPE.replace("column: text", "column: txt"))
    assert "'txt'" in refused("run", "recipe.yaml")


@pytest.mark.parametrize("words", [["--debug", "run", "absent.yaml"], ["run", "absent.yaml", "--debug"]])
def test_debug_shows_the_traceback(words):
    result = tilth_(*words)
    assert isinstance(result.exception, tilth.errors.RecipeError)


def test_an_interrupt_is_told_in_one_line(monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(tilth.Pipeline, "run", interrupt)
    assert "again to go on" in refused("run", "recipe.yaml")


@pytest.mark.parametrize(
    "words",
    [
        ["run"],
        ["run", "recipe.yaml", "--order", "random"],
        ["run", "recipe.yaml", "--trial", "0"],
        ["run", "recipe.yaml", "--nonsense"],
        ["steps", "nonesuch"],
        ["nonesuch"],
    ],
)
def test_wrong_use_ends_with_code_two(words):
    result = tilth_(*words)
    assert result.exit_code == 2
    assert "Traceback" not in result.output


def test_a_recipe_without_a_source_needs_data(tmp_path):
    (tmp_path / "recipe.yaml").write_text(RECIPE.replace("source: rows.jsonl\n", ""))
    result = tilth_("run", "recipe.yaml")
    assert result.exit_code == 2
    assert "names no source" in result.stderr
    assert tilth_("run", "recipe.yaml", "--data", "rows.jsonl").exit_code == 0


ROWS = [
    {"text": "the quick brown fox jumps over the lazy dog by the river", "n": 1},
    {"text": "the quick brown fox jumps over the lazy dog by the river bank", "n": 2},
    {"text": "The quick brown fox jumps over the lazy dog by the river", "n": 3},
    {"text": "another row", "n": 4},
    {"text": None, "n": 5},
]


@pytest.fixture
def copies(tmp_path):
    (tmp_path / "copies.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return "copies.jsonl"


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        (["--keep", "longest"], [2, 4]),
        ([], [1, 4]),
        (["--threshold", "0.95"], [1, 2, 4]),
        (["--threshold", "0.95", "--keep", "max:n"], [2, 3, 4]),
        (["--threshold", "0.7", "--ngram", "2", "--unit", "char"], [1, 4]),
        (["--preset", "code", "--threshold", "0.9"], [1, 2, 3, 4]),
        (["--method", "simhash", "--distance", "16"], [1, 4]),
        (["--method", "simhash", "--distance", "0", "--ngram", "2"], [1, 2, 4]),
        (["--method", "exact"], [1, 2, 4]),
        (["--method", "exact", "--column", "n"], [1, 2, 3, 4, 5]),
        (["--method", "exact", "--column", "n", "--column", "text"], [1, 2, 3, 4, 5]),
    ],
    ids=lambda value: " ".join(map(str, value)),
)
def test_duplicates_are_removed_as_asked(copies, options, kept):
    column = [] if "--column" in options else ["--column", "text"]
    result = tilth_("dedup", copies, *column, *options, "--out", "out")
    assert result.exit_code == 0, result.output
    assert f"= {len(kept)} kept + {5 - len(kept)} dropped" in result.stdout
    assert sources.load("out")["n"][:] == kept


def test_duplicates_are_accounted_for_in_the_folder(tmp_path, copies):
    assert tilth_("dedup", copies, "--keep", "longest", "--out", "out").exit_code == 0
    rejected = sources.load(tmp_path / "out" / "rejected")
    assert rejected["n"][:] == [1, 3, 5]
    assert rejected["reason"][:] == ["near_duplicate", "near_duplicate", "null_text"]
    assert json.loads(rejected["evidence"][0])["kept_row"] == 1
    again = tilth_("run", "out/recipe.yaml", "--data", copies, "--out", "again")
    assert again.exit_code == 0, again.output
    assert sources.load("again")["n"][:] == sources.load("out")["n"][:] == [2, 4]
    assert "out is not empty" in refused("dedup", copies, "--out", "out")
    assert tilth_("dedup", copies, "--out", "out", "--overwrite").exit_code == 0
    assert sources.load("out")["n"][:] == [1, 4]


def test_without_a_folder_duplicates_are_only_counted(tmp_path, copies):
    before = {path.name for path in tmp_path.iterdir()} | {".cache"}
    result = tilth_("dedup", copies)
    assert result.exit_code == 0, result.output
    assert "near_duplicate 1" in result.stdout and "--out" in result.stdout
    assert {path.name for path in tmp_path.iterdir()} <= before


def test_mistakes_about_duplicates_are_told_in_one_line(copies):
    assert "'tex'" in refused("dedup", copies, "--column", "tex")
    assert "Did you mean 'text'" in refused("dedup", copies, "--column", "tex")
    assert "threshold=3.0 is not allowed" in refused("dedup", copies, "--column", "text", "--threshold", "3")
    assert "keep='best' is not allowed" in refused("dedup", copies, "--column", "text", "--keep", "best")
    assert "'score'" in refused("dedup", copies, "--column", "text", "--keep", "max:score")
    assert "there is no such file" in refused("dedup", "absent.jsonl", "--column", "text")
    # What is wrong with the options is told before the data is looked for.
    assert "ngram=0" in refused("dedup", "absent.jsonl", "--column", "text", "--ngram", "0")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--method", "exact", "--threshold", "0.5"], "--threshold"),
        (["--method", "exact", "--ngram", "3"], "--ngram"),
        (["--method", "exact", "--unit", "char"], "--unit"),
        (["--method", "simhash", "--threshold", "0.5"], "--threshold"),
        (["--distance", "3"], "--distance"),
        (["--column", "text", "--column", "n"], "compares one column"),
        (["--method", "nearly"], "--method"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_options_that_do_not_go_together_end_with_code_two(copies, words, said):
    result = tilth_("dedup", copies, *words)
    assert result.exit_code == 2
    assert said in result.stderr


def test_a_text_must_be_named_where_there_are_several(tmp_path):
    (tmp_path / "two.jsonl").write_text('{"question": "why", "answer": "so", "n": 1}\n')
    result = tilth_("dedup", "two.jsonl")
    assert result.exit_code == 2
    assert "question, answer" in result.stderr
    (tmp_path / "none.jsonl").write_text('{"n": 1}\n')
    assert "there is none" in tilth_("dedup", "none.jsonl").stderr


def test_the_benchmark_of_deduplication_prints_and_writes(tmp_path):
    pytest.importorskip("matplotlib")
    result = tilth_("bench", "dedup", "--quick", "--only", "quality", "--out", "measured")
    assert result.exit_code == 0, result.output
    assert re.search(r"made, \d+ pairs +1\.0000 +>= 0\.99 +yes", result.stdout)
    assert "Not measured: rensa" in result.stdout
    assert {path.name for path in (tmp_path / "measured").iterdir()} == {"dedup.json", "dedup.png"}
    assert "is not a folder" in refused("bench", "dedup", "--data", "absent")
    assert "make peers" in refused("bench", "dedup", "--peers", "absent")


def test_steps_are_listed_with_their_fields():
    listed = tilth_("steps").stdout
    assert "filters.WordCount" in listed
    assert "clean.Normalize" in listed
    one = tilth_("steps", "wordcount").stdout
    assert "clean.Normalize" not in one
    assert re.search(r"column: str\n", one)
    assert re.search(r"min: int = \d+\n", one)
    assert "filters.WordCount" in tilth_("steps", "filters").stdout
    assert "Did you mean filters.WordCount?" in re.sub(r"[\s│]+", " ", tilth_("steps", "filters.WordCont").stderr)


def test_the_version_is_told():
    assert tilth_("--version").stdout == f"tilth {tilth.__version__}\n"


def test_help_loads_nothing_heavy():
    code = (
        "import sys; sys.argv = ['tilth', '--help']\n"
        "from tilth.cli import app\n"
        "try: app()\n"
        "except SystemExit: pass\n"
        "heavy = {'datasets', 'pyarrow', 'numpy', 'numba', 'pandas', 'pydantic'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "demo" in done.stdout
    assert done.stderr.strip() == "[]"
