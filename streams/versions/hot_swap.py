"""Swaps a worker's active encoder for the version that the `encoders` topic names, while users are served.

A version is loaded from its folder, and all workers that have the folder encode the catalog with it. The version is
*filled* once the catalog as of its activation is encoded. When this worker has read the item vectors too, the version
takes over between two micro-batches. Each worker does so independently of the others; rows of either version can be
read under both (`streams.state.version_sums`).

A worker without the folder keeps its active encoder, reports the problem and is not ready. Its users keep getting
lists, and an orchestrator sees that something is missing. The folder may be added later.

A worker may get partitions while its former encoder is still active. If the new version is filled by then, the worker
swaps before it serves these partitions: their former owner may have swapped already, and a user's lists should not go
back to the former version.
"""

import asyncio
import time
from collections.abc import Callable

import numpy as np
import structlog

from encoders.artifact.manifest import Encoder
from encoders.errors import EncoderError
from schemas.encoder_state import EncoderState
from streams.monitoring.metrics import Metrics
from streams.rank.candidate_search import CandidateSearch
from streams.rank.head_inputs import head_inputs
from streams.rank.loaded_encoder import ActiveEncoder, IndexFeed, LoadedEncoder
from streams.rank.preference_vectors import PreferenceVectors
from streams.state.profile_shape import ProfileShape
from streams.state.profile_table import ProfileTable
from streams.state.profile_update import fold_pending
from streams.state.state import State
from streams.state.version_sums import change_encoder, map_into
from streams.versions.encoder_catalogue import EncoderCatalogue
from streams.versions.item_vector_feed import ItemVectorFeed
from streams.versions.map_fitting import MapFitter, note_map

log = structlog.get_logger(__name__)

_LOOK_S = 0.3
_LONGEST_LOOK_S = 2.0
_AGAIN_S = 5.0
"""Seconds after which a missing or broken folder is tried again."""
_MAPS_AGAIN_S = 30.0
"""Seconds after which an embedding map that could not be fitted is tried again."""
SETTLE_S = 10.0
"""Seconds that users who come from another worker wait at most for a filled version to take over."""


