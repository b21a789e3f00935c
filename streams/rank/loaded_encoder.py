"""The loaded encoder: ranker, item index and embedding maps of one version. The active encoder ranks the users."""

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

_MANY_EXCLUDED = 2_000
"""Exclusions of a user from which on all items are ranked."""


@dataclass
class Candidates:
    """The candidate search of a loaded encoder, with its ranker."""

    ranking: "CandidateRanker"
    search: "TileSearch"
    nprobe: int = 0
    """Number of IVF lists that a search reads for each user; 0 if the items are not divided into lists."""
    recall: float = 1.0
    """Share of the exact top-k that the last measurement found."""

    def refresh(self, index: ItemIndex) -> None:
        """Apply the changes of the index to the search."""
        self.search.refresh(index)


class LoadedEncoder:
    """One encoder version in memory: its ranker, its item index, and the embedding maps into its vector space."""

    def __init__(self, *, version: str, index: ItemIndex, ranker: ExactRanker, sums: SumsConfig) -> None:
        self.version = version
        self.index, self.ranker, self.sums = index, ranker, sums
        self.maps: dict[str, EmbeddingMap] = {}
        """Embedding maps by version: each leads from that version's vector space into this one's."""
        self.unmapped: set[str] = set()
        """Versions of which users have sums, but from which no map is known."""
        self.candidates: Candidates | None = None
        """None if the exact ranker ranks the users."""

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
        """Rank the k best items of each of B users, except the rows ``excluded``: int64 (B, A), -1 where unused."""
        snapshot, candidates = self.index.snapshot(), self.candidates
        # of few candidates, so many exclusions could leave none
        if candidates is None or excluded.shape[1] > _MANY_EXCLUDED:
            return self.ranker.rank(inputs, snapshot, excluded, adjustments(excluded), k)
        candidates.refresh(self.index)
        return candidates.ranking.rank(
            inputs, snapshot, candidates.search, candidates.nprobe, excluded, adjustments(excluded), k
        )


class IndexFeed(Protocol):
    """Fills the index of a loaded encoder."""

    @property
    def lags(self) -> dict[int, int]:
        """Records of the catalog that are not encoded yet, for each catalog partition of this worker."""
        ...

    @property
    def index_lag(self) -> int:
        """Number of item vectors and offers that are written to their topics but not in the index yet."""
        ...

    @property
    def waiting(self) -> int:
        """Number of item vectors and offers that are received but not in the index yet."""
        ...

    def apply(self) -> set[int]:
        """Put received offers and vectors into the index, up to a limit per call; returns the hashes of their items."""
        ...

    def close(self) -> None:
        """Stop reading and encoding."""
        ...


class ActiveEncoder:
    """The active encoder and the feed of its index. Hold the state lock to read or swap them.

    Both are swapped as one value, so a micro-batch uses one encoder and its own feed from begin to end.
    """

    def __init__(self, encoder: LoadedEncoder, feed: IndexFeed) -> None:
        self._value = encoder, feed

    @property
    def encoder(self) -> LoadedEncoder:
        """The active encoder."""
        return self._value[0]

    @property
    def feed(self) -> IndexFeed:
        """The feed of the active encoder's index."""
        return self._value[1]

    def swap(self, encoder: LoadedEncoder, feed: IndexFeed) -> IndexFeed:
        """Make another encoder the active one. Returns the former encoder's feed, which the caller has to close."""
        former, self._value = self._value[1], (encoder, feed)
        return former
