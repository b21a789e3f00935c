"""``prefstream watch``: shows recommendations as they change."""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.commands.context import broker_settings
from streams.commands.output import console, note, say

if TYPE_CHECKING:
    from confluent_kafka import Message
    from rich.table import Table

    from schemas.recommendation import Recommendation, RecommendedItem

_TITLES_S = 3.0
_ITEMS = 3
_LINE_ITEMS = 5
_WIDTH = 40
_MAX_USERS = 1_000

Seen = tuple[str, "Recommendation | None"]  # a user id, and the recommendation; None: the user was forgotten


def watch(
    ctx: typer.Context,
    user: Annotated[
        list[str] | None, typer.Option("--user", help="Show only this user; may be repeated.", show_default=False)
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="End after this many recommendations.", show_default=False)
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option(min=0.0, help="End when no recommendation has come for this many seconds.", show_default=False),
    ] = None,
    from_beginning: Annotated[
        bool, typer.Option("--from-beginning", help="Show the recommendations that are in the topic already, too.")
    ] = False,
    lines: Annotated[
        bool,
        typer.Option("--lines", help="Print a line for each recommendation on a terminal too, instead of a table."),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one recommendation a line, as it is in the topic.")
    ] = False,
) -> None:
    """Show recommendations as they change, from now on, until Ctrl-C (or --limit, or --timeout).

    On a terminal it shows a table of the users whose recommendations changed last; elsewhere, and with --lines, a line
    for each recommendation. Events of one user that arrive together make one recommendation, which names the event
    that the worker read last. The time shown is from when Kafka received this event to when the recommendation left
    the worker.

    \b
    Examples:
      prefstream --broker 127.0.0.1:9092 watch
      prefstream watch --user u1 --user u2
      prefstream watch --from-beginning --lines --timeout 5
      prefstream watch --from-beginning --limit 100 --json
    """
    from streams.commands.broker import connect
    from streams.commands.reader import TopicReader
    from streams.commands.titles import Titles
    from streams.kafka.topics import CATALOG, RECOMMENDATIONS, TopicNames

    settings = broker_settings(ctx)
    names = TopicNames(settings.namespace)
    broker = connect(settings.kafka)
    with TopicReader(broker, names.full(RECOMMENDATIONS)) as reader:
        batches = reader.follow(from_beginning=from_beginning)
        changes = _changes(batches, set(user or ()), limit, timeout)
        if as_json:
            _as_json(changes)
            return
        with Titles(broker, names.full(CATALOG)) as titles:
            titles.wait(_TITLES_S)
            out = console()
            if out.is_terminal and not lines:
                _as_table(changes, titles, out)
            else:
                _as_lines(changes, titles)


def _changes(
    batches: "Iterator[list[Message]]", users: set[str], limit: int | None, timeout_s: float | None
) -> Iterator[list[Seen]]:
    """Yield changes as they arrive; an empty list from time to time while none arrives."""
    from schemas.codec import decode
    from schemas.errors import DecodeError
    from schemas.headers import content_type
    from schemas.recommendation import Recommendation

    left = limit
    last_s = time.monotonic()
    for messages in batches:
        changes: list[Seen] = []
        for message in messages:
            key = message.key().decode("utf-8", "replace") if message.key() else ""
            if users and key not in users:
                continue
            if message.value() is None:
                changes.append((key, None))
                continue
            try:
                recommendation = decode(Recommendation, message.value(), content_type(message.headers()))
            except DecodeError as error:
                note(f"{message.topic()}:{message.partition()}:{message.offset()} can't be read: {error}")
                continue
            changes.append((recommendation.user_id, recommendation))
        if left is not None:
            changes = changes[:left]
            left -= len(changes)
        yield changes
        if changes:
            last_s = time.monotonic()
        if left == 0 or (timeout_s is not None and time.monotonic() - last_s > timeout_s):
            return


def _as_json(changes: Iterator[list[Seen]]) -> None:
    from schemas.codec import encode

    for batch in changes:
        for user_id, recommendation in batch:
            answer: Any = {"user_id": user_id, "forgotten": True} if recommendation is None else recommendation
            say(encode(answer).decode())


_NOTHING = "nothing to recommend: no item was known when the event came, or all items are excluded"


def _as_lines(changes: Iterator[list[Seen]], title: Callable[[str], str]) -> None:
    from streams.display_text import safe

    for batch in changes:
        for user_id, recommendation in batch:
            if recommendation is None:
                say(f"{safe(user_id)}: forgotten")
                continue
            items = "; ".join(
                f"{shown} ({why})" if why else shown for shown, why in _items(recommendation, title, _LINE_ITEMS)
            )
            say(f"{safe(user_id)} {_cause(recommendation, title)}, {_latency(recommendation)}: {items or _NOTHING}")


def _as_table(changes: Iterator[list[Seen]], title: Callable[[str], str], out: Any) -> None:
    from rich.live import Live

    latest: OrderedDict[str, Recommendation | None] = OrderedDict()
    count = 0
    note("Waiting for recommendations. Ctrl-C ends.")
    with Live(console=out, auto_refresh=False) as live:
        # nothing is drawn before the first list: a worker that starts in the same terminal would break the table
        for batch in changes:
            for user_id, recommendation in batch:
                latest[user_id] = recommendation
                latest.move_to_end(user_id)
                if len(latest) > _MAX_USERS:
                    latest.popitem(last=False)
            count += len(batch)
            if batch:
                rows = max(1, (out.size.height - 6) // _ITEMS)
                newest = list(reversed(latest.items()))[:rows]
                live.update(table_of(newest, title, count), refresh=True)


def table_of(newest: list[Seen], title: Callable[[str], str], count: int) -> "Table":
    """Make the table of the users whose recommendations changed last; ``count`` is the number of changes so far."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from streams.display_text import safe

    caption = f"{count:,} recommendations so far. Ctrl-C ends."
    table = Table(box=box.SIMPLE_HEAD, caption=caption, expand=True)
    for name, ratio in (("user", 2), ("because of", 4), ("recommended now", 9)):
        table.add_column(name, ratio=ratio, no_wrap=True)
    table.add_column("took", justify="right", no_wrap=True, min_width=8)
    for user_id, recommendation in newest:
        # Text, never str, so that rich reads no markup in an id or a title
        who = Text(safe(user_id, _WIDTH))
        if recommendation is None:
            table.add_row(who, Text("forgotten", "dim"), "", "")
            continue
        lines = [Text.assemble(shown, "  ", (why, "dim")) for shown, why in _items(recommendation, title, _ITEMS)]
        table.add_row(who, Text(_cause(recommendation, title)), Text("\n").join(lines), _latency(recommendation))
    return table


def _items(recommendation: "Recommendation", title: Callable[[str], str], count: int) -> list[tuple[str, str]]:
    from streams.display_text import safe

    return [(safe(title(item.item_id), _WIDTH), _why(item, title)) for item in recommendation.items[:count]]


def _why(item: "RecommendedItem", title: Callable[[str], str]) -> str:
    from streams.display_text import reason_text, safe

    return reason_text(item.reason, lambda item_id: safe(title(item_id), _WIDTH))


def _cause(recommendation: "Recommendation", title: Callable[[str], str]) -> str:
    from streams.display_text import cause_text, safe

    return cause_text(recommendation.cause, lambda item_id: safe(title(item_id), _WIDTH))


def _latency(recommendation: "Recommendation") -> str:
    took_ms = max(0, recommendation.emitted_ms - recommendation.received_ms)
    return f"{took_ms:,} ms" if took_ms < 10_000 else f"{took_ms / 1000:,.0f} s"
