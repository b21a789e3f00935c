"""What the page knows of the shop and its shoppers, and what it makes of that; no clock, no network."""

import pytest

from schemas.recommendation import Reason, RecommendedItem
from streams.console.shelves import NO_CATEGORY, stocked
from streams.console.shoppers import Known, Shoppers
from streams.console.taste import OTHER, taste
from streams.console.views import LISTED, Views
from streams.settings import TypeWeights
from tests.unit.streams.console.console_made import item, listed, recommendation, shelves

WEIGHTS = TypeWeights(click=1.0, browse=0.5, purchase=4.0)


def test_the_shelves_hold_what_is_available_and_know_the_rest_by_name() -> None:
    shop = shelves(item("tea", "Food", "Tea"), item("gone", "Food", "Tea", available=False))
    assert [product.item_id for product in shop.page(0, 9).products] == ["tea"]
    found = shop.get("gone")
    assert found is not None
    assert found.title == "Gone"
    assert not shop.sells("gone")


def test_an_item_may_be_withdrawn_come_back_change_and_go() -> None:
    shop = shelves(item("tea", "Food", "Tea"))
    shop.put(stocked(item("tea", "Food", "Tea", title="Sencha")))
    assert len(shop) == 1
    assert shop.page(0, 9).products[0].title == "Sencha"
    shop.put(stocked(item("tea", "Food", "Tea", available=False)))
    shop.put(stocked(item("tea", "Food", "Tea", available=False)))
    assert len(shop) == 0
    shop.put(stocked(item("tea", "Food", "Tea")))
    assert shop.sells("tea")
    shop.remove("tea")
    shop.remove("tea")
    assert (len(shop), shop.get("tea")) == (0, None)


def test_items_that_left_the_shelves_are_told_until_they_come_back() -> None:
    shop = shelves(item("tea", "Food", "Tea"), item("pot", "Kitchen"), item("never", available=False))
    shop.put(stocked(item("tea", "Food", "Tea", available=False)))
    shop.remove("pot")
    assert shop.gone() == ["tea", "pot"]
    assert [shop.has_left(name) for name in ("tea", "pot", "never", "unknown")] == [True, True, True, False]
    shop.put(stocked(item("tea", "Food", "Black Tea")))
    shop.put(stocked(item("tea", "Food", "Tea")))
    assert shop.gone() == ["pot"]
    assert not shop.has_left("tea")


def test_a_list_does_not_show_items_that_left_the_shop() -> None:
    shop, shoppers = shelves(item("tea"), item("pot")), Shoppers()
    shoppers.receive(recommendation("ann", [listed("pot"), listed("tea")]))
    views = Views("", shop, shoppers, WEIGHTS)
    shop.put(stocked(item("pot", available=False)))
    assert [shown.product.item_id for shown in views.list_of("ann").items] == ["tea"]


def test_pages_follow_each_other_without_a_gap_in_an_order_that_stays() -> None:
    shop = shelves(*(item(f"i{n}", "A" if n % 2 else "B", "C") for n in range(50)))
    whole = [product.item_id for product in shop.page(0, 50).products]
    parts = [product.item_id for offset in range(0, 50, 7) for product in shop.page(offset, 7).products]
    assert parts == whole
    assert sorted(whole) == sorted(f"i{n}" for n in range(50))
    assert shop.page(0, 7, department="A").total == 25


def test_products_are_found_by_all_their_words_whatever_the_case() -> None:
    shop = shelves(item("t1", "Food", "Tea", title="Smoky LAPSANG"), item("t2", "Food", "Tea", title="Green Sencha"))
    assert [product.item_id for product in shop.page(0, 9, words="tea smoky").products] == ["t1"]
    assert shop.page(0, 9, words="smoky sencha").total == 0
    assert shop.page(0, 9, words="brand").total == 2


