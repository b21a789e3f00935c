"""A price as weights of knots: a learned vector a knot then gives a vector that moves evenly with the price.

Of the logarithm, because a shopper tells 10 from 20 as well as 100 from 200; by currency, as amounts of two of them do
not compare; in standard deviations from the mean of the currency, so that the knots stand where the prices are.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from encoders.arrays import Float32Array
from encoders.artifact.signature import KNOTS
from schemas.catalog import CatalogItem

_REACH = 2.0  # standard deviations to the outer knots; what lies beyond counts as these
_LEAST = 1e-12  # stands for a price of nothing, whose logarithm there is not

Scales = Mapping[str, Sequence[float]]
"""Currency ("" where an item names none) -> mean and standard deviation of the logarithm of its prices."""


def scales(items: Iterable[CatalogItem]) -> dict[str, list[float]]:
    """The scales of a catalog's prices; a currency without a price above 0 has none.

    >>> found = scales([CatalogItem(item_id=str(p), title="", price=p, currency="EUR") for p in (1.0, 100.0)])
    >>> [round(each, 4) for each in found["EUR"]]
    [2.3026, 2.3026]
    """
    logs = defaultdict(list)
    for item in items:
        if item.price:
            logs[item.currency or ""].append(np.log(item.price))
    # prices that are all the same have no spread; any width will do for them
    return {currency: [float(np.mean(each)), float(np.std(each)) or 1.0] for currency, each in sorted(logs.items())}


def knot_weights(items: Sequence[CatalogItem | None], by_currency: Scales) -> Float32Array:
    """Weights of the knots: float32 (N, KNOTS), at most two of a row above 0, which add up to 1.

    A row is zero where there is no price, or one in a currency without a scale.

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
        place = (np.clip((np.log(max(item.price, _LEAST)) - mean) / deviation, -_REACH, _REACH) + _REACH) / step
        below = min(int(place), KNOTS - 2)
        weights[row, below : below + 2] = below + 1 - place, place - below
    return weights
