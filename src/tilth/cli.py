"""The `tilth` command. Everything heavy is imported by the command that needs it, so that `tilth --help` is quick."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

if TYPE_CHECKING:
    from datasets import Dataset

    from tilth.pipeline import Curated
    from tilth.step import DatasetStep, Step


class _Commands(TyperGroup):
    """The commands, in which what a user did wrong ends in one line instead of a traceback."""

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]
        from tilth.errors import TilthError

        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise
        except (TilthError, OSError) as error:
            if (ctx.obj or {}).get("debug"):
                raise
            _complain(f"error: {error}")
        except KeyboardInterrupt:
            if (ctx.obj or {}).get("debug"):
                raise
            _complain("stopped. The steps that were done are kept: run the same command again to go on.")
        raise typer.Exit(1)


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Dataset engineering: curate, deduplicate, clean, format and inspect, with every row accounted for.",
)


def _remember_debug(ctx: typer.Context, value: bool) -> bool:
    root = ctx.find_root()
    root.obj = {"debug": value or bool((root.obj or {}).get("debug"))}
    return value


def _print_version(value: bool) -> None:
    if value:
        from tilth import __version__

        typer.echo(f"tilth {__version__}")
        raise typer.Exit()


Debug = Annotated[
    bool, typer.Option("--debug", callback=_remember_debug, help="Show the traceback of an error.", show_default=False)
]
Version = Annotated[
    bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Say which version this is.")
]


Split = Annotated[str | None, typer.Option(help="Which split of the data.")]
Out = Annotated[Path | None, typer.Option(help="The folder to write: data, rejected rows, report, recipe and card.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what an earlier run wrote to --out.")]


class Order(StrEnum):
    """The orders in which a pipeline can run."""

    written = "written"
    planned = "planned"


class Method(StrEnum):
    """The ways to find duplicates."""

    minhash = "minhash"
    simhash = "simhash"
    exact = "exact"


_OPTIONS = {
    Method.minhash: ("threshold", "ngram", "unit", "preset"),
    Method.simhash: ("distance", "ngram", "unit", "preset"),
    Method.exact: (),
}
"""What else each method can be told."""


class Part(StrEnum):
    """The parts of the benchmark of deduplication."""

    quality = "quality"
    speed = "speed"
    growth = "growth"


@app.callback()
def _start(version: Version = False, debug: Debug = False) -> None:
    pass


@app.command()
def run(
    recipe: Annotated[Path, typer.Argument(help="The recipe, a YAML file.", show_default=False)],
    data: Annotated[
        str | None,
        typer.Option(help="The data, instead of the recipe's source: file, glob, folder or owner/name on the Hub."),
    ] = None,
    split: Split = None,
    trial: Annotated[
        int | None, typer.Option(min=1, metavar="ROWS", help="Only try the steps, on so many random rows.")
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Only say what each step costs, and the best order.")] = False,
    out: Out = None,
    order: Annotated[Order, typer.Option(help="The order of the steps.")] = Order.written,
    overwrite: Overwrite = False,
    debug: Debug = False,
) -> None:
    """Run the pipeline of a recipe file."""
    from rich.console import Console

    from tilth import recipe as recipes
    from tilth.errors import SourceError
    from tilth.outfolder import check_out
    from tilth.sources import Source

    _quiet_unless_watched()
    if out is not None:
        check_out(out, overwrite)
    said = recipes.load(recipe)
    source = Source(data, split) if data is not None else said.source
    if source is None:
        raise typer.BadParameter(f"{recipe} names no source; say which data to run on.", param_hint="--data")
    if split is not None:
        source = Source(source.path, split, source.name)
    try:
        rows = source.load()
    except SourceError as error:
        beside = recipe.parent / source.path
        if data is None and not Path(source.path).exists() and beside.exists():
            raise SourceError(f"{error} It is beside the recipe: add --data {beside}") from None
        raise
    console = Console()
    if trial is not None:
        console.print(said.pipeline.trial(rows, rows=trial))
    if plan:
        console.print(said.pipeline.plan(rows))
    if trial is not None or plan:
        return
    _finish(said.pipeline.run(rows, order=order.value), out, overwrite)


@app.command()
def dedup(
    data: Annotated[
        str,
        typer.Argument(help="The data: file, glob, folder or owner/name on the Hub.", show_default=False),
    ],
    column: Annotated[
        list[str] | None,
        typer.Option(help="The text to compare. By default the one column of text; exact takes several."),
    ] = None,
    method: Annotated[
        Method, typer.Option(help="Near-duplicates by verified similarity or by fingerprints, or equal rows only.")
    ] = Method.minhash,
    threshold: Annotated[
        float | None, typer.Option(help="minhash: the Jaccard similarity of duplicates, by default 0.8.")
    ] = None,
    distance: Annotated[
        int | None, typer.Option(help="simhash: bits in which fingerprints of duplicates may differ, by default 3.")
    ] = None,
    ngram: Annotated[
        int | None, typer.Option(help="Words in a shingle, by default 5 or, for simhash, 3; fewer for short texts.")
    ] = None,
    unit: Annotated[str | None, typer.Option(help="What n-grams are made of: word, by default, or char.")] = None,
    preset: Annotated[
        str | None, typer.Option(help="How texts are folded before they are compared: code, math, web or chat.")
    ] = None,
    keep: Annotated[
        str,
        typer.Option(help="Which copy stays: first, last, longest, shortest, none, max:COLUMN or min:COLUMN."),
    ] = "first",
    split: Split = None,
    out: Out = None,
    overwrite: Overwrite = False,
    debug: Debug = False,
) -> None:
    """Remove duplicates from a dataset, and keep an account of every row that goes."""
    from tilth.outfolder import check_out
    from tilth.pipeline import Pipeline
    from tilth.sources import Source

    _quiet_unless_watched()
    said = {"threshold": threshold, "distance": distance, "ngram": ngram, "unit": unit, "preset": preset}
    options = {name: value for name, value in said.items() if value is not None}
    for name in options:
        if name not in _OPTIONS[method]:
            fits = " or ".join(other.value for other, names in _OPTIONS.items() if name in names)
            raise typer.BadParameter(f"it is for --method {fits}.", param_hint=f"--{name}")
    if method is not Method.exact and column is not None and len(column) > 1:
        raise typer.BadParameter(f"{method.value} compares one column; exact takes several.", param_hint="--column")
    if out is not None:
        check_out(out, overwrite)
    if column:
        # What is wrong with the options is told before the data is read.
        _deduplicator(method, column, keep, options)
    rows = Source(data, split).load()
    step = _deduplicator(method, column or [_only_text(rows)], keep, options)
    _finish(Pipeline(step).run(rows), out, overwrite)


bench = typer.Typer(no_args_is_help=True, help="Measure tilth beside other tools, on this machine.")
app.add_typer(bench, name="bench")


@bench.command("dedup")
def bench_dedup(
    data: Annotated[
        Path | None,
        typer.Option(envvar="TILTH_DATA", help="A folder with corpora whose near-duplicates are known."),
    ] = None,
    peers: Annotated[
        Path | None,
        typer.Option(envvar="TILTH_PEERS", help="A Python that has the other tools: make peers.", show_default=False),
    ] = None,
    only: Annotated[list[Part] | None, typer.Option(help="Only this part; may be given again.")] = None,
    rows: Annotated[int, typer.Option(min=0, help="Short rows of the largest run for growth.")] = 2_000_000,
    quick: Annotated[bool, typer.Option("--quick", help="So little of all that it takes seconds.")] = False,
    scratch: Annotated[Path | None, typer.Option(help="Where corpora are made; by default the system's.")] = None,
    out: Annotated[Path, typer.Option(help="The folder to write: dedup.json and dedup.png.")] = Path("bench-out"),
    debug: Debug = False,
) -> None:
    """Measure near-duplicate removal: what is found, how fast, and how time and memory grow."""
    from rich.console import Console

    from tilth.bench import dedup as benchmark
    from tilth.bench.plot import require_matplotlib
    from tilth.bench.table import table

    _quiet_unless_watched()
    require_matplotlib()
    parts = tuple(part.value for part in only) if only else benchmark.PARTS
    settings = benchmark.Settings(parts=parts, data=data, peers=peers, most_rows=rows)
    log = Console(stderr=True)
    results = benchmark.run(
        settings.quick() if quick else settings, lambda said: log.print(said, style="dim", soft_wrap=True), scratch
    )
    console = Console()
    measured = table(results)
    # A table that is cut is of no use; a terminal that is too narrow breaks its lines.
    console.width = max(console.width, Console(width=1_000).measure(measured).maximum)
    console.print(measured)
    for what in results.absent:
        console.print(f"Not measured: {what}", soft_wrap=True, highlight=False)
    for path in benchmark.save(results, out):
        console.print(f"Written to {path}", soft_wrap=True, highlight=False)


@app.command()
def demo(
    data: Annotated[
        str | None, typer.Option(help="Data of your own: file, glob, folder or owner/name on the Hub.")
    ] = None,
    out: Annotated[Path, typer.Option(help="The folder to write.")] = Path("demo-out"),
    rows: Annotated[int | None, typer.Option(min=1, help="Take only the first so many rows.")] = None,
    overwrite: Overwrite = False,
    debug: Debug = False,
) -> None:
    """Curate the documentation on this machine, or your own data, from raw rows to chat-formatted ones."""
    from tilth import demo as demonstration

    _quiet_unless_watched()
    demonstration.main(data, out, rows, overwrite)


@app.command()
def steps(
    name: Annotated[str | None, typer.Argument(help="One step, or one room such as filters.")] = None,
    debug: Debug = False,
) -> None:
    """List the steps that a recipe can use, with their fields."""
    from difflib import get_close_matches

    from rich.console import Console

    from tilth.catalog import catalog

    known = catalog()
    wanted = (name or "").lower()
    chosen = {
        key: step
        for key, step in known.items()
        if not wanted or wanted in (key.lower(), key.lower().rpartition(".")[2], key.partition(".")[0])
    }
    if not chosen:
        close = get_close_matches(wanted, [key.lower() for key in known], n=1, cutoff=0.4)
        hint = f" Did you mean {next(key for key in known if key.lower() == close[0])}?" if close else ""
        raise typer.BadParameter(f"there is no step {name!r}.{hint}", param_hint="NAME")
    console = Console()
    for key, step in chosen.items():
        console.print(_described(key, step, whole=len(chosen) == 1 and bool(name)))


def _deduplicator(method: Method, columns: list[str], keep: str, options: dict[str, Any]) -> DatasetStep:
    from tilth.dedup import Exact, MinHash, SimHash

    if method is Method.exact:
        return Exact(*columns, keep=keep)
    return (MinHash if method is Method.minhash else SimHash)(columns[0], keep=keep, **options)


def _only_text(rows: Dataset) -> str:
    from tilth.text.strings import is_text

    schema = rows.features.arrow_schema
    texts: list[str] = [name for name in schema.names if is_text(schema.field(name).type)]
    if len(texts) == 1:
        return texts[0]
    found = f"there are several: {', '.join(texts)}" if texts else f"there is none among {', '.join(schema.names)}"
    raise typer.BadParameter(f"say which text to compare; {found}.", param_hint="--column")


def _finish(curated: Curated, out: Path | None, overwrite: bool) -> None:
    """Show what became of the rows, and write it."""
    from rich.console import Console

    from tilth.outfolder import save

    console = Console()
    console.print(curated.report)
    if out is None:
        console.print("Nothing is written. Say where with --out FOLDER; the work is kept, so that takes no time.")
        return
    save(curated, out, overwrite)
    console.print(f"Written to {out}", soft_wrap=True)


def _described(key: str, step: type[Step], whole: bool) -> Any:
    """A step as text: its name and what it does, then a line for each field."""
    import inspect

    from rich.text import Text

    from tilth.catalog import parameters

    about = inspect.getdoc(step) or ""
    text = Text()
    text.append(key, style="bold cyan")
    text.append(f"  {about if whole else about.partition(chr(10))[0]}\n")
    for parameter in parameters(step):
        text.append(f"    {parameter.name}", style="bold")
        text.append(f": list of {parameter.written}" if parameter.listed else f": {parameter.written}")
        text.append("\n" if parameter.required or parameter.listed else f" = {parameter.default!r}\n", style="dim")
    return text


def _quiet_unless_watched() -> None:
    """No progress bars in a log file."""
    import sys

    from datasets import disable_progress_bars

    if not sys.stderr.isatty():
        disable_progress_bars()


def _complain(message: str) -> None:
    from rich.console import Console
    from rich.text import Text

    Console(stderr=True).print(Text(" ".join(message.split()), style="red"), soft_wrap=True)
