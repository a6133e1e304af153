"""The code in the README, in the documentation and in docstrings runs as it stands."""

from __future__ import annotations

import doctest
import gzip
import importlib
import json
import os
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tilth
from tests.chat import chats
from tests.hub.stand_in import TOKEN, StandIn

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCKS = {page: re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE) for page in PAGES}
WITH_CODE = [page for page in PAGES if BLOCKS[page]]
# A block of another language that has a name is a file that the code of its page reads.
FILES = {
    page: re.findall(r'^```\w+ title="(\S+)"\n(.*?)^```', page.read_text(), re.DOTALL | re.MULTILINE) for page in PAGES
}
# What a page says that it prints: a list behind the call, or a comment on the next line.
PRINTS = re.compile(r"^print\(.*\)(?:\n|  (?=# \[))# (.*)$", re.MULTILINE)
MODULES = [name for _, name, _ in pkgutil.walk_packages(tilth.__path__, "tilth.") if not name.endswith("__main__")]


def a_tokenizer(folder):
    """What stands on the Hub is found in a folder of the same name, where there is one."""
    chats.tokenizer(chats.THINKING).save_pretrained(folder / "Qwen" / "Qwen3-0.6B")
    (folder / "my.jinja").write_text(chats.CHATML)


def instructions(folder):
    rows = [{"instruction": f"Name {number} grains of a field.", "output": "Rye."} for number in range(3)]
    with gzip.open(folder / "instructions.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


GIVEN = {"chat.md": a_tokenizer, "recipe.md": instructions}


@pytest.mark.parametrize("page", [page for page in WITH_CODE if page.name != "hub.md"], ids=lambda page: page.name)
def test_the_code_of_a_page_runs_and_prints_what_it_says(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name, text in FILES[page]:
        Path(name).write_text(text)
    GIVEN.get(page.name, lambda _: None)(tmp_path)
    # Steps that a page defines are pickled by datasets, so they must be found where they say they are.
    space = {"__name__": "__main__"}
    for block in BLOCKS[page]:
        exec(compile(block, str(page), "exec"), space)
    printed = capsys.readouterr().out.splitlines()
    assert [said for block in BLOCKS[page] for said in PRINTS.findall(block) if said not in printed] == []


def test_the_code_of_the_page_on_publishing_publishes(tmp_path):
    # The client reads the Hub's address when it is imported, so this page has a process of its own.
    page = ROOT / "docs" / "hub.md"
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    with StandIn() as hub:
        theirs = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path), "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "1"}
        done = subprocess.run(
            [sys.executable, "-c", "\n".join(BLOCKS[page])],
            cwd=tmp_path,
            env=inherited | theirs,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert hub.url in done.stdout
        assert {"README.md", "recipe.yaml", "report.html"} <= set(hub.files("me/instructions"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_code_of_a_page_is_left_out(page):
    assert not re.findall(r"^```(?:py|pycon|python .*)$", page.read_text(), re.MULTILINE)


@pytest.mark.parametrize("module", MODULES)
def test_the_examples_in_docstrings_hold(module):
    found = doctest.testmod(
        importlib.import_module(module), optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    )
    assert found.failed == 0


def test_the_readme_names_the_two_commands_first():
    first_screen = "\n".join((ROOT / "README.md").read_text().splitlines()[:15])
    assert "make demo" in first_screen
    assert "make test" in first_screen
