"""An encoder version in memory, and the one that serves: ranker, item index, maps from other versions' sums."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from encoders.artifact.manifest import Encoder
from encoders.index.item_index import ItemIndex
from encoders.ranking.exact_ranker import ExactRanker
from encoders.ranking.ranking_io import HeadInputs, Ranked
from encoders.runtime import Runtime
from schemas.events import EVENT_TYPES
from streams.arrays import Int64Array
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
    search: "TileSearch"
    nprobe: int = 0
    """Clusters that a user looks into; 0 where the items are not divided."""
    recall: float = 1.0
    """Share of the exact top-k that was found when it was measured last."""

    def refresh(self, index: ItemIndex) -> None:
        """Let the search follow the index."""
        self.search.refresh(index)


class LoadedEncoder:
    """One encoder version in memory: its ranker, its item index, and the embedding maps that lead to it."""

    def __init__(self, *, version: str, index: ItemIndex, ranker: ExactRanker, sums: SumsConfig) -> None:
        self.version = version
        self.index, self.ranker, self.sums = index, ranker, sums
        self.maps: dict[str, EmbeddingMap] = {}
        """From other versions' spaces into the space of this one."""
        self.unmapped: set[str] = set()
        """Versions that users have sums of and no map is known for."""
        self.candidates: Candidates | None = None
        """None: users are ranked by the exact ranker."""

    @classmethod
    def load(cls, encoder: Encoder, runtime: Runtime) -> "LoadedEncoder":
        """Load an encoder's graphs; its index is empty."""
        manifest = encoder.manifest
        weights = np.array([manifest.type_weights[kind] for kind in EVENT_TYPES], np.float32)
        return cls(
            version=manifest.version,
            index=ItemIndex(manifest.dimension),
            ranker=ExactRanker(runtime, encoder),
            sums=SumsConfig(np.array(manifest.half_lives_s, np.float64), weights),
        )

    @property
    def artifact(self) -> Encoder:
        """The encoder folder that was loaded, with its manifest."""
        return self.ranker.encoder

    def rank(self, inputs: HeadInputs, excluded: Int64Array, k: int) -> Ranked:
        """Rank the k best items of each of B users, but for the rows ``excluded`` (B, A), -1 in unused places."""
        snapshot, candidates = self.index.snapshot(), self.candidates
        if candidates is None:
            return self.ranker.rank(inputs, snapshot, excluded, adjustments(excluded), k)
        candidates.refresh(self.index)
        return candidates.ranking.rank(
            inputs, snapshot, candidates.search, candidates.nprobe, excluded, adjustments(excluded), k
        )


class IndexFeed(Protocol):
    """Fills the index of a loaded encoder."""

    @property
    def lags(self) -> dict[int, int]:
        """Records of the catalog that are not encoded yet, by partition of this worker's share."""
        ...

    @property
    def index_lag(self) -> int:
        """Item vectors that are written and not in the index yet."""
        ...

    def apply(self) -> set[int]:
        """Put a bounded number of vectors that have come into the index; returns the hashes of the items."""
        ...

    def close(self) -> None:
        """Stop reading and encoding."""
        ...


class ActiveEncoder:
    """The encoder that serves and the feed that fills its index: read and swapped with the state lock held.

    Both are one value, so a micro-batch sees one of them from its begin to its end.
    """

    def __init__(self, encoder: LoadedEncoder, feed: IndexFeed) -> None:
        self._value = encoder, feed

    @property
    def encoder(self) -> LoadedEncoder:
        """The encoder that serves."""
        return self._value[0]

    @property
    def feed(self) -> IndexFeed:
        """The feed of its index."""
        return self._value[1]

    def swap(self, encoder: LoadedEncoder, feed: IndexFeed) -> IndexFeed:
        """Let another encoder serve; returns the former one's feed, which is to be closed."""
        former, self._value = self._value[1], (encoder, feed)
        return former
