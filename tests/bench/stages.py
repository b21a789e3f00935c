"""CPU of each stage of a batch, on the worker's own parts, real Kafka and real Cassandra; medians over batches."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from deploy.local.stack import Stack
from encoders.runtime import Runtime
from streams.checkpoint.profile_rows import encode_rows, fill_slot
from streams.checkpoint.snapshot import end_save, take_snapshot
from streams.clock import now_ms as clock_ms
from streams.decode.decoder import Decoder
from streams.emit.producer import Emitter
from streams.features.contract import FeatureContext
from streams.features.running import RunningFeatures
from streams.kafka.topics import TopicNames
from streams.monitoring.metrics import Metrics
from streams.pipeline.recommender import Recommender
from streams.quality.observer import COLUMNS, QualityObserver
from streams.rank.candidate_search import CandidateSearch
from streams.rank.exclusions import Exclusions
from streams.rank.loaded_encoder import ActiveEncoder, LoadedEncoder
from streams.rank.preference_vectors import PreferenceVectors
from streams.settings import Ranking
from streams.state.profile_table import ProfileTable
from streams.state.profile_update import apply_batch
from streams.state.state import State
from streams.state.trending import Trending
from streams.stores.open_store import make_store
from streams.versions.builtin_encoder import load_encoder
from streams.worker.process_tuning import collect_rarely, one_blas_thread
from streams.worker.sizing import profile_shape
from tests.bench import workload
from tests.bench.shop import BenchShop
from tests.still_feed import StillFeed

_TERM = 1


class _Clock:
    """CPU seconds of the process, all its threads, by stage; the samples of each are one batch."""

    def __init__(self) -> None:
        self.samples: dict[str, list[float]] = {}

    def time(self, stage: str, per: int, work: Callable[[], Any]) -> Any:
        start = time.process_time()
        result = work()
        self.note(stage, per, time.process_time() - start)
        return result

    def note(self, stage: str, per: int, cpu_s: float) -> None:
        self.samples.setdefault(stage, []).append(cpu_s / max(per, 1) * 1e6)

    def median(self, stage: str) -> float:
        return round(median(self.samples[stage]), 2)


class _StageMetrics(Metrics):
    """Notes the CPU of the stages that the recommender itself names."""

    def __init__(self, clock: _Clock) -> None:
        super().__init__()
        self.clock = clock
        self.per = 1

    def stage(self, name: str) -> Any:
        clock, per = self.clock, self.per

        class Timer:
            def __enter__(self) -> None:
                self.start = time.process_time()

            def __exit__(self, *_: object) -> None:
                clock.note(name, per, time.process_time() - self.start)

        return Timer()


def stage_costs(stack: Stack, folder: Path, users: workload.Users, items: int, batches: int) -> dict[str, Any]:
    """Microseconds of CPU: per event for decode and update, per user for load, rank, encode, produce and save."""
    return asyncio.run(_measure(stack, folder, users, items, batches))


async def _measure(stack: Stack, folder: Path, users: workload.Users, items: int, batches: int) -> dict[str, Any]:
    shop = BenchShop(stack, folder, items)
    encoder = load_encoder(shop.settings)
    names = TopicNames(shop.namespace)
    clock = _Clock()
    metrics = _StageMetrics(clock)
    runtime = Runtime("cpu", 1)
    space = LoadedEncoder.load(encoder, runtime)
    index, sums = space.index, space.sums
    index.put(workload.item_ids(items), workload.item_vectors(items))
    shape = profile_shape(shop.settings, encoder)
    table = ProfileTable(workload.USERS + workload.BATCH, shape, COLUMNS)
    columns = [(name, "id") for name in names.inputs]
    table.set_logs(columns)
    emitter = Emitter.connect(shop.settings.kafka, names)
    state = State(table, Trending(3600.0, [1.0, 0.5, 4.0], clock_ms))
    active = ActiveEncoder(space, StillFeed())
    await CandidateSearch(Ranking(k=workload.K), runtime, table, active, metrics).prepare(space)
    context = FeatureContext(
        settings=shop.settings, state=state, active=active, exclusions=Exclusions(), metrics=metrics
    )
    recommender = Recommender(
        state=state,
        active=active,
        preference_vectors=PreferenceVectors(table, active),
        emitter=emitter,
        metrics=metrics,
        exclusions=Exclusions(),
        k=workload.K,
        features=RunningFeatures({"quality": QualityObserver(context)}, metrics),
    )
    decoder = Decoder(names, lambda topic: "id", "murmur2")
    store = make_store(shop.settings)
    await store.open()
    one_blas_thread()  # as a worker does
    collect_rarely()
    now_ms = int(time.time() * 1000)
    sent = workload.events(users, batches * workload.BATCH, items, 3, now_ms)
    touched_share, row_bytes = [], []
    try:
        for number in range(batches):
            chunk = sent[number * workload.BATCH : (number + 1) * workload.BATCH]
            batch = workload.record_batch(chunk, names.full("clicks"), number * workload.BATCH, now_ms)
            decoded = clock.time("decode", len(chunk), lambda batch=batch: decoder.decode([batch], 1))
            events = decoded.events
            missed = [user for user in dict.fromkeys(events.user_ids) if user not in table.slot_of]
            if missed:
                start = time.process_time()
                rows = await store.load(missed)
                slots = table.allocate(missed, 0, _TERM)
                for user, slot in zip(missed, slots.tolist(), strict=True):
                    if user in rows:
                        fill_slot(table, slot, rows[user], encoder.manifest.version, index, sums.half_life_s)
                clock.note("load", len(missed), time.process_time() - start)
            slots = np.fromiter((table.slot_of[user] for user in events.user_ids), np.intp, len(events))
            clock.time("update", len(chunk), lambda e=events, s=slots: apply_batch(table, e, s, index, sums))
            touched, from_end = np.unique(slots[::-1], return_index=True)
            causes = len(slots) - 1 - from_end
            touched_share.append(len(touched) / len(chunk))
            metrics.per = len(touched)
            recommender.refresh(events, touched, causes, _TERM)
            start = time.process_time()
            deliveries = emitter.swap()
            deliveries.wait(30)
            clock.samples["produce"][-1] += (time.process_time() - start) / len(touched) * 1e6
            dirty = np.flatnonzero(table.dirty)
            start = time.process_time()
            snapshot = take_snapshot(table, dirty, encoder.manifest.version)
            stored = encode_rows(snapshot, number, 3600)
            clock.note("encode_rows", len(dirty), time.process_time() - start)
            await store.save(stored)
            clock.note("save", len(dirty), time.process_time() - start)
            end_save(table, snapshot, True)
            row_bytes += [len(row.state) + len(row.short_term) * 3 for row in stored[:100]]
    finally:
        await asyncio.to_thread(emitter.close)
        await store.close()
    share = median(touched_share)
    per_user = {stage: clock.median(stage) for stage in ("load", "rank", "encode", "produce", "save", "encode_rows")}
    per_event = {stage: clock.median(stage) for stage in ("decode", "update")}
    return {
        "users_per_event": round(share, 3),
        "us_per_event": per_event,
        "us_per_user": per_user,
        "row_bytes": round(median(row_bytes)),
        "users": len(table.slot_of),
    }
