import io
import json
from typing import Any

import msgspec
import pytest
from rich.console import Console

from schemas.codec import encode
from schemas.recommendation import Cause, Reason, Recommendation, RecommendedItem, Revision, Share
from streams.commands.watch import table_of


def recommendation(user: str, sequence: int = 1, item: str = "i1", **reason: Any) -> Recommendation:
    parts: dict[str, Any] = {
        "kind": "recent",
        "exact": True,
        "recents": [Share(item_id="i2", event_type="browse", share=0.5)],
    }
    return Recommendation(
        recommendation_id=f"r{sequence}",
        user_id=user,
        revision=Revision(term=1, sequence=sequence),
        items=[RecommendedItem(item_id=item, score=0.5, reason=Reason(**(parts | reason)))],
        cause=Cause(event_id="e1", event_type="purchase", item_id="i3", event_time_ms=1),
        encoder_version="v1",
        event_time_ms=1,
        received_ms=1_000,
        emitted_ms=1_017,
    )


def put(shop: Any, found: Recommendation) -> None:
    shop.put("recommendations", found.user_id, encode(found))


def test_a_line_tells_user_cause_items_reason_and_time(run: Any, shop: Any) -> None:
    shop.put("catalog", "i1", b'{"item_id": "i1", "title": "Red boots"}')
    shop.put("catalog", "i2", b'{"item_id": "i2", "title": "Blue boots"}')
    put(shop, recommendation("u1"))
    result = run("--broker", shop.address, "watch", "--from-beginning", "--limit", 1)
    assert result.exit_code == 0
    assert result.stdout == "u1 bought i3, 17 ms: Red boots (because you looked at Blue boots)\n"


@pytest.mark.parametrize("options", [[], ["--lines"]])
def test_a_terminal_gets_a_table_unless_lines_are_asked_for(
    run: Any, shop: Any, monkeypatch: pytest.MonkeyPatch, options: list[str]
) -> None:
    monkeypatch.setattr(
        "streams.commands.watch.console", lambda: Console(force_terminal=True, width=120, markup=False, highlight=False)
    )
    put(shop, recommendation("u1"))
    text = run("--broker", shop.address, "watch", "--from-beginning", "--limit", 1, *options).stdout
    assert ("u1 bought i3, 17 ms: i1" in text) == bool(options)
    assert ("recommended now" in text) != bool(options)


@pytest.mark.parametrize(
    ("kind", "words"), [("trending", "trending now"), ("older", "long looked for"), ("bias", "popular")]
)
def test_other_reasons_have_words_too(run: Any, shop: Any, kind: str, words: str) -> None:
    put(shop, recommendation("u1", kind=kind, recents=[]))
    assert words in run("--broker", shop.address, "watch", "--from-beginning", "--limit", 1).stdout


def test_a_list_without_reasons_has_items_alone(run: Any, shop: Any) -> None:
    items = [RecommendedItem(item_id=item, score=0.5) for item in ("i1", "i2")]
    put(shop, msgspec.structs.replace(recommendation("u1"), items=items, reasons="none"))
    assert run("--broker", shop.address, "watch", "--from-beginning", "--limit", 1).stdout == (
        "u1 bought i3, 17 ms: i1; i2\n"
    )


def test_json_lines_are_the_records_and_tombstones_are_told(run: Any, shop: Any) -> None:
    put(shop, recommendation("u1", 1))
    shop.put("recommendations", "u1", None)
    put(shop, recommendation("u1", 2))
    result = run("--broker", shop.address, "watch", "--from-beginning", "--limit", 3, "--json")
    first, second, third = map(json.loads, result.stdout.splitlines())
    assert first == json.loads(encode(recommendation("u1", 1)))
    assert second == {"user_id": "u1", "forgotten": True}
    assert third["revision"] == {"term": 1, "sequence": 2}


def test_only_the_users_asked_for_are_shown(run: Any, shop: Any) -> None:
    for user in ("u1", "u2", "u3"):
        put(shop, recommendation(user))
    command = ("watch", "--from-beginning", "--limit", 2, "--json", "--user", "u2", "--user", "u3")
    lines = run("--broker", shop.address, *command).stdout.splitlines()
    assert {json.loads(line)["user_id"] for line in lines} == {"u2", "u3"}


def test_a_record_that_cannot_be_read_is_told_and_passed_over(run: Any, shop: Any) -> None:
    shop.put("recommendations", "u1", b"garbage")
    put(shop, recommendation("u1"))
    result = run("--broker", shop.address, "watch", "--from-beginning", "--limit", 1)
    assert "can't be read: malformed" in result.stderr
    assert result.stdout.startswith("u1 bought")


def test_without_from_beginning_it_starts_at_the_end(shop: Any) -> None:
    from streams.commands.broker import connect
    from streams.commands.reader import TopicReader
    from streams.settings import Kafka

    put(shop, recommendation("u1"))
    with TopicReader(connect(Kafka(bootstrap_servers=shop.address)), "recommendations") as reader:
        batches = reader.follow()
        put(shop, recommendation("u2"))  # after the call, before the first look
        found = next(batch for batch in batches if batch)
    assert [message.key() for message in found] == [b"u2"]


def test_the_table_shows_ids_and_titles_as_they_are_without_control_characters() -> None:
    out = Console(file=io.StringIO(), width=160, markup=True)
    found = recommendation("[red]u1[/red]\x1b[2J", item="i1")
    out.print(table_of([(found.user_id, found), ("u2", None)], lambda item: f"[b]{item}[/b]\u202e", 2))
    text = out.file.getvalue()  # type: ignore[attr-defined]
    assert "[red]u1[/red][2J" in text
    assert "[b]i1[/b]  because you looked at [b]i2[/b]" in text
    assert "bought [b]i3[/b]" in text
    assert "forgotten" in text
    assert not {"\x1b", "\u202e"} & set(text)


def test_it_ends_when_no_recommendation_has_come_for_a_while(run: Any, shop: Any) -> None:
    put(shop, recommendation("u1"))
    result = run("--broker", shop.address, "watch", "--from-beginning", "--limit", 2, "--timeout", 0.5)
    assert result.exit_code == 0
    assert result.stdout.startswith("u1 bought i3")
