"""Where rows come from: one word for a file, a glob, a folder, a saved dataset or a dataset on the Hub.

`datasets` does the reading. This module decides what a source names, refuses what would lose rows without a word, and
turns every fault into one line that says which file it is and what to do.
"""

from __future__ import annotations

import contextlib
import glob
import gzip
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from datasets import Dataset, DatasetDict, get_dataset_split_names, load_dataset, load_from_disk
from datasets.data_files import sanitize_patterns
from datasets.exceptions import DatasetGenerationError
from datasets.utils import logging

from tilth.errors import SourceError

_READERS: dict[str, tuple[str, dict[str, Any]]] = {
    ".json": ("json", {}),
    ".jsonl": ("json", {}),
    ".ndjson": ("json", {}),
    ".csv": ("csv", {}),
    ".tsv": ("csv", {"sep": "\t"}),
    ".parquet": ("parquet", {}),
    ".arrow": ("arrow", {}),
    ".txt": ("text", {}),
    ".text": ("text", {}),
}
_PACKED = (".gz", ".zst", ".bz2", ".xz")
_ENDINGS = "json, jsonl, csv, tsv, parquet, arrow, txt"
_NOT_DATA = re.compile(r"^\.|^_|^(readme|licen[cs]e|notice|dataset_infos?\.json|state\.json)", re.IGNORECASE)
_SHARD = re.compile(r"(?P<split>\w+(?:\.\w+)*)-\d{5}-of-\d{5}\.")
_SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
    "eval": "test",
    "evaluation": "test",
}
_BLOCK = 2**20


@dataclass(frozen=True)
class Source:
    """A dataset as a user names it.

    Attributes:
        path: a file, a glob, a folder, `owner/name` on the Hub, or an `hf://` address.
        split: which split to take; needed only where there are several.
        name: which configuration to take; needed only where there are several.
    """

    path: str
    split: str | None = None
    name: str | None = None

    def load(self) -> Dataset:
        """The rows; see `load`."""
        return load(self.path, self.split, self.name)


def load(source: str | Path, split: str | None = None, name: str | None = None) -> Dataset:
    """The rows that `source` names.

    Args:
        source: a json, jsonl, csv, tsv, parquet, arrow or txt file, also packed (.gz, .bz2, .xz, and .zst where
            `zstandard` is installed); a glob or a folder of such files of one kind; a folder made by
            `Dataset.save_to_disk`; `owner/name` on the Hub; or an address such as `hf://datasets/owner/name/file.csv`.
            What looks like a path never reaches the network.
        split: which split to take, also a slice of it such as `train[:1000]`; needed only where there are several.
        name: the configuration, of a Hub dataset or of a folder with a card; needed only where there are several.

    Raises:
        SourceError: it cannot be read, in one line that names the file and says what to do.
    """
    text = str(source)
    if not text.strip():
        raise SourceError("the source is empty; name a file, a glob, a folder or owner/name on the Hub.")
    if "://" in text and not text.startswith("file://"):
        return _from_address(text, split, name)
    path = Path(text.removeprefix("file://")).expanduser()
    if path.is_dir():
        return _from_folder(path, split, name)
    if path.exists():
        return _from_files({"train": [path]}, text, split)
    if glob.has_magic(text):
        # Unlike Path.glob it takes a whole path, absolute or not, and leaves hidden files out.
        found = sorted(Path(hit) for hit in glob.glob(str(path), recursive=True))  # noqa: PTH207
        files = [hit for hit in found if hit.is_file()]
        if not files:
            raise SourceError(f"{text}: no file matches this pattern. {_beside(path)}".rstrip())
        return _from_files({"train": files}, text, split)
    if isinstance(source, str) and _is_hub_name(text):
        return _from_hub(text, split, name, revision=None)
    raise SourceError(f"{text}: there is no such file or folder. {_beside(path)}".rstrip())


def _from_address(address: str, split: str | None, name: str | None) -> Dataset:
    on_hub = re.fullmatch(r"hf://(?:datasets/)?((?!datasets/)[\w.-]+/[\w.-]+)(?:@([^/]+))?/?", address)
    if on_hub:
        return _from_hub(on_hub[1], split, name, revision=on_hub[2])
    if not _is_data(Path(address)):
        raise SourceError(
            f"{address}: neither a dataset (hf://datasets/owner/name) nor a file that tilth reads ({_ENDINGS})."
        )
    reader, arguments = _reader_of(Path(address))
    return _read(reader, split or "train", address, [], data_files=address, **arguments)


