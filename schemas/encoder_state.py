"""Which encoder versions there are, and which one serves."""

from typing import Annotated

from msgspec import Meta, Struct, field

from schemas.catalog import MAX_DIMENSION
from schemas.fields import EncoderVersion, Id, Offset, TimeMs


class EncoderState(Struct, kw_only=True, frozen=True):
    """An encoder version. The active one is that with the largest ``active_since_ms``, so one record switches over."""

    version: EncoderVersion
    name: Annotated[Id, Meta(description="Name of the encoder, the same in all its versions.")]
    dimension: Annotated[int, Meta(ge=1, le=MAX_DIMENSION, description="Components of its vectors.")]
    active_since_ms: (
        Annotated[TimeMs, Meta(description="When it became active, in milliseconds since 1970-01-01 UTC.")] | None
    ) = None
    half_lives_s: Annotated[
        list[Annotated[float, Meta(gt=0, le=1e12)]],
        Meta(max_length=16, description="Half-lives of its sums of older events, in seconds."),
    ] = field(default_factory=list)
    catalog_ends: Annotated[
        list[Offset],
        Meta(
            max_length=10_000,
            description="Where each partition of the catalog ended when it was activated: workers switch to it once "
            "what lies before is encoded.",
        ),
    ] = field(default_factory=list)
