"""``backtest open``: reports in the browser, from a folder of runs that may be growing."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Annotated

import typer

from backtest.cli.options import DisabledPlugins, PluginPaths
from backtest.errors import UsageError

_HOST = "127.0.0.1"


def open_runs(
    runs: Annotated[
        Path, typer.Argument(metavar="[DIR]", help="The folder that holds the run folders.")
    ] = Path("runs"),
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="The port to listen on (0: any that is free).")
    ] = 0,
    browser: Annotated[
        bool, typer.Option(help="Open the page in the browser, or only print its address.")
    ] = True,
    plugin: PluginPaths = None,
    no_plugin: DisabledPlugins = None,
) -> None:
    """Serve reports on this machine, and show runs as they finish.

    The first page lists the runs and sweeps of a folder; pick runs there to compare them, or open
    one. It can be left open while a sweep runs. Only this machine can reach it, with the token in
    the address. Ctrl-C ends it.

    Example: backtest open runs/demo
    """
    import webbrowser

    import uvicorn

    from backtest.cli.console import err, out, write
    from backtest.plugins.manager import load_plugins
    from backtest.report.app import make_app, new_token

    if runs.exists() and not runs.is_dir():
        raise UsageError(
            "the runs must be in a folder",
            place=str(runs),
            remedy="Name the folder of run folders.",
        )
    plugins, token = load_plugins(plugin or (), disabled=no_plugin or ()), new_token()
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((_HOST, port))
        except OSError as error:
            raise UsageError(
                f"nothing can listen on port {port}: {error.strerror}",
                place="--port",
                remedy="Leave it out to take any port that is free.",
            ) from None
        address = f"http://{_HOST}:{listener.getsockname()[1]}/?token={token}"
        err.print(f"Showing {runs}; Ctrl-C ends it.", soft_wrap=True)
        write(f"{address}\n")
        out.file.flush()  # whoever reads it from a pipe wants it now
        if browser:
            webbrowser.open(address)
        config = uvicorn.Config(
            make_app(runs, plugins, token), log_level="warning", lifespan="off",
            timeout_graceful_shutdown=1,
        )  # fmt: skip
        uvicorn.Server(config).run(sockets=[listener])
