"""Which encoder versions there are, and which one serves."""

from typing import Annotated

from msgspec import Meta, Struct

from schemas.catalog import MAX_DIMENSION
from schemas.fields import EncoderVersion, Id, TimeMs


class EncoderState(Struct, kw_only=True, frozen=True, gc=False):
    """An encoder version. The active one is that with the largest ``active_since_ms``, so one record switches over."""

    version: EncoderVersion
    name: Annotated[Id, Meta(description="Name of the encoder, the same in all its versions.")]
    dimension: Annotated[int, Meta(ge=1, le=MAX_DIMENSION, description="Components of its vectors.")]
    active_since_ms: (
        Annotated[TimeMs, Meta(description="When it became active, in milliseconds since 1970-01-01 UTC.")] | None
    ) = None
