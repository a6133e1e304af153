"""Publishing with the real client to a Hub on this machine, in a process of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from datasets import ClassLabel, Features, Value

from tests.hub import acts
from tests.hub.stand_in import TOKEN, StandIn

ROOT = Path(__file__).parents[2]
SMALL = {"columns": {"text": ["a b", "c d e"]}, "rejected": {"text": ["a"]}}


@pytest.fixture(scope="module")
def hub():
    with StandIn() as server:
        yield server


@pytest.fixture(scope="module")
def environment(hub, tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    (home / "tmp").mkdir()
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    return inherited | {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "TMPDIR": str(home / "tmp"),
    }


@pytest.fixture(scope="module")
def client(environment):
    """A function that does one of `acts` in the other process."""
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(environment)
    try:
        pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
        pool.submit(os.getpid).result()
    finally:
        os.environ.clear()
        os.environ.update(before)
    with pool:
        yield lambda act, *args, **options: pool.submit(act, *args, **options).result()


@pytest.fixture(autouse=True)
def in_order(hub, environment):
    yield
    hub.failing.clear()
    hub.before.clear()
    assert not list(Path(environment["TMPDIR"]).glob("tilth-*")), "temporary files were left"


def test_both_configs_load_back_equal(client, hub):
    features = Features({"text": Value("large_string"), "label": ClassLabel(names=["no", "yes"])})
    kept = {"text": ["ä", None, "\U0001f600"], "label": [0, 1, None]}
    dropped = {"text": ["<script>", ""], "label": [1, 1]}
    published = client(acts.publish, {"columns": kept, "rejected": dropped, "features": features}, "me/both")
    assert published.repo_id == "me/both"
    assert published.url == f"{hub.url}/datasets/me/both"
    assert published.commit == hub.repos["me/both"].branches["main"]
    assert published.pull_request is None
    assert client(acts.load, "me/both") == {"train": (features, kept)}
    found, rows = client(acts.load, "me/both", "rejected")["train"]
    assert {name: found[name] for name in features} == features
    assert rows == dropped | {"rejected_by": ["length"] * 2, "reason": ["too_few_words"] * 2, "evidence": ["1"] * 2}
    assert client(acts.stream, "me/both") == [
        dict(zip(kept, row, strict=True)) for row in zip(*kept.values(), strict=True)
    ]
    assert [row["text"] for row in client(acts.stream, "me/both", "rejected")] == dropped["text"]


def test_what_a_pipeline_made_loads_back(client, hub):
    client(acts.run_and_publish, "me/run")
    assert client(acts.load, "me/run")["train"][1] == {"text": ["one two three", "a b c"]}
    rejected = client(acts.load, "me/run", "rejected")["train"][1]
    assert rejected["text"] == ["one", None]
    assert rejected["rejected_by"] == ["length | *x*"] * 2 and rejected["reason"] == ["too_few_words", "null_text"]
    assert r"| length \| \*x\* | 4 | 2 |" in hub.card("me/run")
    assert hub.files("me/run")["report.html"].startswith(b"<!")


def test_all_of_it_is_one_commit(client, hub):
    client(acts.publish, SMALL, "me/one", message="the first")
    assert hub.repos["me/one"].log() == ["initial commit", "the first"]
    assert sorted(hub.files("me/one")) == [
        ".gitattributes",
        "README.md",
        "data/train-00000-of-00001.parquet",
        "recipe.yaml",
        "rejected/train-00000-of-00001.parquet",
        "report.html",
    ]
    assert hub.files("me/one")["recipe.yaml"].decode() == acts.RECIPE


def test_the_same_again_uploads_nothing(client, hub):
    client(acts.publish, SMALL, "me/again")
    first = hub.files("me/again")
    hub.requests.clear()
    client(acts.publish, SMALL, "me/again")
    assert not [request for request in hub.requests if request.startswith("PUT")]
    assert hub.files("me/again") == first


def test_a_later_push_replaces_columns_and_shards(client, hub):
    many = {"text": [f"row {number}" for number in range(50)]}
    client(acts.publish, {"columns": many, "rejected": many}, "me/later", max_shard_bytes=100)
    shards = [name for name in hub.files("me/later") if name.startswith("data/")]
    assert len(shards) > 2
    assert client(acts.load, "me/later")["train"][1] == many
    other = {"question": ["x"], "answer": [1.5]}
    client(acts.publish, {"columns": other}, "me/later")
    assert [name for name in hub.files("me/later") if name.endswith("parquet")] == ["data/train-00000-of-00001.parquet"]
    assert client(acts.load, "me/later")["train"][1] == other
    assert [config["config_name"] for config in front(hub.card("me/later"))["configs"]] == ["default"]


def test_another_split_stays(client, hub):
    client(acts.publish, SMALL | {"split": "train"}, "me/splits")
    client(acts.publish, {"columns": {"text": ["z"]}, "split": "test"}, "me/splits")
    assert {name: rows for name, (_, rows) in client(acts.load, "me/splits").items()} == {
        "train": SMALL["columns"],
        "test": {"text": ["z"]},
    }
    assert list(client(acts.load, "me/splits", "rejected")) == ["train"]


def test_another_split_with_other_columns_is_refused_before_any_upload(client, hub):
    client(acts.publish, SMALL | {"split": "train"}, "me/columns")
    hub.requests.clear()
    said = client(acts.publish, {"columns": {"number": [1]}, "split": "test"}, "me/columns")
    assert "PublishError" in said and "'train' with other columns" in said and "['number']" in said
    assert not [request for request in hub.requests if request.startswith(("PUT", "POST"))]


def test_what_a_card_says_besides_stays(client, hub, tmp_path):
    theirs = (
        "---\n# by hand\nlanguage: no   # Norwegian\nlicense: mit\nconfigs:\n- config_name: extra\n"
        "  data_files: extra/*.parquet\ndataset_info:\n  config_name: extra\n  features:\n  - name: x\n"
        "    dtype: int64\n---\n# Mine\n\nMy own words.\n"
    )
    pq.write_table(pa.table({"x": [1]}), tmp_path / "extra")
    extra = (tmp_path / "extra").read_bytes()
    hub.make("me/card", {"README.md": theirs, "extra/rows.parquet": extra, "data/notes.parquet": "not ours"})
    client(acts.publish, SMALL, "me/card")
    text = hub.card("me/card")
    assert "# by hand\nlanguage: no   # Norwegian\nlicense: mit\n" in text
    assert "---\n# Mine\n\nMy own words.\n\n<!-- tilth:begin -->" in text
    assert hub.files("me/card")["data/notes.parquet"] == b"not ours"
    assert client(acts.load, "me/card", "extra")["train"][1] == {"x": [1]}
    assert client(acts.load, "me/card")["train"][1] == SMALL["columns"]
    client(acts.publish, SMALL, "me/card", license="cc-by-4.0")
    again = hub.card("me/card")
    assert again.replace("license: cc-by-4.0", "license: mit") == text


def test_another_default_config_is_refused(client, hub):
    hub.make("me/default", {"README.md": "---\nconfigs:\n- config_name: en\n  default: true\n---\n"})
    said = client(acts.publish, SMALL, "me/default")
    assert "'en' the default config" in said


@pytest.mark.parametrize(
    ("config", "files"),
    [("extra", "extra.csv"), ("extra", "[a.csv]"), ("default", "[{split: test, path: [a.parquet, b.jsonl.gz]}]")],
)
def test_data_that_load_dataset_could_not_read_beside_ours_is_refused(client, hub, config, files):
    hub.make("me/mixed", {"README.md": f"---\nconfigs:\n- config_name: {config}\n  data_files: {files}\n---\n"})
    said = client(acts.publish, SMALL, "me/mixed")
    assert f"config {config!r} has" in said and "one format" in said


@pytest.mark.parametrize("top", ["a: [", "- a", "configs: 3", "? [1, 2]\n: x\nconfigs: [a]", "a: \x00"])
def test_a_broken_card_is_refused_and_stays(client, hub, top):
    hub.make("me/broken", {"README.md": f"---\n{top}\n---\ntext"})
    said = client(acts.publish, SMALL, "me/broken")
    assert said.startswith("PublishError") and "epair" in said
    assert hub.repos["me/broken"].log() == ["initial commit", "by hand"]


def test_a_card_that_cannot_be_read_is_not_overwritten(client, hub):
    hub.make("me/unread", {"README.md": "my words"})
    hub.failing["HEAD .*README.md"] = 501, {}, ""
    assert client(acts.publish, SMALL, "me/unread").startswith("PublishError")
    assert hub.card("me/unread") == "my words"


def test_a_repository_that_is_made_is_private_unless_told(client, hub):
    client(acts.publish, SMALL, "me/closed")
    client(acts.publish, SMALL, "me/open", private=False)
    assert (hub.repos["me/closed"].private, hub.repos["me/open"].private) == (True, False)


def test_visibility_never_changes(client, hub):
    hub.make("me/was-private", private=True)
    hub.make("me/was-public", private=False)
    assert client(acts.publish, SMALL, "me/was-private", private=False).commit
    said = client(acts.publish, SMALL, "me/was-public")
    assert "me/was-public is public" in said and "private=False" in said
    assert hub.repos["me/was-public"].log() == ["initial commit"]
    assert hub.repos["me/was-private"].private and not hub.repos["me/was-public"].private


def test_a_name_alone_is_in_the_callers_namespace(client, hub):
    assert client(acts.publish, SMALL, "alone").repo_id == "me/alone"
    assert 'load_dataset("me/alone"' in hub.card("me/alone")


def test_a_pull_request_leaves_the_branch_as_it_is(client, hub):
    hub.make("me/pull")
    published = client(acts.publish, SMALL, "me/pull", create_pr=True)
    assert published.pull_request == f"{hub.url}/datasets/me/pull/discussions/1"
    assert list(hub.files("me/pull")) == [".gitattributes"]
    assert client(acts.load, "me/pull", revision="refs/pr/1")["train"][1] == SMALL["columns"]


def test_a_branch_is_made_if_need_be(client, hub):
    for _ in range(2):
        client(acts.publish, SMALL, "me/branch", revision="v/2")
    assert list(hub.files("me/branch")) == [".gitattributes"]
    assert client(acts.load, "me/branch", revision="v/2")["train"][1] == SMALL["columns"]


def test_a_push_by_somebody_else_in_between_is_reported(client, hub):
    repo = hub.make("me/race")
    hub.before["POST .*/race/preupload/"] = lambda: repo.add("main", {"theirs": b"1"}, "theirs")
    said = client(acts.publish, SMALL, "me/race")
    assert said.startswith("PublishError: somebody else pushed to me/race") and "run it again" in said
    assert repo.log() == ["initial commit", "theirs"]
    hub.before.clear()
    assert client(acts.publish, SMALL, "me/race").commit


def test_a_hub_that_fails_changes_nothing(client, hub):
    hub.make("me/fails")
    hub.failing["POST .*/fails/commit/"] = 500, {"X-Error-Message": f"oops {TOKEN}"}, "{}"
    said = client(acts.publish, SMALL, "me/fails")
    assert "failed at me/fails (500)" in said and "oops hf_***" in said and TOKEN not in said
    assert hub.repos["me/fails"].log() == ["initial commit"]


@pytest.mark.parametrize("status", [400, 413, 429])
def test_other_refusals_say_what_the_hub_said(client, hub, status):
    hub.make("me/refused")
    hub.failing["POST .*/refused/commit/"] = status, {}, '{"error": "the reason"}'
    said = client(acts.publish, SMALL, "me/refused")
    assert f"({status})" in said and "the reason" in said


def test_a_wrong_token_is_refused_and_not_shown(client, hub):
    hub.make("me/token")
    wrong = "hf_" + "w" * 34
    for repo_id in ("me/token", "me/no-such", "bare"):
        said = client(acts.publish, SMALL, repo_id, token=wrong)
        assert "does not take the token (401)" in said and "hf auth login" in said and wrong not in said
    assert client(acts.publish, SMALL, "me/token", token=f"  {TOKEN}\n").commit
    said = client(acts.publish, SMALL, "me/token", token=f"{TOKEN}\nx")
    assert said.startswith("ArgumentError: token") and TOKEN not in said


def test_no_token_is_said_before_any_request(client, hub):
    hub.requests.clear()
    assert "no token" in client(acts.publish, SMALL, "me/none", token=None)
    assert not hub.requests


def test_a_namespace_of_somebody_else_is_refused(client, hub):
    said = client(acts.publish, SMALL, "you/theirs")
    assert "does not let the token write to you/theirs (403)" in said


@pytest.mark.parametrize(
    "repo_id", ["", "a/b/c", "me/-x", "me/x--y", "me/x..y", "me/x.git", "me/x y", "https://hub/me/x", "me/", None, 3]
)
def test_a_bad_name_is_refused_before_any_request(client, hub, repo_id):
    hub.requests.clear()
    said = client(acts.publish, SMALL, repo_id)
    assert said.startswith(f"ArgumentError: repo_id={repo_id!r} is not allowed") and "owner/name" in said
    assert not hub.requests


@pytest.mark.parametrize(
    "options",
    [
        {"license": "MIT\nprivate: false"},
        {"max_shard_bytes": 0},
        {"max_shard_bytes": True},
        {"message": " "},
        {"revision": ""},
        {"revision": "dev", "create_pr": True},
        {"token": 3},
    ],
)
def test_bad_arguments_are_refused_by_name(client, hub, options):
    hub.requests.clear()
    said = client(acts.publish, SMALL, "me/arguments", **options)
    assert said.startswith(f"ArgumentError: {next(iter(options))}")
    assert not hub.requests


def test_a_dataset_alone_is_refused(client):
    assert client(acts.publish_rows, "me/alone").startswith("TypeError: publishing takes the result of Pipeline.run")


def test_nothing_is_published_where_no_row_was_kept(client, hub):
    hub.requests.clear()
    said = client(acts.publish, {"columns": {"text": []}}, "me/empty")
    assert said.startswith("PublishError: the pipeline kept no row")
    assert not hub.requests


def test_a_column_that_parquet_cannot_hold_is_refused_before_any_request(client, hub):
    hub.requests.clear()
    said = client(acts.publish, {"columns": {"text": ["a"], "odd": [{}]}}, "me/odd")
    assert said.startswith("ColumnTypeError") and "'odd'" in said
    assert not hub.requests


@pytest.mark.parametrize("where", ["recipe", "message", "name", "example"])
def test_a_token_in_the_texts_is_refused(client, hub, where):
    options = {"message": f"with {TOKEN}"} if where == "message" else {}
    curated = SMALL if where == "message" else SMALL | {where: f"key {TOKEN} x"}
    said = client(acts.publish, curated, "me/leak", **options)
    assert "holds an access token" in said and TOKEN not in said
    assert "me/leak" not in hub.repos


def test_somebody_elses_token_is_refused_except_in_rows(client, hub):
    other = "hf_" + "o" * 34
    assert "recipe.yaml holds an access token" in client(acts.publish, SMALL | {"recipe": other}, "me/other")
    assert client(acts.publish, SMALL | {"example": other}, "me/other").commit


def test_without_rejected_nothing_of_the_source_is_there(client, hub):
    curated = SMALL | {"example": "a secret"}
    client(acts.publish, curated, "me/discreet")
    assert b"a secret" in hub.files("me/discreet")["report.html"]
    client(acts.publish, curated, "me/discreet", rejected=False)
    files = hub.files("me/discreet")
    assert not [name for name in files if name.startswith("rejected/")]
    assert b"a secret" not in files["report.html"] and b"too_few_words" in files["report.html"]
    assert [config["config_name"] for config in front(hub.card("me/discreet"))["configs"]] == ["default"]
    assert "| length | too_few_words | 1 |" in hub.card("me/discreet")


def test_files_that_the_repository_ignores_are_an_error(client, hub):
    hub.make("me/ignores", {".gitignore": "*.parquet\n"})
    said = client(acts.publish, SMALL, "me/ignores")
    assert ".gitignore" in said and "data/train-00000-of-00001.parquet" in said
    assert len(hub.repos["me/ignores"].commits) == 2


def test_a_hub_that_is_not_there_is_named(environment):
    script = "from tests.hub import acts; print(acts.publish({'columns': {'text': ['a']}}, 'me/x'))"
    nowhere = environment | {"HF_ENDPOINT": "http://127.0.0.1:9"}
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=nowhere, capture_output=True, text=True)
    assert "PublishError: publishing to me/x at http://127.0.0.1:9 failed: Connect" in done.stdout
    assert TOKEN not in done.stdout + done.stderr


def test_a_kill_in_mid_push_leaves_the_repository_as_it_was(client, hub, environment, tmp_path):
    client(acts.publish, SMALL, "me/killed")
    before = dict(hub.files("me/killed"))
    reached, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        reached.set()
        go_on.wait(60)

    hub.before["PUT /objects/"] = hold
    script = "from tests.hub import acts; acts.publish({'columns': {'text': ['other', 'rows']}}, 'me/killed')"
    pushing = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, env=environment | {"TMPDIR": str(tmp_path)})
    try:
        assert reached.wait(60)
        pushing.send_signal(signal.SIGKILL)
        pushing.wait()
    finally:
        pushing.kill()
        go_on.set()
    hub.before.clear()
    assert hub.files("me/killed") == before
    assert client(acts.load, "me/killed")["train"][1] == SMALL["columns"]
    assert client(acts.publish, {"columns": {"text": ["other", "rows"]}}, "me/killed").commit


def front(text: str) -> dict:
    return yaml.safe_load(re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)[1])