def _from_hub(repository: str, split: str | None, name: str | None, revision: str | None) -> Dataset:
    if split is None:
        with _quietly(repository, []):
            splits = get_dataset_split_names(repository, name, revision=revision)
        split = _only(splits, repository)
    return _read(repository, split, repository, [], name=name, revision=revision)


def _from_folder(folder: Path, split: str | None, name: str | None) -> Dataset:
    if (folder / "dataset_dict.json").exists() or (folder / "state.json").exists():
        with _quietly(str(folder), sorted(folder.rglob("*.arrow"))):
            saved = load_from_disk(str(folder))
        if isinstance(saved, Dataset):
            if split not in (None, str(saved.split)):
                raise SourceError(f"{folder}: it holds the split {str(saved.split)!r} alone, not {split!r}.")
            return saved
        return _of_splits(saved, str(folder), split)
    files = sorted(path for path in folder.rglob("*") if path.is_file() and _is_data(path.relative_to(folder)))
    if not files:
        raise SourceError(f"{folder}: no data in this folder; tilth reads {_ENDINGS}, also packed as .gz.")
    configurations = _configurations(folder)
    if configurations:
        # `load_dataset(folder)` would know the rows by the folder's name, and give old ones when the files change.
        return _from_files(_of_card(folder, configurations, name), str(folder), split)
    return _from_files(_by_split(folder, files), str(folder), split)


def _from_files(splits: dict[str, list[Path]], source: str, split: str | None) -> Dataset:
    split = split or _only(sorted(splits), source)
    # A slice such as train[:10%], or a sum of splits.
    wanted = [part.split("[")[0].strip() for part in split.split("+")]
    for name in wanted:
        if name not in splits:
            raise SourceError(f"{source}: no split {name!r}; it has {_listed(sorted(splits))}.")
    files = [path for name in dict.fromkeys(wanted) for path in splits[name]]
    kinds: dict[str, Path] = {}
    for path in files:
        kinds.setdefault(_reader_of(path)[0], path)
    if len(kinds) > 1:
        names = " and ".join(path.name for path in kinds.values())
        raise SourceError(
            f"{source}: files of {len(kinds)} kinds, for example {names}; choose one with a pattern such as "
            f"'{Path(source) if Path(source).is_dir() else Path(source).parent}/*{files[0].suffix}'."
        )
    arguments = [_reader_of(path)[1] for path in files]
    if any(one != arguments[0] for one in arguments):
        raise SourceError(f"{source}: both .csv and .tsv files; choose one kind with a pattern such as '*.csv'.")
    _refuse_empty(files, source)
    _refuse_unreadable_packing(files)
    # `datasets` takes every name for a pattern.
    named = {name: [glob.escape(str(path.absolute())) for path in splits[name]] for name in wanted}
    return _read(next(iter(kinds)), split, source, files, data_files=named, **arguments[0])


def _read(what: str, split: str, source: str, files: Sequence[Path], **arguments: Any) -> Dataset:
    with _quietly(source, files):
        loaded = load_dataset(what, split=split, **arguments)
        if what == "json" and isinstance(loaded, Dataset):
            # Arrow's reader of JSON takes any bytes for text.
            loaded.data.table.validate(full=True)
    if not isinstance(loaded, Dataset):
        raise SourceError(f"{source}: split {split!r} names more than one split; choose one.")
    return loaded


def _of_splits(loaded: DatasetDict, source: str, split: str | None) -> Dataset:
    split = split or _only(list(loaded), source)
    if split not in loaded:
        raise SourceError(f"{source}: no split {split!r}; it has {_listed(list(loaded))}.")
    return loaded[split]


def _only(splits: list[str], source: str) -> str:
    if len(splits) != 1:
        raise SourceError(f"{source}: it has the splits {_listed(splits)}; say which one (split, or --split).")
    return splits[0]


def _reader_of(path: Path) -> tuple[str, dict[str, Any]]:
    endings = [suffix.lower() for suffix in path.suffixes]
    if endings and endings[-1] in _PACKED:
        endings.pop()
    if not endings or endings[-1] not in _READERS:
        ending = f"the ending {path.suffix!r} is unknown" if path.suffix else "the file has no ending"
        raise SourceError(f"{path}: {ending}; tilth reads {_ENDINGS}, also packed as .gz.")
    return _READERS[endings[-1]]


def _is_data(path: Path) -> bool:
    """Whether a file in a folder is one of those to read, judged by its name within the folder."""
    if any(_NOT_DATA.match(part) for part in path.parts):
        return False
    endings = [suffix.lower() for suffix in path.suffixes]
    if endings and endings[-1] in _PACKED:
        endings.pop()
    return bool(endings) and endings[-1] in _READERS


