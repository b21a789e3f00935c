"""Texts that people are shown."""

import pytest

from schemas.recommendation import Reason, ReasonKind, Share
from streams.display_text import reason_text


def test_a_reason_names_the_event_that_contributed_most() -> None:
    shares = [Share(item_id="a", event_type="browse", share=0.3), Share(item_id="b", event_type="click", share=0.1)]
    reason = Reason(kind="recent", exact=True, recents=shares)
    assert reason_text(reason, str.upper) == "because you looked at A"


@pytest.mark.parametrize("shares", [[], [Share(item_id="a", event_type="click", share=-0.2)]])
def test_no_event_is_named_that_speaks_against_the_item(shares: list[Share]) -> None:
    assert reason_text(Reason(kind="recent", exact=True, recents=shares), str.upper) == (
        "nothing closer to your taste is left"
    )


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("trending", "trending now"),
        ("older", "long"),
        ("bias", "popular"),
        ("bonus", "score adjustment"),
        ("seen-again", "you have seen everything else"),
    ],
)
def test_reasons_without_an_event_have_words_too(kind: ReasonKind, words: str) -> None:
    assert words in reason_text(Reason(kind=kind, exact=True), str.upper)


def test_a_list_without_reasons_has_no_words() -> None:
    assert reason_text(None, str.upper) == ""
