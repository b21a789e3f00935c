"""The shelves keep what a plain list of items would give, at any size and in any order of changes."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.catalog import CatalogItem
from schemas.ids import id_hash
from streams.console.haystack import Haystack
from streams.console.shelves import NO_CATEGORY, Shelves, stocked
from tests.unit.streams.console.console_made import item, shelves

WORDS = ("tea", "teapot", "iron", "Käse", "茶")

items = st.builds(
    lambda number, path, title, available: item(f"i{number}", *path, title=title, available=available),
    st.integers(0, 12),
    st.lists(st.sampled_from("ABC"), max_size=2),
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map(" ".join),
    st.booleans(),
)
changes = st.lists(st.one_of(items, st.integers(0, 12)), max_size=40)


@settings(max_examples=150, deadline=None)
@given(changes, changes, st.lists(st.sampled_from([*WORDS, "T", "ä", "b", "brand"]), max_size=3).map(" ".join))
def test_any_changes_leave_the_shelves_as_if_made_anew(
    first: list[CatalogItem | int], second: list[CatalogItem | int], words: str
) -> None:
    shop, known = Shelves(), dict[str, CatalogItem]()
    for part in (first, second):
        for change in part:
            if isinstance(change, int):
                shop.remove(f"i{change}")
                known.pop(f"i{change}", None)
            else:
                shop.put(stocked(change))
                known[change.item_id] = change
        check(shop, known, words)


def check(shop: Shelves, known: dict[str, CatalogItem], words: str) -> None:
    on_sale = sorted((one for one in known.values() if one.available), key=lambda one: id_hash(one.item_id))
    products = [stocked(one).product for one in on_sale]
    assert len(shop) == len(products)
    assert shop.page(0, 100).products == products
    assert {one for one in known if shop.sells(one)} == {one.item_id for one in on_sale}
    wanted = words.casefold().split()
    for department in ("", "A", "B", NO_CATEGORY):
        for category in ("", "A", "C"):
            here = [
                one
                for one in products
                if department in ("", one.department) and (not department or category in ("", one.category))
            ]
            texts = {
                one.item_id: f" {one.title} {one.brand} {one.category} {one.department}".casefold() for one in here
            }
            held = [one for one in here if all(word in texts[one.item_id] for word in wanted)]
            held.sort(key=lambda one: not all(f" {word}" in texts[one.item_id] for word in wanted))
            assert shop.page(0, 100, department, category, words).products == held
            page = shop.page(1, 2, department, category, words)
            assert (page.products, page.total) == (held[1:3], len(held))
    counts = Counter(one.department for one in products)
    offered = shop.offered()
    assert {one.name: one.count for one in offered.departments} == counts
    for one in offered.departments:
        below = Counter(product.category for product in products if product.department == one.name)
        assert {category.name: category.count for category in one.categories} == below


@given(st.lists(st.sampled_from(["tea", "a tea", "tee", "", "aa", "茶"]).map(str.encode), max_size=12))
def test_a_word_is_found_in_every_item_that_holds_it_once_each(words: list[bytes]) -> None:
    for word in (b"tea", b"e", b"a", "茶".encode(), b"x"):
        holding, beginning = Haystack([b" " + one for one in words]).find(word)
        assert holding.tolist() == [place for place, one in enumerate(words) if word in b" " + one]
        assert beginning.tolist() == [place for place, one in enumerate(words) if b" " + word in b" " + one]


def test_products_whose_words_begin_so_come_first() -> None:
    shop = shelves(*(item(f"steam-{n}", "Irons", title="Steam iron") for n in range(9)), item("x", "Food", title="Tea"))
    found = shop.page(0, 3, words="tea")
    assert (found.products[0].title, found.total) == ("Tea", 10)


def test_of_many_departments_and_categories_some_are_offered_and_the_rest_is_told_and_found() -> None:
    shop = shelves(
        *(item(f"i{d}-{n}", f"Dep {d:02}", f"Cat {n:02}", title="Thing") for d in range(30) for n in range(20)),
        *(item(f"more-{n}", "Dep 29", "Cat 19", title="Thing") for n in range(40)),
    )
    offered = shop.offered()
    assert (len(offered.departments), offered.others) == (12, 18)
    assert "Dep 29" in [one.name for one in offered.departments]  # much fuller than the others
    [fullest] = [one for one in offered.departments if one.name == "Dep 29"]
    assert (fullest.count, len(fullest.categories), fullest.others) == (60, 12, 8)
    assert "Cat 19" in [one.name for one in fullest.categories]
    assert shop.page(0, 1, words="dep 28").total == 20
    before = [one.name for one in offered.departments]
    for n in range(5):  # what is offered stays while counts change a little: else the page would be drawn anew
        shop.put(stocked(item(f"new-{n}", "Dep 25", "Cat 01")))
    assert [one.name for one in shop.offered().departments] == before