def _configurations(folder: Path) -> dict[str, dict[str, Any]]:
    """What the folder's card says about its files, as that of a Hub repository does; the default comes first."""
    card = folder / "README.md"
    if not card.exists():
        return {}
    header = re.match(r"---\r?\n(.*?)\r?\n---", card.read_text(encoding="utf-8", errors="replace"), re.DOTALL)
    try:
        said = yaml.safe_load(header[1]) if header else None
    except yaml.YAMLError as error:
        raise SourceError(f"{card}: its header is not YAML: {' '.join(str(error).split())}") from None
    listed = said.get("configs") if isinstance(said, dict) else None
    entries = [entry for entry in listed or [] if isinstance(entry, dict) and "data_files" in entry]
    entries.sort(key=lambda entry: not (entry.get("default") or entry.get("config_name") == "default"))
    return {str(entry.get("config_name", "default")): entry for entry in entries}


def _of_card(folder: Path, configurations: dict[str, dict[str, Any]], name: str | None) -> dict[str, list[Path]]:
    """The files of each split of one configuration."""
    first = next(iter(configurations.values()))
    sure = len(configurations) == 1 or first.get("default") or "default" in configurations
    if name is None and not sure:
        raise SourceError(f"{folder}: it has the configurations {_listed(list(configurations))}; say which one (name).")
    if name is not None and name not in configurations:
        raise SourceError(f"{folder}: no configuration {name!r}; it has {_listed(list(configurations))}.")
    with _quietly(str(folder), []):
        patterns = sanitize_patterns((configurations[name] if name else first)["data_files"])
    splits = {
        str(split): sorted({path for pattern in listed for path in folder.glob(pattern) if path.is_file()})
        for split, listed in patterns.items()
    }
    for split, files in splits.items():
        if not files:
            raise SourceError(f"{folder}: README.md names files for the split {split!r} that are not there.")
    return splits


def _by_split(folder: Path, files: list[Path]) -> dict[str, list[Path]]:
    """The files of each split, told by their names; all of them are `train` where no name tells."""
    named = {path: _split_of(path.relative_to(folder)) for path in files}
    told = {path: split for path, split in named.items() if split is not None}
    if not told:
        return {"train": files}
    if len(told) < len(files):
        without = next(path for path in files if path not in told)
        raise SourceError(
            f"{folder}: {next(iter(told)).name} names a split but {without.name} does not; "
            f"name the files to read with a pattern such as '{folder}/*{without.suffix}'."
        )
    return {split: [path for path in files if told[path] == split] for split in sorted(set(told.values()))}


def _split_of(path: Path) -> str | None:
    shard = _SHARD.fullmatch(path.name[: path.name.find(".", path.name.find("-of-")) + 1])
    if shard:
        return shard["split"]
    words = re.split(r"[-._ 0-9/\\]+", path.as_posix().lower())
    return next((_SPLIT_WORDS[word] for word in words if word in _SPLIT_WORDS), None)


def _is_hub_name(text: str) -> bool:
    """Whether `owner/name` can only be meant for the Hub: no file's ending and no folder here says otherwise."""
    if not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", text):
        return False
    owner, name = text.split("/")
    return not re.search(r"\.[A-Za-z][A-Za-z0-9]{1,6}$", name) and not Path(owner).exists()


def _beside(path: Path) -> str:
    """What to do about a path that is not there: its nearest neighbour by name, or the first part that is missing."""
    folder = path.parent
    while glob.has_magic(str(folder)):
        folder = folder.parent
    if not folder.exists():
        missing = next(part for part in [*reversed(folder.parents), folder] if not part.exists())
        return f"The folder {missing} does not exist."
    if not folder.is_dir():
        return f"{folder} is a file, not a folder."
    names = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
    close = get_close_matches(path.name, names, n=3)
    if close:
        return f"Did you mean {' or '.join(str(folder / name) for name in close)}?"
    if not names:
        return f"The folder {folder} is empty."
    hub = (
        " For a dataset on the Hub write hf://datasets/owner/name."
        if len(path.parts) == 2 and not path.anchor and not path.suffix
        else ""
    )
    return f"{folder.absolute()} holds {_listed(names)}.{hub}"


