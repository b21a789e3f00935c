"""Writes a trained model as an encoder folder."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np

from encoders.artifact.manifest import Encoder
from encoders.building import blend, lookup
from encoders.building.folder_writer import UserSide
from encoders.ranking.repeat_consumption import RepeatScores
from encoders.ranking.user_head import HALF_LIVES_S, LinearHead
from encoders.training import model
from encoders.training.features import FeatureTable
from encoders.training.fit import Trained
from encoders.training.options import TrainingOptions


def user_side(trained: Trained, options: TrainingOptions) -> UserSide:
    """The user side with the head that computes the trained model's user vectors and scores."""
    params = {name: jnp.asarray(value) for name, value in trained.params.items()}
    mix = np.asarray(params["mix"], np.float64)
    mix = np.exp(mix - mix.max())
    repeats = None
    if options.repeats:
        by_rank = np.asarray(model.repeat_by_rank(params, options.history), np.float32)
        by_pattern = np.asarray(params["repeat_patterns"], np.float32)
        repeats = RepeatScores(by_rank, by_pattern, options.repeat_lift / options.temperature)
    click, browse, purchase = np.asarray(model.type_weights(params), np.float64).tolist()
    # without older events in the training, the sums have no weight
    half_lives_s, older_mix = HALF_LIVES_S, (0.0,) * len(HALF_LIVES_S)
    if "half_lives" in params:
        half_lives_s = tuple(np.asarray(model.half_lives_s(params), np.float64).tolist())
        older_mix = tuple(np.asarray(model.older_mix(params), np.float64).tolist())
    head = LinearHead(
        rank_decays=tuple((1 / (1 + np.exp(-np.asarray(params["decays"], np.float64)))).tolist()),
        mix=tuple((mix / mix.sum()).tolist()),
        type_weights=(click, browse, purchase),
        half_life_mix=older_mix,
        complete=True,
        repeats=repeats,
    )
    return UserSide(head, options.history, half_lives_s, score_scale=1 / options.temperature)


def write(
    folder: Path,
    item_ids: list[str],
    trained: Trained,
    options: TrainingOptions,
    version: str,
    table: FeatureTable | None = None,
) -> Encoder:
    """Write the folder of a lookup encoder; with a feature table, of a blended encoder that reads the catalog too.

    Items that only held-out sequences hold are left out, because their vectors were not learned.
    """
    learned = np.flatnonzero(trained.learned)
    item_ids = [item_ids[number] for number in learned.tolist()]
    own, bias = trained.params["own"][learned], trained.params.get("bias")
    bias = None if bias is None else bias[learned]
    if table is not None:
        return blend.build(
            folder,
            item_ids,
            own,
            np.zeros(len(item_ids), np.float32) if bias is None else bias,
            table.bucket_of,
            trained.params["features"][: len(table.bucket_of)],
            version,
            field_weights=table.field_weights,
            buckets=table.buckets,
            name="trained",
            user=user_side(trained, options),
            projections={name: trained.params[model.projection(name)] for name in table.features.dense},
            dense=table.dense,
        )
    return lookup.build(
        folder,
        item_ids,
        own,
        version,
        bias,
        name="trained",
        user=user_side(trained, options),
    )
