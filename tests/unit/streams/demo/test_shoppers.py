"""The demo's shoppers: true to their taste until it changes, and the same for the same seed."""

from itertools import pairwise

import pytest

from schemas.codec import decode, encode
from schemas.events import Click, Purchase
from streams.demo.shop import make_shop
from streams.demo.shoppers import REMEMBERED, Shopper, Shown, Step

SHOP = make_shop(300, 0)


def walk(shopper: Shopper, steps: int, shown: Shown | None = None) -> list[Step]:
    return [shopper.step(1_000 * number, shown) for number in range(steps)]


def test_the_same_seed_and_number_do_the_same_things():
    assert walk(Shopper(SHOP, 3, 7), 200) == walk(Shopper(SHOP, 3, 7), 200)
    assert walk(Shopper(SHOP, 3, 7), 200) != walk(Shopper(SHOP, 3, 8), 200)
    one, other = ([step.event.item_id for step in walk(Shopper(SHOP, number, 7), 200)] for number in (3, 4))
    assert one != other


def test_a_hundred_shoppers_have_a_hundred_names():
    shoppers = [Shopper(SHOP, number, 0) for number in range(100)]
    assert len({shopper.user_id for shopper in shoppers}) == len({shopper.name for shopper in shoppers}) == 100


def test_events_are_valid_and_their_ids_are_their_own():
    steps = walk(Shopper(SHOP, 0, 1), 500)
    assert len({step.event.event_id for step in steps}) == 500
    for step in steps:
        assert decode(type(step.event), encode(step.event)) == step.event
    assert {step.topic for step in steps} == {"clicks", "browses", "purchases"}


def test_a_taste_lasts_its_lifetime_and_the_next_lies_in_another_department():
    shopper = Shopper(SHOP, 0, 1, lifetime=(5, 5))
    departments, changes = [], []
    for number, step in enumerate(walk(shopper, 1)):
        assert not step.new_taste, number  # the first taste is no change
    for number in range(2, 102):
        before = shopper.taste
        step = shopper.step(number, None)
        if step.new_taste:
            changes.append(number)
            departments.append((before.department, shopper.taste.department))
            assert shopper.taste.fits(SHOP.by_id[step.event.item_id])
        else:
            assert shopper.taste is before
    assert changes == list(range(6, 102, 5))
    assert all(before != after for before, after in departments)


def test_most_own_choices_fit_the_taste_and_none_was_seen_lately():
    shopper = Shopper(SHOP, 1, 2)
    seen: list[str] = []
    fitting = []
    for number in range(2_000):
        step = shopper.step(number, None)
        if step.organic:
            assert step.event.item_id not in seen[-REMEMBERED:]
            fitting.append(shopper.taste.fits(SHOP.by_id[step.event.item_id]))
        seen.append(step.event.item_id)
    assert 0.85 < sum(fitting) / len(fitting) < 0.99


def test_what_is_bought_was_looked_at_just_before_and_has_its_price():
    steps = walk(Shopper(SHOP, 2, 3), 500)
    bought = [(before, step) for before, step in pairwise(steps) if isinstance(step.event, Purchase)]
    assert len(bought) > 10
    for before, step in bought:
        assert step.event.item_id == before.event.item_id
        assert step.event.price == SHOP.by_id[step.event.item_id].price
        assert not step.organic


def test_picks_from_a_list_say_so_and_are_not_the_shoppers_own_choice():
    shopper = Shopper(SHOP, 3, 4, lifetime=(1_000, 1_000))
    fitting = [item.item_id for item in SHOP.items if shopper.taste.fits(item)]
    picks = [step for step in walk(shopper, 60, Shown("r-1", fitting)) if step.event.recommendation_id is not None]
    assert picks
    for step in picks:
        assert isinstance(step.event, Click)
        assert step.event.recommendation_id == "r-1"
        assert step.event.item_id == fitting[step.event.position]
        assert not step.organic


def test_nothing_is_picked_from_a_list_that_is_not_to_the_taste():
    shopper = Shopper(SHOP, 3, 4, lifetime=(1_000, 1_000))
    others = [item.item_id for item in SHOP.items if not shopper.taste.fits(item)]
    steps = walk(shopper, 300, Shown("r-1", [*others, "gone"]))
    assert all(step.event.recommendation_id is None for step in steps)


def test_shoppers_pause_for_the_mean_time_and_never_hurry():
    shopper = Shopper(SHOP, 0, 0)
    pauses = [shopper.pause_s(2.0) for _ in range(4_000)]
    assert min(pauses) >= 0.8
    assert sum(pauses) / len(pauses) == pytest.approx(2.0, rel=0.1)
