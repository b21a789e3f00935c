"""Makes the demo's shop: a few hundred products with plausible names; the same seed gives the same products."""

from dataclasses import dataclass, field
from itertools import product

import numpy as np
from numpy.typing import NDArray

from schemas.catalog import CatalogItem
from streams.demo.assortment import BRANDS, CURRENCY, SHELVES, Shelf

_ENDINGS = (0.0, 0.5, 0.9, 0.95)
_FINISHES = (
    "A {brand} classic",
    "The newest of {brand}'s {category} range",
    "What our {category} team takes home",
    "{brand}'s bestseller for years",
    "Back in stock after a long wait",
)


@dataclass(frozen=True)
class Shop:
    """The catalog of the shop, and the popularity of each product."""

    items: tuple[CatalogItem, ...]
    popularity: NDArray[np.float64]
    """float64 array of shape (N,): odds that a shopper meets an item; a few items have much higher odds."""
    by_id: dict[str, CatalogItem] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_id", {item.item_id: item for item in self.items})

    def title(self, item_id: str) -> str:
        """Return the product's name; its id if the shop does not have the product."""
        item = self.by_id.get(item_id)
        return item.title if item is not None else item_id


def make_shop(size: int = 300, seed: int = 0) -> Shop:
    """Make a shop of ``size`` products, spread evenly over the shelves.

    Raises
    ------
    ValueError
        The words can't name that many products.
    """
    rng = np.random.default_rng([seed, 0])
    sizes = [size // len(SHELVES) + (index < size % len(SHELVES)) for index in range(len(SHELVES))]
    items = [item for shelf, count in zip(SHELVES, sizes, strict=True) for item in _stock(shelf, count, rng)]
    # Zipf-like, as real sales are: the most popular item has ten times the odds of the hundredth
    popularity = np.power(1.0 + rng.permutation(len(items)), -0.5, dtype=np.float64)
    return Shop(tuple(items), popularity)


def _stock(shelf: Shelf, count: int, rng: np.random.Generator) -> list[CatalogItem]:
    names = list(product(shelf.first, shelf.second, shelf.nouns))
    if count > len(names):
        raise ValueError(f"the words of {shelf.category} name {len(names)} products, {count} were wanted")
    chosen = rng.choice(len(names), size=count, replace=False)
    return [_item(shelf, names[index], rng) for index in chosen.tolist()]


def _item(shelf: Shelf, name: tuple[str, str, str], rng: np.random.Generator) -> CatalogItem:
    title = " ".join(name)
    brand = str(rng.choice(BRANDS[shelf.department]))
    finish = str(rng.choice(_FINISHES)).format(brand=brand, category=shelf.category.lower())
    return CatalogItem(
        item_id=_slug(title),
        title=title,
        description=f"{finish}: {title}, made for {rng.choice(shelf.use)}.",
        category=list(shelf.path),
        brand=brand,
        price=_price(shelf.prices, rng),
        currency=CURRENCY,
    )


def _price(bounds: tuple[float, float], rng: np.random.Generator) -> float:
    low, high = np.log(bounds)
    euros = float(np.floor(np.exp(rng.uniform(low, high))))
    return euros + float(rng.choice(_ENDINGS)) if euros < 100 else euros


def _slug(title: str) -> str:
    return "".join(char if char.isalnum() else "-" for char in title.lower().replace("'", ""))
