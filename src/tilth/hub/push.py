"""A curated dataset as one commit on the Hub: either all of it is there, or nothing has changed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_token
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

from tilth.errors import ArgumentError, PublishError, TilthError
from tilth.hub.layout import CuratedLike, Part, check_curated, parts_of
from tilth.hub.readme import check_license, merged_card
from tilth.parquet import MAX_SHARD_BYTES, check_shard_bytes, check_storable, write_parquet
from tilth.report import Report

_SOME_TOKEN = re.compile(r"\bhf_[A-Za-z0-9]{30,}\b")
_LONGEST_ANSWER = 300


@dataclass(frozen=True)
class Published:
    """What was published.

    Attributes:
        repo_id: the repository, `owner/name`.
        url: its page.
        commit: the hash of the commit; of the pull request's where one was opened.
        pull_request: the page of the pull request, if one was opened.
    """

    repo_id: str
    url: str
    commit: str
    pull_request: str | None = None


def publish(
    curated: CuratedLike,
    repo_id: str,
    *,
    private: bool = True,
    revision: str | None = None,
    message: str | None = None,
    token: str | None = None,
    license: str | None = None,
    max_shard_bytes: int = MAX_SHARD_BYTES,
    create_pr: bool = False,
    rejected: bool = True,
) -> Published:
    """Put a curated dataset, its rejected rows, its card, recipe and report on the Hub in one commit.

    The kept rows are the default config, the rejected ones the config `rejected`. Shards of the same split from an
    earlier push are replaced; other splits, configs, files and what else the card says stay. The rows are written as
    Parquet to a temporary folder first, which needs room for them.

    Args:
        curated: the result of a pipeline.
        repo_id: the dataset's repository, `owner/name`; with `name` alone it is yours. It is made if need be.
        private: whether a repository that is made is private. One that exists keeps its visibility; one that is public
            is refused unless this is False.
        revision: the branch, `main` by default. It is made from `main` if need be.
        message: of the commit.
        token: one with write access; by default that of `hf auth login` or `HF_TOKEN`.
        license: an identifier such as `apache-2.0`; `None` leaves what the card says.
        max_shard_bytes: how large a Parquet file may be.
        create_pr: open a pull request instead of changing the branch.
        rejected: whether the rejected rows go there, as they were in the source, and the report's examples of rows.
            Give False where a step takes out what nobody else may see.

    Raises:
        ArgumentError: an argument is not allowed.
        ColumnTypeError: a column has a type that Parquet cannot hold.
        PublishError: no row was kept; the repository is public, or its card cannot hold this; there is no token, or
            the Hub does not take it; somebody else pushed in between; the Hub cannot be reached.
        OSError: there is no room for the temporary files.
        TypeError: `curated` is not the result of a pipeline.
    """
    _check_arguments(repo_id, revision, message, create_pr)
    check_license(license)
    check_shard_bytes(max_shard_bytes)
    check_curated(curated)
    secret = _secret(token)
    if len(curated.dataset) == 0:
        raise PublishError("the pipeline kept no row, so there is nothing to publish; curated.report says why.")
    parts = parts_of(curated, rejected)
    for part in parts:
        if part.dataset is not None:
            check_storable(part.dataset)
    message = message or f"{len(curated.dataset):,} rows curated with tilth"
    with TemporaryDirectory(prefix="tilth-hub-") as folder:
        push = _Push(curated, parts, repo_id, secret, license, Path(folder))
        push.look(private, revision)
        # Everything that can be refused is refused before the long work.
        report = (curated.report if rejected else _without_examples(curated.report)).html(title=push.repo_id)
        push.write_texts(report, message)
        push.write_shards(max_shard_bytes)
        if push.head is None:
            push.make(private, revision)
            push.write_texts(report, message)
        return push.commit(message, revision, create_pr)


class _Push:
    """One push: what the repository held when it began, and the files that are to go there."""

    def __init__(
        self, curated: CuratedLike, parts: list[Part], repo_id: str, secret: str, license: str | None, folder: Path
    ) -> None:
        from tilth import __version__

        self.api = HfApi(token=secret, library_name="tilth", library_version=__version__)
        self.curated = curated
        self.parts = parts
        self.repo_id = repo_id
        self.secret = secret
        self.license = license
        self.folder = folder
        self.head: str | None = None
        self.lacks_branch = False
        self.files: dict[str, Path] = {}
        self.held: list[str] = []
        self.old_card: str | None = None

    def look(self, private: bool, revision: str | None) -> None:
        """Find out what is there, if anything.

        Raises:
            PublishError: the repository is public and `private` is set, or it cannot be looked at.
        """
        with self._asking():
            if "/" not in self.repo_id:
                self.repo_id = f"{self.api.whoami()['name']}/{self.repo_id}"
            try:
                info = self.api.dataset_info(self.repo_id, revision=revision)
            except RevisionNotFoundError:
                info = self.api.dataset_info(self.repo_id)
                self.lacks_branch = True
            except RepositoryNotFoundError as error:
                # The Hub also answers 401 for what there is not, when it does not know the caller.
                if isinstance(error, GatedRepoError) or error.response.status_code == 401:
                    raise
                return
            if private and not info.private:
                raise PublishError(
                    f"{self.repo_id} is public, and private=True. Give private=False to publish there for everybody, "
                    f"or make it private in its settings."
                )
            self.repo_id, self.head = info.id, info.sha
            self.held = [path for part in self.parts for path in self._listed(part.folder)]
            self.old_card = self._read_card()

    def make(self, private: bool, revision: str | None) -> None:
        """Make the repository, and look at what the Hub put there."""
        with self._asking():
            self.api.create_repo(self.repo_id, repo_type="dataset", private=private, exist_ok=True)
        self.look(private, revision)
        if self.head is None:
            raise PublishError(f"{self._endpoint} made {self.repo_id}, but does not show it to this token.")

    def write_texts(self, report: str, message: str) -> None:
        """Write the card, the recipe and the report, and refuse them if a token is in them."""
        texts = {
            "README.md": merged_card(self.curated, self.parts, self.old_card, self.repo_id, self.license),
            "recipe.yaml": self.curated.recipe,
            "report.html": report,
        }
        for name, text in [*texts.items(), ("the commit message", message)]:
            # A report shows text of rows, in which somebody else's token can be found.
            if self.secret in text or (name != "report.html" and _SOME_TOKEN.search(text)):
                raise PublishError(f"{name} holds an access token; nothing was published. Take the token out.")
        for name, text in texts.items():
            self.files[name] = self.folder / name
            self.files[name].write_text(text, encoding="utf-8", newline="")

    def write_shards(self, max_shard_bytes: int) -> None:
        """Write the rows."""
        for part in self.parts:
            if part.dataset is not None:
                for path in write_parquet(part.dataset, self.folder / part.folder, part.split, max_shard_bytes):
                    self.files[f"{part.folder}/{path.name}"] = path

    def commit(self, message: str, revision: str | None, create_pr: bool) -> Published:
        """Send all files, then change the repository in one step, unless it is no longer what `look` found."""
        additions = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=path) for name, path in self.files.items()]
        stale = [path for path in self.held if path not in self.files and any(p.is_shard(path) for p in self.parts)]
        deletions = [CommitOperationDelete(path_in_repo=path, is_folder=False) for path in stale]
        with self._asking():
            if revision is not None and self.lacks_branch and not revision.startswith("refs/"):
                self.api.create_branch(self.repo_id, repo_type="dataset", branch=revision, exist_ok=True)
            self.api.preupload_lfs_files(
                self.repo_id,
                additions,
                repo_type="dataset",
                revision=revision,
                create_pr=create_pr,
                free_memory=False,
            )
            ignored = [op.path_in_repo for op in additions if getattr(op, "_should_ignore", False)]
            if ignored:
                raise PublishError(f"the .gitignore of {self.repo_id} keeps out {ignored[0]}; nothing was published.")
            made = self.api.create_commit(
                self.repo_id,
                [*additions, *deletions],
                commit_message=message,
                repo_type="dataset",
                revision=revision,
                create_pr=create_pr,
                parent_commit=self.head,
            )
        return Published(self.repo_id, f"{self._endpoint}/datasets/{self.repo_id}", made.oid, made.pr_url)

    @property
    def _endpoint(self) -> str:
        return str(self.api.endpoint)

    def _listed(self, folder: str) -> list[str]:
        try:
            tree = self.api.list_repo_tree(self.repo_id, folder, repo_type="dataset", revision=self.head)
            return [entry.path for entry in tree]
        except RemoteEntryNotFoundError:
            return []

    def _read_card(self) -> str | None:
        # Only the Hub's own word that there is no card is taken: else one that is there would be overwritten.
        try:
            path = self.api.hf_hub_download(
                self.repo_id, "README.md", repo_type="dataset", revision=self.head, cache_dir=self.folder / "cache"
            )
            return Path(path).read_bytes().decode("utf-8-sig")
        except RemoteEntryNotFoundError:
            return None
        except UnicodeDecodeError:
            raise PublishError(f"the README.md of {self.repo_id} is not UTF-8 text. Repair it.") from None

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Every failure of the client as a `PublishError`, without the token, which a server may have sent back."""
        try:
            yield
        except TilthError:
            raise
        except Exception as error:
            said = self._explained(error)
            raise PublishError(said.replace(self.secret, "hf_***")) from None

    def _explained(self, error: Exception) -> str:
        chain: list[BaseException] = [error]
        while (cause := chain[-1].__cause__) is not None:
            chain.append(cause)
        answer = next((each for each in chain if isinstance(each, HfHubHTTPError)), None)
        status = answer.response.status_code if answer is not None else None
        owner = self.repo_id.partition("/")[0]
        if status == 401:
            return (
                f"{self._endpoint} does not take the token (401). Log in with 'hf auth login', or give a token= that "
                f"may write to {owner!r}."
            )
        if status == 403:
            return (
                f"{self._endpoint} does not let the token write to {self.repo_id} (403). Use a token with write access "
                f"to {owner!r}, or another repo_id. {self._heard(answer)}"
            )
        if status == 412:
            return (
                f"somebody else pushed to {self.repo_id} in between, so nothing was changed (412). Look at what is "
                f"there, and run it again."
            )
        if status is not None and (status in (408, 409, 429) or status >= 500):
            return (
                f"{self._endpoint} failed at {self.repo_id} ({status}). Run it again later: files that arrived are "
                f"not sent again. {self._heard(answer)}"
            )
        if status is not None:
            return f"{self._endpoint} refused {self.repo_id} ({status}). {self._heard(answer)}"
        last = chain[-1]
        text = " ".join(str(last).split())[:_LONGEST_ANSWER]
        return f"publishing to {self.repo_id} at {self._endpoint} failed: {type(last).__name__}: {text}"

    def _heard(self, answer: HfHubHTTPError | None) -> str:
        text = " ".join(str(getattr(answer, "server_message", None) or "").split())[:_LONGEST_ANSWER]
        return f"It says: {text}" if text else ""


