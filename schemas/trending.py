"""Counts of popular items, by the owner of each input partition."""

from typing import Annotated

from msgspec import Meta, Struct

from schemas.fields import ItemId, Partition, TimeMs

DecayedCount = Annotated[float, Meta(ge=0, le=1e15, description="Events of the item, each decayed by its age.")]


class TrendingCounts(Struct, kw_only=True, frozen=True):
    """The decayed counts of one partition's events. Counts of all partitions, decayed to one time, add up."""

    partition: Annotated[Partition, Meta(description="The input partition that was counted.")]
    time_ms: Annotated[
        TimeMs, Meta(description="The time that the counts are decayed to, in milliseconds since 1970-01-01 UTC.")
    ]
    items: Annotated[
        list[tuple[ItemId, DecayedCount]],
        Meta(max_length=100_000, description="Pairs of item id and count, the largest count first."),
    ]
