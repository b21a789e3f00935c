"""Messages about encoder versions: which exist, and which is active."""

from typing import Annotated

from msgspec import Meta, Struct, field

from schemas.catalog import MAX_DIMENSION
from schemas.fields import EncoderVersion, Id, Offset, TimeMs


class EncoderState(Struct, kw_only=True, frozen=True):
    """An encoder version. The version with the largest ``active_since_ms`` is active, so one record switches."""

    version: EncoderVersion
    name: Annotated[Id, Meta(description="Name of the encoder, the same in all its versions.")]
    dimension: Annotated[int, Meta(ge=1, le=MAX_DIMENSION, description="Number of components of its vectors.")]
    active_since_ms: (
        Annotated[TimeMs, Meta(description="When the version became active, in milliseconds since 1970-01-01 UTC.")]
        | None
    ) = None
    half_lives_s: Annotated[
        list[Annotated[float, Meta(gt=0, le=1e12)]],
        Meta(max_length=16, description="Half-lives of its sums of older events, in seconds."),
    ] = field(default_factory=list)
    catalog_ends: Annotated[
        list[Offset],
        Meta(
            max_length=10_000,
            description="End offset of each catalog partition when the version was activated: workers switch to the "
            "version after they have encoded the items before these offsets.",
        ),
    ] = field(default_factory=list)
