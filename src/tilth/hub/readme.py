"""The dataset card: metadata that makes `load_dataset` and the viewer work, and a section on how the rows were made.

In a card that is there already only our section, between two marks, and our metadata are replaced. Step names and
reasons are text of users, so they are escaped; no value of a row is ever in a card.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from huggingface_hub.repocard import REGEX_YAML_BLOCK

from tilth.errors import ArgumentError, PublishError
from tilth.hub.layout import CuratedLike, Part, check_curated, metadata, parts_of
from tilth.ledger import StepRecord
from tilth.report import Report
from tilth.report.shown import percent, visible

BEGIN = "<!-- tilth:begin -->"
END = "<!-- tilth:end -->"
_SECTION = re.compile(rf"{BEGIN}(?:(?!{BEGIN}).)*?{END}", re.DOTALL)
_REASONS = 10
_LONGEST_NAME = 80
_PUNCTUATION = re.compile(r"[!-/:-@\[-`{-~]")
_ENTITIES = {"<": "&lt;", ">": "&gt;", "&": "&amp;"}
_HARMLESS = re.compile(r"[A-Za-z0-9]+(?:[ _][A-Za-z0-9]+)*")


def card(curated: CuratedLike, repo_id: str | None = None, license: str | None = None) -> str:
    """The dataset card of a curated dataset: the `README.md` of a repository, or of a folder with the same files.

    It expects the rows in `data/` and `rejected/`, as `tilth.hub.publish` and `Curated.save` write them, and
    `recipe.yaml` and `report.html` beside them.

    Args:
        curated: the result of a pipeline.
        repo_id: the repository, `owner/name`; `None` for a folder.
        license: an identifier such as `apache-2.0`; `None` to say nothing.

    Raises:
        ArgumentError: `license` is not an identifier.
        TypeError: `curated` is not the result of a pipeline.
    """
    check_curated(curated)
    return merged_card(curated, parts_of(curated), None, repo_id, license)


def merged_card(
    curated: CuratedLike, parts: Sequence[Part], old: str | None, repo_id: str | None, license: str | None
) -> str:
    """`card`, with what a card that is there already says besides.

    Args:
        curated: the result of a pipeline.
        parts: its configs.
        old: the text of the card that is there.
        repo_id: the repository, `owner/name`; `None` for a folder.
        license: an identifier such as `apache-2.0`; `None` to leave what there was.

    Raises:
        ArgumentError: `license` is not an identifier.
        PublishError: the metadata of `old` cannot be read, or cannot hold these configs.
    """
    check_license(license)
    windows = old is not None and "\r\n" in old and "\n" not in old.replace("\r\n", "")
    text = (old or "").replace("\r\n", "\n") if windows else old or ""
    found = REGEX_YAML_BLOCK.search(text)
    block, body = (found[2], text[found.end() :]) if found else ("", text)
    said = _loaded(block)
    block = _rewritten(block, said, metadata(said, parts, license))
    section = f"{BEGIN}\n{_section(curated.report, parts, repo_id)}{END}"
    if _SECTION.search(body):
        # Where a section was copied, the first place counts.
        before, *rest = _SECTION.split(body)
        body = before + section + "".join(rest)
    elif body.strip():
        body = f"{body.rstrip()}\n\n{section}\n"
    else:
        name = _plain(repo_id.rpartition("/")[2]) if repo_id else "Curated dataset"
        body = f"\n# {name}\n\n{section}\n"
    text = f"---\n{block}---\n{body}"
    return text.replace("\n", "\r\n") if windows else text


def check_license(license: str | None) -> None:
    """Refuse what cannot be the identifier of a licence.

    Raises:
        ArgumentError: it is something else.
    """
    if license is not None and not (isinstance(license, str) and re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", license)):
        raise ArgumentError(
            f"license={license!r} is not allowed; it must be an identifier of the Hub, such as 'apache-2.0', "
            f"'cc-by-4.0' or 'other', or None."
        )


def _section(report: Report, parts: Sequence[Part], repo_id: str | None) -> str:
    kept, rejected = parts
    added = f", {report.rows_added:,} added" if report.rows_added else ""
    said = (
        f"{report.rows_out:,} rows, curated with [tilth](#make-it-again): {report.rows_in:,} rows in{added}, "
        f"{report.rows_out:,} kept, {report.rows_dropped:,} dropped."
    )
    account = "Every row is accounted for."
    if rejected.dataset is not None:
        account += " The dropped ones are in the config `rejected`, each with the step, the reason and the evidence."
    blocks = [f"{said} {account}", "## What became of the rows", _funnel(report.steps)]
    reasons = _reasons(report.steps)
    if reasons:
        blocks += ["Most frequent reasons:", reasons]
    blocks += ["## Load", _loading(kept, rejected, repo_id), "## Make it again", _again(repo_id)]
    return "\n\n".join(blocks) + "\n"


def _funnel(steps: Sequence[StepRecord]) -> str:
    adds = any(step.added for step in steps)
    head = ["step", "rows in", "kept", "share", "changed", "dropped", *(["added"] if adds else [])]
    rows = []
    for step in steps:
        share = percent((step.rows_out - step.added) / step.rows_in) if step.rows_in else "–"
        counts = [step.changed, step.dropped_rows, *([step.added] if adds else [])]
        rows.append([_plain(step.name), f"{step.rows_in:,}", f"{step.rows_out:,}", share, *map(_count, counts)])
    return _table(head, rows, texts=1)


def _reasons(steps: Sequence[StepRecord]) -> str:
    found = [(count, step.name, reason) for step in steps for reason, count in step.dropped.items() if count]
    found.sort(key=lambda entry: -entry[0])
    rows = [[_plain(name), _plain(reason), _count(count)] for count, name, reason in found[:_REASONS]]
    return _table(["step", "reason", "rows"], rows, texts=2) if rows else ""


def _loading(kept: Part, rejected: Part, repo_id: str | None) -> str:
    where = repo_id if repo_id is not None else "path/to/this/folder"
    lines = ["from datasets import load_dataset", "", f'ds = load_dataset("{where}", split="{kept.split}")']
    if rejected.dataset is None:
        return _fenced("python", lines)
    lines.append(f'rejected = load_dataset("{where}", "rejected", split="{rejected.split}")')
    # A source with a column of such a name has ours beside it under a longer one.
    present = rejected.dataset.column_names
    by, reason, evidence = (
        f"`tilth_{name}`" if f"tilth_{name}" in present else f"`{name}`"
        for name in ("rejected_by", "reason", "evidence")
    )
    return (
        f"{_fenced('python', lines)}\n\nA rejected row is as it was in the source, with {by} (the step), {reason} and "
        f"{evidence} (JSON)."
    )


def _again(repo_id: str | None) -> str:
    fetch = [f"hf download {repo_id} recipe.yaml --repo-type dataset --local-dir ."] if repo_id is not None else []
    commands = ["pip install tilth", *fetch, "tilth run recipe.yaml --data SOURCE --out curated"]
    return (
        f"[recipe.yaml](recipe.yaml) is the pipeline, [report.html](report.html) what each step did.\n\n"
        f"{_fenced('bash', commands)}\n\n`SOURCE` is the data before curation; "
        f"leave out `--data` where the recipe names it."
    )


def _fenced(language: str, lines: Sequence[str]) -> str:
    return "\n".join([f"```{language}", *lines, "```"])


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], texts: int) -> str:
    """A table whose first columns, `texts` of them, are text and the others numbers."""
    rule = ["---" if place < texts else "---:" for place in range(len(head))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [head, rule, *rows])


def _count(number: int) -> str:
    return f"{number:,}"


def _plain(text: str) -> str:
    """Text that is nothing but text in Markdown, also in a cell of a table."""
    text = " ".join(visible(text[: 4 * _LONGEST_NAME]).split())
    if len(text) > _LONGEST_NAME:
        text = text[: _LONGEST_NAME - 1] + "…"
    if _HARMLESS.fullmatch(text):
        return text
    return _PUNCTUATION.sub(lambda sign: _ENTITIES.get(sign[0], "\\" + sign[0]), text)


def _loaded(block: str) -> dict[str, Any]:
    try:
        said = yaml.safe_load(block)
    except (yaml.YAMLError, ValueError) as error:
        where = " ".join(str(error).split())
        raise PublishError(
            f"the metadata at the top of the repository's README.md is not YAML: {where}. Repair it."
        ) from None
    if said is not None and not isinstance(said, dict):
        raise PublishError(f"the metadata of the repository's README.md must be a mapping, not {said!r}. Repair it.")
    return said or {}


def _rewritten(block: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """The YAML `block`, which says `old`, made to say `new`: entries that stay keep their lines and comments."""
    pieces: dict[Any, str] = {}
    root = yaml.compose(block, Loader=yaml.SafeLoader) if old else None
    text = block.rstrip("\n") + "\n" if block.strip() else ""
    if isinstance(root, yaml.MappingNode) and not root.flow_style and len(root.value) == len(old):
        starts = [key.start_mark.index for key, _ in root.value]
        pieces = {key: text[start:end] for key, start, end in zip(old, starts, [*starts[1:], len(text)], strict=True)}
        text = text[: starts[0]]
        for key in dict.fromkeys([*old, *new]):
            if key in new:
                stays = key in old and old[key] == new[key]
                text += pieces[key] if stays else _dumped({key: new[key]})
        if _says(text, new):
            return text
    return _dumped(new)


def _says(text: str, wanted: Mapping[str, Any]) -> bool:
    try:
        return bool(yaml.safe_load(text) == dict(wanted))
    except (yaml.YAMLError, ValueError):
        return False


def _dumped(values: Mapping[str, Any]) -> str:
    text = str(yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True, width=2**20))
    if re.search("[\x85\u2028\u2029\ufeff]", text):
        # Readers disagree on whether these end a line; escaped they are safe.
        text = str(yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=False, width=2**20))
    return text
