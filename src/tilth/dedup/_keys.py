"""Band keys of all rows, one band at a time: in memory, or on disk where they are too many."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType

import numpy as np
import numpy.typing as npt

Keys = npt.NDArray[np.uint64]


class KeyStore:
    """Keys of `n` rows in each of several bands; written in any order, by several threads, and read by band."""

    def __init__(self, bands: int, n: int, budget: int) -> None:
        self.spilled = 8 * bands * n > budget
        self._n = n
        self._held: Keys = np.empty((0 if self.spilled else bands, n), dtype=np.uint64)
        self._room: Keys = np.empty(0, dtype=np.uint64)
        self._folder: TemporaryDirectory[str] | None = None
        self._files: list[int] = []
        if self.spilled:
            self._folder = TemporaryDirectory(prefix="tilth-keys-")
            for band in range(bands):
                path = Path(self._folder.name) / f"{band:04d}"
                self._files.append(os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600))

    def put(self, first: int, keys: Keys) -> None:
        """Enter the keys of rows from `first` on, shape `(bands, rows)`.

        Raises:
            OSError: the disk is full.
        """
        if not self.spilled:
            self._held[:, first : first + keys.shape[1]] = keys
            return
        for file, band in zip(self._files, keys, strict=True):
            data, at = memoryview(band).cast("B"), 8 * first
            while len(data):
                done = os.pwrite(file, data, at)
                data, at = data[done:], at + done

    def band(self, band: int) -> Keys:
        """The keys of one band, shape `(n,)`; those of a store on disk are good until the next call."""
        if not self.spilled:
            held: Keys = self._held[band]
            return held
        if not len(self._room):
            self._room = np.empty(self._n, dtype=np.uint64)
        data, at = memoryview(self._room.view(np.uint8)), 0  # type: ignore[arg-type]
        while at < len(data):
            at += os.preadv(self._files[band], [data[at:]], at)
        return self._room

    def __enter__(self) -> KeyStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held, self._room = self._held[:0], self._room[:0]
        for file in self._files:
            os.close(file)
        if self._folder is not None:
            self._folder.cleanup()
