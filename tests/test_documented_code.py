"""The code in the README, in the documentation and in docstrings runs as it stands."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import tilth

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCKS = {page: re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE) for page in PAGES}
MODULES = [name for _, name, _ in pkgutil.walk_packages(tilth.__path__, "tilth.") if not name.endswith("__main__")]


@pytest.mark.parametrize("page", [page for page in PAGES if BLOCKS[page]], ids=lambda page: page.name)
def test_the_code_of_a_page_runs_from_top_to_bottom(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # Steps that a page defines are pickled by datasets, so they must be found where they say they are.
    space = {"__name__": "__main__"}
    for block in BLOCKS[page]:
        exec(compile(block, str(page), "exec"), space)


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
