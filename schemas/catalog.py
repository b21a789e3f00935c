"""Messages about items: the items of the shop, and their vectors by an encoder."""

from typing import Annotated

import numpy as np
import numpy.typing as npt
from msgspec import Meta, Struct, field

from schemas.errors import DecodeError, DecodeReason
from schemas.fields import MAX_ID_CHARS, Currency, EncoderVersion, ItemId, Offset, Partition, Price

MAX_DIMENSION = 8192
_FLOAT32 = np.dtype("<f4")

Label = Annotated[str, Meta(max_length=MAX_ID_CHARS)]
# bounded so that the squares of 8,192 components add up to a finite float32
Component = Annotated[float, Meta(ge=-1e6, le=1e6)]


class CatalogItem(Struct, kw_only=True, frozen=True):
    """An item of the shop. A newer record with the same id replaces it; a record without a value removes it."""

    item_id: ItemId
    title: Annotated[
        str,
        Meta(
            max_length=1024,
            description="Name of the item, as shown to users. A record with `available: false` may lack it.",
        ),
    ]
    description: Annotated[str, Meta(max_length=65_536, description="Text about the item, without markup.")] = ""
    category: Annotated[
        list[Label],
        Meta(max_length=32, description="Path in the category tree, the widest first, such as Shoes, Boots."),
    ] = field(default_factory=list)
    brand: Annotated[Label, Meta(description="Maker of the item.")] = ""
    price: Annotated[Price, Meta(description="Price of one piece, in units of the currency.")] | None = None
    currency: Currency | None = None
    image_vector: (
        Annotated[
            list[Component],
            Meta(
                min_length=1,
                max_length=MAX_DIMENSION,
                description="Embedding of the item's picture, of one length for all.",
            ),
        ]
        | None
    ) = None
    attributes: Annotated[
        dict[Annotated[str, Meta(min_length=1, max_length=MAX_ID_CHARS)], Annotated[str, Meta(max_length=4096)]],
        Meta(max_length=256, description="Whatever else describes the item, such as colour or size."),
    ] = field(default_factory=dict)
    available: Annotated[
        bool, Meta(description="Whether the item can be recommended now; false withdraws it and keeps its vector.")
    ] = True


class Offer(Struct, kw_only=True, frozen=True, gc=False):
    """How an item is offered now. A newer record replaces it as a whole; without one, what the catalog says holds."""

    item_id: ItemId
    available: Annotated[
        bool, Meta(description="Whether the item can be recommended now, whatever its catalog record says.")
    ] = True
    availability: Annotated[
        dict[Annotated[str, Meta(min_length=1, max_length=MAX_ID_CHARS)], bool],
        Meta(max_length=1024, description="Whether the item is available in a region, by your name of the region."),
    ] = field(default_factory=dict)
    price: Annotated[Price, Meta(description="Price of one piece, in units of the currency.")] | None = None
    currency: Currency | None = None


class ItemVector(Struct, kw_only=True, frozen=True):
    """An item's vector in the space of one encoder version."""

    item_id: ItemId
    vector: Annotated[
        bytes, Meta(min_length=4, max_length=4 * MAX_DIMENSION, description="The vector, as little-endian float32.")
    ]
    encoder_version: EncoderVersion
    available: Annotated[bool, Meta(description="Whether the item can be recommended now.")] = True
    brand: Annotated[Label, Meta(description="Maker of the item.")] = ""
    category: Annotated[
        list[Label], Meta(max_length=32, description="Path in the category tree, the widest first.")
    ] = field(default_factory=list)
    bias: Annotated[Component, Meta(description="Added to the item's score for every user.")] = 0.0
    source_topic_id: Annotated[Label, Meta(description="Kafka's id of the topic that held the catalog item.")] = ""
    source_partition: Annotated[Partition, Meta(description="Partition of the catalog item.")] = 0
    source_offset: Annotated[Offset, Meta(description="Offset of the catalog item; a larger offset is newer.")] = 0


def pack_vector(vector: npt.ArrayLike) -> bytes:
    """Bytes of ``ItemVector.vector``: little-endian float32, four bytes for each component.

    >>> pack_vector([1.0, -2.0]).hex()
    '0000803f000000c0'
    """
    return np.asarray(vector, dtype=_FLOAT32).tobytes()


def unpack_vector(data: bytes, dimension: int) -> npt.NDArray[np.float32]:
    """Read ``ItemVector.vector``.

    Parameters
    ----------
    data : bytes
        Little-endian float32, four bytes for each component.
    dimension : int
        Number of components of the encoder's vectors.

    Returns
    -------
    float32 array of shape (dimension,), read-only.

    Raises
    ------
    DecodeError
        With the reason ``out-of-range`` and the field ``vector``: the length is not ``dimension``, or a component is
        not finite.

    Examples
    --------
    >>> unpack_vector(pack_vector([1.0, -2.0]), 2).tolist()
    [1.0, -2.0]
    """
    if len(data) != _FLOAT32.itemsize * dimension:
        detail = (
            f"`vector` has {len(data)} bytes where {dimension} float32 components ({4 * dimension} bytes) were expected"
        )
        raise DecodeError(DecodeReason.OUT_OF_RANGE, "vector", detail)
    vector = np.frombuffer(data, dtype=_FLOAT32)
    if not np.isfinite(vector).all():
        raise DecodeError(DecodeReason.OUT_OF_RANGE, "vector", "`vector` has a component that is not a finite number")
    return vector.astype(np.float32, copy=False)  # a native float32 on every machine; no copy on little-endian ones
