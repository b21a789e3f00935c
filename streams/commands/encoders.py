"""``prefstream encoders``: shows the encoder versions, and chooses the version that serves."""

import time
from typing import TYPE_CHECKING, Annotated, Any

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

app = typer.Typer(
    no_args_is_help=True, help="Swap encoder versions while the workers keep serving.", rich_markup_mode=None
)

AsJson = Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")]


@app.command("list")
def list_versions(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Show the versions that were activated or have a folder here, and how much of the catalog each has encoded.

    `active` marks the version that was activated last. A worker serves it once the catalog is encoded with it.

    \b
    Examples:
      prefstream encoders list
      prefstream encoders list --json | jq -r '.[] | select(.active) | .version'
    """
    from streams.commands.broker import connect
    from streams.display_text import time_text

    settings = broker_settings(ctx)
    broker = connect(settings.kafka)
    activations, registry = read_activations(settings, broker), _registry(settings)
    folders = registry.paths()
    active = activations.active.version if activations.active is not None else registry.first.manifest.version
    order = [state.version for state in activations.activated]
    order += sorted(activations.states.keys() | folders.keys() - {*order})
    rows: list[dict[str, Any]] = []
    for version in dict.fromkeys(order):
        state, progress = activations.states.get(version), _progress(settings, broker, version)
        rows.append(
            {
                "version": version,
                "active": version == active,
                "active_since_ms": state.active_since_ms if state is not None else None,
                "dimension": state.dimension if state is not None else _dimension(registry, version),
                "catalog_encoded": progress[0],
                "catalog_records": progress[1],
                "folder": str(folders[version]) if version in folders else None,
            }
        )
    if as_json:
        say_json(rows)
        return
    say_table(
        ("version", "", "since (UTC)", "dimension", "catalog encoded", "folder here"),
        [
            (
                row["version"],
                "active" if row["active"] else "",
                time_text(row["active_since_ms"]) if row["active_since_ms"] is not None else "",
                str(row["dimension"] or ""),
                _share(row["catalog_encoded"], row["catalog_records"]),
                row["folder"] or "",
            )
            for row in rows
        ],
    )


def _share(encoded: int | None, records: int) -> str:
    """Say how much of the catalog is encoded. Offsets are no count of items: compaction and commits leave gaps."""
    if encoded is None:
        return ""
    return "all" if encoded >= records else f"{encoded / records:.0%}, {records - encoded:,} records to go"


@app.command()
def activate(
    ctx: typer.Context,
    version: Annotated[
        str,
        typer.Argument(metavar="VERSION", help="The version, as encoder.json says it, or the name of its folder."),
    ],
    as_json: AsJson = False,
) -> None:
    """Let a version serve. The workers first encode the catalog with it; until then the present version serves.

    Its folder has to be in the folder that encoder.folders names (by default .prefstream/encoders), here and at each
    worker. A worker without it says so in its log and keeps the version that it has. `prefstream encoders list` shows
    how much of the catalog is encoded.

    \b
    Examples:
      prefstream encoders activate trained-2
      prefstream --config prefstream.toml encoders activate trained-2 --json
    """
    from streams.commands.broker import connect

    settings = broker_settings(ctx)
    broker = connect(settings.kafka)
    activations, registry = read_activations(settings, broker), _registry(settings)
    if version not in activations.states:
        version = registry.version_of(version)
    if activations.active is not None and activations.active.version == version:
        raise CommandError(f"The encoder version {version!r} is active already.")
    state = _state_of(version, activations, registry)
    if activations.active is None:
        first = registry.first.manifest
        if first.version == version:
            raise CommandError(f"The encoder version {version!r} serves already: encoder.folder names it.")
        # names the first version too, so that a rollback has a version to go back to
        _send(settings, broker, activations.activate(_stated(registry.first), _now_ms()), activations)
    _tell(_send(settings, broker, activations.activate(state, _now_ms()), activations), as_json)


@app.command()
def rollback(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Go back to the version that was active before. Users continue with what it knew about them when it was replaced.

    A second rollback undoes the first: it activates the version that the first one replaced.

    \b
    Examples:
      prefstream encoders rollback
    """
    from streams.commands.broker import connect

    settings = broker_settings(ctx)
    broker = connect(settings.kafka)
    activations = read_activations(settings, broker)
    if len(activations.activated) < 2:
        raise CommandError(
            "There is no former encoder version to go back to: `prefstream encoders activate` never replaced a version."
        )
    _tell(_send(settings, broker, activations.activate(activations.activated[1], _now_ms()), activations), as_json)


def _registry(settings: "Settings") -> "EncoderRegistry":
    from encoders.artifact.registry import EncoderRegistry
    from streams.versions.builtin_encoder import load_encoder

    return EncoderRegistry(load_encoder(settings), settings.encoder_folders)


def read_activations(settings: "Settings", broker: "Broker") -> "Activations":
    """Read the topic `encoders`: the versions that were activated."""
    from streams.commands.reader import TopicReader
    from streams.kafka.topics import ENCODERS, TopicNames
    from streams.versions.activations import Activations

    activations = Activations()
    with TopicReader(broker, TopicNames(settings.namespace).full(ENCODERS)) as reader:
        activations.see(reader.until_end())
    return activations


def _state_of(version: str, activations: "Activations", registry: "EncoderRegistry") -> "EncoderState":
    """The state of a version from its folder; without a folder, the state from when it was activated before."""
    from encoders.errors import EncoderError

    try:
        return _stated(registry.take(version))
    except EncoderError as error:
        if version in activations.states and version not in registry.paths():
            note(f"The version is taken as it was activated before: {error}")
            return activations.states[version]
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


def _send(settings: "Settings", broker: "Broker", state: "EncoderState", activations: "Activations") -> "EncoderState":
    """Create the topic of the version's item vectors if it is missing, and name the version as active."""
    import msgspec

    from schemas.codec import encode
    from streams.commands.sender import Sender
    from streams.kafka.topics import CATALOG, ENCODERS, TopicNames, create_item_vectors

    names = TopicNames(settings.namespace)
    if not broker.is_simulator:
        create_item_vectors(broker.admin, settings, state.version)
    ends = _ends(broker, names.full(CATALOG))
    state = msgspec.structs.replace(state, catalog_ends=[ends[number] for number in sorted(ends)])
    Sender(settings.kafka).send_one(names.full(ENCODERS), state.version, encode(state))
    activations.states[state.version] = state
    return state


def _ends(broker: "Broker", topic: str) -> dict[int, int]:
    from streams.commands.reader import TopicReader

    with TopicReader(broker, topic) as reader:
        return {number: high for number, (_, high) in reader.spans().items()}


def _progress(settings: "Settings", broker: "Broker", version: str) -> tuple[int | None, int]:
    """Catalog records (by offsets) that a version has encoded, None if its group never existed; and all records."""
    from streams.catalog.catalog_progress import CatalogOffsets, catalog_consumer
    from streams.kafka.topics import CATALOG, TopicNames

    progress = CatalogOffsets(catalog_consumer(settings, version), TopicNames(settings.namespace).full(CATALOG))
    try:
        committed, ends = progress.look()
    finally:
        progress.close()
    known = [offset for offset in committed.values() if offset >= 0]
    return sum(known) if known else None, sum(ends.values())


def _dimension(registry: "EncoderRegistry", version: str) -> int | None:
    from encoders.errors import EncoderError

    try:
        return registry.take(version).manifest.dimension
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
        f"{state.version} is the active encoder version. A worker changes to it once the catalog is encoded with it. "
        "`prefstream encoders list` shows how much is encoded; `prefstream encoders rollback` goes back."
    )
