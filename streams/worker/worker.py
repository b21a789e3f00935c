"""The composition root: a worker, which connects, starts and stops its parts in order."""

import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import Coroutine, Sequence
from typing import Any

import structlog

from encoders.artifact.manifest import Encoder
from encoders.artifact.registry import EncoderRegistry
from encoders.compiled import warm_up
from encoders.runtime import Runtime
from streams.catalog.catalog_progress import CatalogProgress
from streams.errors import PrefstreamError
from streams.fetch.faust_app import App, make_app
from streams.fetch.hooks import FetchHooks
from streams.kafka.clients import check_broker, make_admin, make_tail_consumer
from streams.kafka.compacted_topic_reader import CompactedTopicReader
from streams.kafka.simulator import Simulator, uses_simulator
from streams.kafka.topic_ids import TopicIds
from streams.kafka.topics import (
    CATALOG,
    COMMANDS,
    ENCODERS,
    TopicNames,
    create_item_vectors,
)
from streams.monitoring.health_server import HealthServer
from streams.monitoring.metrics import Metrics
from streams.rank.loaded_encoder import LoadedEncoder
from streams.settings import Settings
from streams.stores.open_store import make_store
from streams.versions.activations import Activations
from streams.versions.builtin_encoder import load_encoder
from streams.versions.encoder_catalogue import EncoderCatalogue
from streams.versions.initial_version import choose
from streams.worker.feature_table import feature_topics, features_of
from streams.worker.process_tuning import collect_rarely, one_blas_thread
from streams.worker.startup_checks import check_contract, check_store, check_topics
from streams.worker.wiring import Wiring

log = structlog.get_logger(__name__)

_HANDOVER_SHARE = 0.8
"""Share of the session timeout that a hand-over may take: after the timeout, the group gives the partitions away."""

_TURN_S = 0.0005
"""Seconds for which a Python thread keeps the interpreter while other threads wait for it."""

_LAST_RESORT = 5
"""Session timeouts after which a worker that was asked to stop is ended by force."""

_BROKER_PATIENCE_S = 30.0
"""Seconds that a start waits for the broker to tell how far versions are encoded. A broker that has just started first
loads its consumer groups."""

_KERNELS = ("streams.", "encoders.index.hashtable", "encoders.ranking.attribution_kernels")
"""Modules whose kernels are compiled at the start; the search of large catalogs compiles its own when it is built."""

_FETCH_WAIT_MS = 500
_SIMULATOR_FETCH_WAIT_MS = 10
"""The simulator answers an empty fetch only at the end of this time, even if a record arrives before."""


class ConsumerFailed(PrefstreamError):
    """Faust has crashed; the message says why."""


