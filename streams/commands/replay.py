"""``prefstream replay``: sends recorded events and items to the topics."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.commands.context import broker_settings
from streams.commands.errors import CommandError
from streams.commands.output import note, say, say_json

if TYPE_CHECKING:
    from schemas.catalog import CatalogItem
    from schemas.errors import DecodeError
    from schemas.events import Event
    from streams.commands.broker import Broker
    from streams.commands.encoding_watch import EncodingWatch
    from streams.commands.sender import Sender
    from streams.offline.event_files import LineFile
    from streams.settings import Settings

_SHOWN_PROBLEMS = 50
_LEAST_FOR_A_RATE = 1_000  # the rate of fewer events tells nothing
_TICK_EVERY = 500
_PATIENCE_S = 30.0
"""Seconds without progress after which events no longer wait for the items to be encoded."""

Advance = Callable[[int, int], None]  # bytes read, records sent


def replay(
    ctx: typer.Context,
    events: Annotated[
        Path | None,
        typer.Argument(
            help="Events: JSON lines, or Taobao's UserBehavior.csv; gzip files are read too.", show_default=False
        ),
    ] = None,
    catalog: Annotated[
        Path | None,
        typer.Option(
            help="Catalog items, one JSON object a line. They are sent before the events.", show_default=False
        ),
    ] = None,
    speed: Annotated[
        float | None,
        typer.Option(
            help="1: at the recorded speed; 10: ten times as fast. Without it: as fast as possible.", show_default=False
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=0, help="Use only this many events of the file.", show_default=False)
    ] = None,
    from_line: Annotated[
        int,
        typer.Option(
            "--from",
            min=1,
            metavar="LINE",
            help="Go on at this line of the events. With --speed: at this event in the order of time.",
        ),
    ] = 1,
    wait: Annotated[
        bool, typer.Option(help="Wait until a worker has encoded the items before the first event is sent.")
    ] = True,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first broken line.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Send recorded events to the input topics, keyed by user.

    A line is one event, with at least these fields: {"type": "click", "event_id": "e1", "user_id": "u1", "item_id":
    "i1", "event_time_ms": 1700000000000}. The type is click, browse or purchase. An item needs an item_id and a title,
    and is known the better the more it says (category, brand, price, description). In Taobao's UserBehavior.csv pv
    becomes a browse, cart and fav a click, buy a purchase; the id of an event is the file's name and line number. A
    second replay of a file changes nothing for a user whose events are all still remembered
    (profiles.duplicate_window).

    A broken line is reported, skipped and counted: it is not sent, so it is no dead letter either. An optional field
    that is wrong costs only itself; such fields are told at the end. With --speed the events are read into memory and
    sorted by time.

    Events of items that no worker knows yet count as well, but the first lists lack these items. So the events wait
    for the items; without any progress for 30 s they are sent all the same. Ctrl-C prints the line to go on from.

    \b
    Examples:
      prefstream replay events.jsonl --catalog items.jsonl
      prefstream replay UserBehavior.csv --limit 100000
      prefstream --broker 127.0.0.1:9092 replay events.jsonl.gz --speed 10
    """
    from streams.commands.broker import connect
    from streams.commands.catalog_files import note_faults
    from streams.commands.encoding_watch import EncodingWatch
    from streams.commands.sender import Sender
    from streams.kafka.topics import TopicNames
    from streams.offline.event_files import LineFile, read_events, read_items

    if events is None and catalog is None:
        raise CommandError("There is nothing to replay: give a file of events, or items with --catalog.")
    if speed is not None and not 0 < speed < float("inf"):
        raise CommandError(f"--speed is {speed:g}, expected a number above 0: 1 is the recorded speed.")
    settings = broker_settings(ctx)
    # both files are opened before a record is sent
    with _opened(LineFile, catalog) as item_file, _opened(LineFile, events) as event_file:
        broker = connect(settings.kafka)
        topics = _topics(broker, settings, needs_catalog=catalog is not None)
        names = TopicNames(settings.namespace)
        watch = None if item_file is None or event_file is None or not wait else EncodingWatch(broker, names)
        sender = Sender(settings.kafka, settings.output.compression)
        problems = _Problems(strict)
        began = time.monotonic()
        items_sent = events_sent = 0
        waited_s, sending_since = 0.0, began
        try:
            if item_file is not None:
                items_sent = _send_items(item_file, read_items(item_file), topics["item"], sender, problems)
            if watch is not None:
                waited_s = _wait_for_items(watch, items_sent)
            if event_file is not None:
                read, sending_since = read_events(event_file), time.monotonic()
                events_sent = _send_events(
                    event_file, read, topics, sender, problems, speed=speed, first=from_line, limit=limit
                )
        except Exception:
            sender.finish()  # the records sent before the failure reach Kafka
            raise
    problems.end()
    files = [file for file in (item_file, event_file) if file is not None]
    for file in files:
        note_faults(file)
    seconds = time.monotonic() - began
    summary = {
        "events": events_sent,
        "items": items_sent,
        "skipped": problems.count,
        "field_faults": {file.name: dict(file.faults) for file in files if file.faults},
        "seconds": round(seconds, 3),
    }
    if as_json:
        say_json(summary)
        _check_any_sent(summary)
        return
    rate = events_sent / max(time.monotonic() - sending_since, 1e-3)
    say(
        f"{events_sent:,} events and {items_sent:,} items sent, {problems.count:,} skipped, in {seconds:.1f} s"
        + (f" ({waited_s:.1f} s of it waiting for the workers to encode the items)" if waited_s >= 0.05 else "")
        + (f", {rate:,.0f} events/s" if events_sent > _LEAST_FOR_A_RATE else "")
    )
    _check_any_sent(summary)


