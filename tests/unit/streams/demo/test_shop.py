"""The demo's shop: a plausible catalog, the same for the same seed."""

import pytest

from schemas.catalog import CatalogItem
from schemas.codec import decode, encode
from streams.demo.assortment import BRANDS, SHELVES
from streams.demo.shop import make_shop


def test_the_same_seed_gives_the_same_shop_and_another_seed_another():
    first, again, other = make_shop(300, 1), make_shop(300, 1), make_shop(300, 2)
    assert first.items == again.items
    assert (first.popularity == again.popularity).all()
    assert first.items != other.items


@pytest.mark.parametrize("seed", range(5))
def test_no_two_products_share_an_id_or_a_title(seed):
    shop = make_shop(300, seed)
    assert len(shop.items) == 300
    assert len({item.item_id for item in shop.items}) == 300
    assert len({item.title for item in shop.items}) == 300


def test_the_products_are_valid_catalog_items_with_everything_a_page_shows():
    for item in make_shop(300, 3).items:
        assert decode(CatalogItem, encode(item)) == item
        assert item.title in item.description
        assert item.brand in BRANDS[item.category[0]]
        assert item.currency == "EUR"


def test_every_shelf_has_its_share_and_its_prices():
    shop = make_shop(300, 4)
    for shelf in SHELVES:
        stock = [item for item in shop.items if item.category == list(shelf.path)]
        assert 300 // len(SHELVES) <= len(stock) <= 300 // len(SHELVES) + 1
        assert all(shelf.prices[0] <= item.price <= shelf.prices[1] + 1 for item in stock)


def test_a_shop_larger_than_its_words_is_refused():
    with pytest.raises(ValueError, match="name 210 products"):
        make_shop(100_000, 0)


def test_a_title_is_the_id_where_the_product_is_unknown():
    shop = make_shop(16, 0)
    assert shop.title(shop.items[0].item_id) == shop.items[0].title
    assert shop.title("no such thing") == "no such thing"
