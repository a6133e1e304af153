"""How a curated dataset lies in a repository: two configs, and what the card's metadata says about them.

`default` is what the pipeline kept, `rejected` what it dropped. Each split has shards of its own, so that another split
of the same config, published before, stays.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from datasets import Dataset, DatasetInfo, Features
from datasets.info import DatasetInfosDict
from huggingface_hub import DatasetCardData

from tilth.errors import PublishError

if TYPE_CHECKING:
    from tilth.report import Report

_SIZES = ("1K", "10K", "100K", "1M", "10M", "100M", "1B", "10B", "100B", "1T")


class CuratedLike(Protocol):
    """What publishing needs to know of a `tilth.Curated`."""

    @property
    def dataset(self) -> Dataset:
        """The rows that were kept."""

    @property
    def rejected(self) -> Dataset:
        """The rows that were dropped, with `rejected_by`, `reason` and `evidence`."""

    @property
    def report(self) -> Report:
        """The funnel."""

    @property
    def recipe(self) -> str:
        """The pipeline as YAML."""


@dataclass(frozen=True, eq=False)
class Part:
    """A config as it is to be.

    Attributes:
        config: its name.
        folder: where its shards lie.
        split: the split that is published.
        dataset: the rows of that split; `None` where there are none, and the split is not to be there.
    """

    config: str
    folder: str
    split: str
    dataset: Dataset | None

    @property
    def pattern(self) -> str:
        """The glob of the split's shards."""
        return f"{self.folder}/{self.split}-*-of-*.parquet"

    def is_shard(self, path: str) -> bool:
        """Whether a file of the repository is a shard of this split, by `publish` or by `push_to_hub`."""
        return bool(re.fullmatch(rf"{self.folder}/{re.escape(self.split)}-\d{{5}}-of-\d{{5}}(-\w+)?\.parquet", path))


def check_curated(curated: object) -> None:
    """Refuse what is not the result of a pipeline.

    Raises:
        TypeError: it is something else.
    """
    if not all(hasattr(curated, name) for name in ("dataset", "report", "recipe")):
        raise TypeError(
            f"publishing takes the result of Pipeline.run, not {type(curated).__name__}. For a dataset alone use its "
            f"push_to_hub."
        )


def parts_of(curated: CuratedLike, rejected: bool = True) -> list[Part]:
    """The configs that a curated dataset is published as, with the rejected rows or without."""
    split = split_name(curated.dataset)
    dropped = curated.rejected if rejected and len(curated.rejected) else None
    return [Part("default", "data", split, curated.dataset), Part("rejected", "rejected", split, dropped)]


def split_name(ds: Dataset) -> str:
    """The split that a dataset is, without the slice it was loaded with; `train` where that is no single split.

    Examples:
        >>> from datasets import Dataset
        >>> split_name(Dataset.from_dict({"a": [1]}, split="test")), split_name(Dataset.from_dict({"a": [1]}))
        ('test', 'train')
    """
    found = re.fullmatch(r"(\w+(?:\.\w+)*)(?:\[.*\])?", str(ds.split)) if ds.split is not None else None
    return "train" if found is None or found[1] == "all" else found[1]


def metadata(old: Mapping[str, Any], parts: Sequence[Part], license: str | None) -> dict[str, Any]:
    """The metadata of a card with these parts; what else `old` says stays.

    Args:
        old: the metadata there was.
        parts: the configs to be.
        license: an identifier such as `apache-2.0`; `None` leaves what there was.

    Raises:
        PublishError: `old` makes another config the default, holds another split with other columns, or has data that
            is not Parquet.
    """
    configs = _by_name(_listed(old, "configs"))
    infos = _by_name(_listed(old, "dataset_info"))
    ours = {part.config for part in parts}
    for name, config in configs.items():
        if name not in ours and config.get("default"):
            raise PublishError(
                f"the card makes {name!r} the default config. Remove its 'default: true', or publish to another "
                f"repository."
            )
    for part in parts:
        _update(configs, infos, part)
    for name, config in configs.items():
        for path in _paths(config.get("data_files")):
            if re.search(r"\.(?!parquet$)\w+$", path):
                raise PublishError(
                    f"the card's config {name!r} has {path!r}, and load_dataset reads all configs of a repository in "
                    f"one format, which is Parquet here. Publish to another repository, or remove that from the card."
                )
    new = dict(old)
    for key, entries in (("configs", configs), ("dataset_info", infos)):
        new[key] = [{"config_name": name, **entry} for name, entry in entries.items()]
        if not new[key]:
            del new[key]
    if license is not None:
        new["license"] = license
    foreign = set(configs) - ours
    if "size_categories" not in old or not foreign:
        new["size_categories"] = [_size(infos, parts[0])]
    tags = old.get("tags") or []
    new["tags"] = list(dict.fromkeys([*(tags if isinstance(tags, list) else [tags]), "tilth"]))
    return new


