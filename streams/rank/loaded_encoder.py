"""One encoder version at work: its graph, its item index, and the maps by which it sees other versions' sums."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from encoders.artifact.manifest import Encoder
from encoders.index.item_index import ItemIndex
from encoders.ranking.exact_ranker import ExactRanker
from encoders.ranking.ranking_io import HeadInputs, Ranked
from encoders.runtime import Runtime
from schemas.events import EVENT_TYPES
from streams.arrays import Int64Array
from streams.catalog.index_updates import IndexUpdates
from streams.emit.list_json import ListEncoder
from streams.rank.exclusions import adjustments
from streams.state.embedding_map import EmbeddingMap
from streams.state.profile_update import SumsConfig

if TYPE_CHECKING:  # see streams.rank.candidate_search
    from encoders.index.tile_search import TileSearch
    from encoders.ranking.candidate_ranker import CandidateRanker


@dataclass
class Candidates:
    """The search that users are ranked by."""

    ranking: "CandidateRanker"
    clusters: "TileSearch"
    probes: int = 0
    """Clusters that a user looks into; 0 where the items are not divided."""
    recall: float = 1.0
    """Share of the exact top-k that was found when it was measured last."""


class LoadedEncoder:
    """All that has vectors of one version in it, but for the users'."""

    def __init__(self, version: str, index: ItemIndex, updates: IndexUpdates, graph: ExactRanker, sums: SumsConfig):
        self.version = version
        self.index, self.updates, self.graph, self.sums = index, updates, graph, sums
        self.lists = ListEncoder(index)
        self.maps: dict[str, EmbeddingMap] = {}
        """From other versions' spaces into this one."""
        self.wanted: set[str] = set()
        """Versions that users have sums of and no map is known for."""
        self.candidates: Candidates | None = None
        """None: users are ranked by the graph."""

    @classmethod
    def load(cls, encoder: Encoder, runtime: Runtime) -> "LoadedEncoder":
        """Load an encoder's graph; its index is empty."""
        manifest = encoder.manifest
        weights = np.array([manifest.type_weights[kind] for kind in EVENT_TYPES], np.float32)
        return cls(
            manifest.version,
            ItemIndex(manifest.dimension),
            IndexUpdates(manifest.dimension, manifest.version),
            ExactRanker(runtime, encoder),
            SumsConfig(np.array(manifest.half_lives_s, np.float64), weights),
        )

    def rank(self, inputs: HeadInputs, excluded: Int64Array, k: int) -> Ranked:
        """The k best items of each of B users, but for rows ``excluded`` (B, A), -1 in unused places."""
        snapshot, found = self.index.snapshot(), self.candidates
        if found is None:
            return self.graph.rank(inputs, snapshot, excluded, adjustments(excluded), k)
        found.clusters.refresh(self.index)
        return found.ranking.rank(inputs, snapshot, found.clusters, found.probes, excluded, adjustments(excluded), k)


class ActiveEncoder:
    """Which space serves: read and changed with the batch state_lock held, so a batch sees one from end to end."""

    def __init__(self, space: LoadedEncoder) -> None:
        self.space = space
