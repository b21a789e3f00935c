"""Writes an encoder folder from an item graph: adds the user head and the manifest."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import onnx

from encoders import onnx_builder
from encoders.artifact import manifest
from encoders.ranking import user_head
from encoders.ranking.user_head import HALF_LIVES_S, LinearHead
from schemas.events import EVENT_TYPES


@dataclass(frozen=True, slots=True)
class UserSide:
    """How a user's events become the user vector and its scores."""

    head: LinearHead = field(default_factory=LinearHead)
    history: int = 20  # recents that the head reads
    half_lives_s: tuple[float, ...] = HALF_LIVES_S
    # event type -> weight for each half-life; None: the weights of the recents
    sum_weights: dict[str, list[float]] | None = None
    score_scale: float = 1.0


def write(
    folder: Path,
    *,
    name: str,
    version: str,
    kind: Literal["text", "lookup", "blend"],
    dimension: int,
    items: onnx.ModelProto,
    item_inputs: list[str],
    user: UserSide,
    text_fields: dict[str, float] | None = None,
    text_buckets: int = 0,
    image_dimension: int = 0,
    price_scales: Mapping[str, Sequence[float]] | None = None,
) -> manifest.Encoder:
    """Write both graphs and ``encoder.json`` into ``folder``; return the encoder, read back and checked.

    Raises
    ------
    ValueError
        The head does not have one part of ``half_life_mix`` for each half-life.
    """
    half_lives = len(user.half_lives_s)
    if len(user.head.half_life_mix) != half_lives:
        raise ValueError(f"{len(user.head.half_life_mix)} parts in half_life_mix for {half_lives} half-lives: one each")
    folder.mkdir(parents=True, exist_ok=True)
    onnx_builder.write(folder / manifest.ITEMS_MODEL, items)
    onnx_builder.write(folder / manifest.HEAD_MODEL, user_head.build(user.head, dimension, user.history))
    by_type = dict(zip(EVENT_TYPES, user.head.type_weights, strict=True))
    return manifest.save(
        folder,
        manifest.Manifest(
            name=name,
            version=version,
            kind=kind,
            dimension=dimension,
            history=user.history,
            half_lives_s=list(user.half_lives_s),
            type_weights=user.sum_weights or {event: [w] * half_lives for event, w in by_type.items()},
            score_scale=user.score_scale,
            item_inputs=item_inputs,
            head_inputs=user_head.inputs(user.head),
            text_fields=text_fields or {},
            text_buckets=text_buckets,
            image_dimension=image_dimension,
            price_scales={currency: list(scale) for currency, scale in (price_scales or {}).items()},
        ),
    )
