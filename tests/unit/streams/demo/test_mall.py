"""The run of the demo, its screen and its summary, with a clock and recommendations made by hand."""

from collections import defaultdict, deque
from collections.abc import Collection
from io import StringIO

import pytest
from rich.console import Console

from schemas.recommendation import Cause, Reason, Recommendation, RecommendedItem, Revision, Share
from streams.demo.mall import K, Mall
from streams.demo.score import RANDOM, RECOMMENDED, TRENDING
from streams.demo.screen import render
from streams.demo.shop import make_shop
from streams.demo.shoppers import REMEMBERED, Step
from streams.demo.summary import bar, summary, verdict

SHOP = make_shop(300, 0)
BAD = [item.item_id for item in SHOP.items[::-1]]


def answer(step: Step, items: list[str], sequence: int) -> Recommendation:
    event = step.event
    share = Share(item_id=event.item_id, event_type="click", share=1.0)
    reason = Reason(kind="recent", exact=True, recents=[share])
    return Recommendation(
        recommendation_id=f"r-{sequence}",
        user_id=event.user_id,
        revision=Revision(term=1, sequence=sequence),
        items=[RecommendedItem(item_id=item, score=1.0, reason=reason) for item in items],
        cause=Cause(event_id=event.event_id, event_type="click", item_id=event.item_id, event_time_ms=0),
        encoder_version="v",
        event_time_ms=0,
        received_ms=0,
        emitted_ms=0,
    )


def fitting_items(mall: Mall, user: str, seen: Collection[str]) -> list[str]:
    """What the shopper would most likely choose next, as a perfect recommender might list it."""
    taste = mall.visitors[user].shopper.taste
    popularity = dict(zip((item.item_id for item in SHOP.items), SHOP.popularity.tolist(), strict=True))
    fitting = [item for item in SHOP.items if taste.fits(item) and item.item_id not in seen]
    fitting.sort(key=lambda item: (item.brand in taste.brands, popularity[item.item_id]), reverse=True)
    return [item.item_id for item in fitting][:20]


def run(seconds: float, good: bool) -> Mall:
    mall = Mall(SHOP, 30, 5, pause_s=1.0)
    mall.open(0.0)
    sequence = 0
    now = 0.0
    seen: defaultdict[str, deque[str]] = defaultdict(lambda: deque(maxlen=REMEMBERED))
    while (now := mall.next_due_s()) < seconds:
        for step in mall.act(now, int(now * 1000)):
            sequence += 1
            user = step.event.user_id
            seen[user].append(step.event.item_id)
            items = fitting_items(mall, user, seen[user]) if good else BAD[:20]
            mall.receive(answer(step, items, sequence), now + 0.010)
    return mall


def test_good_lists_win_and_the_summary_says_by_how_much():
    mall = run(30.0, good=True)
    assert mall.answered == mall.events
    assert mall.hits.rate(RECOMMENDED) > 2 * max(mall.hits.rate(TRENDING), mall.hits.rate(RANDOM))
    assert mall.changes.median() == 1.0
    assert mall.latencies.quantile(0.99) == pytest.approx(10.0)
    text = summary(mall, 30.0)
    assert verdict(mall)[0]
    assert "10 ms (median), 10 ms (p99)" in text
    assert f"recommended  {100 * mall.hits.rate(RECOMMENDED):5.1f} %" in text
    assert f"{mall.changes.count} changes of taste: most of the top {K} fits after 1 event (median)" in text
    assert "The recommendations follow the taste" in text
    assert max(len(line) for line in text.splitlines()[:-1]) <= 80


def test_lists_that_never_change_lose_and_the_verdict_says_so():
    mall = run(30.0, good=False)
    good, sentence = verdict(mall)
    assert not good
    assert "do not beat" in sentence


def test_too_few_choices_are_no_proof():
    good, sentence = verdict(run(1.0, good=True))
    assert not good
    assert "--seconds" in sentence


def test_silence_is_no_proof_either():
    mall = Mall(SHOP, 30, 5, pause_s=1.0)
    mall.open(0.0)
    mall.act(10.0, 0)
    good, sentence = verdict(mall)
    assert not good
    assert "No recommendation came" in sentence


def test_an_older_revision_changes_nothing():
    mall = Mall(SHOP, 1, 5, pause_s=1.0)
    mall.open(0.0)
    (first,) = mall.act(5.0, 0)
    mall.receive(answer(first, BAD[:3], 2), 5.1)
    mall.receive(answer(first, BAD[3:6], 1), 5.2)
    (visitor,) = mall.visitors.values()
    assert [item.item_id for item in visitor.listed] == BAD[:3]


def test_a_list_answers_every_event_of_its_shopper_up_to_its_cause():
    mall = Mall(SHOP, 1, 5, pause_s=1.0)
    mall.open(0.0)
    steps = [step for now in (5.0, 20.0, 40.0) for step in mall.act(now, 0)]
    assert len(steps) == 3
    mall.receive(answer(steps[1], BAD[:3], 1), 41.0)
    assert mall.answered == 2
    assert mall.latencies.quantile(0.0) == pytest.approx(21_000)
    mall.receive(answer(steps[2], BAD[:3], 2), 41.5)
    assert mall.answered == 3


@pytest.mark.parametrize(("width", "height", "shoppers"), [(80, 24, 3), (120, 40, 6), (200, 60, 10), (60, 10, 1)])
def test_the_screen_fits_the_terminal_and_shows_what_it_has_room_for(width, height, shoppers):
    mall = run(20.0, good=True)
    out = StringIO()
    console = Console(file=out, width=width, height=height, force_terminal=True, color_system=None)
    console.print(render(mall, "facts", 20.0, 40.0, width, height))
    lines = out.getvalue().rstrip("\n").split("\n")
    assert all(len(line) <= width for line in lines)
    if height >= 24:
        assert len(lines) <= height
    names = [visitor.shopper.name for visitor in mall.visitors.values()]
    assert [name for name in names if any(line.startswith(f" {name} ") for line in lines)] == names[:shoppers]


def test_the_screen_can_be_drawn_before_the_first_event():
    out = StringIO()
    Console(file=out, width=80).print(render(Mall(SHOP, 5, 0, 1.0), "facts", 0.0, 0.0, 80, 24))
    assert "recommended   0.0%" in out.getvalue()


def test_bars_grow_with_the_share_and_stay_in_their_width():
    assert [bar(share, 4) for share in (-1, 0, 1 / 32, 0.5, 1, 2)] == ["", "", "▏", "██", "████", "████"]