class Worker:
    """One worker. Call ``run``, which starts it, waits for a signal or a failure, and stops it.

    Or call ``start`` and ``stop``, once each.
    """

    def __init__(self, settings: Settings, simulator: Simulator | None = None, drained: Sequence[int] = ()) -> None:
        """Read the encoder; nothing is connected yet.

        ``drained`` are the contracts of what newer workers had begun, and of which nothing is left.

        Raises `SettingsError` or `EncoderError`; the message of each is a sentence.
        """
        if uses_simulator(settings):
            simulator = simulator or Simulator()
            kafka = settings.kafka.model_copy(update={"bootstrap_servers": simulator.address})
            settings = settings.model_copy(update={"kafka": kafka})
        self.settings = settings
        self.simulator = simulator
        self.metrics = Metrics(settings.namespace)
        self.encoder = load_encoder(settings)
        """The encoder that is active first. Until the `encoders` topic is read, it is that of the settings."""
        self._catalogue = EncoderCatalogue(
            EncoderRegistry(self.encoder, settings.encoder_folders), Activations(), CatalogProgress(settings)
        )
        self._features = features_of(settings)
        self.store = make_store(settings)
        self._drained = drained
        self._names = TopicNames(settings.namespace)
        self._runtime = Runtime(settings.encoder.device, settings.encoder.threads)
        self._activations_reader = CompactedTopicReader(
            self._names.full(ENCODERS), lambda: make_tail_consumer(settings.kafka), self._catalogue.activations.see
        )
        self._admin = make_admin(settings.kafka)
        self._health = HealthServer(settings.server.host, settings.server.port, self.metrics, self.problem)
        self._wiring: Wiring | None = None
        self._app: App | None = None
        self._hooks = FetchHooks()
        self._failure: BaseException | None = None
        self._finished = asyncio.Event()
        self._leaving = False
        self._tasks: list[asyncio.Task[None]] = []
        self.port = 0
        """Port of /healthz, /readyz and /metrics."""

    @property
    def wiring(self) -> Wiring:
        """The parts of a worker that has started."""
        if self._wiring is None:
            raise RuntimeError("the worker has not started")
        return self._wiring

    def fail(self, error: BaseException) -> None:
        """Stop the worker because of an error that no retry can mend."""
        if self._failure is None:
            self._failure = error
            if self._wiring is not None:
                # the table may hold half of a micro-batch: without an assignment nothing more is saved or acked
                self._wiring.ownership.revoke()
            log.error("the worker stops", problem=str(error), exc_info=error if _unexpected(error) else None)
        self._finished.set()

    def problem(self) -> str | None:
        """Tell why the worker is not ready to serve; None if it is ready."""
        if self._failure is not None:
            return str(self._failure)
        if self._wiring is None or self._app is None:
            return "starting"
        if not self._wiring.ownership.ready:
            return "no partitions assigned yet, no term from the store, or partitions that no worker has yet"
        return self._wiring.swap.problem

    async def run(self) -> None:
        """Work until SIGTERM or SIGINT, or until something fails; the failure is raised."""
        # a save's thread keeps the interpreter while it encodes rows: by default, events would wait 5 ms each time
        sys.setswitchinterval(_TURN_S)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._asked_to_stop)
        starting = asyncio.create_task(self.start())
        finished = asyncio.create_task(self._finished.wait())
        try:
            await asyncio.wait({starting, finished}, return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()
                await finished
        finally:
            finished.cancel()
            # once the consumer is made, the start must finish: a cancelled one leaves threads that nobody can stop
            if not starting.done() and self._app is None:
                starting.cancel()
            await asyncio.gather(starting, finished, return_exceptions=True)
            await self.stop()
        if self._failure is not None:
            raise self._failure

    def _asked_to_stop(self) -> None:
        if self._finished.is_set():
            return
        self._finished.set()
        # a clean stop has deadlines of its own; this timer is for a stuck thread of a library, which they do not reach
        limit = threading.Timer(_LAST_RESORT * self.settings.kafka.session_timeout_s, os._exit, [1])
        limit.daemon = True
        limit.start()

    async def start(self) -> None:
        """Connect, read item vectors and trending counts, and join the group.

        Raises `BrokerUnavailable`, `TopicsError`, `NewerContract` or `StoreError`; the message of each is a sentence.
        """
        settings = self.settings
        one_blas_thread()
        await asyncio.to_thread(warm_up, *_KERNELS)
        self.metrics.provider(self._runtime.provider)
        self.port = await self._health.start()
        log.info("health server", host=settings.server.host, port=self.port)
        await asyncio.to_thread(check_broker, self._admin, settings.kafka)
        counts = await asyncio.to_thread(
            check_topics,
            settings,
            self._admin,
            self.encoder.manifest.version,
            feature_topics(settings),
            self.simulator,
        )
        self.encoder = await self._choose_encoder()
        log.info("encoder", version=self.encoder.manifest.version, provider=self._runtime.provider)
        log.debug("encoder", not_cuda_because=self._runtime.reason or None)
        await self.store.open()
        await check_store(settings, self.store, counts, self.simulator)
        await check_contract(self.store, self._drained)
        topic_ids = TopicIds(self._admin, self._names, self.simulator.id if self.simulator is not None else None)
        loop = asyncio.get_running_loop()

        def fail_soon(error: BaseException) -> None:
            loop.call_soon_threadsafe(self.fail, error)

        self._wiring = Wiring(
            settings=settings,
            loaded=LoadedEncoder.load(self.encoder, self._runtime),
            catalogue=self._catalogue,
            features=self._features,
            runtime=self._runtime,
            store=self.store,
            admin=self._admin,
            metrics=self.metrics,
            topic_ids=topic_ids,
            catalog_id=await topic_ids.id_of(self._names.full(CATALOG)),
            fail=fail_soon,
            rejoin=self._rejoin,
            # the simulator can't tell, and its topics never grow
            group_assignment=self._group_assignment if self.simulator is None else None,
        )
        await self._wiring.catch_up()
        collect_rarely()
        self._app = self._make_app(self._wiring, topic_ids)
        await self._app.start()
        self._spawn(self._wiring.queue.run_forever(self._wiring.pipeline.process))
        self._spawn(self._wiring.checkpointer.run_forever(settings.checkpoint.interval_s))
        self._spawn(self._wiring.refresh_index())
        self._spawn(self._wiring.publish_features())
        self._spawn(self._wiring.candidates.watch())
        self._spawn(self._wiring.swap.run_forever())
        self._spawn(self._wiring.watch_topics(settings.kafka.metadata_max_age_s))
        self._spawn(self._wiring.retention.watch())
        self._spawn(self._watch(self._app))
        log.info("worker started", broker=settings.kafka.bootstrap_servers, store=settings.store.kind)

    async def _choose_encoder(self) -> Encoder:
        """Choose the version to start with, and create its topic of item vectors if it is missing."""
        self._activations_reader.start()
        while not self._activations_reader.caught_up.is_set():
            await asyncio.sleep(0.02)
        encoder = await choose(self._catalogue, _BROKER_PATIENCE_S)
        if self.simulator is None:
            await asyncio.to_thread(create_item_vectors, self._admin, self.settings, encoder.manifest.version)
        return encoder

    def _make_app(self, wiring: Wiring, topic_ids: TopicIds) -> App:
        settings = self.settings
        self._hooks = FetchHooks(
            before_revoke=self._hand_over,
            after_assign=self._take_over,
            ask_topic_ids=topic_ids.ask,
            lost=self.fail,
            max_batch_records=settings.kafka.max_batch_records,
            fetch_max_wait_ms=_SIMULATOR_FETCH_WAIT_MS if self.simulator is not None else _FETCH_WAIT_MS,
            # commands come before events: a command that is read again must not forget later events of its user
            read_first=frozenset({self._names.full(COMMANDS)}),
        )
        return make_app(settings, self._names, self._hooks, wiring.queue.put)

    def _rejoin(self) -> None:
        if self._app is not None:
            self._app.consumer.rejoin()

    async def _group_assignment(self) -> list[set[tuple[str, int]]] | None:
        return None if self._app is None else await self._app.consumer.group_assignment()

    async def _take_over(self, assigned: set[Any]) -> None:
        if self._failure is not None or self._leaving:
            return
        inputs = set(self._names.inputs)
        self.wiring.ownership.assign({tp.partition for tp in assigned if tp.topic in inputs})
        self._hooks.epoch = self.wiring.ownership.epoch

    async def _hand_over(self, revoked: set[Any]) -> None:
        """Finish the micro-batch in hand, save and ack, so that the next owner repeats no work."""
        if self._failure is None:
            try:
                await self.wiring.save_all(self.settings.kafka.session_timeout_s * _HANDOVER_SHARE)
            except Exception as error:
                self.fail(error)
        self.wiring.ownership.revoke()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        async def guarded() -> None:
            try:
                await work
            except Exception as error:
                self.fail(error)

        self._tasks.append(asyncio.create_task(guarded()))

    async def _watch(self, app: App) -> None:
        """Measure the lag each second. Raises `ConsumerFailed` once Faust has crashed, which tells nobody by itself."""
        while not app.crashed:
            await asyncio.sleep(1.0)
            self.metrics.forget_lags()
            for tp, lag in app.consumer.lags().items():
                self.metrics.lag(tp.topic, tp.partition, lag)
            for partition, lag in self.wiring.active.feed.lags.items():
                self.metrics.lag(self._names.full(CATALOG), partition, lag)
        raise ConsumerFailed(
            f"The Kafka consumer failed: {app.crash_reason!r}. Nothing is lost: events that were not acked are "
            "read again when the worker is started again."
        )

    async def stop(self) -> None:
        """Hand over cleanly and close all parts; works too for a worker that never started."""
        self._leaving = True
        app, self._app = self._app, None
        if app is not None:
            await self._leave(app)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.to_thread(self._activations_reader.stop)
        if self._wiring is not None:
            await self._wiring.close()
        await self.store.close()
        await self._health.stop()
        log.info("worker stopped")

    async def _leave(self, app: App) -> None:
        timeout_s = self.settings.kafka.session_timeout_s
        if self._failure is None:
            try:
                await self.wiring.save_all(timeout_s * _HANDOVER_SHARE)
                await asyncio.wait_for(app.consumer.commit_now(), timeout_s / 2)
            except TimeoutError:
                log.warning("the broker did not confirm the last offsets: the next owner reads these events again")
            except Exception as error:
                self.fail(error)
        self.wiring.ownership.revoke()
        try:
            await asyncio.wait_for(app.stop(), timeout_s)
        except TimeoutError:
            log.warning("the consumer did not stop in time: the group gives its partitions away when its session ends")


def _unexpected(error: BaseException) -> bool:
    """Tell whether to log a traceback: yes for a bug, no for a `PrefstreamError`, whose message is enough.

    At the log level debug, every error gets a traceback.
    """
    return not isinstance(error, PrefstreamError) or logging.getLogger().level <= logging.DEBUG