def _check_any_sent(summary: dict[str, Any]) -> None:
    if summary["skipped"] and not summary["events"] and not summary["items"]:
        raise CommandError(
            "No line could be used: the reasons are above. `prefstream replay --help` says what a line is."
        )


def _opened(open_file: "type[LineFile]", path: Path | None) -> "AbstractContextManager[LineFile | None]":
    return nullcontext() if path is None else open_file(path)


def _topics(broker: "Broker", settings: "Settings", *, needs_catalog: bool) -> dict[str, str]:
    """Full names of the topics by event type, of the catalog by "item"; raises `TopicsError` if a topic is missing."""
    from streams.kafka.topics import CATALOG, EVENT_TOPICS, TopicNames, check_inputs

    names = TopicNames(settings.namespace)
    check_inputs({name: broker.partitions[name] for name in names.inputs if name in broker.partitions}, names)
    if needs_catalog:
        broker.need(names.full(CATALOG))
    return {kind: names.full(topic) for topic, kind in EVENT_TOPICS.items()} | {"item": names.full(CATALOG)}


class _Problems:
    """Reports broken lines and counts them; with ``strict`` the first raises `CommandError`."""

    def __init__(self, strict: bool) -> None:
        self._strict = strict
        self.count = 0

    def add(self, path: Path, number: int, reason: str) -> None:
        if self._strict:
            raise CommandError(f"{path}:{number}: {reason} (--strict stops at the first broken line).")
        self.count += 1
        if self.count <= _SHOWN_PROBLEMS:
            note(f"{path}:{number}: {reason}")

    def end(self) -> None:
        if self.count > _SHOWN_PROBLEMS:
            note(f"{self.count - _SHOWN_PROBLEMS:,} more broken lines were skipped.")


def _send_items(
    file: "LineFile",
    items: "Iterable[tuple[int, CatalogItem | DecodeError]]",
    topic: str,
    sender: "Sender",
    problems: _Problems,
) -> int:
    from schemas.codec import encode
    from schemas.errors import DecodeError
    from streams.commands.sender import RecordTooLarge

    sent = 0
    with _progress(f"items {file.path.name}", file.size) as advance:
        for number, item in items:
            try:
                if isinstance(item, DecodeError):
                    raise item
                sender.send(topic, item.item_id, encode(item))
            except (DecodeError, RecordTooLarge) as error:
                problems.add(file.path, number, str(error))
                continue
            sent += 1
            if sent % _TICK_EVERY == 0:
                advance(file.position, sent)
        sender.finish()
        advance(file.size, sent)
    return sent


