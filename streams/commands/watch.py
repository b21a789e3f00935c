"""``prefstream watch``: recommendations as they change."""

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

Seen = tuple[str, "Recommendation | None"]  # a user, and the list or None for a user that was forgotten


def watch(
    ctx: typer.Context,
    user: Annotated[
        list[str] | None, typer.Option("--user", help="Show only this user; may be repeated.", show_default=False)
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="End after this many recommendations.", show_default=False)
    ] = None,
    from_beginning: Annotated[
        bool, typer.Option("--from-beginning", help="Show the recommendations that are in the topic already, too.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one recommendation a line, as it is in the topic.")
    ] = False,
) -> None:
    """Show recommendations as they change, from now on, until Ctrl-C.

    On a terminal a table of the users that changed last; elsewhere a line each. The time is from when Kafka had the
    event to when the recommendation left the worker.

    \b
    Examples:
      prefstream --broker 127.0.0.1:9092 watch
      prefstream watch --user u1 --user u2
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
        changes = _changes(batches, set(user or ()), limit)
        if as_json:
            _as_json(changes)
            return
        with Titles(broker, names.full(CATALOG)) as titles:
            titles.wait(_TITLES_S)
            out = console()
            if out.is_terminal:
                _as_table(changes, titles, out)
            else:
                _as_lines(changes, titles)


def _changes(batches: "Iterator[list[Message]]", users: set[str], limit: int | None) -> Iterator[list[Seen]]:
    """Lists of changes as they come; an empty one now and then while none comes."""
    from schemas.codec import decode
    from schemas.errors import DecodeError
    from schemas.headers import content_type
    from schemas.recommendation import Recommendation

    left = limit
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
                found = decode(Recommendation, message.value(), content_type(message.headers()))
            except DecodeError as error:
                note(f"{message.topic()}:{message.partition()}:{message.offset()} can't be read: {error}")
                continue
            changes.append((found.user_id, found))
        if left is not None:
            changes = changes[:left]
            left -= len(changes)
        yield changes
        if left == 0:
            return


def _as_json(changes: Iterator[list[Seen]]) -> None:
    from schemas.codec import encode

    for some in changes:
        for user_id, found in some:
            answer: Any = {"user_id": user_id, "forgotten": True} if found is None else found
            say(encode(answer).decode())


_NOTHING = "nothing to recommend: no item was known yet, or all are left out"


def _as_lines(changes: Iterator[list[Seen]], title: Callable[[str], str]) -> None:
    from streams.display_text import safe

    for some in changes:
        for user_id, found in some:
            if found is None:
                say(f"{safe(user_id)}: forgotten")
                continue
            items = "; ".join(f"{shown} ({why})" for shown, why in _items(found, title, _LINE_ITEMS))
            say(f"{safe(user_id)} {_cause(found, title)}, {_latency(found)}: {items or _NOTHING}")


def _as_table(changes: Iterator[list[Seen]], title: Callable[[str], str], out: Any) -> None:
    from rich.live import Live

    latest: OrderedDict[str, Recommendation | None] = OrderedDict()
    count = 0
    with Live(console=out, auto_refresh=False) as live:
        for some in changes:
            for user_id, found in some:
                latest[user_id] = found
                latest.move_to_end(user_id)
                if len(latest) > _MAX_USERS:
                    latest.popitem(last=False)
            count += len(some)
            if some or not count:
                rows = max(1, (out.size.height - 6) // _ITEMS)
                newest = list(reversed(latest.items()))[:rows]
                live.update(_table(newest, title, count), refresh=True)


def _table(newest: list[Seen], title: Callable[[str], str], count: int) -> "Table":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from streams.display_text import safe

    caption = f"{count:,} recommendations so far. Ctrl-C ends." if count else "Waiting for events. Ctrl-C ends."
    table = Table(box=box.SIMPLE_HEAD, caption=caption, expand=True)
    for name, ratio in (("user", 2), ("because of", 4), ("recommended now", 9)):
        table.add_column(name, ratio=ratio, no_wrap=True)
    table.add_column("took", justify="right", no_wrap=True, min_width=8)
    for user_id, found in newest:
        # Text, never str: whatever an id or a title holds, it is no markup
        who = Text(safe(user_id, _WIDTH))
        if found is None:
            table.add_row(who, Text("forgotten", "dim"), "", "")
            continue
        lines = [Text.assemble(shown, "  ", (why, "dim")) for shown, why in _items(found, title, _ITEMS)]
        table.add_row(who, Text(_cause(found, title)), Text("\n").join(lines), _latency(found))
    return table


def _items(found: "Recommendation", title: Callable[[str], str], count: int) -> list[tuple[str, str]]:
    from streams.display_text import safe

    return [(safe(title(item.item_id), _WIDTH), _why(item, title)) for item in found.items[:count]]


def _why(item: "RecommendedItem", title: Callable[[str], str]) -> str:
    from streams.display_text import reason_text, safe

    recents = item.reason.recents
    return reason_text(item.reason, safe(title(recents[0].item_id), _WIDTH) if recents else "")


def _cause(found: "Recommendation", title: Callable[[str], str]) -> str:
    from streams.display_text import did, safe

    return f"{did(found.cause.event_type)} {safe(title(found.cause.item_id), _WIDTH)}"


def _latency(found: "Recommendation") -> str:
    took_ms = max(0, found.emitted_ms - found.received_ms)
    return f"{took_ms:,} ms" if took_ms < 10_000 else f"{took_ms / 1000:,.0f} s"
