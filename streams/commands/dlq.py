"""``prefstream dlq``: shows the records that were refused, and sends them back."""

import re
import time
from collections import Counter, deque
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streams.commands.context import broker_settings
from streams.commands.errors import EXIT_FAILED, CommandError
from streams.commands.output import note, say, say_json, say_table

if TYPE_CHECKING:
    from streams.commands.broker import Broker
    from streams.commands.dead_letter_view import Parked
    from streams.commands.reader import TopicReader
    from streams.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Look at refused records and send them back.", rich_markup_mode=None)

AsJson = Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")]
Reason = Annotated[
    str | None,
    typer.Option(help="Only records that were refused for this reason, such as malformed.", show_default=False),
]
Position = Annotated[
    str, typer.Argument(metavar="PARTITION:OFFSET", help="Partition and offset, as `dlq list` shows them.")
]


@app.command("list")
def list_records(
    ctx: typer.Context,
    reason: Reason = None,
    limit: Annotated[int, typer.Option(min=1, help="Show the last N records; the counts include all.")] = 100,
    as_json: AsJson = False,
) -> None:
    """List refused records: position, time, reason, broken field, and where each was read; then the count by reason.

    \b
    Examples:
      prefstream dlq list
      prefstream dlq list --reason time-in-future --json
    """
    from streams.display_text import safe, time_text

    counts: Counter[str] = Counter()
    last: deque[Parked] = deque(maxlen=limit)
    with _letters(ctx) as (_, _, reader):
        for record in _read_all(reader):
            counts[record.reason] += 1
            if reason in (None, record.reason):
                last.append(record)
    _check_reason(reason, counts)
    shown = sorted(last, key=lambda record: (record.time_ms, record.partition, record.offset))
    if as_json:
        say_json({"total": counts.total(), "by_reason": counts, "records": [record.summary() for record in shown]})
        return
    if not counts:
        say("There are no dead letters.")
        return
    say_table(
        ("record", "time (UTC)", "reason", "field", "read from"),
        [
            (
                record.position,
                time_text(record.time_ms),
                safe(record.reason, 60),
                safe(record.letter.field or "", 60) if record.letter else "",
                safe(record.source, 120),
            )
            for record in shown
        ],
    )
    say(", ".join(f"{safe(name, 60)}: {count:,}" for name, count in counts.most_common()))


@app.command()
def fields(
    ctx: typer.Context,
    last: Annotated[
        int, typer.Option(min=1, help="Read this many records, the latest ones, of each partition of each topic.")
    ] = 10_000,
    as_json: AsJson = False,
) -> None:
    """List the optional fields that are wrong, and so were left out of records that count: how many, and a sample.

    The latest records of the inputs, the catalog and the offers are read. prefstream_field_faults_total counts such
    fields too.

    \b
    Examples:
      prefstream dlq fields
      prefstream dlq fields --last 100000 --json
    """
    import msgspec

    from schemas.catalog import Offer
    from streams.commands.broker import connect
    from streams.commands.dead_letter_view import MESSAGES
    from streams.commands.field_faults import field_faults
    from streams.commands.reader import TopicReader
    from streams.display_text import safe
    from streams.kafka.topics import COMMANDS, OFFERS, TopicNames

    settings = broker_settings(ctx)
    broker, names = connect(settings.kafka), TopicNames(settings.namespace)
    found = []
    for topic, message_type in (MESSAGES | {OFFERS: Offer}).items():
        if topic != COMMANDS and names.full(topic) in broker.partitions:
            with TopicReader(broker, names.full(topic)) as reader:
                found += field_faults(topic, message_type, reader.until_end(last))
    if as_json:
        say_json({"fields": msgspec.to_builtins(found)})
        return
    if not found:
        say("No field was left out of the latest records.")
        return
    say_table(
        ("topic", "field", "reason", "records", "latest", "value there"),
        [
            (
                fault.topic,
                safe(fault.field, 60),
                fault.reason,
                f"{fault.count:,}",
                f"{fault.topic}:{fault.place}",
                safe(fault.value),
            )
            for fault in found
        ],
    )


