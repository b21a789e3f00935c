"""``prefstream profile``: shows what is stored about a user, and has the user forgotten."""

import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from streams.commands.context import broker_settings, settings_of
from streams.commands.errors import CommandError
from streams.commands.output import note, say, say_json, say_table

if TYPE_CHECKING:
    from streams.commands.broker import Broker
    from streams.commands.profile_view import ItemView, ProfileView
    from streams.settings import Settings
    from streams.stores.base import StoredProfile

app = typer.Typer(no_args_is_help=True, help="Show a user's profile, or forget the user.", rich_markup_mode=None)

_BROKER_S = 3.0

User = Annotated[str, typer.Argument(metavar="USER", help="The user's id.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")]


@app.command()
def show(ctx: typer.Context, user: User, as_json: AsJson = False) -> None:
    """Show a user's profile as it was last saved (a worker saves every checkpoint.interval_s).

    A profile stores items by a hash of their ids. If the broker answers, the topics of item vectors and of the catalog
    give their ids and titles, and the items nearest to the user's preference.

    \b
    Examples:
      prefstream profile show u1
      prefstream --broker 127.0.0.1:9092 profile show u1 --json
    """
    import asyncio

    from streams.commands.profile_view import view_profile

    settings = settings_of(ctx)
    row = asyncio.run(_load(settings, user))
    if row is None:
        raise CommandError(
            f"There is no profile of user {user!r} in {_store(settings)}: the user has no event yet, the profile is "
            "not saved yet, or the user id, the store or the namespace is wrong."
        )
    broker, problem = _broker(settings)
    view = view_profile(row, _half_lives(settings, broker))
    if broker is not None:
        problem = _name_items(view, row, broker, settings)
    if as_json:
        say_json(view)
    else:
        _tell(view)
    if problem:
        note(problem)


async def _load(settings: "Settings", user: str) -> "StoredProfile | None":
    from streams.stores.open_store import make_store

    if settings.store.kind == "sqlite" and not settings.store.path.parent.is_dir():
        return None  # to show a profile must not create a store
    store = make_store(settings)
    try:
        await store.open()
        return (await store.load([user])).get(user)
    finally:
        await store.close()


def _store(settings: "Settings") -> str:
    if settings.store.kind == "sqlite":
        return f"the SQLite store {settings.store.path}"
    cassandra = settings.store.cassandra
    return f"keyspace {settings.keyspace} of the Cassandra at {', '.join(cassandra.hosts)}:{cassandra.port}"


def _broker(settings: "Settings") -> "tuple[Broker | None, str | None]":
    """The broker if it answers; otherwise None and a sentence that says why."""
    from streams.commands.broker import connect
    from streams.kafka.clients import BrokerUnavailable
    from streams.kafka.simulator import uses_simulator

    if uses_simulator(settings):
        return None, "Items are shown by their hashes: give --broker HOST:PORT to see their names."
    try:
        return connect(settings.kafka, _BROKER_S), None
    except BrokerUnavailable as error:
        return None, f"Items are shown by their hashes. {error}"


def _half_lives(settings: "Settings", broker: "Broker | None") -> dict[str, list[float]]:
    """Half-lives of the encoder versions that were activated or whose folders are here, by version."""
    from encoders.artifact import manifest
    from encoders.artifact.registry import EncoderRegistry
    from encoders.errors import EncoderError
    from streams.commands.encoders import read_activations
    from streams.kafka.clients import BrokerUnavailable
    from streams.kafka.topics import ENCODERS, TopicNames
    from streams.versions.builtin_encoder import load_encoder

    half_lives = {}
    try:
        if broker is not None and TopicNames(settings.namespace).full(ENCODERS) in broker.partitions:
            half_lives = {
                state.version: state.half_lives_s for state in read_activations(settings, broker).states.values()
            }
        for version, path in EncoderRegistry(load_encoder(settings), settings.encoder_folders).paths().items():
            half_lives[version] = manifest.read(path).half_lives_s
    except (BrokerUnavailable, EncoderError, OSError) as error:
        note(f"Some half-lives of the sums are unknown: {error}")
    return half_lives


def _name_items(view: "ProfileView", row: "StoredProfile", broker: "Broker", settings: "Settings") -> str | None:
    """Fill in the names of items; returns a sentence that says why there are none if the broker stopped answering."""
    from streams.commands.profile_names import name_items
    from streams.kafka.clients import BrokerUnavailable
    from streams.kafka.topics import TopicNames

    try:
        name_items(view, row, broker, TopicNames(settings.namespace))
    except BrokerUnavailable as error:
        return f"Items are shown by their hashes. {error}"
    return None


