"""The model in JAX: item vectors tied on both sides, decayed means of the recents, scores of repeats.

    item_i  = unit(own_i + sum_f weight_if * feature_f + sum_x projection_x(x_i))
    user    = unit(sum_c mix_c * sum_{j < n} rho_c ** j * w(type_j) * item_j / sum_{j < n} rho_c ** j)
    score_i = user . item_i / temperature + bias_i + repeats_i (``encoders.ranking.repeat_consumption``)

and, if events have times and there are events older than the h recents,

    user    = unit(sum_c mix_c * ((1 - rho_c) * sum_{j < h} rho_c ** j * w(type_j) * item_j + rho_c ** h * older))
    older   = sum_t a_t * (sum_i e_it * item_i) / (sum_i e_it),    e_it = w(type_i) * 2 ** (-age_i / half_life_t)

where age_i is the time from event i to the newest of the older events. Up to rounding, ``ranking.user_head``
computes the same from the recents and the stream's decayed sums.
"""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from encoders.arrays import Float32Array, Int32Array
from encoders.ranking.repeat_consumption import PATTERNS, RANKS
from encoders.training.batches import Batch
from encoders.training.options import TrainingOptions

Params = dict[str, jax.Array]

_FIRST_DECAYS = (-1.5, 0.0, 1.5, 4.0)  # logits: 0.18, 0.5, 0.82, 0.98
_FIRST_REPEAT_DECAYS = (-1.0, 2.0)
# these parameters are few and shared by all items and users: decay towards 0 would only bias them
NOT_DECAYED = (
    "decays", "mix", "types", "bias", "repeat_decays", "repeat_gains", "repeat_last", "half_lives", "older_mix"
)  # fmt: skip
_HALF_LIFE_RATE = 10.0  # ln seconds in a unit of the parameter, so that it moves far enough within a few epochs
_HALF_LIVES_S = (60.0, 1e9)  # the shortest half-life to start from, the longest possible


class Features(NamedTuple):
    """Features of each item: weighted features of its text (weight 0 for padding), and its dense inputs x_i."""

    ids: Int32Array  # (N, M) feature numbers
    weights: Float32Array  # (N, M)
    total: int  # features in all
    dense: Mapping[str, Float32Array] = {}  # (N, D) each, by ``items.dense_features.DenseInputs``


def initial(
    items: int,
    options: TrainingOptions,
    features: Features | None,
    key: jax.Array,
    first_half_lives_s: npt.ArrayLike | None = None,
) -> Params:
    """Parameters to start from; ``first_half_lives_s`` (T,) is given if older events are learned from."""
    own, text = jax.random.split(key)
    params = {
        "own": options.spread * jax.random.normal(own, (items, options.dimension)),
        "decays": jnp.array(np.interp(np.linspace(0, 3, options.components), range(4), _FIRST_DECAYS), jnp.float32),
        "mix": jnp.zeros(options.components),
        "types": jnp.zeros(3),
    }
    if options.popularity:
        params["bias"] = jnp.zeros(items)
    if options.repeats:
        params["repeat_decays"] = jnp.array(_FIRST_REPEAT_DECAYS)
        params["repeat_gains"] = jnp.zeros(2)
        params["repeat_last"] = jnp.zeros(())
        params["repeat_patterns"] = jnp.zeros((PATTERNS, RANKS))
    if first_half_lives_s is not None:
        first = jnp.asarray(np.log(np.clip(first_half_lives_s, *_HALF_LIVES_S)), jnp.float32)
        params["half_lives"] = first / _HALF_LIFE_RATE
        params["older_mix"] = jnp.full(len(first), -jnp.log(len(first)))
    if features is not None:
        params["features"] = options.spread * jax.random.normal(text, (max(features.total, 1), options.dimension))
        for number, (name, inputs) in enumerate(features.dense.items(), 1):
            # the projection of a unit input starts as long as an own vector
            shape = (inputs.shape[1], options.dimension)
            params[projection(name)] = options.spread * jax.random.normal(jax.random.fold_in(text, number), shape)
    return params


