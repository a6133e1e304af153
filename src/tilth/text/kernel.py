"""How kernels are compiled: without the interpreter lock, and kept on disk until any code they share changes.

numba keeps a compiled kernel as long as the file that holds it is the same; it does not see that a function in another
file, which was compiled into the kernel, has changed. The shared tokeniser is such a function, and a kernel with its
old hashes would give wrong results without a word. So what marks a kernel as current is also the code of this room and
of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from numba import njit


def kernel(function: Callable[..., Any]) -> Any:
    """Compile `function` by numba on first use, with `nogil`, and keep it on disk."""
    compiled = njit(cache=True, nogil=True)(function)
    kept = getattr(getattr(compiled, "_cache", None), "_cache_file", None)
    if kept is not None and hasattr(kept, "_source_stamp"):
        own = Path(function.__code__.co_filename).parent
        kept._source_stamp = (kept._source_stamp, _code_in(Path(__file__).parent), _code_in(own))
    return compiled


@cache
def _code_in(folder: Path) -> str:
    code = hashlib.blake2b(digest_size=16)
    for path in sorted(folder.glob("*.py")):
        code.update(path.read_bytes())
    return code.hexdigest()
