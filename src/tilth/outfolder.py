"""The folder that a result is written to: nothing of a user's is lost by writing."""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING

from tilth.errors import ArgumentError

if TYPE_CHECKING:
    from tilth.pipeline import Curated

_OURS = frozenset({"data", "recipe.yaml", "report.html"})


def check_out(folder: Path, overwrite: bool) -> None:
    """Refuse to write over what is there, before any work.

    Raises:
        ArgumentError: the folder holds something and `overwrite` is not set, or what it holds is not a run of tilth.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise ArgumentError(f"--out {folder} is a file; name a folder.")
    held = {path.name for path in folder.iterdir()}
    if not held:
        return
    if not overwrite:
        raise ArgumentError(f"--out {folder} is not empty; choose another folder, or add --overwrite to replace it.")
    if not held >= _OURS:
        raise ArgumentError(f"--out {folder} holds something that tilth did not write; choose another folder.")


def save(curated: Curated, folder: Path, overwrite: bool) -> None:
    """Write a result; what an earlier run wrote there stays until the whole of this one is on disk.

    Raises:
        ArgumentError: see `check_out`.
    """
    check_out(folder, overwrite)
    if not folder.exists() or not any(folder.iterdir()):
        curated.save(folder)
        return
    folder = folder.resolve()
    beside = Path(mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        curated.save(beside / "now")
        folder.replace(beside / "before")
        (beside / "now").replace(folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
