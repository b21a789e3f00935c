"""Ranks users by the search of `tile_search`: the exact best of all items, or of the nearest clusters of many."""

import numpy as np

from encoders.arrays import Float32Array, Int64Array
from encoders.artifact.manifest import Encoder
from encoders.errors import EncoderError
from encoders.index import tile_search_kernels as kernels
from encoders.index.item_index import IndexSnapshot
from encoders.index.tile_search import TileSearch
from encoders.ranking.attribution_kernels import explain
from encoders.ranking.ranking_io import HeadInputs, Ranked, checked_adjustments, head_feeds, ranked
from encoders.ranking.scoring_graph import compose_model, compose_user_model
from encoders.runtime import Array, DeviceArray, Runtime

_CHUNK = 128  # users a run, as in encoders.ranking.exact_ranker


class CandidateRanker:
    """Head, search and shares of scores, on the CPU.

    What may be among the best is scored exactly, with its adjustments; so is every item that an adjustment or a repeat
    raises. So scores and reasons are those of `exact_ranker.ExactRanker`, and of undivided items the rows too, but
    for ties within the rounding of float32. Of divided ones an item of a cluster that was not looked into can be
    missing.
    """

    def __init__(self, runtime: Runtime, encoder: Encoder) -> None:
        self.encoder = encoder
        user_model, self._head_outputs = compose_user_model(encoder)
        shares = compose_model(encoder, chosen=True)
        self.exact = shares.exact
        self._head_inputs, self._outputs = shares.head_inputs, shares.outputs
        self._head_session = runtime.session(user_model.SerializeToString())
        # a linear head's shares are compiled: the graph takes twice the time, and half of a small group's
        self._share_session = None if shares.exact else runtime.session(shares.model.SerializeToString())

    def rank(
        self,
        inputs: HeadInputs,
        snapshot: IndexSnapshot,
        clusters: TileSearch,
        probes: int,
        adjust_rows: Int64Array,
        adjust: Float32Array,
        k: int,
    ) -> Ranked:
        """The k best items of each user among those of the ``probes`` nearest clusters, where there are several.

        The other parameters, the result and the errors are those of ``ExactRanker.rank``; where fewer than k items
        were found, the scores behind them are -inf.
        """
        head = head_feeds(self.encoder, self._head_inputs, inputs)
        users, n = len(next(iter(head.values()))), len(snapshot.bias)
        rows, amounts = checked_adjustments(adjust_rows, adjust, users, n)
        k = max(0, min(k, n))
        if users == 0:
            return ranked(self.encoder, {}, 0, k, exact=self.exact)
        parts = self._head_session.run_in_chunks(self._head_outputs, head, {}, _CHUNK)
        self._check(parts, users)
        vectors = parts["user"] * np.float32(self.encoder.manifest.score_scale)
        changed, changes = rows, amounts
        if "recent_scores" in parts:
            changed = np.concatenate([rows, head["recent_rows"]], axis=1)
            changes = np.concatenate([amounts, parts["recent_scores"]], axis=1)
        # an item that is lowered may be found and drop out; what is raised is looked at whether it was found or not
        lowered = int(np.count_nonzero(changes < 0, axis=1).max(initial=0))
        found = clusters.search(vectors, snapshot, probes, k + lowered)
        scores, chosen = np.empty((users, k), np.float32), np.empty((users, k), np.int64)
        if k > 0:
            of_items = (snapshot.items, snapshot.bias)
            kernels.choose(vectors, *of_items, found.rows, found.highs, found.counts, changed, changes, scores, chosen)
            np.maximum(chosen, 0, out=chosen)
        feeds = {**head, "adjust_rows": rows, "adjust": amounts, "rows": chosen}
        shares = {"user": parts["user"], **self._shares(feeds, parts, snapshot), "scores": scores, "rows": chosen}
        return ranked(self.encoder, shares, users, k, exact=self.exact)

    def _check(self, parts: dict[str, Array], users: int) -> None:
        """A head's file may leave sizes open; compiled loops check none."""
        manifest = self.encoder.manifest
        sizes = {"user": manifest.dimension, "sum_weights": len(manifest.half_lives_s)}
        for name, array in parts.items():
            expected = (users, sizes.get(name, manifest.history))
            if array.shape != expected:
                raise EncoderError(
                    f"The head of encoder {manifest.version} gives {name} of shape {array.shape}, expected {expected}: "
                    "export it for the history and the half-lives of encoder.json."
                )

    def _shares(self, feeds: dict[str, Array], parts: dict[str, Array], snapshot: IndexSnapshot) -> dict[str, Array]:
        """What made the scores of ``feeds["rows"]``, and the two parts of the users' vectors."""
        if self._share_session is not None:
            shared: dict[str, Array | DeviceArray] = {"items": snapshot.items, "bias": snapshot.bias}
            return self._share_session.run_in_chunks(self._outputs, feeds, shared, _CHUNK)
        manifest, (users, k) = self.encoder.manifest, feeds["rows"].shape

        def given(arrays: dict[str, Array], name: str, *axes: int) -> Array:
            nothing = np.empty((users, 0, *axes), np.int64 if name == "recent_rows" else np.float32)
            return arrays.get(name, nothing)

        d, h = manifest.dimension, manifest.history if "recent_weights" in parts else 0
        sizes = {"d": (d,), "h": (k, h), "k": (k,)}
        names = {"short_term": "d", "long_term": "d", "recent_attributions": "h"}
        names |= {"older_attributions": "k", "bias_attributions": "k", "adjustment_attributions": "k"}
        filled: dict[str, Array] = {name: np.empty((users, *sizes[axes]), np.float32) for name, axes in names.items()}
        repeats = "recent_scores" in parts
        explain(
            feeds["rows"],
            snapshot.items,
            snapshot.bias,
            manifest.score_scale,
            given(feeds if h else {}, "recent_vectors", d),
            given(parts, "recent_weights"),
            given(feeds if repeats else {}, "recent_rows"),
            given(parts, "recent_scores"),
            given(feeds if "sum_weights" in parts else {}, "sums", d),
            given(parts, "sum_weights"),
            feeds["adjust_rows"],
            feeds["adjust"],
            *filled.values(),
        )
        if not h:  # a blank of the history's size
            del filled["recent_attributions"]
        return filled
