"""The contract of a profile store: what is kept, who may overwrite it, and how it fails."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Protocol

import msgspec

from streams.errors import PrefstreamError
from streams.stores.write_pace import WritePace


class StoredProfile(msgspec.Struct, frozen=True):
    """One user's row. A version names one content: the same version must never carry different bytes."""

    user_id: str
    partition: int
    version: int
    state: bytes
    short_term: bytes
    long_term: bytes
    mixed: bytes
    encoder: str
    expires_s: int = 0  # seconds to live, counted from the save; a loaded row says what is left of them; 0 = for ever


class Owner(msgspec.Struct, frozen=True):
    """The last worker that took a term for a partition."""

    partition: int
    term: int
    worker: str


class Term(msgspec.Struct, frozen=True):
    """A term just taken, and what it replaced as the owner of each partition; a partition's first has no entry."""

    number: int
    replaced: dict[int, int]


class StoreError(PrefstreamError):
    """The store refused or failed; the message is a sentence for the operator."""


class StoreUnavailable(StoreError):
    """The store can't be reached or didn't answer in time: the same call may succeed later."""


class StoreFull(StoreUnavailable):
    """The disk is full or may not be written: the same call succeeds once somebody has made room."""


class StoreMisconfigured(StoreError):
    """A setting is wrong: a repeat can't help."""


def version(term: int, save: int) -> int:
    """The version of the ``save``-th write under ``term``: every write of a later term beats it.

    >>> version(1, 0) < version(1, 1) < version(2, 0)
    True
    """
    if not 0 < term < 2**31:
        raise ValueError(f"term {term} is not between 1 and {2**31 - 1}")
    if not 0 <= save < 2**32:
        raise ValueError(f"save number {save} is not between 0 and {2**32 - 1}")
    return term << 32 | save


class ProfileStore(Protocol):
    """Used from one event loop; calls may overlap. Every call raises a ``StoreError`` or has fully happened."""

    async def open(self) -> None:
        """Connect, and create what is missing. After ``close`` a store may be opened again."""
        ...

    async def close(self) -> None:
        """Let go of connections and threads; a second call does nothing."""
        ...

    async def take_term(self, worker: str, partitions: Sequence[int]) -> Term:
        """A number larger than any taken before, recorded as the owner's of each partition that has no larger one.

        Which term it replaced is read in the same atomic step: nobody owned the partition between the two. A partition
        whose owner has a larger term already is absent from ``replaced``. On ``StoreUnavailable`` a number may be
        lost; nobody else ever gets it.
        """
        ...

    async def owners(self, partitions: Sequence[int]) -> dict[int, Owner]:
        """The owners of those partitions that ever had one."""
        ...

    async def load(self, user_ids: Sequence[str]) -> dict[str, StoredProfile]:
        """The rows of those users that have one."""
        ...

    async def save(self, rows: Sequence[StoredProfile], pace: WritePace | None = None) -> None:
        """Write each row where the store holds none of its version or a later one (deleted rows count).

        A store that needs many requests keeps to ``pace``. After an error some rows may have been written; repeating
        the call is harmless.
        """
        ...

    async def delete(self, user_ids: Sequence[str], version: int) -> None:
        """Hide every save of this version and of earlier ones, also those that arrive later."""
        ...

    async def save_trending(self, states: Mapping[int, bytes], version: int) -> None:
        """Write partitions' trending counts, under the same rule as ``save``."""
        ...

    async def load_trending(self, partitions: Sequence[int]) -> dict[int, bytes]:
        """The trending counts of those partitions that have some."""
        ...

    def scan(self) -> AsyncIterator[StoredProfile]:
        """Every profile once, in no set order, for audits and tests; writes meanwhile may or may not show."""
        ...
