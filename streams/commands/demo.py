"""``prefstream demo``: runs a shop with simulated shoppers, in one process."""

from typing import Annotated

import typer


def demo(
    seconds: Annotated[
        float | None,
        typer.Option(
            min=1,
            help="Seconds after which the demo ends. Without it: on a terminal until Ctrl-C, elsewhere 20.",
            show_default=False,
        ),
    ] = None,
    shoppers: Annotated[int, typer.Option(min=1, max=10_000, help="Number of shoppers in the shop.")] = 40,
    seed: Annotated[int, typer.Option(help="The same seed gives the same shop and the same tastes.")] = 1,
    plain: Annotated[bool, typer.Option("--plain", help="Print lines instead of a live table.")] = False,
    page: Annotated[
        bool | None,
        typer.Option(
            help="Open the live page, where you can shop too. Without it: only on a terminal.", show_default=False
        ),
    ] = None,
) -> None:
    """Watch recommendations follow the tastes of simulated shoppers.

    It runs in one process: it needs no server, no Java and no set-up.

    \b
    Examples:
      prefstream demo
      prefstream demo --seconds 20 --plain
      prefstream demo --page --plain
    """
    from streams.demo.run import run_demo

    raise typer.Exit(run_demo(seconds, shoppers, seed, plain, page))
