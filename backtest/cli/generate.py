"""``backtest data generate``: a synthetic market whose truth is known."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from backtest.cli.options import AsJson


def generate(
    output: Annotated[Path, typer.Argument(help="The dataset folder to create.")],
    *,
    events: Annotated[int, typer.Option(min=1, help="Number of events to write.")] = 1_000_000,
    skip: Annotated[
        int, typer.Option(min=0, help="Number of events of the market to leave out before them.")
    ] = 0,
    symbols: Annotated[int | None, typer.Option(help="Number of symbols (default: 12).")] = None,
    seed: Annotated[
        int | None, typer.Option(help="The same seed gives the same bytes (default: 0).")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Set a parameter: half_life=500ms, edge_to_cost=4, rate=20, features=16, ...",
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="The dataset's name (default: that of OUTPUT).")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing dataset.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Generate a synthetic market driven by a short-lived alpha.

    The alpha drives the mid prices. The features show the sum of the alpha and a slowly changing
    offset, which can only be separated with the history; the targets are the alpha. The dataset
    card states what the best predictor can know and earn. `backtest docs data` lists the
    parameters.

    Example: backtest data generate data/market --set half_life=500ms
    """
    from backtest.cli.console import out, print_json
    from backtest.cli.progress import reporting
    from backtest.core.grammar import Spec
    from backtest.core.parameters import build
    from backtest.core.settings import override
    from backtest.data.synthetic.generate import generate as generate_dataset
    from backtest.data.synthetic.market import Market

    flags = {"symbols": symbols, "seed": seed}
    given = {name: value for name, value in flags.items() if value is not None}
    spec = Spec("market", (), override(given, settings or ()))
    market: Market = build(Market, spec, place="the synthetic")
    with reporting() as progress:
        card = generate_dataset(
            market,
            output,
            events=events,
            skip=skip,
            name=name or output.resolve().name,
            overwrite=overwrite,
            on_progress=lambda done, total: progress("generate", done, total),
        )
    if as_json:
        print_json({"events": events, **card.notes})
        return
    truth = card.notes["truth"]
    one, all_before = truth["single_event_r2"], truth["full_history_r2"]
    worth, cost = truth["edge_half_ticks"], truth["cost_half_ticks"]
    out.print(
        f"{output}: {events} events of {market.symbols} symbols. R² of the alpha: {one:.2f} from "
        f"one event, {all_before:.2f} from all events so far. One standard deviation of the alpha "
        f"is worth {worth:.1f} half ticks; trading a lot costs {cost:.1f}.",
        soft_wrap=True,
    )
