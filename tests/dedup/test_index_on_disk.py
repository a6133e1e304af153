"""An index on disk is whole or refused, whatever happened to it: killed, out of disk, cut short, damaged, outdated."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from datasets import Dataset

from tilth.dedup import Exact, Index, MinHash, NotIn
from tilth.dedup import _manifest as manifest_module
from tilth.dedup import _segment as segment_module
from tilth.dedup import _signer as signer_module
from tilth.dedup._manifest import locked
from tilth.errors import ArgumentError, BusyError, SourceError

OLD = ["the quick brown fox jumps over the lazy dog again and again", "an older text", "one more of them"]
NEW = ["the quick brown fox jumps over the lazy dog again and again today", "an older text", "a new text", "another"]
STEP = MinHash("text", threshold=0.7, ngram=3, num_perm=32)


def table_of(texts) -> Dataset:
    return Dataset(pa.table({"text": pa.array(texts, pa.string())}))


def files_of(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != "lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def answers(index: Index | str) -> list:
    outcome = NotIn(STEP, index).run(table_of(NEW))
    return [outcome.origin.tolist(), outcome.dropped.evidence.to_pylist()]


@pytest.fixture
def folder(tmp_path) -> Path:
    Index.build(table_of(OLD), STEP, tmp_path / "index", name="old")
    return tmp_path / "index"


@pytest.mark.parametrize("step", [STEP, MinHash("text", verify=False), Exact("text")])
def test_what_was_saved_is_what_is_loaded(tmp_path, step):
    index = Index.build(table_of(OLD), step, name="old")
    before = NotIn(step, index).run(table_of(NEW))
    assert index.save(tmp_path / "a" / "b") == tmp_path / "a" / "b"
    assert index.source == str(tmp_path / "a" / "b")
    loaded = Index.load(tmp_path / "a" / "b")
    assert loaded.fingerprint == index.fingerprint
    assert loaded.parts == index.parts
    assert len(loaded) == 3
    assert loaded.nbytes == sum(len(data) for name, data in files_of(tmp_path / "a" / "b").items() if "/" in name)
    after = NotIn(step, loaded).run(table_of(NEW))
    assert after.origin.tolist() == before.origin.tolist()
    assert after.dropped.evidence == before.dropped.evidence
    assert rows_left(loaded.step, loaded) == rows_left(step, index)


def rows_left(step, index):
    return step.apply(table_of(NEW), index=index)["text"][:]


def test_no_text_is_stored(folder):
    stored = b"".join(files_of(folder).values()).lower()
    assert b"quick" not in stored
    assert b"older" not in stored


def test_what_is_added_to_a_saved_index_is_in_its_folder_and_nothing_there_is_written_again(folder):
    before = files_of(folder)
    index = Index.load(folder)
    index.append(table_of(NEW), name="new")
    after = files_of(folder)
    assert {name: after[name] for name in before if name != "index.json"} == {
        name: data for name, data in before.items() if name != "index.json"
    }
    assert len(Index.load(folder)) == 7
    assert rows_left(STEP, str(folder)) == []
    assert rows_left(STEP, Index.load(folder)) == []


def test_a_saved_index_can_be_saved_elsewhere_and_goes_on_there(folder, tmp_path):
    index = Index.load(folder)
    assert index.save(folder) == folder
    index.save(tmp_path / "copy")
    index.append(table_of(NEW))
    assert len(Index.load(folder)) == 3
    assert len(Index.load(tmp_path / "copy")) == 7
    inodes = {path.stat().st_ino for path in folder.rglob("*.arrow")}
    assert not inodes & {path.stat().st_ino for path in (tmp_path / "copy").rglob("*.arrow")}


def test_nothing_that_is_there_is_written_over(folder, tmp_path):
    (tmp_path / "file").write_text("mine")
    index = Index.build(table_of(NEW), STEP)
    for path in (folder, tmp_path / "file"):
        with pytest.raises(
            ArgumentError, match=r"there is something already; choose another folder, or Index\.load it"
        ):
            index.save(path)
        with pytest.raises(ArgumentError, match="there is something already"):
            Index.build(table_of(NEW), STEP, path)
    assert (tmp_path / "file").read_text() == "mine"
    (tmp_path / "empty").mkdir()
    assert len(Index.load(index.save(tmp_path / "empty"))) == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "file", "index"]


def test_a_file_that_is_cut_short_is_refused_and_never_read_in_part(folder):
    whole = files_of(folder)
    assert len(whole) == 4
    for name, data in whole.items():
        for size in sorted({*range(0, len(data), max(1, len(data) // 23)), len(data) - 1}):
            (folder / name).write_bytes(data[:size])
            for verify in (True, False):
                with pytest.raises(SourceError, match=f"{Path(name).name}.*(cut short|damaged)"):
                    Index.load(folder, verify_checksums=verify)
            with pytest.raises(SourceError):
                STEP.apply(table_of(NEW), index=folder)
        (folder / name).write_bytes(data + b"\0")
        with pytest.raises(SourceError):
            Index.load(folder, verify_checksums=False)
        (folder / name).unlink()
        with pytest.raises(SourceError, match=r"cannot be read|there is no index"):
            Index.load(folder)
        (folder / name).write_bytes(data)
    assert len(Index.load(folder)) == 3


def test_any_other_byte_is_found_by_its_checksum(folder):
    for name, data in files_of(folder).items():
        for at in range(0, len(data), max(1, len(data) // 61)):
            changed = bytearray(data)
            changed[at] ^= 1 << (at % 8)
            (folder / name).write_bytes(changed)
            with pytest.raises(SourceError, match=r"damaged|is no index|is an index of format"):
                Index.load(folder)
        (folder / name).write_bytes(data)
    assert len(Index.load(folder)) == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is damaged or cut short: it is not JSON"),
        ("[]", "is no index; Index.save writes one"),
        ('{"kind": "something else"}', "is no index"),
        (
            '{"kind": "tilth.dedup.Index", "format": 99}',
            "an index of format 99, but this version of tilth reads format 1",
        ),
    ],
)
def test_what_is_no_index_is_refused_with_what_to_do(folder, text, message):
    (folder / "index.json").write_text(text)
    with pytest.raises(SourceError, match=message):
        Index.load(folder)


def test_where_there_is_no_index_it_says_so_before_any_work(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "nowhere", tmp_path / "file"):
        for work in (lambda path=path: Index.load(path), lambda path=path: STEP.apply(table_of(NEW), index=path)):
            with pytest.raises(SourceError, match=f"{path}: there is no index; Index.build and save make one"):
                work()
    assert not (tmp_path / "nowhere").exists()


def rewritten(folder: Path, **changes) -> None:
    """The manifest with other values, as another version would have written it."""
    said = json.loads((folder / "index.json").read_text())
    said.update(changes)
    kept = {key: value for key, value in said.items() if key not in ("kind", "format", "checksum")}
    said["checksum"] = manifest_module._checksum(kept)
    (folder / "index.json").write_text(json.dumps(said))


def test_signatures_of_another_version_are_refused_by_name(folder):
    for what in ("word hashes", "sketches"):
        versions = json.loads((folder / "index.json").read_text())["versions"]
        rewritten(folder, versions={**versions, what: 0})
        expected = (
            rf"{folder} has {what} of version 0, but this version of tilth makes those of version {versions[what]}"
        )
        for work in (
            lambda: STEP.apply(table_of(NEW), index=folder),
            lambda: Index.load(folder).append(table_of(NEW)),
        ):
            with pytest.raises(SourceError, match=expected):
                work()
        rewritten(folder, versions=versions)
    rewritten(folder, step="SimHash")
    with pytest.raises(SourceError, match="was built by SimHash, which this version of tilth does not"):
        Index.load(folder).append(table_of(NEW))


@pytest.mark.parametrize("step", [STEP, Exact("text")])
def test_signatures_that_changed_without_a_version_are_refused_too(tmp_path, step, monkeypatch):
    Index.build(table_of(OLD), step, tmp_path / "index")
    monkeypatch.setattr(signer_module, "_PROBE", (*signer_module._PROBE[:-1], "something else"))
    monkeypatch.setattr(signer_module, "_PROBES", {})
    with pytest.raises(SourceError, match="holds signatures that this version of tilth does not make; build it again"):
        step.apply(table_of(NEW), index=tmp_path / "index")
    with pytest.raises(SourceError, match="holds signatures that this version of tilth does not make"):
        Index.load(tmp_path / "index").append(table_of(NEW))


KILLED = """
import os, shutil, signal, sys
from datasets import Dataset
from tilth.dedup import Index, _manifest, _segment

