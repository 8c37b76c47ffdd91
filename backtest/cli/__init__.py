"""The command line: ``backtest COMMAND``.

Each command is a function in a module of its own here, added to ``app`` below. Modules import what
is heavy inside the function, so that ``backtest --help`` loads neither torch nor polars.
"""

from __future__ import annotations

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
    open,
    plugins,
    predictions,
    profile,
    report,
    run,
    runs,
    sweep,
    tournament,
    train,
    tune,
    verify,
)
from backtest.cli.command import Command
from backtest.cli.project import use_project
from backtest.cli.streams import READER_GONE, StandardStreams, StreamLost
from backtest.core.interrupts import noting_interrupts
from backtest.core.text import escape_lines, escape_text
from backtest.core.version import __version__
from backtest.errors import BacktestError, DataError, UsageError
from backtest.experiments.workers import HARMLESS

app = typer.Typer(
    name="backtest",
    help="Replay ticks through trading models and charge them for their latency.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help answers faster and is what the docs quote
)
app.command("run", cls=Command)(run.run)
app.command("compare", cls=Command)(compare.compare)
app.command("sweep", cls=Command)(sweep.sweep)
app.command("report", cls=Command)(report.report)
app.command("open", cls=Command)(open.open_runs)
app.command("tune", cls=Command)(tune.tune)
app.command("tournament", cls=Command)(tournament.tournament)
app.command("demo", cls=Command)(demo.demo)
app.command("doctor", cls=Command)(doctor.doctor)
app.command("init", cls=Command)(init.init)
app.command("train", cls=Command)(train.train)
app.command("verify", cls=Command)(verify.verify)
app.command("profile", cls=Command)(profile.profile)
data.register(app)
runs.register(app)
predictions.register(app)
app.command("docs", cls=Command)(docs.docs)
app.command("plugins", cls=Command)(plugins.list_plugins)

_DEBUG = "BACKTEST_DEBUG"
_WITHOUT_PROJECT = ("docs", "doctor", "init")
"""Commands that help where a project file cannot be used."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and leave the process with its exit code.

    Args:
        arguments: the command line without the program's name; ``None`` for the process's own.

    Raises:
        SystemExit: always; 0 ok, 1 run failed, 2 usage, 3 bad data, 4 some runs of a sweep
            failed, 5 a gate failed, 130 interrupted, 141 the reader of its output has left.
    """
    streams = StandardStreams(own=arguments is None)
    warnings.filterwarnings("ignore", HARMLESS)
    _report_logs()
    code: int | str | None = 0
    try:
        with noting_interrupts():
            _execute(arguments)
    except SystemExit as ending:
        code = ending.code
    except StreamLost:
        pass
    finally:
        lost = streams.close(_tell)
        # An interrupt amid code that is a string, such as the methods of a dataclass, makes CPython
        # end by SIGINT whatever the exit code, until other such code has run.
        exec("")
    sys.exit(code or lost)


def _execute(arguments: Sequence[str] | None) -> None:
    """Run a command; what goes wrong is told, and ends as the exit code that it has."""
    try:
        _check_options(sys.argv[1:] if arguments is None else arguments)
        app(args=arguments, prog_name="backtest")
    except BacktestError as error:
        if isinstance(error, DataError) and isinstance(error.__context__, BrokenPipeError):
            sys.exit(READER_GONE)  # as of -o /dev/stdout
        if os.environ.get(_DEBUG) and error.__cause__ is not None:
            traceback.print_exception(error.__cause__)
        _tell(str(error))
        sys.exit(error.exit_code)
    except KeyboardInterrupt:  # before typer, which handles those within a command, was ready
        sys.exit(130)
    except StreamLost:
        raise
    except BaseException as error:  # panics of polars are no Exception, nor is sys.exit
        if os.environ.get(_DEBUG) or _regular(error):
            raise
        from backtest.core.tracebacks import describe, out_of_memory, plugin_line

        if out_of_memory(error):
            _tell(
                f"there is not enough memory: {describe(error):.300}\n"
                "  Ask for less at once: a shorter window, fewer symbols or a smaller model."
            )
        elif plugin_line(error) is None:
            _tell(
                f"this is a bug: {type(error).__name__}: {error}\n"
                f"  Please report it with the traceback that --debug or {_DEBUG}=1 shows."
            )
        else:
            _tell(f"a plugin failed: {describe(error)}\n  --debug shows the whole traceback.")
        sys.exit(1)


def _tell(message: str) -> None:
    from backtest.cli.console import print_error

    print_error(message)


class _Escaped(logging.Formatter):
    """Log records as text that cannot steer a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        return escape_lines(super().format(record))


def _report_logs() -> None:
    """Show warnings on stderr, and why the first run on a machine takes seconds longer."""
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(_Escaped())
    log = logging.getLogger("backtest.compiling")
    log.setLevel(logging.INFO)
    if not log.handlers:
        log.addHandler(logging.StreamHandler())


def _check_options(arguments: Sequence[str]) -> None:
    """Refuse options that typer would repeat as they are, and that could steer a terminal."""
    for argument in arguments:
        name = argument.partition("=")[0]
        if name.startswith("-") and escape_text(name) != name:
            raise UsageError(f"no such option: {name!r}")


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