def test_departments_count_what_is_on_their_shelves() -> None:
    shop = shelves(item("a", "Food", "Tea"), item("b", "Food", "Coffee"), item("c", "Food", "Tea"), item("d"))
    assert [(one.name, one.count) for one in shop.offered().departments] == [(NO_CATEGORY, 1), ("Food", 3)]
    assert [(one.name, one.count) for one in shop.offered().departments[1].categories] == [("Coffee", 1), ("Tea", 2)]


def test_controls_and_turns_of_direction_do_not_reach_the_page() -> None:
    product = stocked(item("x", "A\u202eB", title="red\x00 \u202eshoe")).product
    assert (product.title, product.department) == ("red shoe", "AB")


def test_an_older_list_or_one_that_comes_twice_changes_nothing() -> None:
    shoppers = Shoppers()
    assert shoppers.receive(recommendation("ann", [listed("b")], sequence=2))
    version = shoppers.version
    assert not shoppers.receive(recommendation("ann", [listed("b")], sequence=2))
    assert not shoppers.receive(recommendation("ann", [listed("a")], sequence=1))
    assert shoppers.version == version


def test_an_event_counts_once_whether_it_was_sent_here_or_caused_a_list() -> None:
    shoppers = Shoppers()
    shoppers.acted("ann", Known(event_id="e1", event_type="click", item_id="tea"))
    shoppers.receive(recommendation("ann", [], sequence=1, event_id="e1"))
    shoppers.receive(recommendation("ann", [], sequence=2, event_id="e2"))
    ann = shoppers.get("ann")
    assert ann is not None
    assert [event.event_id for event in ann.events] == ["e1", "e2"]


def test_of_a_forgotten_shopper_nothing_is_kept() -> None:
    shoppers = Shoppers()
    shoppers.acted("ann", Known(event_id="e1", event_type="click", item_id="tea"))
    shoppers.receive(recommendation("ann", [listed("b")]))
    shoppers.forget("ann")
    assert shoppers.get("ann") is None
    assert list(shoppers.latest_first()) == []


def test_only_the_shoppers_heard_of_last_are_kept() -> None:
    shoppers = Shoppers(most=2)
    for user in ("a", "b", "c"):
        shoppers.receive(recommendation(user, []))
    shoppers.receive(recommendation("b", [], sequence=2))
    assert [user for user, _ in shoppers.latest_first()] == ["b", "c"]


def test_a_shopper_that_somebody_looks_at_is_kept_whoever_else_comes() -> None:
    """Regression: in a busy shop the list of a page that stood still was empty after some seconds."""
    shoppers = Shoppers(most=2)
    shoppers.receive(recommendation("ann", []))
    with shoppers.held("ann"), shoppers.held("ann"):
        for number in range(9):
            shoppers.receive(recommendation(f"other-{number}", []))
        assert shoppers.get("ann") is not None
        assert len(list(shoppers.latest_first())) == 3
    for number in range(9):
        shoppers.receive(recommendation(f"other-{number}", [], sequence=2))
        assert len(list(shoppers.latest_first())) <= 3
    assert shoppers.get("ann") is None


def test_the_taste_sums_shares_lately_and_weights_all_along_by_category() -> None:
    shop = shelves(item("tea", "Food", "Tea"), item("pot", "Kitchen", "Pots"), item("cup", "Kitchen", "Cups"))
    latest = recommendation(
        "ann", [listed("cup", [("tea", 0.6), ("pot", 0.3)]), listed("x", [("pot", 0.1), ("tea", -1)])]
    )
    events = [
        Known(event_id="1", event_type="purchase", item_id="pot"),
        Known(event_id="2", event_type="click", item_id="tea"),
        Known(event_id="3", event_type="click", item_id="not in the catalog"),
    ]
    rows = taste(latest, events, shop.get, WEIGHTS)
    assert [(row.category, row.lately, row.all_along) for row in rows] == [
        ("Pots", pytest.approx(0.4), pytest.approx(0.8)),
        ("Tea", pytest.approx(0.6), pytest.approx(0.2)),
    ]


