"""Ranks users against the candidates that `encoders.clusters` finds: a cost that hardly grows with the items."""

import numpy as np

from encoders import cluster_kernels as kernels
from encoders.clusters import Clusters
from encoders.index import Snapshot
from encoders.manifest import Encoder
from encoders.ranked import FloatArray, HeadInputs, IntArray, Ranked, checked_adjustments, head_feeds, ranked
from encoders.runtime import Runtime
from encoders.scoring import compose_model, compose_user_model

_CHUNK = 128  # users a run, as in encoders.graph
_SPARE = 1.5  # times k are looked for: int8 scores confuse near equals, and the exact ones then choose


def search_width(k: int, adjusted: int) -> int:
    """Rows that are looked for, for k items of a user with so many adjustments."""
    return int(_SPARE * k) + adjusted


class CandidateRanking:
    """Head, search and shares of scores, on the CPU.

    What is found is scored exactly, with its adjustments; so is every item that an adjustment or a repeat raises. So
    scores and reasons are as exact as `encoders.graph.RankingGraph`'s, and only an item of a cluster that was not
    looked into can be missing.
    """

    def __init__(self, runtime: Runtime, encoder: Encoder) -> None:
        self.encoder = encoder
        user_model, self._found = compose_user_model(encoder)
        shares = compose_model(encoder, chosen=True)
        self.exact = shares.exact
        self._head_inputs, self._outputs = shares.head_inputs, shares.outputs
        self._user_session = runtime.session(user_model.SerializeToString())
        self._share_session = runtime.session(shares.model.SerializeToString())

    def rank(
        self,
        inputs: HeadInputs,
        snapshot: Snapshot,
        clusters: Clusters,
        probes: int,
        adjust_rows: IntArray,
        adjust: FloatArray,
        k: int,
    ) -> Ranked:
        """The k best items of each user among those of the ``probes`` nearest clusters.

        The other parameters, the result and the errors are those of ``RankingGraph.rank``; where fewer than k items
        were found, the scores behind them are -inf.
        """
        head = head_feeds(self.encoder, self._head_inputs, inputs)
        users, n = len(next(iter(head.values()))), len(snapshot.bias)
        rows, amounts = checked_adjustments(adjust_rows, adjust, users, n)
        k = max(0, min(k, n))
        found = self._user_session.run_in_chunks(self._found, head, {}, _CHUNK)
        vectors = found["user"] * np.float32(self.encoder.manifest.score_scale)
        changed, changes = rows, amounts
        if "recent_scores" in found:
            changed = np.concatenate([rows, head["recent_rows"]], axis=1)
            changes = np.concatenate([amounts, found["recent_scores"]], axis=1)
        candidates = clusters.search(vectors, probes, search_width(k, changed.shape[1]))
        scores, chosen = np.empty((users, k), np.float32), np.empty((users, k), np.int64)
        kernels.choose(vectors, snapshot.items, snapshot.bias, candidates, changed, changes, scores, chosen)
        np.maximum(chosen, 0, out=chosen)
        feeds = {**head, "adjust_rows": rows, "adjust": amounts, "rows": chosen}
        shared = {"items": snapshot.items, "bias": snapshot.bias}
        shares = self._share_session.run_in_chunks(self._outputs, feeds, shared, _CHUNK)
        return ranked(self.encoder, {**shares, "scores": scores, "rows": chosen}, users, k, exact=self.exact)
