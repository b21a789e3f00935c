"""The contract of a profile store: what it keeps, who may overwrite a row, and how a call fails."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Protocol

import msgspec

from schemas.contract import ContractChange
from streams.errors import PrefstreamError
from streams.stores.write_pace import WritePace


class StoredProfile(msgspec.Struct, frozen=True):
    """One user's row. A version stands for one content: one version must never be saved with different bytes."""

    user_id: str
    partition: int
    version: int
    state: bytes
    short_term: bytes
    long_term: bytes
    mixed: bytes
    encoder: str
    expires_s: int = 0  # seconds to live after the save; in a loaded row, the seconds left; 0 = for ever


class Owner(msgspec.Struct, frozen=True):
    """The owner of a partition: the worker with the largest term that was taken for it.

    ``worker`` is its name, which tells its contract: see `schemas.contract`.
    """

    partition: int
    term: int
    worker: str


class Term(msgspec.Struct, frozen=True):
    """A term that was just taken: a fencing token, as in Raft.

    ``replaced`` holds the former owner's term of each partition; a partition without a former owner is absent.
    """

    number: int
    replaced: dict[int, int]


class StoreError(PrefstreamError):
    """Raised when the store refuses or fails; the message is a sentence for the operator."""


class StoreUnavailable(StoreError):
    """Raised when the store can't be reached or does not answer in time: the same call may succeed later."""


class StoreFull(StoreUnavailable):
    """Raised when the disk is full or not writable: the same call succeeds once an operator has repaired that."""


class StoreMisconfigured(StoreError):
    """Raised when a setting is wrong: it does not help to repeat the call."""


def version(term: int, save: int) -> int:
    """Return the version of the ``save``-th write under ``term``; each write of a later term has a larger version.

    >>> version(1, 0) < version(1, 1) < version(2, 0)
    True
    """
    if not 0 < term < 2**31:
        raise ValueError(f"term {term} is not between 1 and {2**31 - 1}")
    if not 0 <= save < 2**32:
        raise ValueError(f"save number {save} is not between 0 and {2**32 - 1}")
    return term << 32 | save


class ProfileStore(Protocol):
    """Keeps profiles, the owners of partitions, and trending counts.

    Is used in one event loop; calls may overlap. When a call returns, it has fully happened; else it raises a
    ``StoreError``.
    """

    async def open(self) -> None:
        """Connect, and create a missing file, keyspace or table. After ``close`` a store may be opened again."""
        ...

    async def close(self) -> None:
        """Close connections and end threads; a second call does nothing."""
        ...

    async def take_term(self, worker: str, partitions: Sequence[int]) -> Term:
        """Take a term, a number larger than all taken before, and make ``worker`` the owner of the partitions.

        A partition whose owner already has a larger term keeps its owner, and is absent from ``replaced``. The replaced
        term is read in the same atomic step as the new one is written: nobody owned the partition in between. On
        ``StoreUnavailable`` a number may be lost; no other worker ever gets it.
        """
        ...

    async def owners(self, partitions: Sequence[int]) -> dict[int, Owner]:
        """Return the owner of each partition that ever had one."""
        ...

    async def raise_to(self, name: str, number: int) -> int:
        """Raise a number that only grows to at least ``number``; return the largest that it ever was.

        ``name`` names the number. It is 0 before the first call. Of calls at the same time, the later sees the earlier.
        """
        ...

    async def begin(self, change: ContractChange) -> None:
        """Note that workers begin something that workers of an older contract do not understand.

        A note of the same contract stays as it is. When the call returns, every later ``begun`` sees the note.
        """
        ...

    async def begun(self) -> list[ContractChange]:
        """Return what was begun and has not ended, by contract."""
        ...

    async def end(self, contract: int) -> None:
        """Remove the note of this contract, if there is one."""
        ...

    async def load(self, user_ids: Sequence[str]) -> dict[str, StoredProfile]:
        """Return the row of each user that has one."""
        ...

    async def save(self, rows: Sequence[StoredProfile], pace: WritePace | None = None) -> None:
        """Write each row, unless the store holds the same or a later version of it (deleted rows count).

        A store that needs many requests spreads them by ``pace``. After an error some rows may have been written; it is
        harmless to repeat the call.
        """
        ...

    async def delete(self, user_ids: Sequence[str], version: int) -> None:
        """Hide every save of this version or of an earlier one, even a save that arrives later."""
        ...

    async def save_trending(self, states: Mapping[int, bytes], version: int) -> None:
        """Write the trending counts of partitions, under the same rule as ``save``."""
        ...

    async def load_trending(self, partitions: Sequence[int]) -> dict[int, bytes]:
        """Return the trending counts of each partition that has any."""
        ...

    def scan(self) -> AsyncIterator[StoredProfile]:
        """Yield every profile once, in any order, for audits and tests; writes during the scan may or may not show."""
        ...
