"""The threads that kernels run on: one short-lived pool a call, results in order, a bounded number in flight.

Kernels release the interpreter lock, so plain threads use every core. Nothing forks, and no thread outlives the call
that made it, so this is safe inside `Dataset.map(num_proc=...)` and beside CUDA.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

_chosen: int | None = None


def threads() -> int:
    """How many threads work side by side: what `set_threads` said, else `TILTH_THREADS`, else the cores we may use."""
    if _chosen is not None:
        return _chosen
    wanted = os.environ.get("TILTH_THREADS", "")
    if wanted.isdigit() and int(wanted) > 0:
        return int(wanted)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def set_threads(count: int | None) -> None:
    """Work on `count` threads from now on; `None` goes back to the default. Results never depend on it.

    Raises:
        ValueError: `count` is less than one.
    """
    global _chosen
    if count is not None and count < 1:
        raise ValueError(f"threads must be one or more, not {count}")
    _chosen = count


def ordered_map(work: Callable[[T], R], items: Iterable[T], count: int | None = None) -> Iterator[R]:
    """`work(item)` for each item, in the order of the items, with at most `count + 1` unread results in memory."""
    count = threads() if count is None else count
    if count == 1:
        yield from map(work, items)
        return
    waiting: deque[Future[R]] = deque()
    with ThreadPoolExecutor(count, thread_name_prefix="tilth") as pool:
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > count:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
