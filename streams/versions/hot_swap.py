"""Hot swap: a worker follows the version that the `encoders` topic names, while users are served all along.

A version is loaded from its folder, its item vectors are filled by all workers that have it, and once the catalog as of
its activation is encoded and this worker has read the vectors, it takes over between two batches. Workers do so
independently of each other; rows of either version are read by both (`streams.state.version_sums`).

A worker without the folder goes on with the version that it has, says so and is not ready: its users keep getting
lists, and an orchestrator sees that something is missing. The folder may be brought later.

A worker that gets partitions while it still serves the former version first looks whether the new one is filled, and
if it is, takes it over before it serves them: their former owner may have done so already, and a user's lists should
not go back.
"""

import asyncio
import time
from collections.abc import Callable

import numpy as np
import structlog

from encoders.artifact.registry import EncoderRegistry
from encoders.errors import EncoderError
from encoders.runtime import Runtime
from schemas.encoder_state import EncoderState
from streams.catalog.catalog_progress import CatalogProgress
from streams.monitoring.metrics import Metrics
from streams.pipeline.recommender import Recommender
from streams.rank.candidate_search import CandidateSearch
from streams.rank.exclusions import head_inputs
from streams.rank.loaded_encoder import ActiveEncoder, LoadedEncoder
from streams.settings import Settings
from streams.state.profile_shape import ProfileShape
from streams.state.profile_table import ProfileTable
from streams.state.profile_update import fold_pending
from streams.state.version_sums import change_encoder, map_into
from streams.versions.activations import Activations
from streams.versions.item_vector_feed import ItemVectorFeed
from streams.versions.map_fitting import MapFitter, note_map

log = structlog.get_logger(__name__)

_LOOK_S = 0.3
_LONGEST_LOOK_S = 2.0
_AGAIN_S = 5.0
"""After which a folder that was missing or broken is looked for again."""
_MAPS_AGAIN_S = 30.0
"""After which a map that could not be fitted is tried again."""
_SETTLE_S = 10.0
"""For which users who come from another worker wait for a version that is filled."""


