"""The job, an event at a time: update a user's profile, rank all items, explain, save. No import of prefstream.

The formulas are those of `docs/explanation/ranking-and-reasons.md`: recents by rank and type, two decayed sums,
one unit user vector.
"""

import os
import pickle
import sys
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson
from cassandra.cluster import Cluster

TYPES = {"clicks": 0, "browses": 1, "purchases": 2}
NAMES = ("click", "browse", "purchase")
WARM_UP = 0.2
PURCHASE_MS = 30 * 86_400_000


@dataclass
class Profile:
    """A user: recents newest first as (time, number, item row, type), and what has left them."""

    recents: list[tuple[int, int, int, int]] = field(default_factory=list)
    sums: Any = None
    mass: Any = None
    sums_time: int = 0
    purchases: list[tuple[int, int]] = field(default_factory=list)
    counts: list[int] = field(default_factory=lambda: [0, 0, 0])


class Recommender:
    """Profiles in a dictionary and in Cassandra; one event in, one message out."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.job = job
        self.items = np.load(job["vectors"])  # (N, d)
        self.ids = [f"item-{number:07d}" for number in range(len(self.items))]
        self.row = {item: number for number, item in enumerate(self.ids)}
        self.k, self.history = job["k"], job["history"]
        head = job["head"]
        rho, mix = np.array(head["rank_decays"])[:, None], np.array(head["mix"])[:, None]
        self.by_rank = (mix * (1 - rho) * rho ** np.arange(self.history)).sum(axis=0).astype(np.float32)
        self.by_count = (mix * rho ** np.arange(self.history + 1)).sum(axis=0).astype(np.float32)
        self.by_type = np.array(head["type_weights"], np.float32)
        self.half_life_mix = np.array(head["half_life_mix"], np.float32)
        self.half_lives_ms = np.array(job["half_lives_s"]) * 1000.0
        self.profiles: dict[str, Profile] = {}
        self.session = Cluster(job["cassandra_hosts"], port=job["cassandra_port"]).connect()
        self.session.execute(
            f"CREATE KEYSPACE IF NOT EXISTS {job['keyspace']} WITH replication = "
            "{'class': 'NetworkTopologyStrategy', 'replication_factor': 1}"
        )
        self.session.set_keyspace(job["keyspace"])
        self.session.execute("CREATE TABLE IF NOT EXISTS profiles (user_id text PRIMARY KEY, state blob)")
        self.load = self.session.prepare("SELECT state FROM profiles WHERE user_id = ?")
        self.save = self.session.prepare("INSERT INTO profiles (user_id, state) VALUES (?, ?)")
        self.pending: list[Any] = []
        self.seen = 0
        self.start: tuple[float, float, int] | None = None

    def handle(self, topic: str, value: bytes) -> tuple[str, bytes]:
        """The user and the message that follows from an event."""
        event = orjson.loads(value)
        user = event["user_id"]
        profile = self.profiles.get(user)
        if profile is None:
            found = self.session.execute(self.load, (user,)).one()
            profile = pickle.loads(found.state) if found else Profile()
            self.profiles[user] = profile
        self._update(profile, TYPES[topic.rpartition(".")[2]], event)
        message = self._recommend(user, profile, event)
        self.pending.append(self.session.execute_async(self.save, (user, pickle.dumps(profile))))
        if len(self.pending) >= 128:
            for one in self.pending:
                one.result()
            self.pending.clear()
        return user, message

    def _update(self, profile: Profile, kind: int, event: dict[str, Any]) -> None:
        row, time_ms = self.row[event["item_id"]], event["event_time_ms"]
        profile.counts[kind] += 1
        if kind == 2:
            profile.purchases.append((time_ms, row))
        profile.recents.append((time_ms, self.seen, row, kind))
        profile.recents.sort(reverse=True)
        if len(profile.recents) > self.history:
            old_ms, _, old_row, old_kind = profile.recents.pop()
            if profile.sums is None:
                profile.sums = np.zeros((len(self.half_lives_ms), self.items.shape[1]))
                profile.mass = np.zeros(len(self.half_lives_ms))
                profile.sums_time = old_ms
            newest = max(profile.sums_time, old_ms)
            decay = 2.0 ** (-(newest - profile.sums_time) / self.half_lives_ms)
            weight = self.by_type[old_kind] * 2.0 ** (-(newest - old_ms) / self.half_lives_ms)
            profile.sums = profile.sums * decay[:, None] + weight[:, None] * self.items[old_row]
            profile.mass = profile.mass * decay + weight
            profile.sums_time = newest

    def _recommend(self, user: str, profile: Profile, event: dict[str, Any]) -> bytes:
        recents = profile.recents
        rows = np.array([recent[2] for recent in recents])
        kinds = np.array([recent[3] for recent in recents])
        weights = self.by_rank[: len(recents)] * self.by_type[kinds]
        vectors = self.items[rows]
        mixed = weights @ vectors
        older = np.zeros_like(mixed)
        if profile.sums is not None:
            older = (self.half_life_mix / profile.mass * self.by_count[len(recents)]) @ profile.sums
            mixed = mixed + older
        length = np.linalg.norm(mixed)
        scores = self.items @ (mixed / length).astype(np.float32)
        now = recents[0][0]
        scores[rows] = -np.inf
        scores[[row for time_ms, row in profile.purchases if now - time_ms <= PURCHASE_MS]] = -np.inf
        top = np.argpartition(-scores, self.k)[: self.k]
        top = top[np.argsort(-scores[top])]
        shares = (self.items[top] @ vectors.T) * (weights / length)  # (k, recents)
        from_older = self.items[top] @ (older / length)
        items = []
        for place, row in enumerate(top.tolist()):
            largest = np.argsort(-shares[place])[:3].tolist()
            named = [
                {
                    "item_id": self.ids[recents[one][2]],
                    "event_type": NAMES[recents[one][3]],
                    "share": round(float(shares[place, one]), 6),
                }
                for one in largest
            ]
            total = float(shares[place].sum())
            items.append(
                {
                    "item_id": self.ids[row],
                    "score": round(float(scores[row]), 6),
                    "reason": {
                        "kind": "recent" if total >= from_older[place] else "older",
                        "exact": True,
                        "recents": named,
                        "other_recents": round(total - sum(one["share"] for one in named), 6),
                        "older": round(float(from_older[place]), 6),
                    },
                }
            )
        return orjson.dumps(
            {
                "recommendation_id": f"{self.seen:x}",
                "user_id": user,
                "items": items,
                "cause": {key: event[key] for key in ("event_id", "item_id", "event_time_ms")},
                "emitted_ms": int(time.time() * 1000),
            }
        )

    def done(self) -> bool:
        """Count an event; print what they cost once all have come."""
        self.seen += 1
        count = self.job["events"]
        if self.start is None:
            if self.seen >= count * WARM_UP:
                self.start = (time.process_time(), time.perf_counter(), self.seen)
        elif self.seen >= count:
            for one in self.pending:
                one.result()
            return True
        return False

    def finish(self) -> None:
        """Say what an event cost, and end at once."""
        cpu_s, wall_s, before = self.start or (0.0, 0.0, 0)
        events = self.seen - before
        cost = {
            "events": events,
            "cpu_us": (time.process_time() - cpu_s) / events * 1e6,
            "events_s": events / (time.perf_counter() - wall_s),
        }
        print(orjson.dumps(cost).decode(), flush=True)
        os._exit(0)


def read_job() -> dict[str, Any]:
    """The job's description, from the file named on the command line."""
    with open(sys.argv[1], "rb") as file:
        return orjson.loads(file.read())
