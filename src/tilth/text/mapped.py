"""Pages of memory-mapped files, given back once they are read.

They count as this process's memory until the system is short of it. Only what lies in a file and cannot be written is
ever given back, so nothing can be lost: whoever reads it again gets it from the file.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from bisect import bisect_right
from pathlib import Path


class MappedFiles:
    """Where the files that this process had mapped to read, when this was made, lie in its memory."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        if sys.platform != "linux":
            return
        for line in Path("/proc/self/maps").read_text().splitlines():
            span, rights, _, _, inode = line.split(maxsplit=5)[:5]
            if rights.startswith("r--") and inode != "0":
                start, end = (int(bound, 16) for bound in span.split("-"))
                self._starts.append(start)
                self._ends.append(end)

    def release(self, address: int, size: int) -> int:
        """Give back the whole pages between two addresses, if a file lies there; gives how many bytes that were."""
        at = bisect_right(self._starts, address) - 1
        if at < 0 or address + size > self._ends[at]:
            return 0
        first = -(-address // mmap.PAGESIZE) * mmap.PAGESIZE
        last = (address + size) // mmap.PAGESIZE * mmap.PAGESIZE
        if last <= first:
            return 0
        advised = ctypes.CDLL(None, use_errno=True).madvise(
            ctypes.c_void_p(first), ctypes.c_size_t(last - first), ctypes.c_int(mmap.MADV_DONTNEED)
        )
        return last - first if advised == 0 else 0
