"""Questions about the objects of the standard library and the installed packages, answered by their docstrings.

Source files are parsed and never imported, so nothing of them runs.
"""

from __future__ import annotations

import ast
import hashlib
import platform
import re
import sysconfig
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

VERSION = 1
"""Raised when the same packages would give other rows."""
COLUMNS = ("module", "object", "signature", "question", "answer", "licence", "kind")
_NOT_API = frozenset({"test", "tests", "_tests", "idle_test", "site-packages", "dist-packages"})
_LONGEST_SIGNATURE = 300
_ASK = {
    "function": (
        "What does `{object}` do?",
        "How do I use the function `{name}` of `{module}`?",
        "Explain the Python function `{signature}` from `{module}`.",
        "Write the documentation of `{signature}`.",
        "In `{package}` I found `{object}`. What is it for, and what does it return?",
    ),
    "method": (
        "What does the method `{object}` do?",
        "How do I use `{object}` in `{package}`?",
        "Explain the method `{signature}` of `{owner}`.",
        "Write the documentation of the method `{signature}` in `{module}`.",
        "When would I call `{object}`?",
    ),
    "class": (
        "What is the class `{object}` for?",
        "How do I use `{name}` from `{module}`?",
        "Explain the class `{signature}` of the package `{package}`.",
        "Describe `{object}` and its parameters.",
    ),
    "module": (
        "What is the module `{module}` for?",
        "Give an overview of `{module}`.",
        "What do I find in the Python module `{module}`?",
    ),
    "package": (
        "What is the Python package `{name}`?",
        "Introduce the package `{name}` to someone who has never used it.",
        "Show me the description of `{name}`.",
    ),
}


def key() -> str:
    """What the rows depend on, as 16 hex digits: the packages that are installed, and their versions."""
    installed = [f"{distribution.name} {distribution.version}" for distribution in _distributions()]
    said = "\n".join([str(VERSION), platform.python_version(), *installed])
    return hashlib.blake2b(said.encode(), digest_size=8).hexdigest()


def rows() -> Iterator[dict[str, str]]:
    """A row for each documented object, with the columns `COLUMNS`, in the order of the packages' names."""
    for path, module in _library_files():
        yield from rows_of_file(path, module, "python", "PSF-2.0")
    for distribution in _distributions():
        licence = _licence(distribution)
        for path, module in _files(distribution):
            yield from rows_of_file(path, module, distribution.name, licence)
        said = str(distribution.metadata.json.get("description", "")).strip()
        if said and said != "UNKNOWN":
            yield _row("package", "", distribution.name, "", said, distribution.name, licence)


def _library_files() -> Iterator[tuple[Path, str]]:
    root = Path(sysconfig.get_path("stdlib"))
    for path in sorted(root.rglob("*.py")):
        module = module_name(path.relative_to(root).parts)
        if module:
            yield path, module


def _distributions() -> list[metadata.Distribution]:
    """What is installed, each once, by name."""
    found: dict[str, metadata.Distribution] = {}
    for distribution in metadata.distributions():
        if distribution.metadata["Name"]:
            found.setdefault(re.sub(r"[-_.]+", "-", distribution.name).lower(), distribution)
    return [found[name] for name in sorted(found)]


def _files(distribution: metadata.Distribution) -> Iterator[tuple[Path, str]]:
    for file in sorted(distribution.files or [], key=str):
        module = module_name(file.parts) if file.suffix == ".py" else None
        if module:
            yield Path(str(distribution.locate_file(file))), module


def module_name(parts: tuple[str, ...]) -> str | None:
    """`a.b` for `a/b.py` and `a/b/__init__.py`; None for tests, scripts and what cannot be imported by name."""
    names = [*parts[:-1], parts[-1].removesuffix(".py")]
    if _NOT_API.intersection(names) or not all(name.isidentifier() for name in names):
        return None
    return ".".join(names[:-1] if names[-1] == "__init__" and len(names) > 1 else names)


def _licence(distribution: metadata.Distribution) -> str:
    about = distribution.metadata.json
    said = str(about.get("license_expression") or about.get("license") or "")
    if said and len(said) < 60 and "\n" not in said:
        return said
    classified = [line for line in about.get("classifier") or [] if line.startswith("License ::")]
    return classified[0].rpartition(" :: ")[2] if classified else "unknown"


def rows_of_file(path: Path, module: str, package: str, licence: str) -> Iterator[dict[str, str]]:
    """The rows of one source file; none where it cannot be read or is not Python."""
    try:
        source = path.read_bytes()
    except OSError:
        return
    if b'"""' not in source and b"'''" not in source:
        return
    try:
        with warnings.catch_warnings():
            # Old code has escapes that today's parser warns of.
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    for entry in documented(tree, module):
        yield _row(entry.kind, module, entry.path, entry.signature, entry.text, package, licence)


@dataclass(frozen=True)
class _Entry:
    kind: str
    path: str
    signature: str
    text: str


def documented(tree: ast.Module, module: str) -> Iterator[_Entry]:
    """The module and the objects in it that have a docstring, in the order of the file."""
    text = ast.get_docstring(tree)
    if text:
        yield _Entry("module", module, "", text)
    waiting: list[tuple[ast.AST, str, str]] = [(tree, module, "function")]
    while waiting:
        parent, owner, kind = waiting.pop()
        inner: list[tuple[ast.AST, str, str]] = []
        for node in _statements(parent):
            path = f"{owner}.{node.name}"
            text = ast.get_docstring(node)
            if isinstance(node, ast.ClassDef):
                inner.append((node, path, "method"))
                if text:
                    yield _Entry("class", path, _short(f"{node.name}({', '.join(map(ast.unparse, node.bases))})"), text)
            elif text:
                returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
                yield _Entry(kind, path, _short(f"{node.name}({ast.unparse(node.args)}){returns}"), text)
        waiting += reversed(inner)


def _statements(parent: ast.AST) -> Iterator[ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    """The functions and classes of a body, also those that stand below an `if` or a `try`."""
    for node in getattr(parent, "body", []):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node
        elif isinstance(node, ast.If | ast.Try):
            yield from _statements(node)


def _short(signature: str) -> str:
    return signature if len(signature) <= _LONGEST_SIGNATURE else signature[:_LONGEST_SIGNATURE] + "..."


def _row(kind: str, module: str, path: str, signature: str, text: str, package: str, licence: str) -> dict[str, str]:
    ask = _ASK[kind]
    choice = int.from_bytes(hashlib.blake2b(path.encode(), digest_size=2).digest(), "big") % len(ask)
    owner, _, name = path.rpartition(".")
    question = ask[choice].format(
        object=path, name=name, owner=owner, module=module, package=package, signature=signature
    )
    # A docstring may hold an escaped surrogate, which no UTF-8 file can.
    values = (module, path, signature, question, text, licence, kind)
    return {
        column: value.encode("utf-8", "replace").decode("utf-8") for column, value in zip(COLUMNS, values, strict=True)
    }
