"""What an index consists of: one small JSON file, replaced as a whole whenever something was added."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from tilth.dedup._segment import FileRecord, SegmentRecord, sync
from tilth.errors import BusyError, SourceError

FORMAT = 1
"""Raised when files of an older layout can no longer be read."""
_FILE, _LOCK = "index.json", "lock"
_KIND = "tilth.dedup.Index"


@dataclass(frozen=True)
class Part:
    """What was added to an index at once.

    Attributes:
        name: what it was called.
        rows: how many there were.
        stored: how many of them are stored: neither null nor equal to one that is stored before.
        content: 32 hex digits made of what was stored.
    """

    name: str
    rows: int
    stored: int
    content: str


@dataclass(frozen=True)
class Manifest:
    """What an index consists of.

    Attributes:
        step: the class of the step.
        columns: what it compares.
        threshold: the similarity that its bands were chosen for, where it has any.
        parameters: every field of the step that makes the signatures what they are.
        versions: of everything that signatures are made by.
        probe: 32 hex digits made of the signatures of a few fixed texts.
        id_column: where the user's own ids were found last.
        parts: in the order in which they were added.
        segments: in that order, too.
    """

    step: str
    columns: tuple[str, ...]
    threshold: float | None
    parameters: Mapping[str, Any]
    versions: Mapping[str, int]
    probe: str
    id_column: str | None = None
    parts: tuple[Part, ...] = ()
    segments: tuple[SegmentRecord, ...] = ()

    @property
    def rows(self) -> int:
        """How many rows were added in all."""
        return sum(part.rows for part in self.parts)

    @property
    def fingerprint(self) -> str:
        """32 hex digits made of the content, however it is cut into segments."""
        signatures = [self.step, dict(self.parameters), dict(self.versions), self.probe]
        said = [*signatures, [[part.name, part.rows, part.content] for part in self.parts]]
        return hashlib.blake2b(json.dumps(said, sort_keys=True).encode(), digest_size=16).hexdigest()

    def with_part(self, part: Part, segments: tuple[SegmentRecord, ...], id_column: str | None) -> Manifest:
        """This and one part more."""
        return replace(
            self, parts=(*self.parts, part), segments=(*self.segments, *segments), id_column=id_column or self.id_column
        )

    def write(self, folder: Path) -> None:
        """Make this what the index in `folder` consists of, from one moment to the next."""
        said = asdict(self)
        text = json.dumps({"kind": _KIND, "format": FORMAT, **said, "checksum": _checksum(said)}, indent=1)
        draft = folder / f".{_FILE}.{uuid4().hex}"
        try:
            with draft.open("x", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(folder / _FILE)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
        sync(folder)

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """What the index in `folder` consists of.

        Raises:
            SourceError: there is none, or it is damaged, cut short or of another format.
        """
        path = folder / _FILE
        try:
            said = json.loads(path.read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            raise SourceError(f"{folder}: there is no index; Index.build and save make one.") from None
        except OSError as error:
            raise SourceError(f"{path} cannot be read ({error.strerror}).") from None
        except ValueError:
            raise SourceError(f"{path} is damaged or cut short: it is not JSON.") from None
        if not isinstance(said, dict) or said.pop("kind", None) != _KIND:
            raise SourceError(f"{path} is no index; Index.save writes one.")
        found = said.pop("format", None)
        if found != FORMAT:
            raise SourceError(
                f"{path} is an index of format {found}, but this version of tilth reads format {FORMAT}; "
                f"build it again with Index.build."
            )
        if said.pop("checksum", None) != _checksum(said):
            raise SourceError(f"{path} is damaged: its checksum does not match.")
        return cls(
            **{
                **said,
                "columns": tuple(said["columns"]),
                "parts": tuple(Part(**part) for part in said["parts"]),
                "segments": tuple(
                    SegmentRecord(
                        each["name"],
                        each["rows"],
                        {name: FileRecord(**file) for name, file in each["files"].items()},
                    )
                    for each in said["segments"]
                ),
            }
        )


def drafts(folder: Path) -> Iterable[Path]:
    """What is left of manifests that were not written to the end."""
    return folder.glob(f".{_FILE}.*")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Be the only one who writes to the index in `folder`. The lock of a process that has died holds no one up.

    Raises:
        BusyError: someone else is writing.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(folder / _LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise BusyError(
            f"{folder}: something is being added to this index by another process or thread; "
            f"wait until it is done, and try again."
        ) from None
    try:
        yield
    finally:
        lock.release()


def _checksum(said: Mapping[str, Any]) -> str:
    return hashlib.blake2b(json.dumps(said, sort_keys=True).encode(), digest_size=16).hexdigest()
