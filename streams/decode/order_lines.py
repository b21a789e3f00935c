"""Orders in arrays: an order with several items becomes an event for each of its lines."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from schemas.events import PURCHASE, Event, items_of
from schemas.ids import id_hashes, line_identities, record_identities
from streams.arrays import IntpArray
from streams.decode.event_batch import EventBatch


def spread_orders(batch: EventBatch, events: Sequence[Event]) -> tuple[EventBatch, IntpArray | None]:
    """Give each line of an order an event of its own; a batch without orders is returned as it is.

    Parameters
    ----------
    batch : EventBatch of R events, each with the first item of its record
    events : the R decoded records

    Returns
    -------
    batch : EventBatch of B events
    record : intp array of shape (B,), for each event the index of its record in ``events``; None without orders
    """
    items: dict[int, list[str]] = {}
    for index in np.flatnonzero(batch.types == PURCHASE).tolist():
        if events[index].items is not None:  # type: ignore[attr-defined]  # purchases have the field
            items[index] = items_of(events[index])
    if not items:
        return batch, None
    lines = np.ones(len(batch), np.intp)
    lines[list(items)] = [len(ids) for ids in items.values()]
    starts = np.cumsum(lines) - lines
    record = np.repeat(np.arange(len(batch)), lines)
    spread = batch.take(record.tolist())
    for index, ids in items.items():
        spread.item_ids[starts[index] : starts[index] + lines[index]] = ids
    hashes = id_hashes(spread.item_ids)
    identities = line_identities(spread.id_hashes, spread.types, hashes)
    continues = np.ones(len(record), np.bool_)
    continues[starts] = False
    spread = replace(
        spread,
        items=hashes,
        ids=identities,
        record_ids=np.repeat(record_identities(identities, hashes, starts), lines),
        continues=continues,
    )
    return spread, record
