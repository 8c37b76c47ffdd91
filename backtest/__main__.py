"""``python -m backtest``: the command line from an uninstalled checkout."""

from backtest.cli import main

main()