def _without_examples(report: Report) -> Report:
    return replace(report, steps=tuple(replace(step, examples=[]) for step in report.steps))


def _check_arguments(repo_id: str, revision: str | None, message: str | None, create_pr: bool) -> None:
    try:
        valid = isinstance(repo_id, str) and bool(repo_id)
        validate_repo_id(repo_id)
    except HFValidationError:
        valid = False
    if not valid:
        raise ArgumentError(
            f"repo_id={repo_id!r} is not allowed; it must be 'owner/name', or 'name' for one of yours: letters, "
            f"digits, '-', '_' and '.', 96 characters at most, not beginning or ending with '-' or '.', without '--', "
            f"'..' and '.git' at the end."
        )
    if create_pr and revision not in (None, "main"):
        raise ArgumentError(f"revision={revision!r} is not allowed with create_pr=True; a pull request is for 'main'.")
    if revision is not None and (not isinstance(revision, str) or not revision.strip()):
        raise ArgumentError(f"revision={revision!r} is not allowed; it must be the name of a branch, or None.")
    if message is not None and (not isinstance(message, str) or not message.strip()):
        raise ArgumentError(f"message={message!r} is not allowed; it must be some text, or None.")


def _secret(token: str | None) -> str:
    """The token to use; it is never shown, not even when it is wrong."""
    if token is not None and not isinstance(token, str):
        raise ArgumentError(f"token must be text or None, not {type(token).__name__}.")
    secret = (token if token is not None else get_token() or "").strip()
    if not secret:
        raise PublishError("there is no token for the Hub. Log in with 'hf auth login', set HF_TOKEN, or give token=.")
    if not re.fullmatch(r"[!-~]+", secret):
        raise ArgumentError("token holds characters that no token of the Hub has; copy it again.")
    return secret
