"""Reads the broker's topics to name the items of a profile, and to find the items nearest to it."""

import numpy as np

from encoders.index.item_index import ItemIndex
from schemas.ids import id_hash
from streams.catalog.index_updates import IndexUpdates
from streams.commands.broker import Broker
from streams.commands.profile_view import NearView, ProfileView, items_of, mixed_preference
from streams.commands.reader import TopicReader
from streams.commands.titles import titled
from streams.kafka.topics import CATALOG, TopicNames
from streams.stores.base import StoredProfile

_CHUNK = 5_000


def name_items(view: ProfileView, row: StoredProfile, broker: Broker, names: TopicNames, nearest: int = 10) -> None:
    """Fill in item ids, titles and the nearest items, as far as the topics hold them."""
    wanted = {int(item.hash, 16): item for item in items_of(view)}
    ids: dict[int, str] = {}
    vectors = names.item_vectors(row.encoder)
    dimension = len(row.mixed) // 4
    if vectors in broker.partitions and dimension:
        index = _read_index(broker, vectors, dimension, row.encoder)
        rows = index.rows(np.fromiter(wanted, np.uint64, len(wanted)))
        ids = {
            item: index.item_ids[row_number]
            for item, row_number in zip(wanted, rows.tolist(), strict=True)
            if row_number >= 0
        }
        view.nearest = _nearest(index, row, nearest)
    titles: dict[int, str] = {}
    near = {id_hash(item.item_id) for item in view.nearest or ()}
    if names.full(CATALOG) in broker.partitions:
        with TopicReader(broker, names.full(CATALOG)) as reader:
            for id_and_title in map(titled, reader.until_end()):
                # the catalog also has items without a vector
                if id_and_title is not None and (item := id_hash(id_and_title[0])) in wanted.keys() | near:
                    ids[item], titles[item] = id_and_title
    for shown in items_of(view):
        shown.item_id = ids.get(int(shown.hash, 16))
        shown.title = titles.get(int(shown.hash, 16))
    for item_near in view.nearest or ():
        item_near.title = titles.get(id_hash(item_near.item_id))


def _read_index(broker: Broker, topic: str, dimension: int, version: str) -> ItemIndex:
    index, updates = ItemIndex(dimension), IndexUpdates(dimension, version)
    chunk = []
    with TopicReader(broker, topic) as reader:
        for message in reader.until_end():
            chunk.append(message)
            if len(chunk) == _CHUNK:
                updates.collect(chunk)
                updates.apply(index)
                chunk = []
    updates.collect(chunk)
    updates.apply(index)
    return index


def _nearest(index: ItemIndex, row: StoredProfile, count: int) -> list[NearView]:
    mixed = mixed_preference(row)
    if mixed is None:
        return []
    items = index.snapshot()
    rows = np.flatnonzero(index.available(np.arange(len(items.items), dtype=np.int64)))
    near = items.items[rows] @ mixed  # (N, d) @ (d,) -> (N,)
    best = np.argsort(-near, kind="stable")[:count]
    return [
        NearView(item_id=index.item_ids[row_number], title=None, similarity=round(float(score), 4))
        for row_number, score in zip(rows[best].tolist(), near[best].tolist(), strict=True)
    ]