class HotSwap:
    """Brings about that the version which is named serves."""

    def __init__(
        self,
        settings: Settings,
        shelf: EncoderRegistry,
        versions: Activations,
        runtime: Runtime,
        serving: ActiveEncoder,
        feed: ItemVectorFeed,
        table: ProfileTable,
        shape: Callable[[LoadedEncoder], ProfileShape],
        recommender: Recommender,
        candidates: CandidateSearch,
        state_lock: asyncio.Lock,
        metrics: Metrics,
        catalog_id: str,
        fail: Callable[[BaseException], None],
    ) -> None:
        """``state_lock`` is held while the space changes; ``fail`` ends the worker, and may be called in a thread."""
        self._settings, self._shelf, self._versions, self._runtime = settings, shelf, versions, runtime
        self._serving = serving
        self.feed = feed
        """That of the space that serves."""
        self._table, self._shape, self._recommender = table, shape, recommender
        self._candidates = candidates
        self._boundary, self._metrics = state_lock, metrics
        self._catalog_id, self._fail = catalog_id, fail
        self._maps = MapFitter(settings, versions, shelf)
        self._fills = CatalogProgress(settings)
        self._switched = asyncio.Condition()
        self._maps_after = 0.0
        self.problem: str | None = None
        """Why the version that is named does not serve here and won't by itself; a sentence."""
        metrics.encoder(serving.space.version)

    async def run_forever(self) -> None:
        """Follow the topic."""
        while True:
            target = self._target()
            try:
                if target is not None:
                    await self._move(target)
                else:
                    self._solved()
                    await self._fit_wanted()
            except EncoderError as error:
                self._complain(target.version if target is not None else "", str(error))
                await self._fit_wanted()
                await self._pause(target, _AGAIN_S)
            await asyncio.sleep(_LOOK_S)

    def _target(self) -> EncoderState | None:
        """The version that should serve and doesn't."""
        active = self._versions.active
        return active if active is not None and active.version != self._serving.space.version else None

    def _wanted(self, target: EncoderState) -> bool:
        active = self._versions.active
        return active is not None and active.version == target.version

    async def _pause(self, target: EncoderState | None, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until and (target is None or self._wanted(target)):
            await asyncio.sleep(_LOOK_S)

    def _complain(self, version: str, why: str) -> None:
        problem = (
            f"encoder version {version!r} is active and can't serve here, so {self._serving.space.version!r} goes on"
        )
        problem = f"{problem}. {why}"
        if problem != self.problem:
            log.error("the active encoder version can't serve", problem=problem)
        self.problem = problem

    def _solved(self) -> None:
        if self.problem is not None:
            log.info("the active encoder version serves", version=self._serving.space.version)
        self.problem = None

    async def settle(self) -> None:
        """Before partitions are served: take over a version that is filled; see the module."""
        target = self._target()
        if target is None or self.problem is not None or not await self._is_filled(target):
            return
        try:
            async with asyncio.timeout(_SETTLE_S), self._switched:
                await self._switched.wait_for(lambda: self._target() is None or self.problem is not None)
        except TimeoutError:
            log.warning("users are served by the former encoder version for a while", waiting_for=target.version)

    async def _is_filled(self, state: EncoderState) -> bool:
        return await self._fills.covers(state.version, state.catalog_ends)

    async def _move(self, target: EncoderState) -> None:
        """Fill the version and let it serve, unless another one is named meanwhile."""
        encoder = await asyncio.to_thread(self._shelf.take, target.version)
        space = await asyncio.to_thread(LoadedEncoder.load, encoder, self._runtime)
        log.info("filling an encoder version", version=space.version, serving=self._serving.space.version)
        failures: list[BaseException] = []

        def failed(error: BaseException) -> None:  # in a thread
            if self._serving.space is space:
                self._fail(error)
            failures.append(error)

        feed = ItemVectorFeed(self._settings, space, self._runtime, self._metrics, self._catalog_id, failed)
        try:
            feed.start_encoding()
            looks = 0
            while not await self._is_filled(target):
                looks += 1
                await asyncio.sleep(min(_LOOK_S * looks, _LONGEST_LOOK_S))
                await self._fit_wanted()
                if failures:
                    raise EncoderError(f"The catalog can't be encoded with it: {failures[0]!r}.")
                if not self._wanted(target):
                    return
            await feed.read()
            try:
                await self._prepare_maps(space)
                await self._candidates.prepare(space)
                await asyncio.to_thread(_try_out, space, self._shape(space))
            except Exception as error:  # whatever is wrong with it, the version that serves is well
                raise EncoderError(f"It fails when it is tried out: {error!r}.") from error
            feed = await self._switch(target, space, feed)
        finally:
            await asyncio.to_thread(feed.close)

    async def _prepare_maps(self, space: LoadedEncoder) -> None:
        """The map from the space that serves, and from those that users in memory have sums of."""
        serving = self._serving.space
        await self._maps.from_space(serving, space)
        held = {part.encoder for parts in self._table.other_sums.values() for part in parts}
        for version in sorted(held - {space.version, serving.version}):
            note_map(space, version, await self._maps.from_topic(version, space))

    async def _switch(self, target: EncoderState, space: LoadedEncoder, feed: ItemVectorFeed) -> ItemVectorFeed:
        """Let the space serve; returns the feed that is to be closed: the former one, or ours if it is late."""
        async with self._boundary:
            if not self._wanted(target):
                return feed
            began, former, table = time.perf_counter(), self._serving.space, self._table
            space.wanted |= change_encoder(
                table, former.version, space.version, self._shape(space), space.maps, space.sums.half_life_s
            )
            self._serving.space = space
            fold_pending(table, list(table.waiting_for), space.index, space.sums)
            slots = table.all_slots()
            await asyncio.to_thread(self._recommender.note_preferences, slots)
            took_s = time.perf_counter() - began
        self.feed, feed = feed, self.feed
        self._metrics.encoder(space.version)
        self._metrics.items(len(space.index))
        log.info(
            "an encoder version took over",
            version=space.version,
            former=former.version,
            items=len(space.index),
            users=len(slots),
            paused_ms=round(took_s * 1000, 1),
        )
        async with self._switched:
            self._switched.notify_all()
        return feed

    async def fit_former(self) -> None:
        """At the start: the map from the version that was active before, so that nobody is ranked without a past."""
        for state in self._versions.activated:
            space = self._serving.space
            if state.version != space.version:
                note_map(space, state.version, await self._maps.from_topic(state.version, space))
                return

    async def _fit_wanted(self) -> None:
        """Maps for versions that rows have turned out to name."""
        space = self._serving.space
        if not space.wanted or time.monotonic() < self._maps_after:
            return
        self._maps_after = time.monotonic() + _MAPS_AGAIN_S
        for version in sorted(space.wanted):
            found = await self._maps.from_topic(version, space)
            if self._serving.space is not space:
                return
            note_map(space, version, found)
            if found is None:
                continue
            async with self._boundary:
                if self._serving.space is not space:
                    return
                slots = [
                    slot for slot, parts in self._table.other_sums.items() if any(p.encoder == version for p in parts)
                ]
                space.wanted |= map_into(self._table, slots, space.maps, space.sums.half_life_s)
                space.wanted.discard(version)
                self._recommender.note_preferences(np.array(slots, np.intp))


def _try_out(space: LoadedEncoder, shape: ProfileShape) -> None:
    """Rank a blank user: a graph that can't run must not be found out by users."""
    table = ProfileTable(1, shape)
    slots = table.allocate(["nobody"], 0, 0)
    inputs = head_inputs(table, slots, space.index, space.graph.encoder.manifest.history)
    nothing = np.empty((1, 0), np.int64)
    space.rank(inputs, nothing, 1)
