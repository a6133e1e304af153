"""What is heavy is loaded when it is used, so that `import tilth` costs next to nothing beyond `import datasets`."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = {"numba", "transformers", "torch", "vllm", "ray", "ftfy", "matplotlib", "sklearn", "scipy", "jinja2", "typer"}

SCRIPT = """
import json, sys, time
import datasets
before, began = set(sys.modules), time.perf_counter()
{statement}
seconds = time.perf_counter() - began
print(json.dumps([seconds, sorted({{name.partition(".")[0] for name in set(sys.modules) - before}})]))
"""


def cost_of(statement):
    """The seconds that a statement takes after `import datasets`, and the packages that it loads."""
    script = SCRIPT.format(statement=statement)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    seconds, loaded = json.loads(done.stdout.splitlines()[-1])
    print(f"{statement}: {seconds:.3f} s beyond import datasets, loads {loaded}")
    return set(loaded)


def test_import_tilth_loads_nothing_but_itself():
    assert "tilth" in (loaded := cost_of("import tilth; dir(tilth)"))
    assert not loaded & (HEAVY | {"rich", "pydantic", "yaml"})


@pytest.mark.parametrize("names", ["Pipeline, Curated, Report", "MapStep, FilterStep, DatasetStep, Verdict"])
def test_a_pipeline_and_steps_of_ones_own_need_nothing_heavy(names):
    assert not cost_of(f"from tilth import {names}") & HEAVY


def test_the_rooms_load_their_tools_on_first_use():
    assert not cost_of("from tilth import chat, clean, dedup, filters, hub, recipe, sources") & (HEAVY - {"jinja2"})
