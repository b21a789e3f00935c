"""Prices as weights of knots: with a learned vector for each knot, an item's vector moves evenly with its price.

The knots are on the logarithm of the price, because a shopper sees the same difference from 10 to 20 as from 100 to
200. Each currency has its own scale, because amounts of two currencies don't compare. The unit is a standard deviation
from the currency's mean, so that the knots are where the prices are.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from encoders.arrays import Float32Array
from encoders.artifact.signature import KNOTS
from schemas.catalog import CatalogItem

_REACH = 2.0  # standard deviations to the outer knots; a price beyond counts as the outer knot
_LEAST = 1e-12  # used for a price of 0, which has no logarithm

Scales = Mapping[str, Sequence[float]]
"""Currency -> mean and standard deviation of ln price; the currency is "" for items that name none."""


def scales(items: Iterable[CatalogItem]) -> dict[str, list[float]]:
    """Scales of a catalog's prices; a currency without a price above 0 has no scale.

    >>> by_currency = scales([CatalogItem(item_id=str(p), title="", price=p, currency="EUR") for p in (1.0, 100.0)])
    >>> [round(number, 4) for number in by_currency["EUR"]]
    [2.3026, 2.3026]
    """
    logs = defaultdict(list)
    for item in items:
        if item.price:
            logs[item.currency or ""].append(np.log(item.price))
    # equal prices have no spread, and any width will do for them
    return {currency: [float(np.mean(row)), float(np.std(row)) or 1.0] for currency, row in sorted(logs.items())}


def knot_weights(items: Sequence[CatalogItem | None], by_currency: Scales) -> Float32Array:
    """Weights of the knots: float32 of shape (N, KNOTS). Of a row, at most two are above 0, and they add up to 1.

    A row is zero for None, for an item without a price, and for a currency without a scale.

    >>> item = CatalogItem(item_id="a", title="", price=1.0)
    >>> knot_weights([item], {"": [0.0, 1.0]})[0].tolist()
    [0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0]
    """
    weights = np.zeros((len(items), KNOTS), np.float32)
    step = 2 * _REACH / (KNOTS - 1)
    for row, item in enumerate(items):
        if item is None or item.price is None or (item.currency or "") not in by_currency:
            continue
        mean, deviation = by_currency[item.currency or ""]
        position = (np.clip((np.log(max(item.price, _LEAST)) - mean) / deviation, -_REACH, _REACH) + _REACH) / step
        below = min(int(position), KNOTS - 2)
        weights[row, below : below + 2] = below + 1 - position, position - below
    return weights
