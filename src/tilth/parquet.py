"""A dataset as Parquet files of bounded size, which `load_dataset` and the Hub's viewer read back with all features.

Rows go to disk group by group, so memory follows the group, not the dataset.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset, config
from datasets.features.features import require_storage_embed
from datasets.table import embed_table_storage

from tilth.errors import ArgumentError, ColumnTypeError
from tilth.frame import Frame

GROUP_BYTES = 32 * 2**20
"""How much Arrow data a row group holds at most: enough to compress well, little enough to be read for one row."""
GROUP_ROWS = 65_536
READ_ROWS = 1_000
"""How many rows are read at a time, whose sizes are known only then."""
MEDIA_ROWS = 100
"""The same where pictures or sound are taken in from files."""
MAX_SHARD_BYTES = 500_000_000


def write_parquet(ds: Dataset, folder: str | Path, stem: str, max_shard_bytes: int = MAX_SHARD_BYTES) -> list[Path]:
    """Write a dataset to `folder/stem-00000-of-0000N.parquet` and so on: all of the files or none.

    The Hugging Face features lie in each file, so that class labels and the like survive. Pictures and sound that the
    dataset only points to on this disk are taken in. A dataset of no rows makes one file of no rows.

    Args:
        ds: what to write, in its order.
        folder: where; it is made if need be.
        stem: how the files' names begin, by custom the split.
        max_shard_bytes: another file is begun before the rows of one take more than this, the file's footer not
            counted; only a row that is larger by itself can.

    Returns:
        The files, in the order of the rows.

    Raises:
        ArgumentError: `max_shard_bytes` is not a positive integer, `stem` is not the beginning of a file name, or
            `folder` holds shards of this stem already, which would be read together with these.
        ColumnTypeError: a column has a type that Parquet cannot hold.
        OSError: a file cannot be written.

    Examples:
        >>> from datasets import Dataset
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     [path.name for path in write_parquet(Dataset.from_dict({"text": ["one", "two"]}), folder, "train")]
        ['train-00000-of-00001.parquet']
    """
    folder = Path(folder)
    check_shard_bytes(max_shard_bytes)
    if not stem or stem.startswith(".") or set(stem) & set('/\\:*?"<>|[]'):
        raise ArgumentError(f"stem={stem!r} is not allowed; it must be the beginning of a file name, such as 'train'.")
    check_storable(ds)
    earlier = sorted(path.name for path in folder.glob(f"{stem}-?????-of-?????.parquet"))
    if earlier:
        raise ArgumentError(f"{folder} holds {earlier[0]} already; remove the {stem} shards, or choose another folder.")
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    try:
        # Several groups a shard, so that shards come out about as large as allowed.
        groups = _groups(ds, min(GROUP_BYTES, max(1, max_shard_bytes // 8)))
        group: pa.Table | None = next(groups, ds.features.arrow_schema.empty_table())
        while group is not None:
            written.append(folder / f".{stem}-{len(written):05d}.parquet.part")
            group = _write_one(written[-1], group, groups, max_shard_bytes)
        for place, path in enumerate(written):
            written[place] = path.replace(folder / f"{stem}-{place:05d}-of-{len(written):05d}.parquet")
    except BaseException:
        for path in written:
            path.unlink(missing_ok=True)
        raise
    return written


def check_shard_bytes(max_shard_bytes: int) -> None:
    """Refuse a size that no file can have.

    Raises:
        ArgumentError: it is not a positive integer.
    """
    if isinstance(max_shard_bytes, bool) or not isinstance(max_shard_bytes, int) or max_shard_bytes < 1:
        raise ArgumentError(f"max_shard_bytes={max_shard_bytes!r} is not allowed; it must be one or more, in bytes.")


def check_storable(ds: Dataset) -> None:
    """Refuse what Parquet cannot hold, before any work.

    Raises:
        ArgumentError: there is no column.
        ColumnTypeError: a column holds structs without fields.
    """
    if not ds.column_names:
        raise ArgumentError("a dataset without columns cannot be written as Parquet.")
    for field in ds.features.arrow_schema:
        if _has_empty_struct(field.type):
            raise ColumnTypeError("writing Parquet", field.name, field.type, "structs with at least one field")


def _write_one(path: Path, group: pa.Table, more: Iterator[pa.Table], max_bytes: int) -> pa.Table | None:
    """Write a file of `group` and as many more as have room in it; gives the first that has none."""
    options: dict[str, Any] = {"compression": "zstd", "write_page_index": True}
    chunking = getattr(config, "DEFAULT_CDC_OPTIONS", None)
    if chunking is not None:
        # Pages are cut by content, so that a later push of nearly the same rows sends only what differs.
        options["use_content_defined_chunking"] = chunking
    with pa.OSFile(str(path), "wb") as file, pq.ParquetWriter(file, group.schema, **options) as writer:
        next_group: pa.Table | None = group
        while next_group is not None:
            # A group of no rows would be a file that `load_dataset` cannot read.
            if next_group.num_rows:
                writer.write_table(next_group, row_group_size=next_group.num_rows)
            next_group = next(more, None)
            # How small Parquet will make a group is known afterwards; it hardly ever makes it larger.
            if next_group is not None and file.tell() + next_group.nbytes > max_bytes:
                break
        if chunking is not None:
            writer.add_key_value_metadata({"content_defined_chunking": json.dumps(chunking)})
    return next_group


def _groups(ds: Dataset, max_bytes: int) -> Iterator[pa.Table]:
    """The rows in row groups of `max_bytes` of Arrow data at most, or of one row."""
    group: list[pa.Table] = []
    held = rows = 0
    for table in _pieces(ds, max_bytes):
        size = table.nbytes
        if group and (held + size > max_bytes or rows + table.num_rows > GROUP_ROWS):
            yield pa.concat_tables(group)
            group, held, rows = [], 0, 0
        group.append(table)
        held, rows = held + size, rows + table.num_rows
    if group:
        yield pa.concat_tables(group)


def _pieces(ds: Dataset, max_bytes: int) -> Iterator[pa.Table]:
    schema = ds.features.arrow_schema
    embeds = any(require_storage_embed(feature) for feature in ds.features.values())
    frame = Frame.of(ds)
    step = MEDIA_ROWS if embeds else READ_ROWS
    for first in range(0, len(ds), step):
        table = frame.read(ds.column_names, first, min(first + step, len(ds)))
        if table.schema != schema:
            table = table.cast(schema)
        # Features can be missing in the metadata of the data itself.
        table = table.replace_schema_metadata(schema.metadata)
        yield from _halved(_embedded(table) if embeds else table, max_bytes)


def _halved(table: pa.Table, max_bytes: int) -> Iterator[pa.Table]:
    if table.nbytes <= max_bytes or table.num_rows <= 1:
        yield table
        return
    middle = table.num_rows // 2
    yield from _halved(table.slice(0, middle), max_bytes)
    yield from _halved(table.slice(middle), max_bytes)


def _embedded(table: pa.Table) -> pa.Table:
    # What lies on another host stays a link: nothing is fetched from there.
    local = {"remote_files": False} if "remote_files" in inspect.signature(embed_table_storage).parameters else {}
    return embed_table_storage(table, **local)


def _has_empty_struct(kind: pa.DataType) -> bool:
    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    if pa.types.is_struct(kind) and kind.num_fields == 0:
        return True
    return any(_has_empty_struct(kind.field(place).type) for place in range(kind.num_fields))