given, ds = sys.argv[1], Dataset.from_dict({"text": ["killed while it was added", "and another one"]})
events, when = 0, -1

def counted(work):
    def done(*given, **named):
        global events
        if events == when:
            os.kill(os.getpid(), signal.SIGKILL)
        events += 1
        return work(*given, **named)
    return done

_segment._Summed.write = counted(_segment._Summed.write)
os.fsync = counted(os.fsync)
_manifest.Path.replace = counted(_manifest.Path.replace)

def added(at):
    # A child for each moment, on a copy of its own; the first one lives and tells how many moments there are.
    global events, when
    folder = f"{given}-{at}"
    shutil.copytree(given, folder)
    child = os.fork()
    if child == 0:
        events, when = 0, at
        Index.load(folder).append(ds, name="killed")
        with open(f"{given}-events", "w") as file:
            file.write(str(events))
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

# What is compiled is loaded once, before any child is made.
shutil.copytree(given, f"{given}-warm")
Index.load(f"{given}-warm").append(ds)
assert added(-1) == 0
with open(f"{given}-events") as file:
    events_in_all = int(file.read())
for at in range(events_in_all):
    if at % 3 == 0 or at > events_in_all - 4:
        assert added(at) == -signal.SIGKILL, at
print(events_in_all)
"""


def test_a_process_that_is_killed_while_it_adds_leaves_what_was_there(folder):
    expected = answers(Index.load(folder))
    done = subprocess.run([sys.executable, "-c", KILLED, str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    events = int(done.stdout)
    assert events > 20
    for when in range(events):
        copy = folder.with_name(f"{folder.name}-{when}")
        if not copy.exists():
            continue
        index = Index.load(copy)
        # What comes last is to tell the disk of a change that has been made.
        assert len(index) == (3 if when < events - 1 else 5)
        assert answers(index) == expected
        index.append(table_of(NEW), name="new")
        listed = {record.name for record in index._manifest.segments}
        assert {path.name for path in (copy / "segments").iterdir()} == listed
        assert {path.name for path in copy.iterdir()} <= {"index.json", "segments", "lock"}
        assert rows_left(STEP, str(copy)) == []


@pytest.mark.parametrize("when", ["write", "fsync", "replace"])
def test_a_full_disk_leaves_what_was_there(folder, monkeypatch, when):
    index = Index.load(folder)
    before, expected = files_of(folder), answers(index)

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    place = {"write": segment_module._Summed, "fsync": os, "replace": Path}[when]
    with monkeypatch.context() as patched:
        patched.setattr(place, when, full)
        with pytest.raises(OSError, match="No space left"):
            index.append(table_of(NEW))
    assert files_of(folder) == before
    assert answers(index) == answers(str(folder)) == expected
    assert index.append(table_of(NEW)).stored == 3
    assert len(Index.load(folder)) == 7


def test_a_build_or_a_copy_that_fails_leaves_nothing(tmp_path, folder, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    index = Index.load(folder)
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            Index.build(table_of(OLD), STEP, tmp_path / "other")
        with pytest.raises(OSError, match="No space left"):
            index.save(tmp_path / "other")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index"]
    assert index.source == str(folder)


def test_of_two_writers_one_is_refused_and_nothing_is_lost(folder):
    one, two = Index.load(folder), Index.load(folder)
    with locked(folder):
        for work in (lambda: one.append(table_of(NEW)), one.compact, lambda: one.save(folder.parent / "copy")):
            with pytest.raises(BusyError, match="something is being added to this index by another process or thread"):
                work()
        assert rows_left(STEP, str(folder)) == ["a new text", "another"]
    one.append(table_of(["a new text"]), name="one")
    two.append(table_of(["another"]), name="two")
    assert [part.name for part in two.parts] == ["old", "one", "two"]
    assert len(one) == 4
    assert rows_left(STEP, str(folder)) == []


def test_the_lock_of_a_dead_process_holds_no_one_up(folder):
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from tilth.dedup._manifest import locked\n"
        "with locked(Path(sys.argv[1])):\n"
        "    print('locked', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout.readline() == "locked\n"
    index = Index.load(folder)
    with pytest.raises(BusyError):
        index.append(table_of(NEW))
    other.kill()
    other.wait()
    assert index.append(table_of(NEW)).rows == 4


def test_joining_pieces_changes_no_answer_and_whoever_has_the_old_ones_goes_on(folder):
    index = Index.load(folder)
    for number in range(5):
        index.append(table_of([f"piece number {number} of a text that grows", "an older text"]), id_column=None)
    early, expected = Index.load(folder), answers(index)
    before = index.fingerprint
    index.compact()
    assert len(list((folder / "segments").iterdir())) == 1
    assert index.fingerprint == before
    assert answers(index) == answers(early) == answers(str(folder)) == expected
    early.append(table_of(["a new text"]))
    assert len(Index.load(folder)) == 14
    index.compact()
    assert len(list((folder / "segments").iterdir())) == 1
    assert len(index) == 14


def test_files_that_are_joined_while_an_index_is_opened_are_looked_for_again(folder, monkeypatch):
    index = Index.load(folder)
    index.append(table_of(NEW))
    checked, turns = manifest_module.Manifest.read, []

    def read(where):
        found = checked(where)
        if not turns:
            turns.append(1)
            index.compact()
        return found

    monkeypatch.setattr("tilth.dedup.index.Manifest.read", read)
    assert len(Index.load(folder)) == 7


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open files can be counted on Linux only")
def test_many_small_pieces_need_no_open_files(folder):
    index = Index.load(folder)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for number in range(20):
        index.append(table_of([f"text {number}"]))
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 2
