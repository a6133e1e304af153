"""Every test run has a cache of its own and asks no server for anything."""

from __future__ import annotations

import os
import shutil
import tempfile

import pytest

# `datasets` and `huggingface_hub` read these when they are imported.
_CACHE = tempfile.mkdtemp(prefix="tilth-tests-")
os.environ["HF_DATASETS_CACHE"] = _CACHE
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"


def pytest_unconfigure():
    shutil.rmtree(_CACHE, ignore_errors=True)


@pytest.fixture(autouse=True)
def _default_threads():
    """A test that sets the number of threads does not set it for the next one."""
    yield
    from tilth.text.threads import set_threads

    set_threads(None)
