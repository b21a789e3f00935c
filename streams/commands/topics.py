"""``prefstream topics``: create, grow and list the topics of the namespace."""

from typing import TYPE_CHECKING, Annotated

import typer

from streams.commands.context import broker_settings
from streams.commands.errors import CommandError
from streams.commands.output import note, say, say_json, say_table

if TYPE_CHECKING:
    from streams.commands.broker import Broker
    from streams.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Create, grow and list the topics.", rich_markup_mode=None)

AsJson = Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")]


def connect_to_kafka(settings: "Settings") -> "Broker":
    """Connect to a broker that can create topics; raises `CommandError` for the simulator, which ignores requests."""
    from streams.commands.broker import connect

    broker = connect(settings.kafka)
    if broker.is_simulator:
        raise CommandError(
            f"The broker at {settings.kafka.bootstrap_servers} is the in-process simulator: the worker creates its "
            "topics, with four partitions each, and they can't be changed."
        )
    return broker


@app.command()
def create(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Create the topics that are missing. Existing topics are not changed.

    A new topic has kafka.partitions partitions, or as many as the input topics that exist already.

    \b
    Examples:
      prefstream topics create
      prefstream --broker kafka:9092 topics create --json
    """
    settings = broker_settings(ctx)
    created, present = create_missing(settings, connect_to_kafka(settings))
    if as_json:
        say_json({"created": created, "present": present})
    else:
        say(f"Created: {', '.join(created) or 'nothing'}. Already there: {', '.join(present) or 'nothing'}.")


def create_missing(settings: "Settings", broker: "Broker") -> tuple[list[str], list[str]]:
    """Create the missing topics; returns the names of the new topics and of those that were there already."""
    from streams.kafka.topics import TopicNames, create_topics, wanted_topics
    from streams.versions.builtin_encoder import load_encoder
    from streams.worker.feature_table import feature_topics

    # a missing input must get as many partitions as the other inputs have by now
    inputs = TopicNames(settings.namespace).inputs
    counts = [broker.partitions[name] for name in inputs if name in broker.partitions]
    if counts:
        kafka = settings.kafka.model_copy(update={"partitions": max(counts)})
        settings = settings.model_copy(update={"kafka": kafka})
    wanted = wanted_topics(settings, load_encoder(settings).manifest.version, feature_topics(settings))
    missing = [topic for topic in wanted if topic.topic not in broker.partitions]
    created = create_topics(broker.admin, missing) if missing else []
    return created, sorted(topic.topic for topic in wanted if topic.topic not in created)


@app.command()
def grow(
    ctx: typer.Context,
    partitions: Annotated[int, typer.Argument(min=1, max=10_000, help="Partitions that each input topic is to have.")],
    as_json: AsJson = False,
) -> None:
    """Grow all six input topics to N partitions, in one request, so that more workers can share them.

    Afterwards a user's events may arrive on another partition. The workers send them on, and no event counts twice.

    \b
    Examples:
      prefstream topics grow 12
    """
    from streams.kafka.topics import TopicNames, grow_topics

    settings = broker_settings(ctx)
    broker = connect_to_kafka(settings)
    names = TopicNames(settings.namespace)
    grow_topics(broker.admin, names, partitions)
    if as_json:
        say_json({"grown": names.inputs, "partitions": partitions})
    else:
        say(f"{', '.join(names.inputs)} have {partitions} partitions now.")


@app.command("list")
def list_topics(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Show the topics of the namespace: partitions, id, clean-up policy, and which are missing.

    \b
    Examples:
      prefstream topics list
      prefstream topics list --json | jq -r '.[] | select(.missing) | .name'
    """
    from streams.commands.broker import connect
    from streams.kafka.topics import TopicNames, wanted_topics
    from streams.versions.builtin_encoder import load_encoder
    from streams.worker.feature_table import feature_topics

    settings = broker_settings(ctx)
    broker = connect(settings.kafka)
    wanted = [
        topic.topic
        for topic in wanted_topics(settings, load_encoder(settings).manifest.version, feature_topics(settings))
    ]
    # the topics of other encoder versions belong to the namespace too
    prefix = TopicNames(settings.namespace).item_vectors("")
    wanted += sorted(name for name in broker.partitions if name.startswith(prefix) and name not in wanted)
    present = [name for name in wanted if name in broker.partitions]
    ids, policies = ({}, {}) if broker.is_simulator else (_ids(broker, present), _policies(broker, present))
    rows = [
        {
            "name": name,
            "partitions": broker.partitions.get(name),
            "id": ids.get(name),
            "cleanup_policy": policies.get(name),
            "missing": name not in broker.partitions,
        }
        for name in wanted
    ]
    if as_json:
        say_json(rows)
        return
    say_table(
        ("topic", "partitions", "clean-up", "id"),
        [
            (
                str(topic["name"]),
                "missing" if topic["missing"] else str(topic["partitions"]),
                str(topic["cleanup_policy"] or ""),
                str(topic["id"] or ""),
            )
            for topic in rows
        ],
    )
    if len(present) < len(wanted):
        note("Some topics are missing: create them with `prefstream topics create`.")


def _ids(broker: "Broker", topics: list[str]) -> dict[str, str]:
    from confluent_kafka import KafkaException, TopicCollection

    try:
        answers = broker.admin.describe_topics(TopicCollection(topics), request_timeout=10.0)
        return {topic: str(future.result(10.0).topic_id) for topic, future in answers.items()}
    except (KafkaException, TimeoutError) as error:
        note(f"The broker did not tell the topics' ids: {error}.")
        return {}


def _policies(broker: "Broker", topics: list[str]) -> dict[str, str]:
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import ConfigResource

    resources = [ConfigResource(ConfigResource.Type.TOPIC, topic) for topic in topics]
    try:
        answers = broker.admin.describe_configs(resources, request_timeout=10.0)
        return {resource.name: future.result(10.0)["cleanup.policy"].value for resource, future in answers.items()}
    except (KafkaException, TimeoutError) as error:
        note(f"The broker did not tell the topics' settings: {error}.")
        return {}