class HotSwap:
    """Makes the version that the `encoders` topic names the active encoder."""

    def __init__(
        self,
        *,
        catalogue: EncoderCatalogue,
        maps: MapFitter,
        active: ActiveEncoder,
        state: State,
        preference_vectors: PreferenceVectors,
        candidates: CandidateSearch,
        load: Callable[[Encoder], LoadedEncoder],
        make_feed: Callable[[LoadedEncoder, Callable[[BaseException], None]], ItemVectorFeed],
        shape: Callable[[LoadedEncoder], ProfileShape],
        metrics: Metrics,
        fail: Callable[[BaseException], None],
        settle_s: float = SETTLE_S,
    ) -> None:
        """Make a hot swap; `run_forever` starts it.

        Parameters
        ----------
        load : loads an encoder folder; called in a thread, as loading takes a moment
        make_feed : makes the feed of a loaded encoder; the feed reports a failure to the given function
        shape : tells the sizes of a profile under a loaded encoder
        fail : ends the worker; may be called in a thread
        settle_s : seconds that `settle` waits at most
        """
        self._catalogue, self._maps = catalogue, maps
        self._active, self._state = active, state
        self._preference_vectors, self._candidates = preference_vectors, candidates
        self._load, self._make_feed, self._shape = load, make_feed, shape
        self._metrics, self._fail = metrics, fail
        self._settle_s = settle_s
        self._switched = asyncio.Condition()
        self._maps_after = 0.0
        self.problem: str | None = None
        """A sentence: why the version that the topic names can't take over here until somebody acts. None if it can."""
        metrics.encoder(active.encoder.version)

    async def run_forever(self) -> None:
        """Follow the `encoders` topic."""
        while True:
            target = self._target()
            try:
                if target is not None:
                    await self._move(target)
                else:
                    self._solved()
                    await self._fit_unmapped()
            except EncoderError as error:
                self._complain(target.version if target is not None else "", str(error))
                await self._fit_unmapped()
                await self._pause(target, _AGAIN_S)
            await asyncio.sleep(_LOOK_S)

    def _target(self) -> EncoderState | None:
        """Return the version that the topic names, if another encoder is active here; else None."""
        active = self._catalogue.activations.active
        return active if active is not None and active.version != self._active.encoder.version else None

    def _wanted(self, target: EncoderState) -> bool:
        active = self._catalogue.activations.active
        return active is not None and active.version == target.version

    async def _pause(self, target: EncoderState | None, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until and (target is None or self._wanted(target)):
            await asyncio.sleep(_LOOK_S)

    def _complain(self, version: str, why: str) -> None:
        problem = (
            f"encoder version {version!r} is active and can't serve here, so {self._active.encoder.version!r} goes on"
        )
        problem = f"{problem}. {why}"
        if problem != self.problem:
            log.error("the active encoder version can't serve", problem=problem)
        self.problem = problem

    def _solved(self) -> None:
        if self.problem is not None:
            log.info("the active encoder version serves", version=self._active.encoder.version)
        self.problem = None

    async def settle(self) -> None:
        """Wait until a filled version has taken over. Call it before new partitions are served; see the module."""
        target = self._target()
        if target is None or self.problem is not None or not await self._is_filled(target):
            return
        try:
            async with asyncio.timeout(self._settle_s), self._switched:
                await self._switched.wait_for(lambda: self._target() is None or self.problem is not None)
        except TimeoutError:
            log.warning("users get lists of the former encoder version for a while", waiting_for=target.version)

    async def _is_filled(self, state: EncoderState) -> bool:
        return await self._catalogue.progress.covers(state.version, state.catalog_ends)

    async def _move(self, target: EncoderState) -> None:
        """Fill the version and swap to it, unless the topic names another version meanwhile."""
        folder = await asyncio.to_thread(self._catalogue.registry.take, target.version)
        loaded = await asyncio.to_thread(self._load, folder)
        log.info("filling an encoder version", version=loaded.version, serving=self._active.encoder.version)
        failures: list[BaseException] = []

        def failed(error: BaseException) -> None:  # called in a thread
            if self._active.encoder is loaded:
                self._fail(error)
            failures.append(error)

        feed = self._make_feed(loaded, failed)
        unused_feed: IndexFeed = feed
        try:
            feed.start_encoding()
            looks = 0
            while not await self._is_filled(target):
                looks += 1
                await asyncio.sleep(min(_LOOK_S * looks, _LONGEST_LOOK_S))
                await self._fit_unmapped()
                if failures:
                    raise EncoderError(f"The catalog can't be encoded with this version: {failures[0]!r}.")
                if not self._wanted(target):
                    return
            await feed.read()
            try:
                await self._prepare_maps(loaded)
                await self._candidates.prepare(loaded)
                await asyncio.to_thread(try_out, loaded, self._shape(loaded))
            except Exception as error:  # of any kind: the active encoder is not affected and goes on
                raise EncoderError(f"A trial of this version failed: {error!r}.") from error
            unused_feed = await self._switch(target, loaded, feed)
        finally:
            await asyncio.to_thread(unused_feed.close)

    async def _prepare_maps(self, loaded: LoadedEncoder) -> None:
        """Fit embedding maps from the active encoder and from other versions of which users in memory have sums."""
        active = self._active.encoder
        await self._maps.from_loaded(active, loaded)
        held = {part.encoder for parts in self._state.table.other_sums.values() for part in parts}
        for version in sorted(held - {loaded.version, active.version}):
            note_map(loaded, version, await self._maps.from_topic(version, loaded))

    async def _switch(self, target: EncoderState, loaded: LoadedEncoder, feed: ItemVectorFeed) -> IndexFeed:
        """Make the encoder active. Returns the feed to close: the former, or ``feed`` if another version is named."""
        async with self._state.lock:
            if not self._wanted(target):
                return feed
            began, former, table = time.perf_counter(), self._active.encoder, self._state.table
            loaded.unmapped |= change_encoder(
                table, former.version, loaded.version, self._shape(loaded), loaded.maps, loaded.sums.half_life_s
            )
            former_feed = self._active.swap(loaded, feed)
            fold_pending(table, table.waited_for(), loaded.index, loaded.sums)
            slots = table.all_slots()
            await asyncio.to_thread(self._preference_vectors.note, slots)
            took_s = time.perf_counter() - began
        self._metrics.encoder(loaded.version)
        self._metrics.items(len(loaded.index))
        log.info(
            "an encoder version took over",
            version=loaded.version,
            former=former.version,
            items=len(loaded.index),
            users=len(slots),
            paused_ms=round(took_s * 1000, 1),
        )
        async with self._switched:
            self._switched.notify_all()
        return former_feed

    async def fit_former(self) -> None:
        """Fit the embedding map from the version that was active before; called before the worker serves users.

        Without the map, older events of users would not count in the first rankings.
        """
        for state in self._catalogue.activations.activated:
            loaded = self._active.encoder
            if state.version != loaded.version:
                note_map(loaded, state.version, await self._maps.from_topic(state.version, loaded))
                return

    async def _fit_unmapped(self) -> None:
        """Fit embedding maps from versions that stored rows name and that have no map yet."""
        loaded = self._active.encoder
        if not loaded.unmapped or time.monotonic() < self._maps_after:
            return
        self._maps_after = time.monotonic() + _MAPS_AGAIN_S
        for version in sorted(loaded.unmapped):
            embedding_map = await self._maps.from_topic(version, loaded)
            if self._active.encoder is not loaded:
                return
            note_map(loaded, version, embedding_map)
            if embedding_map is None:
                continue
            async with self._state.lock:
                if self._active.encoder is not loaded:
                    return
                slots = [
                    slot
                    for slot, parts in self._state.table.other_sums.items()
                    if any(part.encoder == version for part in parts)
                ]
                loaded.unmapped |= map_into(self._state.table, slots, loaded.maps, loaded.sums.half_life_s)
                loaded.unmapped.discard(version)
                self._preference_vectors.note(np.array(slots, np.intp))


def try_out(loaded: LoadedEncoder, shape: ProfileShape) -> None:
    """Rank a blank user, so that a graph that can't run fails here and not when a user is ranked."""
    table = ProfileTable(1, shape)
    slots = table.allocate(["nobody"], 0, 0)
    inputs = head_inputs(table, slots, loaded.index, loaded.artifact.manifest.history)
    nothing_excluded = np.empty((1, 0), np.int64)
    loaded.rank(inputs, nothing_excluded, 1)
