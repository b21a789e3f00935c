"""The model in JAX: item vectors tied on both sides, decayed means of the recents, scores of repeats.

    item_i  = unit(own_i + sum_f weight_if * feature_f + sum_x projection_x(x_i))
    user    = unit(sum_c mix_c * sum_{j < n} rho_c ** j * w(type_j) * item_j / sum_{j < n} rho_c ** j)
    score_i = user . item_i / temperature + bias_i + repeats_i (``encoders.ranking.repeat_consumption``)

and, where there are times and events older than the h recents,

    user    = unit(sum_c mix_c * ((1 - rho_c) * sum_{j < h} rho_c ** j * w(type_j) * item_j + rho_c ** h * older))
    older   = sum_t a_t * (sum_i e_it * item_i) / (sum_i e_it),    e_it = w(type_i) * 2 ** (-age_i / half_life_t)

with ages before the newest of the older events: what ``ranking.user_head`` computes from the recents and the stream's
decayed sums, to the last rounding.
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
# these are few and shared by all: decaying them towards 0 would only be a bias
NOT_DECAYED = (
    "decays", "mix", "types", "bias", "repeat_decays", "repeat_gains", "repeat_last", "half_lives", "older_mix"
)  # fmt: skip
_HALF_LIFE_RATE = 10.0  # ln seconds a unit of the parameter: a step of Adam's has to be felt within a few epochs
_HALF_LIVES_S = (60.0, 1e9)  # the shortest to start from, the longest there is


class Features(NamedTuple):
    """What is known of each item beside who wants it: weighted features (a padded place has the weight 0), and x_i."""

    ids: Int32Array  # (N, M) feature numbers
    weights: Float32Array  # (N, M)
    total: int  # features in all
    dense: Mapping[str, Float32Array] = {}  # (N, D) each, as of ``dense.DenseInputs``


def initial(
    items: int,
    options: TrainingOptions,
    features: Features | None,
    key: jax.Array,
    first_half_lives_s: npt.ArrayLike | None = None,
) -> Params:
    """Parameters to start from; with half-lives (T,), where what is older than the recents is to be learned from."""
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
            # a unit input starts as long as an own vector
            shape = (inputs.shape[1], options.dimension)
            params[projection(name)] = options.spread * jax.random.normal(jax.random.fold_in(text, number), shape)
    return params


def projection(name: str) -> str:
    """Name of the parameters that bring a dense input to item vectors."""
    return f"projection_{name}"


def type_weights(params: Params) -> jax.Array:
    """Weight of each event type, that of a click being 1: (3,)."""
    return jnp.exp(params["types"] - params["types"][0])


def recent_weights(params: Params, history: int) -> jax.Array:
    """Weight of each rank, by the count of recents: (h + 1, h); each row but the first adds up to 1."""
    rho = jax.nn.sigmoid(params["decays"])[:, None, None]
    rank = jnp.arange(history)[None, None, :]
    powers = jnp.where(rank < jnp.arange(history + 1)[None, :, None], rho**rank, 0.0)  # (C, h + 1, h)
    totals = jnp.maximum(powers.sum(axis=2, keepdims=True), 1e-9)
    return jnp.einsum("c,cnj->nj", jax.nn.softmax(params["mix"]), powers / totals)


def half_lives_s(params: Params) -> jax.Array:
    """Half-life of each sum in seconds: (T,)."""
    return 1 + jnp.exp(jnp.minimum(_HALF_LIFE_RATE * params["half_lives"], jnp.log(_HALF_LIVES_S[1])))


def older_mix(params: Params) -> jax.Array:
    """Part of each sum's mean in what is older, a_t > 0: (T,); so a long-term preference points to what was liked."""
    return jnp.exp(params["older_mix"])


