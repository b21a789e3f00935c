"""Ranks users by the scores of all items: one ONNX run for each chunk of users."""

import numpy as np

from encoders.arrays import Float32Array, Int64Array
from encoders.artifact.manifest import Encoder
from encoders.index.item_index import IndexSnapshot
from encoders.ranking.ranking_io import HeadInputs, Ranked, checked_adjustments, head_feeds, ranked
from encoders.ranking.scoring_graph import RANKED_AXES, compose_model
from encoders.runtime import Array, DeviceArray, Runtime

# users in a run. At 10,000 items the speed is the same from 32 to 512; at 100,000 items, runs of fewer than 128 users
# read the items too often
_CPU_CHUNK, _CUDA_CHUNK = 128, 1024
# limits of a run's matrix of scores (users, items); a run has _LEAST_CHUNK users even if they take more
_CPU_SCORE_BYTES, _CUDA_SCORE_BYTES = 64 << 20, 512 << 20
_LEAST_CHUNK = 16
_CUDA_TWO_STAGES_FROM = 32_768  # items; with fewer items, k segments are most of the row


class ExactRanker:
    """An encoder's head, scoring and TopK as one graph on one device.

    Thread-safe, as long as the rule of ``IndexSnapshot`` is kept.

    Parameters
    ----------
    chunk : the most users in a run; by default the number that was fastest on the device
    bind : keep the items on the device between runs; by default on CUDA only
    two_stages_from : the number of items from which on TopK has two stages (`top_k.py`), which give the same result;
        by default never on a CPU, whose own TopK is faster
    """

    def __init__(
        self,
        runtime: Runtime,
        encoder: Encoder,
        chunk: int | None = None,
        bind: bool | None = None,
        two_stages_from: int | None = None,
    ) -> None:
        self.encoder = encoder
        scoring = compose_model(encoder)
        self.exact = scoring.exact
        self._runtime = runtime
        self._head_inputs = scoring.head_inputs
        self._outputs = scoring.outputs
        self._session = runtime.session(scoring.model.SerializeToString())
        if two_stages_from is None and runtime.is_cuda:
            two_stages_from = _CUDA_TWO_STAGES_FROM
        self._two_stages_from = two_stages_from
        if two_stages_from is not None:
            self._two_stages = runtime.session(compose_model(encoder, two_stages=True).model.SerializeToString())
        self._chunk = chunk or (_CUDA_CHUNK if runtime.is_cuda else _CPU_CHUNK)
        self._score_bytes = _CUDA_SCORE_BYTES if runtime.is_cuda else _CPU_SCORE_BYTES
        self._bind = runtime.is_cuda if bind is None else bind
        self._on_device: tuple[int, DeviceArray, DeviceArray] | None = None

    def rank(
        self, inputs: HeadInputs, snapshot: IndexSnapshot, adjust_rows: Int64Array, adjust: Float32Array, k: int
    ) -> Ranked:
        """Rank the k best items of each user.

        ``scores = score_scale * user @ items.T + bias + adjust``. Items among the user's recents also get the head's
        ``recent_scores``.

        Parameters
        ----------
        inputs : the head's inputs for B users
        snapshot : the items, N of them
        adjust_rows : int64 array of shape (B, A), rows to adjust; -1 for none, and a row that comes twice is adjusted
            twice
        adjust : float32 array of shape (B, A), added to the scores of those rows: ``EXCLUDED_SCORE`` excludes an item,
            a bonus raises it, 0 changes nothing
        k : items for each user; at most N are given

        Returns
        -------
        Ranked. For a user without a known vector, ``user`` is zero, and the scores are bias and adjustments alone.
        B = 0 gives arrays of no users; N = 0 or k = 0 gives the user vectors, and no items.

        Raises
        ------
        ValueError
            If an array that the head reads is missing, a shape disagrees with the encoder, or a row is N or more.
        """
        manifest = self.encoder.manifest
        head = head_feeds(self.encoder, self._head_inputs, inputs)
        users = len(next(iter(head.values())))
        n = len(snapshot.bias)
        if snapshot.items.shape != (n, manifest.dimension):
            raise ValueError(f"items of shape {snapshot.items.shape}, expected ({n}, {manifest.dimension})")
        rows, amounts = checked_adjustments(adjust_rows, adjust, users, n)
        if "recent_rows" in head and head["recent_rows"].max(initial=-1) >= n:
            raise ValueError(
                f"recent_rows names row {head['recent_rows'].max()}, but the snapshot has {n} rows: take the snapshot "
                "after looking rows up"
            )
        k = max(0, min(k, n))
        if users == 0 or k == 0:
            return self._ranked(self._vectors(head, users), users, 0)
        return self._ranked(self._run({**head, "adjust_rows": rows, "adjust": amounts}, snapshot, k), users, k)

    def vectors(self, inputs: HeadInputs) -> tuple[Float32Array, Float32Array, Float32Array]:
        """User, short-term and long-term vectors, each float32 of shape (B, d), without a ranking."""
        head = head_feeds(self.encoder, self._head_inputs, inputs)
        users = len(next(iter(head.values())))
        ranked = self._ranked(self._vectors(head, users), users, 0)
        return ranked.user, ranked.short_term, ranked.long_term

    def _vectors(self, head: dict[str, Array], users: int) -> dict[str, Array]:
        if users == 0:
            return {}
        # the graph always ranks, so give it an item that does not matter
        any_item = IndexSnapshot(np.zeros((1, self.encoder.manifest.dimension), np.float32), np.zeros(1, np.float32), 0)
        nothing: dict[str, Array] = {
            "adjust_rows": np.zeros((users, 1), np.int64),
            "adjust": np.zeros((users, 1), np.float32),
        }
        if "recent_rows" in head:
            nothing["recent_rows"] = np.full_like(head["recent_rows"], -1)
        outputs = self._run({**head, **nothing}, any_item, 1)
        return {name: array for name, array in outputs.items() if "k" not in RANKED_AXES[name]}

    def _run(self, feeds: dict[str, Array], snapshot: IndexSnapshot, k: int) -> dict[str, Array]:
        """Every output for all users, in runs of a chunk of users."""
        shared: dict[str, Array | DeviceArray] = {"k": np.array([k], np.int64)}
        shared["items"], shared["bias"] = self._items(snapshot)
        items = len(snapshot.bias)
        session = self._two_stages if self._in_two_stages(items) else self._session
        return session.run_in_chunks(self._outputs, feeds, shared, self.users_a_run(items))

    def users_a_run(self, items: int) -> int:
        """How many users are ranked in a run, so that their scores of all items fit into memory."""
        matrices = 2 if self._in_two_stages(items) else 1  # two stages hold the scores twice: as rows and as segments
        return min(self._chunk, max(_LEAST_CHUNK, self._score_bytes // (4 * items * matrices)))

    def _in_two_stages(self, items: int) -> bool:
        return self._two_stages_from is not None and items >= self._two_stages_from

    def _items(self, snapshot: IndexSnapshot) -> tuple[Array | DeviceArray, Array | DeviceArray]:
        """Items and biases where the graph runs; they are sent to the device only after a change."""
        if not self._bind or snapshot.version == 0:
            return snapshot.items, snapshot.bias
        held = self._on_device
        if held is None or held[0] != snapshot.version:
            held = (snapshot.version, self._runtime.put(snapshot.items), self._runtime.put(snapshot.bias))
            self._on_device = held
        return held[1:]

    def _ranked(self, outputs: dict[str, Array], users: int, k: int) -> Ranked:
        return ranked(self.encoder, outputs, users, k, exact=self.exact)