def _update(configs: dict[str, dict[str, Any]], infos: dict[str, dict[str, Any]], part: Part) -> None:
    """Put one part into the configs and infos, both by name."""
    files = _mappings(configs.get(part.config, {}).get("data_files"))
    if part.dataset is None and not any(_is_ours(file, part) for file in files):
        return
    others = [file for file in files if file.get("split") != part.split]
    info = infos.pop(part.config, {})
    sizes = [split for split in _mappings(info.get("splits")) if split.get("name") in {f.get("split") for f in others}]
    if part.dataset is None:
        if others:
            configs[part.config] = {"data_files": others}
            infos.update({part.config: {**info, "splits": sizes}} if info else {})
        else:
            del configs[part.config]
        return
    if others and info.get("features") is not None and not _same(info["features"], part.dataset.features):
        raise PublishError(
            f"config {part.config!r} of the repository has the split {others[0].get('split')!r} with other columns, "
            f"or columns of other types, than these of {part.split!r}: {part.dataset.column_names}. One config cannot "
            f"hold both; publish to another repository or revision, or remove that split from the card."
        )
    configs[part.config] = {"data_files": [*others, {"split": part.split, "path": part.pattern}]}
    features = _features(part.dataset)
    if len(sizes) == len(others) and features is not None:
        # `load_dataset` holds the data to what is said here, so it is said for every split or for none.
        rows = {"name": part.split, "num_bytes": _arrow_bytes(part.dataset), "num_examples": len(part.dataset)}
        infos[part.config] = {"features": features, "splits": [*sizes, rows]}


def _mappings(entries: object) -> list[dict[str, Any]]:
    return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []


def _is_ours(file: Mapping[str, Any], part: Part) -> bool:
    ours = f"{part.folder}/{part.split}-"
    return file.get("split") == part.split and all(path.startswith(ours) for path in _paths(file))


def _paths(files: object) -> list[str]:
    """The paths and globs in what a card says of data files."""
    if isinstance(files, dict):
        return _paths(files.get("path"))
    if isinstance(files, list):
        return [path for file in files for path in _paths(file)]
    return [] if files is None else [str(files)]


def _listed(old: Mapping[str, Any], key: str) -> list[Any]:
    found = old.get(key)
    entries = [found] if isinstance(found, dict) else found or []
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise PublishError(f"the card's {key!r} must be a list of mappings, not {found!r}. Repair it on the Hub.")
    return entries


def _by_name(entries: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    return {
        str(entry.get("config_name", "default")): {key: value for key, value in entry.items() if key != "config_name"}
        for entry in entries
    }


def _features(ds: Dataset) -> list[dict[str, Any]] | None:
    """The features in terms of YAML; `None` where YAML cannot say them, and the Parquet files alone do."""
    data = DatasetCardData()
    try:
        DatasetInfosDict({"default": DatasetInfo(features=ds.features)}).to_dataset_card_data(data)
        said: list[dict[str, Any]] = data["dataset_info"]["features"]
    except (TypeError, ValueError, KeyError):
        return None
    return said if _same(said, ds.features) else None


def _same(said: object, features: Features) -> bool:
    data = DatasetCardData(dataset_info={"features": said})
    try:
        return bool(DatasetInfosDict.from_dataset_card_data(data)["default"].features == features)
    except (TypeError, ValueError, KeyError, AttributeError):
        return False


def _arrow_bytes(ds: Dataset) -> int:
    """About how large the rows are in memory; those left out by an index are taken to be as large as the others."""
    return int(ds.data.nbytes * len(ds) / max(1, ds.data.num_rows))


def _size(infos: Mapping[str, Mapping[str, Any]], part: Part) -> str:
    """The Hub's category for the rows of all splits of a config."""
    splits = infos.get(part.config, {}).get("splits", [])
    rows = sum(int(split.get("num_examples") or 0) for split in splits) or len(part.dataset or ())
    place = next((place for place in range(len(_SIZES)) if rows < 1000 * 10**place), len(_SIZES))
    if place == 0:
        return f"n<{_SIZES[0]}"
    return f"n>{_SIZES[-1]}" if place == len(_SIZES) else f"{_SIZES[place - 1]}<n<{_SIZES[place]}"
