"""The exceptions that a user may catch. Each is also the built-in one that fits its kind of fault."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches


class TilthError(Exception):
    """The base of every error that tilth raises on purpose."""


class ArgumentError(TilthError, ValueError):
    """A step or a pipeline was given an argument it does not allow."""


class MissingColumnError(TilthError, ValueError):
    """A step reads a column that the data does not have."""

    def __init__(self, who: str, column: str, present: Sequence[str]) -> None:
        close = get_close_matches(column, present, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        super().__init__(f"{who} reads column {column!r}, which is not in the data; it has {list(present)}.{hint}")


class ColumnTypeError(TilthError, TypeError):
    """A column has a type that a step cannot read."""

    def __init__(self, who: str, column: str, found: object, wanted: str) -> None:
        super().__init__(f"{who} reads column {column!r} as {wanted}, but it holds {found}.")


class StepError(TilthError, RuntimeError):
    """A step broke its contract, for example by returning a column of the wrong length."""


class AccountingError(TilthError, RuntimeError):
    """The ledger does not reconcile: a row was lost, or counted twice."""


class SourceError(TilthError, ValueError):
    """The data named by a user could not be read."""


class RecipeError(TilthError, ValueError):
    """A recipe file says something that cannot be run; the message names the file, the line, the step and the field."""


class BusyError(TilthError, BlockingIOError):
    """Someone else is writing to the same place."""


class PublishError(TilthError, RuntimeError):
    """The Hub refused, or a repository is not in the state that publishing needs."""


class BenchmarkError(TilthError, RuntimeError):
    """A benchmark, or another tool that it compares with, did not run."""


class MissingExtraError(TilthError, ImportError):
    """An optional dependency is absent; the message names the extra that brings it."""

    def __init__(self, who: str, package: str, extra: str) -> None:
        super().__init__(f"{who} needs the package {package!r}. Install it with: pip install 'tilth[{extra}]'")
