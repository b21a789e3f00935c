"""The demo's measures, on cases that can be counted by hand."""

import pytest

from schemas.events import Browse
from streams.demo.score import RANDOM, RECOMMENDED, TRENDING, HitRates, Latencies, TasteChanges
from streams.demo.shoppers import Step

ITEMS = [f"item-{number}" for number in range(100)]


def step(item_id: str, *, user: str = "u", organic: bool = True) -> Step:
    event = Browse(event_id="e", user_id=user, item_id=item_id, event_time_ms=0)
    return Step(event, new_taste=False, organic=organic)


def test_a_hit_is_a_choice_among_the_first_k_of_the_list_before_it():
    rates = HitRates(ITEMS, 2, 0)
    rates.judge(step("a"), ["a", "b", "c"])
    rates.judge(step("b"), ["a", "b", "c"])
    rates.judge(step("c"), ["a", "b", "c"])
    assert rates.choices == 3
    assert rates.rate(RECOMMENDED) == pytest.approx(2 / 3)


def test_only_own_choices_of_new_items_after_a_first_list_are_scored():
    rates = HitRates(ITEMS, 2, 0)
    rates.judge(step("a"), None)  # nothing was recommended yet
    rates.judge(step("a"), ["a"])  # seen before
    rates.judge(step("b", organic=False), ["b"])  # picked from the list
    assert rates.choices == 0
    assert rates.rate(RECOMMENDED) == 0.0


def test_trending_knows_what_all_shoppers_did_before_and_what_this_one_has_seen():
    rates = HitRates(ITEMS, 1, 0)
    for _ in range(3):
        rates.judge(step("a", user="others"), None)
    rates.judge(step("b", user="others"), None)
    rates.judge(step("a"), [])  # the most popular: a hit
    assert rates.hits[TRENDING] == 1
    rates.judge(step("b"), [])  # the most popular that is new to this shopper: a hit
    assert rates.hits[TRENDING] == 2
    rates.judge(step("z"), [])
    assert rates.hits[TRENDING] == 2
    assert rates.choices == 3


def test_the_event_itself_is_not_popular_before_it_happens():
    rates = HitRates(ITEMS, 10, 0)
    rates.judge(step("a"), [])
    assert rates.hits[TRENDING] == 0


def test_random_hits_as_often_as_chance_says():
    rates = HitRates(ITEMS, 10, 0)
    for number in range(3_000):
        rates.judge(step(ITEMS[number % 100], user=f"u{number}"), [])
    assert rates.rate(RANDOM) == pytest.approx(0.1, abs=0.02)


def test_random_leaves_out_what_was_just_seen_as_the_others_do():
    rates = HitRates(ITEMS[:30], 10, 0)
    for item in ITEMS[:20]:
        rates.judge(step(item), None)
    rates.judge(step("item-25"), [])
    assert rates.hits[RANDOM] == 1  # ten are left, and ten are drawn


def test_a_change_is_followed_by_the_first_list_with_a_majority():
    changes = TasteChanges()
    changes.recommended("u", 4, 10, 10)  # no change yet
    changes.changed("u", 5)
    changes.recommended("u", 4, 10, 10)  # of an event before the change
    changes.recommended("u", 5, 2, 10)
    changes.recommended("u", 6, 5, 10)  # half is no majority
    changes.recommended("u", 7, 6, 10)
    changes.recommended("u", 8, 10, 10)
    assert changes.followed == {3: 1}
    assert (changes.count, changes.missed, changes.median()) == (1, 0, 3.0)


def test_a_change_that_is_overtaken_is_missed_and_never_followed():
    changes = TasteChanges()
    changes.changed("u", 5)
    changes.recommended("u", 5, 0, 10)
    changes.changed("u", 6)
    assert (changes.count, changes.missed, changes.median()) == (2, 1, float("inf"))


def test_open_changes_keep_the_quick_ones_from_flattering_the_median():
    changes = TasteChanges()
    changes.changed("quick", 1)
    changes.recommended("quick", 1, 10, 10)
    assert changes.median() == 1.0
    for user in ("slow", "slower"):
        changes.changed(user, 1)
        for event in range(1, 4):
            changes.recommended(user, event, 0, 10)
    assert changes.median() is None  # one of three so far
    changes.recommended("slow", 4, 10, 10)
    assert changes.median() == 4.0


def test_nothing_is_known_before_the_first_change_or_answer():
    assert TasteChanges().median() is None
    assert Latencies().quantile(0.5) is None


def test_latencies_give_quantiles():
    latencies = Latencies()
    for ms in range(101):
        latencies.add(ms)
    assert (latencies.quantile(0.5), latencies.quantile(0.99)) == (50.0, 99.0)
