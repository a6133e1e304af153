"""The `tilth` command. Everything heavy is imported by the command that needs it, so that `tilth --help` is quick."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

if TYPE_CHECKING:
    from tilth.step import Step


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


class Order(StrEnum):
    """The orders in which a pipeline can run."""

    written = "written"
    planned = "planned"


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
    split: Annotated[str | None, typer.Option(help="Which split of the data.")] = None,
    trial: Annotated[
        int | None, typer.Option(min=1, metavar="ROWS", help="Only try the steps, on so many random rows.")
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Only say what each step costs, and the best order.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="The folder to write: data, rejected rows, report, recipe and card.")
    ] = None,
    order: Annotated[Order, typer.Option(help="The order of the steps.")] = Order.written,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what an earlier run wrote to --out.")] = False,
    debug: Debug = False,
) -> None:
    """Run the pipeline of a recipe file."""
    from rich.console import Console

    from tilth import recipe as recipes
    from tilth.errors import SourceError
    from tilth.outfolder import check_out, save
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
    curated = said.pipeline.run(rows, order=order.value)
    console.print(curated.report)
    if out is None:
        console.print("Nothing is written. Say where with --out FOLDER; the work is kept, so that takes no time.")
        return
    save(curated, out, overwrite)
    console.print(f"Written to {out}", soft_wrap=True)


@app.command()
def demo(
    data: Annotated[
        str | None, typer.Option(help="Data of your own: file, glob, folder or owner/name on the Hub.")
    ] = None,
    out: Annotated[Path, typer.Option(help="The folder to write.")] = Path("demo-out"),
    rows: Annotated[int | None, typer.Option(min=1, help="Take only the first so many rows.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what an earlier run wrote to --out.")] = False,
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
