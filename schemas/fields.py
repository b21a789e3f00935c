"""Field types that several messages share.

Every string and list is bounded, so that no message outgrows its reader. Every number is bounded, so that neither
infinity nor an integer wider than int64 gets in.
"""

from typing import Annotated

from msgspec import Meta

MAX_ID_CHARS = 256
# 9999-12-31T23:59:59.999Z, the last time that every date library can write
MAX_TIME_MS = 253_402_300_799_999
MAX_INT64 = 2**63 - 1
MAX_INT32 = 2**31 - 1
# the largest finite float32, because scores and their parts are computed in float32
MAX_FLOAT32 = 3.4028234663852886e38

Id = Annotated[str, Meta(min_length=1, max_length=MAX_ID_CHARS)]
EventId = Annotated[
    Id,
    Meta(
        description="Names the event. An event is recognised by its id, its type and its set of items: sent twice, it "
        "counts once. The lines of an order may share an id."
    ),
]
UserId = Annotated[Id, Meta(description="The user; also the key of the record.")]
ItemId = Annotated[Id, Meta(description="The item, as in the catalog.")]
EncoderVersion = Annotated[Id, Meta(description="Version of the encoder whose vector space this belongs to.")]
TimeMs = Annotated[int, Meta(ge=0, le=MAX_TIME_MS)]
IS_TIME = "is_time"
"""Marks a field whose unit is recognised by its value; see `schemas.times`."""
EventTimeMs = Annotated[
    int,
    Meta(
        ge=0,
        le=MAX_INT64,
        description="When the event happened: milliseconds since 1970-01-01 UTC. Seconds, microseconds, nanoseconds "
        "and text in ISO 8601, with or without a zone, are recognised too.",
        extra={IS_TIME: True},
        extra_json_schema={"type": ["number", "string"]},
    ),
]
Partition = Annotated[int, Meta(ge=0, le=MAX_INT32)]
Offset = Annotated[int, Meta(ge=0, le=MAX_INT64)]
Price = Annotated[float, Meta(ge=0, le=1e12)]
Quantity = Annotated[
    float, Meta(gt=0, le=MAX_INT32, description="How many pieces were bought; a fraction for goods that are weighed.")
]
# the lengths beside the pattern keep out "EUR\n", which Python's $ would let pass
Currency = Annotated[
    str, Meta(min_length=3, max_length=3, pattern="^[A-Z]{3}$", description="ISO 4217 code, such as EUR.")
]
Score = Annotated[float, Meta(ge=-MAX_FLOAT32, le=MAX_FLOAT32)]