def projection(name: str) -> str:
    """Name of the parameters that project a dense input to item vectors."""
    return f"projection_{name}"


def type_weights(params: Params) -> jax.Array:
    """Weight of each event type, (3,); a click has 1."""
    return jnp.exp(params["types"] - params["types"][0])


def recent_weights(params: Params, history: int) -> jax.Array:
    """Weights of the ranks, (h + 1, h), a row for each count of recents; each row but the first adds up to 1."""
    rho = jax.nn.sigmoid(params["decays"])[:, None, None]
    rank = jnp.arange(history)[None, None, :]
    powers = jnp.where(rank < jnp.arange(history + 1)[None, :, None], rho**rank, 0.0)  # (C, h + 1, h)
    totals = jnp.maximum(powers.sum(axis=2, keepdims=True), 1e-9)
    return jnp.einsum("c,cnj->nj", jax.nn.softmax(params["mix"]), powers / totals)


def half_lives_s(params: Params) -> jax.Array:
    """Half-life of each sum, in seconds: (T,)."""
    return 1 + jnp.exp(jnp.minimum(_HALF_LIFE_RATE * params["half_lives"], jnp.log(_HALF_LIVES_S[1])))


def older_mix(params: Params) -> jax.Array:
    """Weights a_t of the sums' means, (T,)."""
    # above 0, so that a long-term preference points towards the items of the events
    return jnp.exp(params["older_mix"])


def weights_beside_older(params: Params, history: int) -> tuple[jax.Array, jax.Array]:
    """For users with older events: weight of each recent by rank, (h,), and weight of the older events."""
    rho, mix = jax.nn.sigmoid(params["decays"]), jax.nn.softmax(params["mix"])
    return (mix * (1 - rho)) @ rho[:, None] ** jnp.arange(history), mix @ rho**history


def repeat_by_rank(params: Params, history: int) -> jax.Array:
    """Score that each recent adds to its own item, by rank: (h,)."""
    rank = jnp.arange(history)
    faded = jax.nn.sigmoid(params["repeat_decays"])[:, None] ** rank
    return params["repeat_gains"] @ faded + params["repeat_last"] * (rank == 0)


def item_vectors(
    params: Params,
    numbers: jax.Array | Int32Array,
    features: Features | None,
    options: TrainingOptions,
    key: jax.Array | None,
) -> jax.Array:
    """Unit vectors of items, (C, d); with a key, some components and some items' own vectors are dropped."""
    vectors = params["own"][numbers]
    if key is not None and options.own_dropout:
        kept = jax.random.bernoulli(jax.random.fold_in(key, 1), 1 - options.own_dropout, (len(numbers), 1))
        vectors = vectors * kept
    if features is not None:
        described = params["features"][jnp.asarray(features.ids)[numbers]]  # (C, M, d)
        vectors = vectors + jnp.einsum("cm,cmd->cd", jnp.asarray(features.weights)[numbers], described)
        for name, inputs in features.dense.items():
            vectors = vectors + jnp.asarray(inputs)[numbers] @ params[projection(name)]
    return unit(_dropped(vectors, options.item_dropout, key))


def logits(
    params: Params, batch: Batch, features: Features | None, options: TrainingOptions, key: jax.Array | None
) -> jax.Array:
    """Scores of a batch's candidates: (R, C)."""
    items = item_vectors(params, batch.candidates, features, options, _keys(key)[0])
    return scores(params, batch, items, options, key)


