"""Ranks users by a search for candidates (`tile_search`), then by exact scores of these."""

import numpy as np

from encoders.arrays import Float32Array, Int64Array
from encoders.artifact.manifest import Encoder
from encoders.errors import EncoderError
from encoders.index import tile_search_kernels as kernels
from encoders.index.item_index import IndexSnapshot
from encoders.index.tile_search import TileSearch
from encoders.ranking.attribution_kernels import Attributions, Items, Users, explain
from encoders.ranking.ranking_io import HeadInputs, Ranked, checked_adjustments, head_feeds, ranked
from encoders.ranking.scoring_graph import compose_model, compose_user_model
from encoders.runtime import Array, DeviceArray, Runtime

_CHUNK = 128  # users in a run, as in encoders.ranking.exact_ranker


class CandidateRanker:
    """An encoder's head, the search and the attributions of scores, on the CPU.

    Every candidate gets its exact score, with its adjustments. So does every item that an adjustment or a repeat
    raises. So scores and attributions are those of `exact_ranker.ExactRanker`. With an undivided search the rows are
    the same too, except for ties within the rounding of float32. With a divided search, items of lists that were not
    probed can be missing.
    """

    def __init__(self, runtime: Runtime, encoder: Encoder) -> None:
        self.encoder = encoder
        user_model, self._head_outputs = compose_user_model(encoder)
        attribution = compose_model(encoder, chosen=True)
        self.exact = attribution.exact
        self._head_inputs, self._outputs = attribution.head_inputs, attribution.outputs
        self._head_session = runtime.session(user_model.SerializeToString())
        # a linear head's attributions are compiled code: the graph takes twice the time, and for few users it would be
        # half of the whole ranking
        model = None if attribution.exact else attribution.model
        self._attribution_session = None if model is None else runtime.session(model.SerializeToString())

    def rank(
        self,
        inputs: HeadInputs,
        snapshot: IndexSnapshot,
        search: TileSearch,
        nprobe: int,
        adjust_rows: Int64Array,
        adjust: Float32Array,
        k: int,
    ) -> Ranked:
        """Rank the k best items of each user, among the candidates of ``search``.

        A divided search probes the ``nprobe`` nearest inverted lists. The other parameters, the result and the errors
        are those of ``ExactRanker.rank``. Where there are fewer than k candidates, the scores behind them are -inf.
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
        # a lowered candidate may drop out, so the search asks for as many more; `choose` looks at every raised item
        lowered = int(np.count_nonzero(changes < 0, axis=1).max(initial=0))
        candidates = search.search(vectors, snapshot, nprobe, k + lowered)
        scores, chosen = np.empty((users, k), np.float32), np.empty((users, k), np.int64)
        if k > 0:
            kernels.choose(
                vectors, snapshot.items, snapshot.bias, candidates.rows, candidates.highs, candidates.counts,
                changed, changes, scores, chosen,
            )  # fmt: skip
            np.maximum(chosen, 0, out=chosen)
        feeds = {**head, "adjust_rows": rows, "adjust": amounts, "rows": chosen}
        outputs = {"user": parts["user"], **self._attributions(feeds, parts, snapshot)}
        outputs |= {"scores": scores, "rows": chosen}
        return ranked(self.encoder, outputs, users, k, exact=self.exact)

    def _check(self, parts: dict[str, Array], users: int) -> None:
        """Check the shapes of the head's outputs: its file may leave sizes open, and compiled loops check no bounds."""
        manifest = self.encoder.manifest
        sizes = {"user": manifest.dimension, "sum_weights": len(manifest.half_lives_s)}
        for name, array in parts.items():
            expected = (users, sizes.get(name, manifest.history))
            if array.shape != expected:
                raise EncoderError(
                    f"The head of encoder {manifest.version} gives {name} of shape {array.shape}, expected {expected}: "
                    "export it for the history and the half-lives of encoder.json."
                )

    def _attributions(
        self, feeds: dict[str, Array], parts: dict[str, Array], snapshot: IndexSnapshot
    ) -> dict[str, Array]:
        """Attributions of the scores of ``feeds["rows"]``, and the two parts of the users' vectors."""
        if self._attribution_session is not None:
            shared: dict[str, Array | DeviceArray] = {"items": snapshot.items, "bias": snapshot.bias}
            return self._attribution_session.run_in_chunks(self._outputs, feeds, shared, _CHUNK)
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
            manifest.score_scale,
            Items(vectors=snapshot.items, bias=snapshot.bias),
            Users(
                recent_vectors=given(feeds if h else {}, "recent_vectors", d),
                recent_weights=given(parts, "recent_weights"),
                recent_rows=given(feeds if repeats else {}, "recent_rows"),
                recent_scores=given(parts, "recent_scores"),
                sums=given(feeds if "sum_weights" in parts else {}, "sums", d),
                sum_weights=given(parts, "sum_weights"),
                adjust_rows=feeds["adjust_rows"],
                adjust=feeds["adjust"],
            ),
            Attributions(
                short_term=filled["short_term"],
                long_term=filled["long_term"],
                recent=filled["recent_attributions"],
                older=filled["older_attributions"],
                bias=filled["bias_attributions"],
                adjustment=filled["adjustment_attributions"],
            ),
        )
        if not h:  # left to `ranked`, which fills in zeros of the history's size
            del filled["recent_attributions"]
        return filled