def weights_beside_older(params: Params, history: int) -> tuple[jax.Array, jax.Array]:
    """Where something is older than the recents: weight of each of these by rank (h,), and of what is older."""
    rho, mix = jax.nn.sigmoid(params["decays"]), jax.nn.softmax(params["mix"])
    return (mix * (1 - rho)) @ rho[:, None] ** jnp.arange(history), mix @ rho**history


def repeat_by_rank(params: Params, history: int) -> jax.Array:
    """Score that each recent gives its own item, by rank: (h,)."""
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
    """Unit vectors of items: (C, d); with a key some components, and some items' own vectors, are dropped."""
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
    """Scores of the batch's candidates: (R, C)."""
    items = item_vectors(params, batch.candidates, features, options, _keys(key)[0])
    return scores(params, batch, items, options, key)


def scores(
    params: Params, batch: Batch, items: jax.Array, options: TrainingOptions, key: jax.Array | None
) -> jax.Array:
    """Scores of the batch's candidates, whose vectors are ``items`` (C, d): (R, C)."""
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
    found = nearness
    if options.popularity:
        found = found + params["bias"][batch.candidates]
    if options.repeats:
        ranks = jnp.minimum(jnp.arange(options.history), RANKS - 1)
        gains = params["repeat_patterns"][batch.pattern][:, ranks] * batch.newest
        gains = gains + repeat_by_rank(params, options.history)
        rows = jnp.arange(len(batch.targets))[:, None]
        near = nearness.at[rows, batch.histories].get(mode="fill", fill_value=-1 / options.temperature)  # (R, h)
        gains = gains + options.repeat_lift * (near.max(axis=1, keepdims=True) - near) * batch.newest
        found = found.at[rows, batch.histories].add(gains, mode="drop")
    return found


def _keys(key: jax.Array | None) -> tuple[jax.Array | None, ...]:
    """For what is dropped of items, recents, the user and what is older."""
    return (None,) * 4 if key is None else (*jax.random.split(key, 3), jax.random.fold_in(key, 3))


def _older(params: Params, batch: Batch, items: jax.Array) -> jax.Array:
    """Mix of the means of what is older than the recents: (R, d), zero where there is nothing."""
    by_type = jnp.append(type_weights(params), 0.0)[batch.older_types]  # (R, O)
    decayed = by_type[:, None] * jnp.exp2(-batch.older_ages_s[:, None] / half_lives_s(params)[:, None])  # (R, T, O)
    mass = decayed.sum(axis=2, keepdims=True)
    weights = jnp.einsum("t,rto->ro", older_mix(params), decayed / jnp.where(mass > 0, mass, 1.0))
    # by candidate, as a user's older events may be many: (R, C) is no more than the scores take
    rows = jnp.arange(len(weights))[:, None]
    by_item = jnp.zeros((len(weights), len(items))).at[rows, batch.older].add(weights, mode="drop")
    return by_item @ items


def loss(
    params: Params, batch: Batch, features: Features | None, options: TrainingOptions, key: jax.Array
) -> jax.Array:
    """Mean cross-entropy of the targets among the candidates, corrected for how these were drawn."""
    found = logits(params, batch, features, options, key) + batch.correction
    hit = jnp.take_along_axis(found, batch.targets[:, None], axis=1)[:, 0]
    each = jax.nn.logsumexp(found, axis=1) - hit
    mean: jax.Array = (each * batch.weight).sum() / batch.weight.sum()
    return mean


def unit(vectors: jax.Array) -> jax.Array:
    """Rows at length 1; a zero row stays zero."""
    squares = (vectors * vectors).sum(axis=-1, keepdims=True)
    return vectors * jax.lax.rsqrt(jnp.maximum(squares, 1e-20))


def _dropped(values: jax.Array, share: float, key: jax.Array | None) -> jax.Array:
    if key is None or not share:
        return values
    # whole words: with unsafe_rbg on a CPU, bytes took thirty times as long
    kept = jax.random.bits(key, values.shape, jnp.uint32) >= np.uint32(share * 2**32)
    return jnp.where(kept, values / (1 - share), 0.0)
