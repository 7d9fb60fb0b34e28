"""The command line: one file per command, each a few lines over the library.

Commands are imported when they are called, so ``--help`` loads neither torch nor rasterio. stdout is data, stderr is
talk. Exit codes: 0 all well, 1 something failed, is doubtful or not as required (one line says what), 2 wrong usage.
"""

from __future__ import annotations

import logging
import signal
import sys
import threading
from contextlib import contextmanager
from importlib import import_module
from io import TextIOWrapper
from typing import TYPE_CHECKING, Any

import click

from sentinel_match import __version__
from sentinel_match.cli import streams
from sentinel_match.errors import OutputError, SentinelMatchError
from sentinel_match.parallel import settle, share_memory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COMMANDS = {
    "scenes": "List what is in these archives: level, tile, date, orbit, cloud, footprint.",
    "pairs": "List which acquisitions to compare, ranked, with the reason of each choice and refusal.",
    "run": "Do everything: from archives to tie points, no parameter chosen.",
    "match": "Tie points between two products, or any two georeferenced rasters.",
    "fit": "Fit again after points were edited in QGIS, or fit points of another program.",
    "prepare": "Make one change-ready stack of two dates: all bands on one grid, registered, with masks and proof.",
    "report": "Show what a run did, from its folder: in the terminal, and as a page for the browser.",
    "evaluate": "Measure how good methods are, on pairs whose truth is known.",
    "images": "Match pictures of which nothing is known: no position, no angle.",
    "locate": "Find which scene of an archive shows a picture of an unknown place.",
    "same": "Tell how probable it is that pictures show the same place.",
    "train": "Train the network of a method on your own archives, or teach the shipped one your ground.",
    "chip": "Write what the matcher sees of a scene as a georeferenced image.",
    "matchers": "List the matchers, their licences, and where their weights are.",
    "cache": "Show what the cache holds, and empty it.",
    "demo": "Invent an archive and run the whole line on it, offline.",
}


ON_ALL_CORES = {"images", "train"}
"""Commands in which one network works on one thing at a time, on all cores; elsewhere pieces run side by side."""

STOPPED = "nothing half made was left; the same command begins again"
RESUMED = {
    "run": "what is done is kept, and the same command goes on with the rest",
    "images": "what is done is kept, and the same command goes on with the rest",
    "train": "the same command goes on from the last step that was kept, or begins again where none was",
}
"""How to go on after Ctrl-C, by command."""


@contextmanager
def _ended_politely() -> Iterator[None]:
    """Take the signals that end a program for Ctrl-C, so that nothing unfinished is left behind."""

    def stop(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    names = ("SIGTERM", "SIGHUP")  # Windows has no SIGHUP
    if threading.current_thread() is not threading.main_thread():  # only that one may
        yield
        return
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    for number in numbers:
        if before[number] is signal.SIG_DFL:
            signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is signal.SIG_DFL:
                signal.signal(number, handler)


class _Lazy(click.Group):
    """A group whose commands are imported when called; their one-line help needs no import."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"sentinel_match.cli.{cmd_name}"), cmd_name)
        return _talking(command)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def main(self, *args: Any, **options: Any) -> Any:
        """Run the program, whatever its streams are; a stdout that cannot be written is one line and exit status 1."""
        with streams.guarded(), _ended_politely():
            try:
                return super().main(*args, **options)
            except OutputError as error:
                click.ClickException(str(error)).show()
                sys.exit(1)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; what the library raises on purpose becomes one line and exit status 1."""
        try:
            return super().invoke(ctx)
        except SentinelMatchError as error:
            raise click.ClickException(str(error)) from error
        except MemoryError as error:
            raise click.ClickException(f"The memory of this machine is too small for this ({error}).") from error
        except KeyboardInterrupt as stop:  # who knows more has said it
            click.echo(f"\nstopped: {str(stop) or RESUMED.get(ctx.invoked_subcommand or '', STOPPED)}", err=True)
            ctx.exit(1)


def _talking(command: click.Command) -> click.Command:
    """Let ``-v`` and ``-q`` stand after a command too."""
    if not any(parameter.name == "quiet" for parameter in command.params):
        command.params += [
            click.Option(
                ["-v", "--verbose"], count=True, expose_value=False, callback=_talk_more, help="Say more on stderr."
            ),
            click.Option(
                ["-q", "--quiet"],
                is_flag=True,
                expose_value=False,
                callback=_talk_less,
                help="Say nothing on stderr but errors.",
            ),
        ]
    return command


def _talk_more(ctx: click.Context, _param: click.Parameter, verbose: int) -> None:
    before = ctx.find_root().params
    if verbose:
        _set_talk(before["verbose"] + verbose, quiet=before["quiet"])


def _talk_less(ctx: click.Context, _param: click.Parameter, quiet: bool) -> None:
    if quiet:
        ctx.obj = True
        _set_talk(0, quiet=True)


def _set_talk(verbose: int, *, quiet: bool) -> None:
    """Set how much is logged."""
    level = logging.ERROR if quiet else max(logging.DEBUG, logging.WARNING - 10 * verbose)
    logging.basicConfig(level=level, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr, force=True)
    for handler in logging.getLogger().handlers[:1]:  # commands say themselves what is refused
        handler.addFilter(lambda record: record.name != "sentinel_match.products.catalogue")
    # A licence is shown before the first use, however quiet the rest
    logging.getLogger("sentinel_match.models.weights").setLevel(min(level, logging.WARNING))


def _read_config(ctx: click.Context, _param: click.Parameter, path: Path | None) -> Path | None:
    """Use a TOML file as defaults: a table per command, keys as the options are spelled, unknown ones refused."""
    if path is None:
        return None
    from sentinel_match.cli.config import load

    ctx.default_map = load(path, main)
    return path


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="sentinel-match")
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=__import__("pathlib").Path),
    is_eager=True,
    expose_value=False,
    callback=_read_config,
    help="TOML file with defaults: a table for each command, e.g. [run] band = 'B08'.",
)
@click.option("-v", "--verbose", count=True, help="Say more on stderr; -vv says all.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing on stderr but errors.")
@click.pass_context
def main(ctx: click.Context, verbose: int, quiet: bool) -> None:
    """Tie points between Sentinel-2 acquisitions: from downloaded .SAFE archives to GeoJSON one can trust."""
    if isinstance(sys.stdout, TextIOWrapper) and not sys.stdout.isatty():
        # What is piped on is data: UTF-8 everywhere, also where Windows would take the code page of the country
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")
    (share_memory if ctx.invoked_subcommand in ON_ALL_CORES else settle)()
    _set_talk(verbose, quiet=quiet)
    ctx.obj = quiet
