"""The card, in a folder and over one that is there already."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest
import yaml
from datasets import ClassLabel, Dataset, Features, Value, load_dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

import tilth
from tests.hub.acts import made
from tilth.errors import ArgumentError, PublishError
from tilth.hub.layout import Part, metadata, parts_of, split_name
from tilth.hub.readme import BEGIN, END, merged_card
from tilth.ledger import StepRecord
from tilth.parquet import write_parquet
from tilth.report import Report
from tilth.report.shown import visible

SMALL = made({"text": ["a b", "c"]}, {"text": ["d"]})
MARKDOWN = MarkdownIt("commonmark").enable(["table", "strikethrough"])
HOSTILE = [
    "a | b",
    "`x` \\| y",
    "<script>alert(1)</script>",
    "</table><!-- tilth:end -->",
    BEGIN,
    "**bold** _it_ [link](https://example.org) ![i](x)",
    "&lt;b&gt; &amp; \\&lt;",
    "line\nbreak\r\n\n# heading",
    "\u202ereversed\x00\x1b[31m",
    "---\nlicense: evil",
    "$x^2$ ~~gone~~ @somebody #1 :smile:",
    "a\\",
    "x" * 500,
    "~~~\n```",
]


def front(text: str) -> dict:
    return yaml.safe_load(re.match(r"---\r?\n(.*?)\r?\n---\r?\n", text, re.DOTALL)[1])


def merged(old: str | None, curated=SMALL, license: str | None = None) -> str:
    return merged_card(curated, parts_of(curated), old, "me/it", license)


def cells(text: str) -> list[list[str]]:
    """The text of the cells of all tables of a card, as it is rendered, row by row."""
    rows, inside = [], False
    for token in MARKDOWN.parse(text):
        if token.type == "tr_open":
            rows.append([])
        inside = inside or token.type in ("td_open", "th_open")
        if inside and token.type == "inline":
            assert all(child.type in ("text", "text_special") for child in token.children), token.children
            rows[-1].append("".join(child.content for child in token.children))
            inside = False
    return rows


@pytest.mark.parametrize("name", HOSTILE)
def test_names_and_reasons_are_shown_as_text(name):
    text = tilth.hub.card(made({"text": ["a"]}, {"text": ["b"]}, name=name, reason=name))
    shown = " ".join(visible(name).split())
    shown = shown if len(shown) <= 80 else shown[:79] + "…"
    rows = cells(text)
    assert [shown, "2", "1", "50.0%", "0", "1"] in rows
    assert [shown, shown, "1"] in rows
    assert (text.count(BEGIN), text.count(END)) == (1, 1)
    assert "license" not in front(text)


@given(name=st.text(min_size=1), reason=st.text(min_size=1))
@settings(max_examples=80, deadline=None)
def test_any_text_is_shown_as_text(name, reason):
    step = StepRecord(name, "X", "filter", rows_in=3, rows_out=1, dropped={reason: 2})
    report = Report(rows_in=3, rows_added=0, rows_out=1, steps=(step,))
    curated = SimpleNamespace(dataset=SMALL.dataset, rejected=SMALL.rejected, report=report, recipe="")
    rows = cells(tilth.hub.card(curated))
    assert [len(row) for row in rows] == [6, 6, 3, 3]
    for text, place in ((name, 0), (reason, 1)):
        if len(visible(text)) <= 80:
            assert rows[3][place] == " ".join(visible(text).split())


def test_a_folder_with_the_card_loads(tmp_path):
    features = Features({"text": Value("string"), "label": ClassLabel(names=["n", "y"])})
    columns = {"text": ["a", None, "c"], "label": [0, 1, 0]}
    curated = made(columns, {"text": ["d"], "label": [1]}, features=features, split="test")
    (tmp_path / "README.md").write_text(tilth.hub.card(curated, license="mit"), encoding="utf-8")
    write_parquet(curated.dataset, tmp_path / "data", "test", max_shard_bytes=1)
    write_parquet(curated.rejected, tmp_path / "rejected", "test")
    kept = load_dataset(str(tmp_path), split="test", cache_dir=str(tmp_path / "cache"))
    assert (kept.features, kept.to_dict()) == (features, columns)
    rejected = load_dataset(str(tmp_path), "rejected", split="test", cache_dir=str(tmp_path / "cache"))
    assert rejected.to_dict() == curated.rejected.to_dict()
    assert front(tilth.hub.card(curated, license="mit"))["license"] == "mit"


def test_a_card_of_a_folder_names_no_repository():
    text = tilth.hub.card(SMALL)
    assert "# Curated dataset" in text and 'load_dataset("path/to/this/folder"' in text and "hf download" not in text


def test_the_card_counts_every_row():
    steps = (
        StepRecord("grow", "X", "dataset", rows_in=1500, rows_out=2000, added=500),
        StepRecord("cut", "Y", "filter", rows_in=2000, rows_out=1000, dropped={"b": 400, "a": 600, "never": 0}),
    )
    report = Report(rows_in=1500, rows_added=500, rows_out=1000, steps=steps)
    curated = SimpleNamespace(dataset=SMALL.dataset, rejected=SMALL.rejected, report=report, recipe="")
    text = tilth.hub.card(curated)
    assert "1,500 rows in, 500 added, 1,000 kept, 1,000 dropped" in text
    rows = cells(text)
    assert rows[1:3] == [
        ["grow", "1,500", "2,000", "100%", "0", "0", "500"],
        ["cut", "2,000", "1,000", "50.0%", "0", "1,000", "0"],
    ]
    assert rows[4:] == [["cut", "a", "600"], ["cut", "b", "400"]]


def test_nothing_rejected_makes_no_rejected_config():
    text = tilth.hub.card(made({"text": ["a"]}))
    assert [config["config_name"] for config in front(text)["configs"]] == ["default"]
    assert "rejected" not in text.replace("tilth_rejected", "").split(BEGIN)[0] and '"rejected"' not in text


def test_columns_that_had_to_give_way_are_named():
    rejected = Dataset.from_dict({"reason": ["why"], "rejected_by": ["x"], "tilth_reason": ["r"], "evidence": [None]})
    curated = SimpleNamespace(dataset=SMALL.dataset, rejected=rejected, report=SMALL.report, recipe="")
    assert "`rejected_by` (the step), `tilth_reason` and `evidence`" in tilth.hub.card(curated)


BODY = st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=60).filter(
    lambda text: "tilth:" not in text and not text.lstrip().startswith("---")
)
VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="utf-8"), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc:# ", max_size=4), inner, max_size=3),
    max_leaves=6,
)
OTHER = st.dictionaries(st.text("abcdefgh -:#'é", min_size=1, max_size=8), VALUE, max_size=4)


@given(other=OTHER, body=BODY, flow=st.booleans(), windows=st.booleans())
@settings(max_examples=80, deadline=None)
def test_what_else_a_card_says_stays_and_a_second_time_changes_nothing(other, body, flow, windows):
    top = yaml.safe_dump(other, allow_unicode=True, sort_keys=False, default_flow_style=flow)
    old = f"---\n{top}---\n{body}"
    if windows:
        old = old.replace("\n", "\r\n")
    if re.match(r"---\r?\n([\S\s]*?)\r?\n---", old)[1].replace("\r", "") + "\n" != top:
        return
    once = merged(old)
    # What PyYAML writes of hostile text is not always what it reads.
    other, said = yaml.safe_load(top), front(once)
    assert {key: said[key] for key in other} == other
    if body.strip():
        end = "\r\n" if windows else "\n"
        assert once.replace(end, "\n").split("---\n", 2)[-1].startswith(body.rstrip() + f"\n\n{BEGIN}")
    assert merged(once) == once


def test_only_the_marked_section_is_replaced():
    once = merged("before\n")
    changed = once.replace("before\n", "BEFORE\n").replace("2 kept", "9 kept") + "after\n"
    again = merged(changed)
    assert "BEFORE\n" in again and again.endswith(f"{END}\nafter\n") and "9 kept" not in again


@pytest.mark.parametrize("broken", [f"a {BEGIN} b", f"a {END} b", f"{END} a {BEGIN}"])
def test_a_mark_without_its_other_swallows_no_text(broken):
    again = merged(merged(f"x\n{broken}\ny"))
    assert f"x\n{broken}\ny" in again
    assert again.count("## Load") == 1


def test_a_section_that_was_copied_is_there_once():
    section = re.search(f"{BEGIN}.*{END}", merged(None), re.DOTALL)[0]
    again = merged(f"a\n{section}\nb\n{section}\nc\n")
    assert again.count(BEGIN) == 1 and re.search(rf"a\n{BEGIN}.*{END}\nb\n\nc\n", again, re.DOTALL)


def test_comments_and_order_of_the_metadata_stay():
    old = "---\n# top\nlicense: mit # why\ntags: [x]\n# about size\npretty_name: 'It'\n---\nbody"
    text = merged(old)
    assert text.startswith("---\n# top\nlicense: mit # why\ntags:\n- x\n- tilth\npretty_name: 'It'\n")


def test_size_and_licence_follow_the_data():
    assert front(merged("---\nsize_categories: [10K<n<100K]\n---\n"))["size_categories"] == ["n<1K"]
    others = "---\nsize_categories: [1M<n<10M]\nconfigs: [{config_name: x, data_files: x.parquet}]\n---\n"
    assert front(merged(others))["size_categories"] == ["1M<n<10M"]
    assert front(merged("---\nlicense: mit\n---\n"))["license"] == "mit"
    assert front(merged("---\nlicense: mit\n---\n", license="other"))["license"] == "other"


@pytest.mark.parametrize(
    ("rows", "category"),
    [(1, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (10**6, "1M<n<10M"), (10**12 - 1, "100B<n<1T"), (10**12, "n>1T")],
)
def test_the_size_counts_the_rows_of_all_splits(rows, category):
    part = Part("default", "data", "train", Dataset.from_dict({"text": ["a"]}))
    features = [{"name": "text", "dtype": "string"}]
    old = {
        "configs": [{"config_name": "default", "data_files": [{"split": "test", "path": "data/test-*"}]}],
        "dataset_info": {"features": features, "splits": [{"name": "test", "num_examples": rows - 1}]},
    }
    assert metadata(old, [part], None)["size_categories"] == [category]


def test_nothing_is_said_of_sizes_where_another_split_has_none():
    part = Part("default", "data", "train", SMALL.dataset)
    old = {"configs": [{"config_name": "default", "data_files": [{"split": "test", "path": "data/test-*"}]}]}
    new = metadata(old, [part], None)
    assert "dataset_info" not in new
    assert [file["split"] for file in new["configs"][0]["data_files"]] == ["test", "train"]


def test_a_config_called_rejected_by_somebody_else_stays():
    mine = {"config_name": "rejected", "data_files": [{"split": "train", "path": "mine/x.parquet"}]}
    new = metadata({"configs": [mine]}, parts_of(made({"text": ["a"]})), None)
    assert mine in new["configs"]


def test_a_split_with_no_rejected_rows_leaves_the_other_splits():
    both = metadata(
        metadata({}, parts_of(SMALL), None), parts_of(made({"text": ["z"]}, {"text": ["y"]}, split="test")), None
    )
    less = metadata(both, parts_of(made({"text": ["z"]}, split="test")), None)
    rejected = next(config for config in less["configs"] if config["config_name"] == "rejected")
    assert rejected["data_files"] == [{"split": "train", "path": "rejected/train-*-of-*.parquet"}]
    info = next(info for info in less["dataset_info"] if info["config_name"] == "rejected")
    assert [split["name"] for split in info["splits"]] == ["train"]


NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=10)


@given(names=st.lists(NAMES, min_size=1, max_size=4, unique=True))
@settings(max_examples=50, deadline=None)
def test_any_column_names_come_back(names):
    curated = made({name: [1] for name in names})
    said = front(tilth.hub.card(curated))
    features = said["dataset_info"][0]["features"]
    assert [feature["name"] for feature in features] == names


@pytest.mark.parametrize("license", ["", "MIT", "a b", "mit\nx: 1", 3, ["mit"], "-"])
def test_a_licence_that_is_no_identifier_is_refused(license):
    with pytest.raises(ArgumentError, match="license="):
        tilth.hub.card(SMALL, license=license)


@pytest.mark.parametrize("top", ["a: [", "- x", "a: b: c", "x\n", "configs: [1]", "dataset_info: 3"])
def test_a_card_that_is_not_metadata_is_refused(top):
    with pytest.raises(PublishError):
        merged(f"---\n{top}\n---\n")


@pytest.mark.parametrize(
    ("split", "name"),
    [
        (None, "train"),
        ("test", "test"),
        ("test[:10%]", "test"),
        ("train+test", "train"),
        ("all", "train"),
        ("a.b", "a.b"),
    ],
)
def test_a_split_keeps_its_name(split, name):
    ds = Dataset.from_dict({"a": [1]})
    ds._split = split
    assert split_name(ds) == name
