"""A profile store in memory."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

from schemas.contract import ContractChange
from streams.stores.base import Owner, StoredProfile, StoreError, StoreUnavailable, Term
from streams.stores.write_pace import WritePace


class MemoryStore:
    """A profile store whose calls fail, or wait, when told to: one that waits may be done when its worker is dead."""

    def __init__(self) -> None:
        self.rows: dict[str, StoredProfile] = {}
        self.held_owners: dict[int, Owner] = {}
        self.last_term = 0
        self.numbers: dict[str, int] = {}
        self.notes: dict[int, ContractChange] = {}
        self.broken = False
        self.holding = False
        self.refusal: StoreError | None = None
        """Raised by each save, if it is set."""
        self._held: list[asyncio.Future[bool]] = []
        self.trending: dict[int, tuple[int, bytes]] = {}
        self.pace: WritePace | None = None  # of the last save
        self.saves: list[int] = []  # rows of each

    def release(self, succeed: bool) -> None:
        """Let the saves that wait happen, or fail."""
        self.take_held()(succeed)

    def take_held(self) -> Callable[[bool], None]:
        """Return what lets the saves that wait now happen, or fail; `release` is for later ones then."""
        held, self._held = self._held, []

        def release(succeed: bool) -> None:
            for waiting in held:
                if not waiting.done():
                    waiting.set_result(succeed)

        return release

    def _check(self) -> None:
        if self.broken:
            raise StoreUnavailable("the store is away")

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def take_term(self, worker: str, partitions: Sequence[int]) -> Term:
        self._check()
        self.last_term += 1
        replaced = {p: self.held_owners[p].term for p in partitions if p in self.held_owners}
        self.held_owners |= {p: Owner(p, self.last_term, worker) for p in partitions}
        return Term(self.last_term, replaced)

    async def owners(self, partitions: Sequence[int]) -> dict[int, Owner]:
        self._check()
        return {p: self.held_owners[p] for p in partitions if p in self.held_owners}

    async def raise_to(self, name: str, number: int) -> int:
        self._check()
        self.numbers[name] = max(number, self.numbers.get(name, 0))
        return self.numbers[name]

    async def begin(self, change: ContractChange) -> None:
        self._check()
        self.notes.setdefault(change.contract, change)

    async def begun(self) -> list[ContractChange]:
        self._check()
        return sorted(self.notes.values())

    async def end(self, contract: int) -> None:
        self._check()
        self.notes.pop(contract, None)

    async def load(self, user_ids: Sequence[str]) -> dict[str, StoredProfile]:
        self._check()
        found = {user: self.rows[user] for user in user_ids if user in self.rows}
        await asyncio.sleep(0)  # what else goes on may change rows meanwhile
        return found

    async def save(self, rows: Sequence[StoredProfile], pace: WritePace | None = None) -> None:
        self._check()
        if self.refusal is not None:
            raise self.refusal
        self.pace = pace
        self.saves.append(len(rows))
        if self.holding:
            waiting = asyncio.get_running_loop().create_future()
            self._held.append(waiting)
            try:
                done = await asyncio.shield(waiting)
            except asyncio.CancelledError:
                # whoever waits has gone, the request has not
                waiting.add_done_callback(lambda held: self._write(rows) if held.result() else None)
                raise
            if not done:
                self._write(rows[: len(rows) // 2])  # a failed save may have been written in part
                raise StoreUnavailable("the store did not answer in time")
        self._write(rows)

    def _write(self, rows: Sequence[StoredProfile]) -> None:
        for row in rows:
            held = self.rows.get(row.user_id)
            if held is None or row.version > held.version:
                self.rows[row.user_id] = row

    async def delete(self, user_ids: Sequence[str], version: int) -> None:
        raise NotImplementedError("the worker deletes by saving")

    async def save_trending(self, states: Mapping[int, bytes], version: int) -> None:
        self._check()
        for partition, state in states.items():
            if version > self.trending.get(partition, (0, b""))[0]:
                self.trending[partition] = (version, state)

    async def load_trending(self, partitions: Sequence[int]) -> dict[int, bytes]:
        self._check()
        return {p: self.trending[p][1] for p in partitions if p in self.trending}

    async def scan(self) -> AsyncIterator[StoredProfile]:
        for row in list(self.rows.values()):
            yield row