def _tell(view: "ProfileView") -> None:
    from streams.display_text import duration_text, safe, time_text

    total = sum(view.applied.values())
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in view.applied.items())
    say(
        f"user {safe(view.user_id)}, partition {view.partition}, last saved under term {view.term} "
        f"(save number {view.save} of that worker)"
    )
    if view.forgotten:
        say(
            "forgotten: only the counters and the applied offsets are kept, so that events that are read again from "
            "Kafka do not bring the user back; "
            + (
                f"they expire in {duration_text(view.expires_s)}, when no input can hold an event from before any more"
                if view.expires_s
                else "they are kept for ever, because an input keeps its records for ever or for many years"
            )
        )
    say(
        f"{total:,} events counted ({kinds}), {view.duplicates:,} duplicates ignored, "
        f"{view.seen_ids} event ids remembered"
    )
    if view.pending_dropped:
        say(f"{view.pending_dropped:,} older events were dropped, because their items never got a vector")
    for title, events in (("recent events", view.recents), ("waiting for their item's vector", view.pending)):
        if events:
            say_table(
                ("time (UTC)", "event", "item", "title"),
                [(time_text(event.time_ms), event.type, *_names(event.item)) for event in events],
                title,
            )
    for title, purchases in (("purchased", view.purchases), ("refunded", view.refunds)):
        if purchases:
            say_table(
                ("time (UTC)", "item", "title"),
                [(time_text(purchase.time_ms), *_names(purchase.item)) for purchase in purchases],
                title,
            )
    if view.hidden:
        say_table(
            ("until (UTC)", "item", "title"),
            [
                ("for ever" if entry.until_ms is None else time_text(entry.until_ms), *_names(entry.item))
                for entry in view.hidden
            ],
            "hidden",
        )
    if view.hidden_labels:
        say(f"{view.hidden_labels:,} brands or categories are hidden")
    for consent in view.consents:
        say(
            f"consent for {safe(consent.purpose)}: {'given' if consent.given else 'withdrawn'}, "
            f"{time_text(consent.time_ms)}"
        )
    if view.sums:
        say("older events, added up as sums of item vectors")
    for weight in view.sums:
        half_life = (
            "half-life not known here (encoder.folders has no such version)"
            if weight.half_life_s is None
            else f"half-life {duration_text(weight.half_life_s)}"
        )
        say(
            f"  {half_life}: weighs {weight.mass:.3g} (a click that has just left the recents is about 1), "
            f"as of {time_text(weight.time_ms)}, encoder {safe(weight.encoder)}"
        )
    if view.nearest:
        say_table(
            ("similarity", "item", "title"),
            [(f"{near.similarity:.3f}", safe(near.item_id, 80), safe(near.title or "", 80)) for near in view.nearest],
            f"nearest items (encoder {safe(view.encoder)})",
        )
    if view.fences:
        say("applied offsets: events below them are in this profile")
    for applied in view.fences:
        log = f"{safe(str(applied['topic']))}:{applied['partition']}"
        say(f"  {log} next {applied['next_offset']} ({applied['topic_id']})")


def _names(item: "ItemView") -> tuple[str, str]:
    from streams.display_text import safe

    return safe(item.item_id, 80) if item.item_id is not None else f"#{item.hash}", safe(item.title or "", 80)


@app.command()
def forget(
    ctx: typer.Context,
    user: User,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    as_json: AsJson = False,
) -> None:
    """Forget a user: the worker that owns the user deletes the profile and withdraws the recommendations.

    Counters and applied offsets stay as long as the input topics may keep the user's events, so that events that are
    read again from Kafka do not bring the user back: for ever, if one of them keeps its records for ever. The events
    themselves are in Kafka until their retention ends.

    A record that is written after the command starts a new profile. So does an old file that is sent again by
    `prefstream replay`: its records are new.

    \b
    Examples:
      prefstream profile forget u1
      prefstream profile forget u1 --yes --json
    """
    import msgspec

    from schemas.codec import encode
    from schemas.command import ProfileCommand
    from streams.commands.broker import connect
    from streams.commands.sender import Sender
    from streams.display_text import safe
    from streams.kafka.topics import COMMANDS, TopicNames, check_inputs

    settings = broker_settings(ctx)
    fields = {"command": "forget", "user_id": user, "requested_ms": time.time_ns() // 1_000_000}
    try:
        command = msgspec.convert(fields, ProfileCommand)
    except msgspec.ValidationError as error:
        raise CommandError(f"{user[:100]!r} is no user id: {error}.") from None
    names = TopicNames(settings.namespace)
    broker = connect(settings.kafka)
    check_inputs({name: broker.partitions[name] for name in names.inputs if name in broker.partitions}, names)
    if not yes:
        try:
            typer.confirm(f"Forget everything about user {safe(user)}?", abort=True, err=True)
        except typer.Abort:
            if sys.stdin.isatty():
                raise
            raise CommandError("Nothing is forgotten: give --yes when no terminal is there to confirm.") from None
    known = _is_stored(settings, user)
    landed = Sender(settings.kafka).send_one(names.full(COMMANDS), user, encode(command))
    if as_json:
        say_json({"user_id": user, "topic": landed.topic, "partition": landed.partition, "offset": landed.offset})
    else:
        say(
            f"The request is {landed.topic}:{landed.partition}:{landed.offset}. The worker that owns the user forgets "
            "the user when it reads the request; `prefstream watch` shows it."
        )
    if known is False:
        note(
            f"No profile of user {safe(user)} is in {_store(settings)}: check the id, the store and the namespace. The "
            "request is sent all the same, because the profile may not be saved yet."
        )


def _is_stored(settings: "Settings", user: str) -> bool | None:
    """Tell whether the store has a profile of the user; None, with a remark, if the store does not answer."""
    import asyncio

    from streams.stores.base import StoreError

    try:
        return asyncio.run(_load(settings, user)) is not None
    except StoreError as error:
        note(f"Whether the store has a profile of the user is unknown: {error}")
        return None