def scores(
    params: Params, batch: Batch, items: jax.Array, options: TrainingOptions, key: jax.Array | None
) -> jax.Array:
    """Scores of a batch's candidates, (R, C), from their vectors ``items`` (C, d)."""
    keys = _keys(key)
    recents = items.at[batch.histories].get(mode="fill", fill_value=0.0)  # (R, h, d)
    recents = _dropped(recents, options.history_dropout, keys[1])
    by_type = jnp.append(type_weights(params), 0.0)[batch.types]
    weights = recent_weights(params, options.history)[batch.counts] * by_type  # (R, h)
    if batch.older.shape[1]:
        has_older = (batch.older_types < 3).any(axis=1, keepdims=True)  # (R, 1)
        beside, older_weight = weights_beside_older(params, options.history)
        weights = jnp.where(has_older, beside * by_type, weights)
        older = _dropped(_older(params, batch, items), options.history_dropout, keys[3])
        mixed = jnp.einsum("rj,rjd->rd", weights, recents) + older_weight * older
    else:
        mixed = jnp.einsum("rj,rjd->rd", weights, recents)
    user = unit(mixed)
    user = _dropped(user, options.user_dropout, keys[2])
    nearness = user @ items.T / options.temperature
    totals = nearness
    if options.popularity:
        totals = totals + params["bias"][batch.candidates]
    if options.repeats:
        ranks = jnp.minimum(jnp.arange(options.history), RANKS - 1)
        gains = params["repeat_patterns"][batch.pattern][:, ranks] * batch.newest
        gains = gains + repeat_by_rank(params, options.history)
        rows = jnp.arange(len(batch.targets))[:, None]
        near = nearness.at[rows, batch.histories].get(mode="fill", fill_value=-1 / options.temperature)  # (R, h)
        gains = gains + options.repeat_lift * (near.max(axis=1, keepdims=True) - near) * batch.newest
        totals = totals.at[rows, batch.histories].add(gains, mode="drop")
    return totals


def _keys(key: jax.Array | None) -> tuple[jax.Array | None, ...]:
    """Keys for the dropout of items, recents, the user and older events."""
    return (None,) * 4 if key is None else (*jax.random.split(key, 3), jax.random.fold_in(key, 3))


def _older(params: Params, batch: Batch, items: jax.Array) -> jax.Array:
    """Mix of the older events' means, (R, d); zero where there are no older events."""
    by_type = jnp.append(type_weights(params), 0.0)[batch.older_types]  # (R, O)
    decayed = by_type[:, None] * jnp.exp2(-batch.older_ages_s[:, None] / half_lives_s(params)[:, None])  # (R, T, O)
    total = decayed.sum(axis=2, keepdims=True)
    weights = jnp.einsum("t,rto->ro", older_mix(params), decayed / jnp.where(total > 0, total, 1.0))
    # summed by candidate, (R, C): no larger than the scores, while a user's older events may be many
    rows = jnp.arange(len(weights))[:, None]
    by_item = jnp.zeros((len(weights), len(items))).at[rows, batch.older].add(weights, mode="drop")
    return by_item @ items


def loss(
    params: Params, batch: Batch, features: Features | None, options: TrainingOptions, key: jax.Array
) -> jax.Array:
    """Mean cross-entropy of the targets among the candidates, corrected for the draw of the candidates."""
    corrected = logits(params, batch, features, options, key) + batch.correction
    hit = jnp.take_along_axis(corrected, batch.targets[:, None], axis=1)[:, 0]
    losses = jax.nn.logsumexp(corrected, axis=1) - hit
    mean: jax.Array = (losses * batch.weight).sum() / batch.weight.sum()
    return mean


def unit(vectors: jax.Array) -> jax.Array:
    """Vectors at length 1; a zero vector stays zero."""
    squares = (vectors * vectors).sum(axis=-1, keepdims=True)
    return vectors * jax.lax.rsqrt(jnp.maximum(squares, 1e-20))


def _dropped(values: jax.Array, rate: float, key: jax.Array | None) -> jax.Array:
    """Dropout: the fraction ``rate`` becomes 0, and the rest is scaled up."""
    if key is None or not rate:
        return values
    # random 32-bit words: with unsafe_rbg on a CPU, random bytes took thirty times as long
    kept = jax.random.bits(key, values.shape, jnp.uint32) >= np.uint32(rate * 2**32)
    return jnp.where(kept, values / (1 - rate), 0.0)
