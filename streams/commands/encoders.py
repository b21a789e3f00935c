"""``prefstream encoders``: which encoder versions there are, and which one serves."""

import time
from typing import TYPE_CHECKING, Annotated

import typer

from streams.commands.context import broker_settings
from streams.commands.errors import CommandError
from streams.commands.output import note, say, say_json, say_table

if TYPE_CHECKING:
    from encoders.artifact.manifest import Encoder
    from encoders.artifact.registry import EncoderRegistry
    from schemas.encoder_state import EncoderState
    from streams.commands.broker import Broker
    from streams.settings import Settings
    from streams.versions.activations import Activations

app = typer.Typer(no_args_is_help=True, help="Swap encoder versions while users are served.", rich_markup_mode=None)

AsJson = Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")]


@app.command("list")
def list_versions(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Show the versions that were activated and those whose folders are here, and how far each has the catalog.

    \b
    Examples:
      prefstream encoders list
      prefstream encoders list --json | jq -r '.[] | select(.active) | .version'
    """
    from streams.commands.broker import connect
    from streams.display_text import time_text

    settings = broker_settings(ctx)
    broker = connect(settings.kafka)
    versions, shelf = read_versions(settings, broker), _shelf(settings)
    folders = shelf.paths()
    active = versions.active.version if versions.active is not None else shelf.first.manifest.version
    order = [state.version for state in versions.activated]
    order += sorted(versions.states.keys() | folders.keys() - {*order})
    found = []
    for version in dict.fromkeys(order):
        state, progress = versions.states.get(version), _progress(settings, broker, version)
        found.append(
            {
                "version": version,
                "active": version == active,
                "active_since_ms": state.active_since_ms if state is not None else None,
                "dimension": state.dimension if state is not None else _dimension(shelf, version),
                "catalog_encoded": progress[0],
                "catalog_records": progress[1],
                "folder": str(folders[version]) if version in folders else None,
            }
        )
    if as_json:
        say_json(found)
        return
    say_table(
        ("version", "", "since (UTC)", "dimension", "catalog encoded", "folder here"),
        [
            (
                str(one["version"]),
                "active" if one["active"] else "",
                time_text(one["active_since_ms"]) if isinstance(one["active_since_ms"], int) else "",
                str(one["dimension"] or ""),
                f"{one['catalog_encoded']:,} of {one['catalog_records']:,}" if one["catalog_encoded"] else "",
                str(one["folder"] or ""),
            )
            for one in found
        ],
    )


@app.command()
def activate(
    ctx: typer.Context,
    version: Annotated[str, typer.Argument(metavar="VERSION", help="The version that stands in its encoder.json.")],
    as_json: AsJson = False,
) -> None:
    """Let a version serve: workers fill its item vectors while the present one serves, then move their users over.

    Its folder has to be where encoder.folders says, here and at the workers; one that lacks it says so and goes on with
    the version that it has. `prefstream encoders list` shows how far they are.

    \b
    Examples:
      prefstream encoders activate trained-2
      prefstream --config prefstream.toml encoders activate trained-2 --json
    """
    from streams.commands.broker import connect

    settings = broker_settings(ctx)
    broker = connect(settings.kafka)
    versions, shelf = read_versions(settings, broker), _shelf(settings)
    if versions.active is not None and versions.active.version == version:
        raise CommandError(f"The encoder version {version!r} is active already.")
    state = _state_of(version, versions, shelf)
    if versions.active is None:
        first = shelf.first.manifest
        if first.version == version:
            raise CommandError(f"The encoder version {version!r} serves already: encoder.folder names it.")
        # so that there is a version to go back to
        _send(settings, broker, versions.activate(_stated(shelf.first), _now_ms()), versions)
    _tell(_send(settings, broker, versions.activate(state, _now_ms()), versions), as_json)


@app.command()
def rollback(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Let the version serve that was active before. Users find what that version knew of them as it left it.

    \b
    Examples:
      prefstream encoders rollback
    """
    from streams.commands.broker import connect

    settings = broker_settings(ctx)
    broker = connect(settings.kafka)
    versions = read_versions(settings, broker)
    if len(versions.activated) < 2:
        raise CommandError(
            "There is no former encoder version to go back to: `prefstream encoders activate` has not replaced any."
        )
    _tell(_send(settings, broker, versions.activate(versions.activated[1], _now_ms()), versions), as_json)


def _shelf(settings: "Settings") -> "EncoderRegistry":
    from encoders.artifact.registry import EncoderRegistry
    from streams.versions.builtin_encoder import load_encoder

    return EncoderRegistry(load_encoder(settings), settings.encoder.folders)


def read_versions(settings: "Settings", broker: "Broker") -> "Activations":
    """What the topic `encoders` says."""
    from streams.commands.reader import TopicReader
    from streams.kafka.topics import ENCODERS, TopicNames
    from streams.versions.activations import Activations

    versions = Activations()
    with TopicReader(broker, TopicNames(settings.namespace).full(ENCODERS)) as reader:
        versions.see(reader.until_end())
    return versions


def _state_of(version: str, versions: "Activations", shelf: "EncoderRegistry") -> "EncoderState":
    """What the folder says of a version, or what was said when it was activated before."""
    from encoders.errors import EncoderError

    try:
        return _stated(shelf.take(version))
    except EncoderError as error:
        if version in versions.states and version not in shelf.paths():
            note(f"Taken as it was activated before: {error}")
            return versions.states[version]
        raise


def _stated(encoder: "Encoder") -> "EncoderState":
    from schemas.encoder_state import EncoderState

    manifest = encoder.manifest
    return EncoderState(
        version=manifest.version,
        name=manifest.name,
        dimension=manifest.dimension,
        half_lives_s=manifest.half_lives_s,
    )


def _send(settings: "Settings", broker: "Broker", state: "EncoderState", versions: "Activations") -> "EncoderState":
    """Make the version's topic where it is missing, and name the version as active."""
    import msgspec

    from schemas.codec import encode
    from streams.commands.sender import Sender
    from streams.kafka.topics import CATALOG, ENCODERS, TopicNames, create_topics, wanted_topics

    names = TopicNames(settings.namespace)
    vectors = names.item_vectors(state.version)
    if vectors not in broker.partitions and not broker.is_simulator:
        wanted = wanted_topics(settings, state.version)
        create_topics(broker.admin, [topic for topic in wanted if topic.topic == vectors])
    ends = _ends(broker, names.full(CATALOG))
    state = msgspec.structs.replace(state, catalog_ends=[ends[number] for number in sorted(ends)])
    Sender(settings.kafka).send_one(names.full(ENCODERS), state.version, encode(state))
    versions.states[state.version] = state
    return state


def _ends(broker: "Broker", topic: str) -> dict[int, int]:
    from streams.commands.reader import TopicReader

    with TopicReader(broker, topic) as reader:
        return {number: high for number, (_, high) in reader.spans().items()}


def _progress(settings: "Settings", broker: "Broker", version: str) -> tuple[int | None, int]:
    """Records (by offsets) of the catalog that are encoded for a version, None if its group never was; and all."""
    from streams.catalog.catalog_progress import CatalogOffsets, catalog_consumer
    from streams.kafka.topics import CATALOG, TopicNames

    progress = CatalogOffsets(catalog_consumer(settings, version), TopicNames(settings.namespace).full(CATALOG))
    try:
        committed, ends = progress.look()
    finally:
        progress.close()
    known = [offset for offset in committed.values() if offset >= 0]
    return sum(known) if known else None, sum(ends.values())


def _dimension(shelf: "EncoderRegistry", version: str) -> int | None:
    from encoders.errors import EncoderError

    try:
        return shelf.take(version).manifest.dimension
    except EncoderError as error:
        note(str(error))
        return None


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _tell(state: "EncoderState", as_json: bool) -> None:
    if as_json:
        say_json(state)
        return
    say(
        f"{state.version} is the active encoder version. Each worker goes over to it once the catalog is encoded with "
        "it; `prefstream encoders list` shows how far that is, `prefstream encoders rollback` takes it back."
    )
