"""prefstream's topics and the messages on them, as data; the AsyncAPI document is made from it."""

from typing import Final, Literal

from msgspec import Struct

from schemas.actions import CartRemoval, Consent, Hide, Impression, Refund
from schemas.catalog import CatalogItem, ItemVector, Offer
from schemas.command import ProfileCommand
from schemas.dead_letter import DEAD_LETTER_HEADERS, DeadLetter
from schemas.encoder_state import EncoderState
from schemas.events import Browse, Click, Purchase
from schemas.recommendation import Recommendation
from schemas.rerouted import REROUTED_HEADERS, Rerouted
from schemas.trending import TrendingCounts

Direction = Literal["receive", "send"]

# name of the schema file -> the message class that it describes
MESSAGES: Final[dict[str, type[Struct]]] = {
    "click": Click,
    "browse": Browse,
    "purchase": Purchase,
    "refund": Refund,
    "cart-removal": CartRemoval,
    "hide": Hide,
    "consent": Consent,
    "impression": Impression,
    "profile-command": ProfileCommand,
    "catalog-item": CatalogItem,
    "offer": Offer,
    "recommendation": Recommendation,
    "item-vector": ItemVector,
    "trending-counts": TrendingCounts,
    "encoder-state": EncoderState,
}

# name of the schema file -> the class whose fields are Kafka headers, and the header of each field
HEADER_SETS: Final[dict[str, tuple[type[Struct], dict[str, str]]]] = {
    "dead-letter": (DeadLetter, DEAD_LETTER_HEADERS),
    "rerouted": (Rerouted, REROUTED_HEADERS),
}


class Channel(Struct, kw_only=True, frozen=True):
    """One topic, without its namespace."""

    topic: str  # may hold {encoder_version}
    summary: str
    key: str
    messages: tuple[str, ...]  # names in MESSAGES; () means any bytes
    actions: tuple[Direction, ...]  # what a worker does with the topic
    is_input: bool = False  # one of the six topics that must have the same number of partitions
    compacted: bool = False
    # meaning of a record without a value; None: such a record is refused or never written
    tombstones: str | None = None
    headers: str | None = None  # a name in HEADER_SETS


_ACTIONS = ("refund", "cart-removal", "hide", "consent", "impression")
_OWNER_KEY = (
    "The user_id, UTF-8, partitioned by it as the Java clients do (murmur2), or as librdkafka does (crc32) where the "
    "setting input_partitioner says so."
)
_EVENT_KEY = f"{_OWNER_KEY} An event on another partition is rerouted: written again to the topic rerouted."
_USER_KEY = "The user_id, UTF-8, partitioned by murmur2."
_ITEM_KEY = "The item_id, UTF-8, partitioned by murmur2."

CHANNELS: Final[tuple[Channel, ...]] = (
    Channel(
        topic="clicks",
        summary="Clicks of the shop's users.",
        key=_EVENT_KEY,
        messages=("click",),
        actions=("receive",),
        is_input=True,
    ),
    Channel(
        topic="browses",
        summary="Item pages that the shop's users looked at.",
        key=_EVENT_KEY,
        messages=("browse",),
        actions=("receive",),
        is_input=True,
    ),
    Channel(
        topic="purchases",
        summary="Items that the shop's users bought.",
        key=_EVENT_KEY,
        messages=("purchase",),
        actions=("receive",),
        is_input=True,
    ),
    Channel(
        topic="rerouted",
        summary="Events and actions that came on another partition than their user's; a worker sends them on, byte for "
        "byte. Their Kafka timestamp is the time of the sending on.",
        key=_OWNER_KEY,
        messages=("click", "browse", "purchase", *_ACTIONS),
        actions=("send", "receive"),
        is_input=True,
        headers="rerouted",
    ),
    Channel(
        topic="actions",
        summary="What users say or do beside events: refunds, removals from the cart, hidden items, brands and "
        "categories, consents, and lists that were shown.",
        key=_EVENT_KEY,
        messages=_ACTIONS,
        actions=("receive",),
        is_input=True,
    ),
    Channel(
        topic="profile-commands",
        summary="Commands about users' profiles, partitioned like the events.",
        key=_OWNER_KEY,
        messages=("profile-command",),
        actions=("receive",),
        is_input=True,
    ),
    Channel(
        topic="catalog",
        summary="The items of the shop.",
        key=_ITEM_KEY,
        messages=("catalog-item",),
        actions=("receive",),
        compacted=True,
        tombstones="The item is removed.",
    ),
    Channel(
        topic="offers",
        summary="How items are offered now, such as whether they are in stock. Workers read the whole topic; an offer "
        "goes before what the catalog says of its item.",
        key=_ITEM_KEY,
        messages=("offer",),
        actions=("receive",),
        compacted=True,
        tombstones="What the catalog says of the item holds again.",
    ),
    Channel(
        topic="recommendations",
        summary="The current recommendations of each user.",
        key=_USER_KEY,
        messages=("recommendation",),
        actions=("send",),
        compacted=True,
        tombstones="The user was forgotten.",
    ),
    Channel(
        topic="dead-letters",
        summary="Records that were refused, byte for byte, with their own headers and headers that say why. The topic "
        "takes larger records than the inputs do.",
        key="The key of the refused record, byte for byte; it may have none.",
        messages=(),
        actions=("send",),
        headers="dead-letter",
    ),
    Channel(
        topic="trending",
        summary="Counts of the popular items on each input partition. Workers read all counts and add them up.",
        key="The number of the input partition, in decimal digits.",
        messages=("trending-counts",),
        actions=("send", "receive"),
        compacted=True,
    ),
    Channel(
        topic="encoders",
        summary="The encoder versions, and which one is active; written by `prefstream encoders`.",
        key="The version, UTF-8.",
        messages=("encoder-state",),
        actions=("receive",),
        compacted=True,
        tombstones="The version no longer exists.",
    ),
    Channel(
        topic="item-vectors-{encoder_version}",
        summary="The vector of each item in one encoder version's space. Workers read the whole topic.",
        key=_ITEM_KEY,
        messages=("item-vector",),
        actions=("send", "receive"),
        compacted=True,
        tombstones="The item is removed.",
    ),
)