def test_many_categories_end_in_one_row_for_the_rest() -> None:
    shop = shelves(*(item(f"i{n}", "D", f"C{n}") for n in range(9)))
    events = [Known(event_id=str(n), event_type="click", item_id=f"i{n}") for n in range(9)]
    rows = taste(None, events, shop.get, WEIGHTS)
    assert len(rows) == 6
    assert rows[-1].category == OTHER
    assert sum(row.all_along for row in rows) == pytest.approx(1.0)
    assert {row.lately for row in rows} == {0.0}


def test_nothing_known_is_no_taste() -> None:
    assert taste(None, [], shelves().get, WEIGHTS) == []
    assert Views("", shelves(), Shoppers(), WEIGHTS).list_of("nobody").items == []


def test_a_list_is_told_with_titles_reasons_and_parts_that_add_up() -> None:
    shop = shelves(item("tea", "Food", "Tea", title="Sencha"), item("pot", "Kitchen", "Pots", title="Iron <b>Pot</b>"))
    shoppers = Shoppers()
    shoppers.receive(
        recommendation("ann", [listed("pot", [("tea", 0.6)], older=0.2), listed("unknown", kind="trending")])
    )
    view = Views("", shop, shoppers, WEIGHTS).list_of("ann")
    assert view.cause is not None
    assert (view.cause.text, view.worker_ms) == ("clicked Sencha", 7)
    first, second = view.items
    assert first.product.title == "Iron <b>Pot</b>"  # text it is, and text it stays: see the browser's test
    assert first.because == "because you clicked Sencha"
    assert [(part.label, part.department) for part in first.parts] == [
        ("clicked Sencha", "Food"),
        ("everything before", None),
    ]
    assert [part.share for part in first.parts] == pytest.approx([0.75, 0.25])
    assert (second.product.title, second.because, second.parts) == ("unknown", "trending now", [])


def test_a_list_without_reasons_is_shown_without_them() -> None:
    shoppers = Shoppers()
    shoppers.receive(recommendation("ann", [RecommendedItem(item_id="tea", score=1.0)]))
    view = Views("", shelves(item("tea", "Food", "Tea")), shoppers, WEIGHTS).list_of("ann")
    (first,) = view.items
    assert (first.because, first.parts) == ("", [])
    assert all(row.lately == 0 for row in view.taste)


def test_the_rest_of_a_score_is_a_part() -> None:
    shoppers = Shoppers()
    reason = Reason(kind="older", exact=True, older=0.5, rest=0.25)
    shoppers.receive(recommendation("ann", [RecommendedItem(item_id="tea", score=0.75, reason=reason)]))
    (first,) = Views("", shelves(), shoppers, WEIGHTS).list_of("ann").items
    assert [part.label for part in first.parts] == ["everything before", "all other parts"]


def test_others_stay_while_they_have_a_list_and_say_what_is_common() -> None:
    shop, shoppers = shelves(), Shoppers()
    for number in range(8):
        shoppers.receive(recommendation(f"u{number}", [listed(f"i{number}"), listed("same")]))
    shoppers.receive(recommendation("bare", []))
    views = Views("", shop, shoppers, WEIGHTS)
    first = views.others("u7")
    assert [other.user_id for other in first] == ["u6", "u5", "u4", "u3"]
    assert {other.common for other in first} == {1}
    shoppers.receive(recommendation("u0", [listed("i0")], sequence=2))
    shoppers.forget("u5")
    assert [other.user_id for other in views.others("u7", [one.user_id for one in first])] == ["u6", "u4", "u3", "u0"]


def test_a_list_shows_its_first_places() -> None:
    shoppers = Shoppers()
    shoppers.receive(recommendation("ann", [listed(f"i{n}") for n in range(LISTED + 5)]))
    assert len(Views("", shelves(), shoppers, WEIGHTS).list_of("ann").items) == LISTED
