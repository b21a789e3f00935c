"""Keeps workers of several releases in one group apart from what some of them do not understand.

A change of the contract is noted in the store before it is begun. It is begun only if every partition has an owner that
knows it. A worker looks for notes after it has become an owner. So of a newer worker that begins something and an older
one that takes partitions at the same moment, at least one sees the other.
"""

import asyncio
from collections.abc import Sequence

import structlog

from schemas.contract import CONTRACT_VERSION, ContractChange, contract_of
from streams.errors import PrefstreamError
from streams.stores.base import ProfileStore

log = structlog.get_logger(__name__)


class NewerContract(PrefstreamError):
    """Newer workers of the group have begun something that this release does not understand."""


class GroupContract:
    """Knows the lowest contract among the owners of the partitions, and begins changes when all know them."""

    def __init__(
        self, store: ProfileStore, changes: Sequence[ContractChange] = (), contract: int = CONTRACT_VERSION
    ) -> None:
        """``changes`` are those that this worker wants to begin."""
        self._store, self._changes = store, changes
        self._contract = contract
        self._lock = asyncio.Lock()
        self.lowest = 0
        """What is newer than this contract must not be begun."""

    @property
    def waiting(self) -> bool:
        """Whether a change waits for owners of an older release to leave."""
        return any(change.contract > self.lowest for change in self._changes)

    async def check(self) -> list[ContractChange]:
        """Return all that was begun in this group; `NewerContract` if this worker does not understand some of it."""
        begun = await self._store.begun()
        unknown = [change for change in begun if change.contract > self._contract]
        if unknown:
            raise NewerContract(
                f"This release knows the group's contract up to version {self._contract}, and newer workers have begun "
                "what it would drop or make dead letters of: "
                + " ".join(f"(contract {change.contract}) {change.drain}" for change in unknown)
                + " Drain this with workers of the newer release, then start this release with "
                + " ".join(f"--drained {change.contract}" for change in unknown)
                + "."
            )
        return begun

    async def refresh(self, partition_count: int) -> None:
        """Look who owns the partitions, and begin what all of the owners know.

        Raises `NewerContract`; `StoreError` if the store fails, and then nothing more is begun.
        """
        async with self._lock:  # the slower of two calls would leave the older answer
            begun = await self.check()
            lowest = await self._lowest_owner(partition_count)
            ready = [change for change in self._changes if change.contract <= lowest and change not in begun]
            if ready:
                for change in ready:
                    await self._store.begin(change)
                # an older worker that became an owner in between may have looked for notes before these were written
                lowest = min(lowest, await self._lowest_owner(partition_count))
            for change in begun:
                if change.contract > lowest:
                    log.warning(
                        "a worker of an older release is in the group, and does not understand what has begun",
                        contract=change.contract,
                        drain=change.drain,
                    )
            self.lowest = lowest

    async def _lowest_owner(self, partition_count: int) -> int:
        owners = await self._store.owners(range(partition_count))
        # a partition that nobody has owned yet may get an owner of any release
        known = [contract_of(owner.worker) for owner in owners.values()]
        return min(known) if len(known) == partition_count else 0