def _listed(names: Sequence[str], most: int = 8) -> str:
    shown = ", ".join(repr(name) for name in names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown


def _refuse_empty(files: list[Path], source: str) -> None:
    for path in files:
        lines = _reader_of(path)[0] in ("json", "text")
        if path.stat().st_size == 0 and (not lines or len(files) == 1):
            raise SourceError(f"{path}: the file is empty.")
    if not any(path.stat().st_size for path in files):
        raise SourceError(f"{source}: all {len(files)} files are empty.")


def _refuse_unreadable_packing(files: list[Path]) -> None:
    from datasets import config

    packed = next((path for path in files if path.suffix.lower() == ".zst"), None)
    if packed is not None and not config.ZSTANDARD_AVAILABLE:
        raise SourceError(f"{packed}: .zst needs the package zstandard (pip install zstandard), or pack it as .gz.")


@contextlib.contextmanager
def _quietly(source: str, files: Sequence[Path]) -> Iterator[None]:
    """Turn whatever `datasets` raises into one `SourceError`, and keep its log of the same fault off the screen."""
    level = logging.get_verbosity()
    logging.set_verbosity(logging.CRITICAL)
    try:
        yield
    except SourceError:
        raise
    except Exception as error:
        raise SourceError(_fault(source, files, error)) from None
    finally:
        logging.set_verbosity(level)


def _fault(source: str, files: Sequence[Path], error: BaseException) -> str:
    for path in files:
        found = _fault_in(path)
        if found:
            return f"{path}: {found}"
    while isinstance(error, DatasetGenerationError) and error.__cause__ is not None:
        error = error.__cause__
    said = " ".join(str(error).split())[:600]
    if (
        "corresponds to no data" in said
        or isinstance(error, StopIteration)
        or "SchemaInference" in type(error).__name__
    ):
        return f"{source}: there is no row in it."
    if len(files) > 1 and ("column names don't match" in said or "Failed to parse" in said):
        return f"{source}: the {len(files)} files do not hold the same columns of the same types: {said}"
    return f"{source}: it cannot be read ({type(error).__name__}: {said or 'no reason given'})"


def _fault_in(path: Path) -> str | None:
    """What is wrong with the bytes of a file that did not load; None where nothing is found."""
    reader = _reader_of(path)[0]
    try:
        if reader == "parquet":
            return _fault_in_parquet(path)
        if reader == "arrow" or path.suffix.lower() in (".zst", ".bz2", ".xz"):
            return None
        return _fault_in_text(path, reader)
    except (EOFError, gzip.BadGzipFile, OSError) as error:
        said = " ".join(str(error).split())
        if path.suffix.lower() == ".gz":
            return f"the gzip file is damaged or cut off ({said}); copy or download it again, or gunzip it to see."
        return said


def _fault_in_parquet(path: Path) -> str | None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            for _ in file.iter_batches():
                pass
    except (pa.ArrowInvalid, OSError) as error:
        said = " ".join(str(error).split())
        return f"the Parquet file is damaged or cut off ({said}); copy or download it again."
    return None


def _fault_in_text(path: Path, reader: str) -> str | None:
    whole = reader == "json" and _starts_with_bracket(path)
    at, number = 0, 0
    with _opened(path) as file:
        for number, line in enumerate(iter(lambda: file.readline(), b""), start=1):
            if number == 1 and line.startswith((b"\xff\xfe", b"\xfe\xff")):
                return "the text is UTF-16; save it as UTF-8."
            try:
                text = line.decode("utf-8")
            except UnicodeDecodeError as error:
                byte = line[error.start]
                return (
                    f"line {number}, byte {at + error.start}: 0x{byte:02x} is not UTF-8; save the file as UTF-8 "
                    f"(for example: iconv -f latin1 -t utf-8)."
                )
            at += len(line)
            if number == 1 and path.name.lower().removesuffix(".gz").endswith(".json"):
                # One object over several lines is JSON, too.
                whole = whole or _fault_in_json(text.lstrip("\ufeff")) is not None
            if reader == "json" and not whole and text.strip():
                fault = _fault_in_json(text.lstrip("\ufeff"))
                if fault:
                    return f"line {number}: {fault}"
    if whole:
        with _opened(path) as file:
            return _fault_in_json(file.read().decode("utf-8-sig"), whole=True)
    return None if number else "the file is empty."


def _fault_in_json(text: str, whole: bool = False) -> str | None:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}" if whole else f"column {error.colno}"
        return f"not JSON at {place} ({error.msg})."
    rows = value if whole and isinstance(value, list) else [value]
    if not all(isinstance(row, dict) for row in rows):
        return 'each row must be a JSON object such as {"text": "..."}.'
    return None


def _starts_with_bracket(path: Path) -> bool:
    with _opened(path) as file:
        head: bytes = file.read(_BLOCK)
    return head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[")


def _opened(path: Path) -> Any:
    return gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb")