@app.command()
def show(
    ctx: typer.Context,
    place: Position,
    raw: Annotated[bool, typer.Option("--raw", help="Print only the value, byte for byte.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show one refused record in full.

    \b
    Examples:
      prefstream dlq show 2:17
      prefstream dlq show 2:17 --raw > value.json
    """
    from streams.display_text import safe, safe_bytes, time_text

    with _letters(ctx) as (_, _, reader):
        record = _read_one(reader, place)
    if raw:
        typer.get_binary_stream("stdout").write(record.value or b"")
        return
    if as_json:
        say_json(record.full())
        return
    letter = record.letter
    say(f"record    {record.position}, {time_text(record.time_ms)} UTC")
    say(f"reason    {safe(record.reason)}")
    if letter is not None:
        say(f"field     {safe(letter.field or '-')}")
        say(f"detail    {safe(letter.detail)}")
        say(f"read from {safe(record.source)}, {_time(letter.source_timestamp_ms)}")
    origin = record.origin
    if origin is not None:
        place = f"{safe(origin.topic)}:{origin.partition}:{origin.offset}"
        say(f"written   {place}, {_time(origin.timestamp_ms)}, and rerouted from there")
    say(f"key       {'none' if record.key is None else safe_bytes(record.key)}")
    for name, value in record.full()["headers"]:
        say(f"header    {safe(name)}: {'none' if value is None else value}")
    say("value     none" if record.value is None else f"value     {len(record.value):,} bytes:")
    if record.value is not None:
        say(safe_bytes(record.value))


@app.command()
def replay(
    ctx: typer.Context,
    places: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PARTITION:OFFSET]...",
            help="Partitions and offsets, as `dlq list` shows them.",
            show_default=False,
        ),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Send back every record that is there now.")] = False,
    reason: Reason = None,
    value: Annotated[
        Path | None,
        typer.Option(
            help="Send this file (JSON) instead of the record's value; for one record only.", show_default=False
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Send records too that this release would refuse again.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Send refused records back to the topic where they were first written, as new records, keyed by their user.

    A record that would be refused again is not sent: correct its value with --value. A replay does not remove dead
    letters. An event that is sent back twice counts once, as long as the profile remembers its id
    (profiles.duplicate_window).

    \b
    Examples:
      prefstream dlq replay 2:17
      prefstream dlq show 2:17 --raw > value.json; prefstream dlq replay 2:17 --value value.json
      prefstream dlq replay --all --reason time-in-future
    """
    from streams.commands.dead_letter_view import NotReplayable, resend
    from streams.commands.sender import RecordTooLarge, Sender
    from streams.kafka.topics import TopicNames

    if bool(places) == every:
        raise CommandError("Name the records to replay (PARTITION:OFFSET, see `prefstream dlq list`), or give --all.")
    if value is not None and len(places or ()) != 1:
        raise CommandError("--value replaces the value of one record: name exactly one record.")
    corrected = None if value is None else _file_bytes(value)
    done: list[dict[str, object]] = []
    left: list[dict[str, object]] = []
    seen: set[str] = set()
    with _letters(ctx) as (settings, broker, reader):
        sender = Sender(settings.kafka, settings.output.compression)
        records = _read_all(reader) if every else (_read_one(reader, place) for place in places or ())
        for record in records:
            seen.add(record.reason)
            if reason not in (None, record.reason):
                continue
            try:
                sent = resend(
                    record,
                    TopicNames(settings.namespace),
                    now_ms=time.time_ns() // 1_000_000,
                    max_future_ms=int(settings.profiles.max_future_s * 1000),
                    value=corrected,
                    force=force,
                )
                broker.need(sent.topic)
                landed = sender.send_one(sent.topic, sent.key, sent.value, sent.headers)
            except (NotReplayable, RecordTooLarge) as error:
                left.append({"place": record.position, "problem": str(error)})
                continue
            done.append(
                {
                    "place": record.position,
                    "topic": landed.topic,
                    "partition": landed.partition,
                    "offset": landed.offset,
                }
            )
    _check_reason(reason, seen)
    if as_json:
        say_json({"replayed": done, "left": left})
    else:
        _tell(done, left)
    if left:
        raise typer.Exit(EXIT_FAILED)


def _time(time_ms: int | None) -> str:
    from streams.display_text import time_text

    return "no time" if time_ms is None or time_ms < 0 else f"{time_text(time_ms)} UTC"


def _check_reason(reason: str | None, seen: Collection[str]) -> None:
    """Refuse a reason that this release does not know, unless records of a newer release have it."""
    from schemas.errors import DecodeReason
    from streams.commands.dead_letter_view import UNREADABLE

    known = [*DecodeReason, UNREADABLE]
    if reason is not None and reason not in known and reason not in seen:
        raise CommandError(f"{reason[:60]!r} is no reason of a refusal. The reasons are {', '.join(known)}.")


def _tell(done: list[dict[str, object]], left: list[dict[str, object]]) -> None:
    from streams.display_text import safe

    for record in done:
        say(f"{record['place']} is now {record['topic']}:{record['partition']}:{record['offset']}")
    for record in left:
        note(f"{record['place']} was not sent: {safe(str(record['problem']))}")
    if not done and not left:
        say("There is nothing to replay.")


@contextmanager
def _letters(ctx: typer.Context) -> "Iterator[tuple[Settings, Broker, TopicReader]]":
    """Give the settings, the broker, and a reader of its dead letters."""
    from streams.commands.broker import connect
    from streams.commands.reader import TopicReader
    from streams.kafka.topics import DEAD_LETTERS, TopicNames

    settings = broker_settings(ctx)
    broker = connect(settings.kafka)
    with TopicReader(broker, TopicNames(settings.namespace).full(DEAD_LETTERS)) as reader:
        yield settings, broker, reader


def _read_all(reader: "TopicReader") -> "Iterator[Parked]":
    from streams.commands.dead_letter_view import parked

    return map(parked, reader.until_end())


def _read_one(reader: "TopicReader", position: str) -> "Parked":
    from streams.commands.dead_letter_view import parked

    match = re.fullmatch(r"([0-9]{1,10}):([0-9]{1,18})", position)
    if match is None:
        raise CommandError(
            f"{position!r} names no record: expected PARTITION:OFFSET, as `prefstream dlq list` shows it."
        )
    return parked(reader.read_record(int(match[1]), int(match[2])))


def _file_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CommandError(f"The file {str(path)!r} can't be read ({error.strerror}): check its path.") from None
