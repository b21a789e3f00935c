"""Ranks users by the search of `encoders.clusters`: the exact best of all items, or of the nearest clusters of many."""

import numpy as np

from encoders import cluster_kernels as kernels
from encoders.clusters import Clusters
from encoders.index import Snapshot
from encoders.manifest import Encoder
from encoders.ranked import FloatArray, HeadInputs, IntArray, Ranked, checked_adjustments, head_feeds, ranked
from encoders.runtime import Runtime
from encoders.scoring import compose_model, compose_user_model

_CHUNK = 128  # users a run, as in encoders.graph


class CandidateRanking:
    """Head, search and shares of scores, on the CPU.

    What may be among the best is scored exactly, with its adjustments; so is every item that an adjustment or a repeat
    raises. So scores and reasons are those of `encoders.graph.RankingGraph`, and of undivided items the rows too, but
    for ties within the rounding of float32. Of divided ones an item of a cluster that was not looked into can be
    missing.
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
        """The k best items of each user among those of the ``probes`` nearest clusters, where there are several.

        The other parameters, the result and the errors are those of ``RankingGraph.rank``; where fewer than k items
        were found, the scores behind them are -inf.
        """
        head = head_feeds(self.encoder, self._head_inputs, inputs)
        users, n = len(next(iter(head.values()))), len(snapshot.bias)
        rows, amounts = checked_adjustments(adjust_rows, adjust, users, n)
        k = max(0, min(k, n))
        head_found = self._user_session.run_in_chunks(self._found, head, {}, _CHUNK)
        vectors = head_found["user"] * np.float32(self.encoder.manifest.score_scale)
        changed, changes = rows, amounts
        if "recent_scores" in head_found:
            changed = np.concatenate([rows, head["recent_rows"]], axis=1)
            changes = np.concatenate([amounts, head_found["recent_scores"]], axis=1)
        # an item that is lowered may be found and drop out; what is raised is looked at whether it was found or not
        lowered = int((changes < 0).sum(axis=1).max(initial=0))
        found = clusters.search(vectors, snapshot, probes, k + lowered)
        scores, chosen = np.empty((users, k), np.float32), np.empty((users, k), np.int64)
        kernels.choose(
            *(vectors, snapshot.items, snapshot.bias, found.rows, found.highs, found.counts),
            *(changed, changes, scores, chosen),
        )
        np.maximum(chosen, 0, out=chosen)
        feeds = {**head, "adjust_rows": rows, "adjust": amounts, "rows": chosen}
        shared = {"items": snapshot.items, "bias": snapshot.bias}
        shares = self._share_session.run_in_chunks(self._outputs, feeds, shared, _CHUNK)
        return ranked(self.encoder, {**shares, "scores": scores, "rows": chosen}, users, k, exact=self.exact)
