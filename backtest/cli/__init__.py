"""The command line: ``backtest COMMAND``.

Each command is a function in a module of its own here, added to ``app`` below. Modules import what
is heavy inside the function, so that ``backtest --help`` loads neither torch nor polars.
"""

from __future__ import annotations

import io
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from typing import Annotated

import typer

from backtest.cli import (
    compare,
    data,
    demo,
    docs,
    doctor,
    init,
    plugins,
    predictions,
    profile,
    report,
    run,
    runs,
    sweep,
    tournament,
    train,
    verify,
)
from backtest.cli.project import use_project
from backtest.core.version import __version__
from backtest.errors import BacktestError
from backtest.experiments.workers import HARMLESS

app = typer.Typer(
    name="backtest",
    help="Replay ticks through trading models and charge them for their latency.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help answers faster and is what the docs quote
)
app.command("run")(run.run)
app.command("compare")(compare.compare)
app.command("sweep")(sweep.sweep)
app.command("report")(report.report)
app.command("tournament")(tournament.tournament)
app.command("demo")(demo.demo)
app.command("doctor")(doctor.doctor)
app.command("init")(init.init)
app.command("train")(train.train)
app.command("verify")(verify.verify)
app.command("profile")(profile.profile)
data.register(app)
runs.register(app)
predictions.register(app)
app.command("docs")(docs.docs)
app.command("plugins")(plugins.list_plugins)

_DEBUG = "BACKTEST_DEBUG"
_WITHOUT_PROJECT = ("docs", "doctor", "init")
"""Commands that help where a project file cannot be used."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and leave the process with its exit code.

    Args:
        arguments: the command line without the program's name; ``None`` for the process's own.

    Raises:
        SystemExit: always; 0 ok, 1 run failed, 2 usage, 3 bad data, 4 some runs of a sweep
            failed, 5 a gate failed, 130 interrupted.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    warnings.filterwarnings("ignore", HARMLESS)
    _report_compiling()
    try:
        app(args=arguments, prog_name="backtest")
    except BacktestError as error:
        from backtest.cli.console import print_error

        if os.environ.get(_DEBUG) and error.__cause__ is not None:
            traceback.print_exception(error.__cause__)
        print_error(str(error))
        sys.exit(error.exit_code)
    except KeyboardInterrupt:  # before typer, which handles those within a command, was ready
        sys.exit(130)
    except BaseException as error:  # panics of polars are no Exception, nor is sys.exit
        if os.environ.get(_DEBUG) or _regular(error):
            raise
        from backtest.cli.console import print_error
        from backtest.core.tracebacks import describe, plugin_line

        if plugin_line(error) is None:
            print_error(
                f"this is a bug: {type(error).__name__}: {error}\n"
                f"  Please report it with the traceback that --debug or {_DEBUG}=1 shows."
            )
        else:
            print_error(f"a plugin failed: {describe(error)}\n  --debug shows the whole traceback.")
        sys.exit(1)
    finally:
        _flush_stdout()
        # An interrupt amid code that is a string, such as the methods of a dataclass, makes CPython
        # end by SIGINT whatever the exit code, until other such code has run.
        exec("")


def _report_compiling() -> None:
    """Show on stderr why the first run on a machine takes seconds longer."""
    log = logging.getLogger("backtest.compiling")
    log.setLevel(logging.INFO)
    if not log.handlers:
        log.addHandler(logging.StreamHandler())


def _regular(error: BaseException) -> bool:
    """Whether it is the exit that typer ends a command by, not one that something in it called."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return isinstance(error, SystemExit) and frame.f_globals["__name__"].startswith("typer.")


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"backtest {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    ctx: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help=f"Show full tracebacks (or set {_DEBUG}=1).")
    ] = False,
) -> None:
    if debug:
        os.environ[_DEBUG] = "1"
    if ctx.invoked_subcommand not in _WITHOUT_PROJECT:
        use_project(ctx)


def _flush_stdout() -> None:
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has gone; keep the interpreter's own last flush from complaining.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
