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
    from backtest.errors import UsageError

    flags = {"symbols": symbols, "seed": seed}
    given = {name: value for name, value in flags.items() if value is not None}
    named = name or output.resolve().name
    if depth is not None:
        if skip:
            raise UsageError(
                "a market of orders is generated from its beginning",
                place="--skip",
                remedy="Leave --skip out, or --depth.",
            )
        _generate_orders(output, events, depth, given, settings, named, overwrite, as_json)
        return
    _generate_alpha(output, events, skip, given, settings, named, overwrite, as_json)


def _generate_alpha(
    output: Path,
    events: int,
    skip: int,
    given: dict[str, Any],
    settings: list[str] | None,
    name: str,
    overwrite: bool,
    as_json: bool,
) -> None:
    from backtest.cli.console import out
    from backtest.cli.progress import reporting
    from backtest.core.grammar import Spec
    from backtest.core.parameters import build
    from backtest.core.settings import override
    from backtest.data.synthetic.generate import generate as generate_dataset
    from backtest.data.synthetic.market import Market

    spec = Spec("market", (), override(given, settings or ()))
    market: Market = build(Market, spec, place="the synthetic")
    with reporting() as progress:
        card = generate_dataset(
            market,
            output,
            events=events,
            skip=skip,
            name=name,
            overwrite=overwrite,
            on_progress=lambda done, total: progress("generate", done, total),
        )
    if as_json:
        _print_notes(events, card)
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


def _generate_orders(
    output: Path,
    actions: int,
    depth: Depth,
    given: dict[str, Any],
    settings: list[str] | None,
    name: str,
    overwrite: bool,
    as_json: bool,
) -> None:
    from backtest.cli.console import out
    from backtest.cli.progress import reporting
    from backtest.core.grammar import Spec
    from backtest.core.parameters import build
    from backtest.core.settings import override
    from backtest.data.synthetic.orders import OrderMarket, generate_orders

    spec = Spec("market", (), override(given, settings or ()))
    market: OrderMarket = build(OrderMarket, spec, place="the synthetic")
    with reporting() as progress:
        card = generate_orders(
            market,
            output,
            actions=actions,
            depth=depth.value,
            name=name,
            overwrite=overwrite,
            on_progress=lambda done, total: progress("generate", done, total),
        )
    if as_json:
        _print_notes(actions, card)
        return
    out.print(
        f"{output}: {actions} actions of traders in {market.symbols} symbols, with the depth of"
        f" {depth.value}",
        soft_wrap=True,
    )


def _print_notes(events: int, card: Card) -> None:
    from backtest.cli.console import print_json

    print_json({"events": events, **card.notes})
