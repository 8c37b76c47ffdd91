"""``backtest data generate``: a synthetic market whose truth is known."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backtest.cli.options import AsJson

if TYPE_CHECKING:
    from backtest.data.card import Card


class Depth(StrEnum):
    """Which depth a market of orders is written with."""

    ORDERS = "orders"
    LEVELS = "levels"


def generate(
    output: Annotated[Path, typer.Argument(help="The dataset folder to create.")],
    *,
    events: Annotated[int, typer.Option(min=1, help="Number of events to write.")] = 1_000_000,
    skip: Annotated[
        int, typer.Option(min=0, help="Number of events of the market to leave out before them.")
    ] = 0,
    depth: Annotated[
        Depth | None,
        typer.Option(
            help="Generate a market of limit orders instead, with its depth; --events counts the"
            " actions of its traders."
        ),
    ] = None,
    symbols: Annotated[
        int | None, typer.Option(help="Number of symbols (default: 12, with --depth 2).")
    ] = None,
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
    from backtest.data.synthetic.generate import generate as generate_alpha
    from backtest.data.synthetic.market import Market
    from backtest.data.synthetic.orders import OrderMarket, generate_orders
    from backtest.errors import UsageError

    if depth is not None and skip:
        raise UsageError(
            "a market of orders is generated from its beginning",
            place="--skip",
            remedy="Leave --skip out, or --depth.",
        )
    flags = {"symbols": symbols, "seed": seed}
    given = {name: value for name, value in flags.items() if value is not None}
    spec = Spec("market", (), override(given, settings or ()))
    kind: Any = Market if depth is None else OrderMarket
    market = build(kind, spec, place="the synthetic")
    make: Any = generate_alpha if depth is None else generate_orders
    extent: dict[str, Any] = {"events": events, "skip": skip}
    if depth is not None:
        extent = {"actions": events, "depth": depth.value}
    with reporting() as progress:
        card: Card = make(
            market,
            output,
            **extent,
            name=name or output.resolve().name,
            overwrite=overwrite,
            on_progress=lambda done, total: progress("generate", done, total),
        )
    if as_json:
        print_json({"events": events, **card.notes})
        return
    about = _truth(card) if depth is None else f", with the depth of {depth.value}"
    what = "events of" if depth is None else "actions of traders in"
    out.print(f"{output}: {events} {what} {market.symbols} symbols{about}", soft_wrap=True)


def _truth(card: Card) -> str:
    """What the best predictor of a market with an alpha can know and earn."""
    truth = card.notes["truth"]
    one, all_before = truth["single_event_r2"], truth["full_history_r2"]
    worth, cost = truth["edge_half_ticks"], truth["cost_half_ticks"]
    return (
        f". R² of the alpha: {one:.2f} from one event, {all_before:.2f} from all events so far. "
        f"One standard deviation of the alpha is worth {worth:.1f} half ticks; trading a lot costs "
        f"{cost:.1f}."
    )
