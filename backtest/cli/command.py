"""What every command of the command line is."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand

from backtest.cli.streams import reserved_stdout


class Command(TyperCommand):
    """A command whose stdout holds its output alone."""

    def invoke(self, ctx: Any) -> Any:
        """Execute it."""
        from backtest.cli.console import out

        console: Any = out
        with reserved_stdout() as output:
            console.file = output
            try:
                return super().invoke(ctx)
            except BrokenPipeError as error:
                # A connection of a plugin's own; typer would take it for stdout and say nothing.
                raise ConnectionError(str(error)).with_traceback(error.__traceback__) from None
            finally:
                console.file = None  # sys.stdout, whatever it is by then
