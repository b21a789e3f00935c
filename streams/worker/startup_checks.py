"""Checks before a worker joins the group: its topics fit together, and its store is the right one."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence

import structlog
from confluent_kafka.admin import AdminClient

from streams.checkpoint.group_contract import GroupContract
from streams.errors import PrefstreamError
from streams.kafka.clients import committed_partitions
from streams.kafka.simulator import Simulator
from streams.kafka.topics import TopicNames, check_inputs, check_present, partition_counts, wanted_topics
from streams.settings import Settings
from streams.stores.base import ProfileStore

log = structlog.get_logger(__name__)


class WrongStore(PrefstreamError):
    """The group's offsets belong to another store."""


def check_topics(
    settings: Settings,
    admin: AdminClient,
    encoder_version: str,
    of_features: Iterable[str],
    simulator: Simulator | None,
) -> dict[str, int]:
    """Check that all topics exist, except that of item vectors, and return the inputs' partition counts.

    The simulator's topics are created here. `TopicsError` if a topic is missing or the inputs' counts differ.
    """
    names = TopicNames(settings.namespace)
    wanted = [topic.topic for topic in wanted_topics(settings, encoder_version, of_features)]
    if simulator is not None:
        simulator.create_topics(wanted)
    counts = partition_counts(admin, wanted)
    check_present(counts, [name for name in wanted if name != names.item_vectors(encoder_version)])
    check_inputs(counts, names)
    return {name: counts[name] for name in names.inputs}


async def check_contract(store: ProfileStore, drained: Sequence[int]) -> None:
    """Check that this release understands all that workers of the group have begun; `NewerContract` if not.

    ``drained`` are contracts of which the operator says that nothing is left.
    """
    for contract in drained:
        await store.end(contract)
    await GroupContract(store).check()


async def check_store(
    settings: Settings, store: ProfileStore, counts: Mapping[str, int], simulator: Simulator | None
) -> None:
    """Check that the store can hold the profiles of all events that the group has read; `WrongStore` if not.

    A group that read the inputs with another store must not go on with this one: its profiles would miss those events.

    Parameters
    ----------
    store : an open store
    counts : partition counts of the inputs
    simulator : the broker, if it is the worker's own
    """
    if simulator is not None:
        if settings.store.kind == "sqlite":
            log.info("profiles outlive the simulator: delete the file to start anew", file=str(settings.store.path))
        return
    committed = await asyncio.to_thread(committed_partitions, settings.kafka, settings.group, counts)
    if committed and not await store.owners(sorted(committed)):
        raise WrongStore(
            f"The consumer group {settings.group!r} has read the inputs before, but this store "
            f"({settings.store.kind}) has never been written to: the events that were read so far would be missing "
            "from every profile. Check store.kind and the section [store]; for a new start, delete the group's offsets."
        )
    if settings.store.kind == "sqlite":
        log.warning("profiles are kept in a SQLite file: every worker of the group must use this one file")
