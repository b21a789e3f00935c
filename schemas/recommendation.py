"""Recommendations: the refreshed list of a user, the cause of the refresh, and the reason of each item."""

from typing import Annotated, Final, Literal

from msgspec import Meta, Struct, field

from schemas.actions import CauseType
from schemas.events import EventType
from schemas.fields import MAX_ID_CHARS, MAX_INT64, EncoderVersion, EventId, Id, ItemId, Score, TimeMs, UserId

ReasonKind = Literal["recent", "older", "trending", "bonus", "bias", "seen-again"]

# a kind's code is its index here plus one (0 is no kind); codes are stored, so the order never changes
REASON_KINDS: Final[tuple[ReasonKind, ...]] = ("recent", "older", "trending", "bonus", "bias", "seen-again")

ListReasons = Literal["full", "largest", "none"]

Counter = Annotated[int, Meta(ge=0, le=MAX_INT64)]
EventTypeField = Annotated[EventType, Meta(description="What the user did with the item.")]


class Revision(Struct, kw_only=True, frozen=True, order=True, gc=False):
    """Orders the recommendations of one user: the larger revision (term, then sequence) is newer."""

    term: Annotated[
        Counter,
        Meta(description="Term of the worker that owned the user's partition."),
    ]
    sequence: Annotated[Counter, Meta(description="Number of the recommendation within the term.")]


class Cause(Struct, kw_only=True, frozen=True, gc=False):
    """The event or action that caused the refresh."""

    event_id: EventId
    event_type: Annotated[CauseType, Meta(description="What the user did.")]
    item_id: Annotated[
        str, Meta(max_length=MAX_ID_CHARS, description="The item. Empty if the user has hidden a brand or a category.")
    ]
    event_time_ms: Annotated[TimeMs, Meta(description="When the event happened, in milliseconds since 1970-01-01 UTC.")]


class Share(Struct, kw_only=True, frozen=True, gc=False):
    """The part of an item's score that comes from one recent event."""

    item_id: Annotated[Id, Meta(description="The item of the past event.")]
    event_type: EventTypeField
    share: Annotated[
        Score,
        Meta(description="The event's part of the score, in units of the score; negative if it lowered the score."),
    ]


class Reason(Struct, kw_only=True, frozen=True):
    """Why an item is recommended: the parts of its score, which add up to it when ``exact``."""

    kind: Annotated[
        ReasonKind,
        Meta(
            description="Name of the largest part. `trending`: nothing is known of the user. `seen-again`: the user "
            "has seen the item lately, but too few other items are left."
        ),
    ]
    exact: Annotated[bool, Meta(description="Whether the parts add up to the score (the encoder's head is linear).")]
    recents: Annotated[
        list[Share], Meta(description="The recent events with the largest parts, the largest first.")
    ] = field(default_factory=list)
    other_recents: Annotated[Score, Meta(description="Part of the recent events that are not named.")] = 0.0
    older: Annotated[Score, Meta(description="Part of everything older than the recent events.")] = 0.0
    bonus: Annotated[Score, Meta(description="Part that ranking rules added, such as what is trending.")] = 0.0
    bias: Annotated[Score, Meta(description="Part that the item has for every user.")] = 0.0
    rest: Annotated[
        Score, Meta(description="All parts that are not told, if the list tells only the largest part of each score.")
    ] = 0.0


class RecommendedItem(Struct, kw_only=True, frozen=True, omit_defaults=True):
    """An item of a recommendation."""

    item_id: ItemId
    score: Annotated[
        Score, Meta(description="A larger score is better; scores are comparable within one recommendation.")
    ]
    reason: Annotated[Reason | None, Meta(description="Left out if the list's `reasons` is `none`.")] = None


class Recommendation(Struct, kw_only=True, frozen=True):
    """The items for a user, the best first. It replaces the user's recommendations of a smaller revision."""

    recommendation_id: Annotated[
        Id, Meta(description="Names this recommendation; events that followed from it may carry it.")
    ]
    user_id: UserId
    revision: Revision
    items: Annotated[
        list[RecommendedItem],
        Meta(max_length=10_000, description="The items, the best first; those of the kind `seen-again` come last."),
    ]
    cause: Cause
    encoder_version: EncoderVersion
    event_time_ms: Annotated[
        TimeMs, Meta(description="The user's largest event time so far, in milliseconds since 1970-01-01 UTC.")
    ]
    received_ms: Annotated[
        TimeMs, Meta(description="When the worker received the causing event, in milliseconds since 1970-01-01 UTC.")
    ]
    emitted_ms: Annotated[
        TimeMs, Meta(description="When the recommendation was produced, in milliseconds since 1970-01-01 UTC.")
    ]
    reasons: Annotated[
        ListReasons,
        Meta(
            description="Which reasons the list tells: `full`: all parts of each score. `largest`: the largest part, "
            "and the sum of the others as `rest`. `none`: no reasons."
        ),
    ] = "full"