def _send_events(
    file: "LineFile",
    read: "Iterable[tuple[int, Event | DecodeError]]",
    topics: dict[str, str],
    sender: "Sender",
    problems: _Problems,
    *,
    speed: float | None,
    first: int,
    limit: int | None,
) -> int:
    from schemas.codec import encode
    from schemas.events import EVENT_CLASSES, EVENT_TYPES
    from streams.commands.replay_clock import ReplayClock

    topic_of = {cls: topics[kind] for cls, kind in zip(EVENT_CLASSES, EVENT_TYPES, strict=True)}
    numbered: Iterable[tuple[int, Event]] = _without_broken(file.path, read, problems, limit)
    total, clock = file.size, None
    if speed is not None:
        by_time = sorted((event for _, event in numbered), key=lambda event: event.event_time_ms)
        numbered, total, clock = enumerate(by_time, 1), len(by_time), ReplayClock(speed, sender.wait)
    sent, following = 0, first
    with _progress(f"events {file.path.name}", total) as advance:
        try:
            for number, event in numbered:
                if number < first:
                    continue
                if clock is not None:
                    clock.wait_until(event.event_time_ms)
                sender.send(topic_of[type(event)], event.user_id, encode(event))
                sent, following = sent + 1, number + 1
                if clock is not None:
                    advance(number, sent)
                elif sent % _TICK_EVERY == 0:
                    advance(file.position, sent)
            sender.finish()
        except KeyboardInterrupt:
            sender.finish()
            note(
                f"Stopped: {sent:,} events are in Kafka. To go on without sending any of them twice, give the same "
                f"command with --from {following}."
            )
            raise
        advance(total, sent)
    return sent


def _wait_for_items(watch: "EncodingWatch", items: int) -> float:
    """Wait until the workers have encoded the items; returns the seconds that it took."""
    from streams.commands.output import console

    began = time.monotonic()
    if not console(err=True).is_terminal:  # a terminal has a progress bar
        note(f"Waiting until a worker has encoded the {items:,} items. Then the events are sent.")
    with _progress("workers encode", items) as advance:
        encoded = watch.wait(items, _PATIENCE_S, lambda count: advance(count, count))
    watch.close()
    if not encoded:
        note(
            f"No worker encoded the items within {_PATIENCE_S:.0f} s (does `prefstream worker` run?). The events are "
            "sent all the same: they count, but the first lists lack these items."
        )
    return time.monotonic() - began


def _without_broken(
    path: Path, read: "Iterable[tuple[int, Event | DecodeError]]", problems: _Problems, limit: int | None
) -> "Iterator[tuple[int, Event]]":
    from schemas.errors import DecodeError

    left = -1 if limit is None else limit
    if left == 0:
        return
    for number, event in read:
        if isinstance(event, DecodeError):
            problems.add(path, number, str(event))
            continue
        yield number, event
        left -= 1
        if left == 0:
            return


def _progress(title: str, total: int) -> "AbstractContextManager[Advance]":
    """Show a progress bar, if stderr is a terminal: the part of the file that is sent, and records a second."""
    from contextlib import contextmanager

    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    from streams.commands.output import console
    from streams.display_text import safe

    @contextmanager
    def bar() -> Iterator[Advance]:
        out = console(err=True)
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[sent]:>12,} sent  {task.fields[rate]:>9,.0f}/s"),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=out, disable=not out.is_terminal, transient=True) as progress:
            task = progress.add_task(safe(title, 40), total=total, sent=0, rate=0.0)
            began = time.monotonic()

            def advance(done: int, sent: int) -> None:
                rate = sent / max(time.monotonic() - began, 1e-6)
                fields: dict[str, Any] = {"sent": sent, "rate": rate}
                progress.update(task, completed=done, **fields)

            yield advance

    return bar()
