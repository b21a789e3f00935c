"""Draws the live table: what shoppers want, what they did last, what is recommended to them now, and why."""

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from schemas.events import EVENT_CLASSES, EVENT_TYPES
from schemas.recommendation import RecommendedItem
from streams.demo.mall import K, Mall, Visitor
from streams.demo.score import RANDOM, RECOMMENDED, TRENDING
from streams.demo.shop import Shop
from streams.demo.summary import bar, milliseconds
from streams.display_text import did, reason_text

COLOURS = {
    "Outdoor": "green",
    "Kitchen": "yellow",
    "Home": "magenta",
    "Electronics": "cyan",
    "Hobby": "blue",
}

_WIDE = 110
"""From this width on, the reason of every item fits beside it."""
_BLOCK_LINES = 4
_HEAD_LINES = 8
_TABLE_HEAD_LINES = 2
_NEW_FOR_EVENTS = 3
_LEAST_SCALE = 0.5
"""Hit rate of a full bar, unless a hit rate is larger."""


def render(mall: Mall, facts: str, seconds: float, rate: float, width: int, height: int) -> RenderableType:
    """Draw the whole screen.

    Parameters
    ----------
    mall : what has happened so far
    facts : one line that says what is running
    seconds : how long the shop has been open
    rate : recent events per second
    width, height : of the terminal, in characters
    """
    # blocks that fit; + 1 because there are lines only between blocks
    fitting = max(1, (height - _HEAD_LINES - _TABLE_HEAD_LINES + 1) // (_BLOCK_LINES + 1))
    visitors = list(mall.visitors.values())[:fitting]
    return Group(_head(mall, facts, seconds, rate, width), _table(mall.shop, visitors, width >= _WIDE))


def _head(mall: Mall, facts: str, seconds: float, rate: float, width: int) -> RenderableType:
    title = Table.grid(expand=True)
    title.add_column(no_wrap=True)
    title.add_column(justify="right", no_wrap=True)
    clock = f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
    title.add_row(Text("prefstream demo", "bold"), Text.assemble(f"open for {clock}   ", ("Ctrl-C ends it", "dim")))
    median, p99 = mall.latencies.quantile(0.5), mall.latencies.quantile(0.99)
    pulse = Text.assemble(
        (f"{mall.events:,}", "bold"),
        " events, ",
        (f"{rate:.0f}/s", "bold"),
        "   from event to list: ",
        (milliseconds(median), "bold"),
        " median, ",
        (milliseconds(p99), "bold"),
        " p99",
    )
    hits = mall.hits
    lines = [
        Text(facts, "dim"),
        pulse,
        Text(f"Of {hits.choices:,} free choices of new items, this share was in a list of {K} made before:"),
        *_hit_rates(mall, width),
        Text(_followed(mall)),
    ]
    for line in lines:
        line.no_wrap, line.overflow = True, "ellipsis"
    return Group(title, *lines)


def _hit_rates(mall: Mall, width: int) -> list[Text]:
    rates = {name: mall.hits.rate(name) for name in (RECOMMENDED, TRENDING, RANDOM)}
    scale = max(_LEAST_SCALE, *rates.values())
    return [
        Text.assemble((f"{name:<12}", style), (f"{rate:6.1%} ", "bold"), (bar(rate / scale, max(8, width - 20)), style))
        for (name, rate), style in zip(rates.items(), ("bold green", "yellow", "red"), strict=True)
    ]


def _followed(mall: Mall) -> str:
    median = mall.changes.median()
    if median is None or median == float("inf"):
        return f"{mall.changes.count} changes of taste."
    events = f"{median:g} event{'' if median == 1 else 's'}"
    return f"{mall.changes.count} changes of taste: most of the top {K} fits after {events} (median)."


def _table(shop: Shop, visitors: list[Visitor], wide: bool) -> Table:
    table = Table(expand=True, show_lines=True, show_edge=False, box=box.HORIZONTALS, border_style="bright_black")
    table.add_column("Shopper, taste, last event", ratio=5, no_wrap=True, overflow="ellipsis")
    table.add_column("Recommended now", ratio=5 if wide else 6, no_wrap=True, overflow="ellipsis")
    if wide:
        table.add_column("Why", ratio=6, no_wrap=True, overflow="ellipsis")
    for visitor in visitors:
        listed = visitor.listed[: _BLOCK_LINES if wide else _BLOCK_LINES - 1]
        items = [_item(shop, visitor, item) for item in listed]
        reasons = [Text(reason_text(item.reason, shop.title), "dim") for item in listed]
        if wide:
            table.add_row(_shopper(shop, visitor), _lines(items), _lines(reasons))
        else:
            why = [Text("why: ", "dim").append_text(reason) for reason in reasons[:1]]
            table.add_row(_shopper(shop, visitor), _lines([*items, *why]))
    return table


def _shopper(shop: Shop, visitor: Visitor) -> Text:
    shopper, last = visitor.shopper, visitor.last
    colour = COLOURS[shopper.taste.department]
    name = Text(shopper.name, "bold")
    if visitor.steps > visitor.steps_of_taste and visitor.steps_of_taste <= _NEW_FOR_EVENTS:
        name.append("  new taste", "bold reverse " + colour)
    last_event = Text("–", "dim")
    if last is not None:
        last_event = Text(f"{did(EVENT_TYPES[EVENT_CLASSES.index(type(last))])} {shop.title(last.item_id)}")
    fitting = visitor.fitting(shop)
    dots = Text("".join("●" if fits else "○" for fits in fitting), colour)
    if fitting:
        dots.append(f" {sum(fitting)} of {len(fitting)} fit, {milliseconds(visitor.latency_ms)}", "dim")
    return _lines([name, Text(str(shopper.taste), colour), last_event, dots])


def _item(shop: Shop, visitor: Visitor, listed: RecommendedItem) -> Text:
    item = shop.by_id.get(listed.item_id)
    if item is None:
        return Text(f"○ {listed.item_id}")
    fits = visitor.shopper.taste.fits(item)
    colour = COLOURS[item.category[0]]
    return Text.assemble(("● " if fits else "○ ", colour), (item.title, "" if fits else "dim"))


def _lines(texts: list[Text]) -> Text:
    return Text("\n", no_wrap=True, overflow="ellipsis").join(texts)
