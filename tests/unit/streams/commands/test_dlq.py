import json
import time
from pathlib import Path
from typing import Any

import pytest

from schemas.dead_letter import DeadLetter, original_headers
from schemas.rerouted import Rerouted
from streams.commands.dead_letter_view import NotReplayable, Parked, resend
from streams.kafka.topics import TopicNames

GOOD = b'{"event_id": "e1", "user_id": "u1", "item_id": "i1", "event_time_ms": 1700000000000}'
FORGET = b'{"command": "forget", "user_id": "u2", "requested_ms": 1}'
ITEM = b'{"item_id": "i9", "title": "Boots"}'


def letter(reason: str = "malformed", topic: str = "clicks", field: str | None = None) -> DeadLetter:
    return DeadLetter(
        reason=reason,
        field=field,
        detail=f"it is {reason}",
        source_topic=topic,
        source_partition=1,
        source_offset=7,
        source_timestamp_ms=1_700_000_000_000,
    )


def park(shop: Any, value: bytes | None, key: str | None = "k", own: Any = (), **said: Any) -> None:
    shop.put("dead-letters", key, value, letter(**said).to_headers(own), partition=0)


def record(value: bytes | None, topic: str = "clicks", own: Any = (), key: bytes | None = b"k") -> Parked:
    why = letter(topic=topic)
    return Parked(0, 0, 0, key, value, why.to_headers(own), why)


def again(parked: Parked, namespace: str = "", **more: Any) -> Any:
    return resend(parked, TopicNames(namespace), now_ms=1_700_000_001_000, max_future_ms=500, **more)


def test_list_shows_records_and_counts_by_reason(run: Any, shop: Any) -> None:
    park(shop, b"oops")
    park(shop, b"{}", reason="missing-field", field="user_id", topic="browses")
    park(shop, b"oops again")
    shop.put("dead-letters", None, b"who put this here?", partition=0)
    found = json.loads(run("--broker", shop.address, "dlq", "list", "--json").stdout)
    assert found["total"] == 4
    assert found["by_reason"] == {"malformed": 2, "missing-field": 1, "unreadable": 1}
    second = found["records"][1]
    assert (second["place"], second["field"], second["source_topic"]) == ("0:1", "user_id", "browses")
    assert (second["source_partition"], second["source_offset"]) == (1, 7)
    text = run("--broker", shop.address, "dlq", "list", "--reason", "missing-field").stdout
    assert "browses:1:7" in text
    assert "0:2" not in text.split()  # a word of its own: times of day hold it too
    assert "malformed: 2, missing-field: 1, unreadable: 1" in text


def test_an_empty_topic_is_said_to_be_empty(run: Any, shop: Any) -> None:
    assert run("--broker", shop.address, "dlq", "list").stdout == "There are no dead letters.\n"


def test_show_escapes_what_a_terminal_would_act_on(run: Any, shop: Any) -> None:
    park(shop, b'{"a": "\x1b[31m\xff"}', own=[("content-type", b"application/json")])
    text = run("--broker", shop.address, "dlq", "show", "0:0").stdout
    assert '{"a": "\\x1b[31m\\xff"}' in text
    assert "\x1b" not in text
    for said in (
        "malformed",
        "it is malformed",
        "clicks:1:7",
        "2023-11-14 22:13:20 UTC",
        "content-type: application/json",
    ):
        assert said in text


def test_show_raw_is_the_value_byte_for_byte(run: Any, shop: Any) -> None:
    park(shop, b"\x00\xff\n")
    assert run("--broker", shop.address, "dlq", "show", "0:0", "--raw").stdout_bytes == b"\x00\xff\n"


def test_show_json_has_the_bytes_too(run: Any, shop: Any) -> None:
    park(shop, None, key=None, reason="null-value")
    park(shop, b"\xff")
    first = json.loads(run("--broker", shop.address, "dlq", "show", "0:0", "--json").stdout)
    second = json.loads(run("--broker", shop.address, "dlq", "show", "0:1", "--json").stdout)
    assert (first["key"], first["value"], first["value_base64"]) == (None, None, None)
    assert (second["value"], second["value_base64"]) == ("\\xff", "/w==")


@pytest.mark.parametrize("place", ["0:5", "7:0", "0", "x:y", "0:-1"])
def test_a_place_without_a_record_is_one_sentence(run: Any, shop: Any, place: str) -> None:
    park(shop, b"oops")
    result = run("--broker", shop.address, "dlq", "show", "--", place)
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("sent_ms", "shown_ms"), [(1_600_000_000_000, 1_600_000_000_000), (None, 1_700_000_000_000), (-1, -1)]
)
def test_a_record_that_was_rerouted_says_where_and_when_it_was_first_written(
    run: Any, shop: Any, sent_ms: int | None, shown_ms: int
) -> None:
    origin = Rerouted(topic="browses", topic_id="a", partition=3, offset=42, timestamp_ms=sent_ms)
    park(shop, GOOD, topic="rerouted", own=origin.to_headers())
    shown = json.loads(run("--broker", shop.address, "dlq", "show", "0:0", "--json").stdout)
    assert (shown["origin_topic"], shown["origin_partition"], shown["origin_offset"]) == ("browses", 3, 42)
    assert shown["origin_timestamp_ms"] == shown_ms
    text = run("--broker", shop.address, "dlq", "show", "0:0").stdout
    assert ("written   browses:3:42, no time" if shown_ms < 0 else "written   browses:3:42, 20") in text


def test_a_partition_beyond_the_last_says_how_many_there_are(run: Any, shop: Any) -> None:
    park(shop, b"oops")
    result = run("--broker", shop.address, "dlq", "show", "7:0")
    assert "no record 7:0 in dead-letters: the topic has 4 partitions, 0 to 3." in result.stderr


def test_a_reason_that_nobody_knows_lists_the_reasons(run: Any, shop: Any) -> None:
    park(shop, b"oops", reason="of-a-newer-release")
    for command in (["list"], ["replay", "--all"]):
        result = run("--broker", shop.address, "dlq", *command, "--reason", "bogus")
        assert result.exit_code == 1
        assert "'bogus' is no reason of a refusal. The reasons are null-value, malformed, " in result.stderr
    for reason in ("wrong-type", "of-a-newer-release"):
        assert run("--broker", shop.address, "dlq", "list", "--reason", reason).exit_code == 0


def test_replay_with_a_mended_value_lands_keyed_by_its_user(run: Any, shop: Any, tmp_path: Path) -> None:
    park(shop, b"oops", own=[("shop", b"7"), ("content-type", b"application/avro")])
    (tmp_path / "value.json").write_bytes(GOOD)
    result = run("--broker", shop.address, "dlq", "replay", "0:0", "--value", "value.json", "--json")
    assert result.exit_code == 0
    [message] = shop.read("clicks")
    assert json.loads(result.stdout) == {
        "replayed": [{"place": "0:0", "topic": "clicks", "partition": message.partition(), "offset": message.offset()}],
        "left": [],
    }
    assert (message.key(), message.value(), message.headers()) == (b"u1", GOOD, [("shop", b"7")])


def test_replay_of_all_leaves_what_would_be_refused_again(run: Any, shop: Any) -> None:
    soon = GOOD.replace(b"5}", b"%d}" % (time.time_ns() // 1_000_000 + 10_000))
    park(shop, soon, reason="time-in-future")
    park(shop, b"oops")
    result = run("--broker", shop.address, "dlq", "replay", "--all")
    assert result.exit_code == 1
    assert result.stdout.startswith("0:0 is now clicks:")
    assert result.stderr.startswith("0:1 was not sent: it would be refused again")
    assert [message.value() for message in shop.read("clicks")] == [soon]


def test_replay_by_reason_takes_only_those(run: Any, shop: Any) -> None:
    park(shop, GOOD, reason="time-in-future")
    park(shop, GOOD, reason="unsupported-content-type")
    result = run("--broker", shop.address, "dlq", "replay", "--all", "--reason", "time-in-future", "--json")
    assert [one["place"] for one in json.loads(result.stdout)["replayed"]] == ["0:0"]


@pytest.mark.parametrize(
    "arguments", [[], ["0:0", "--all"], ["0:0", "0:1", "--value", "v"], ["0:0", "--value", "missing"]]
)
def test_a_replay_that_is_not_clear_sends_nothing(run: Any, shop: Any, arguments: list[str]) -> None:
    park(shop, GOOD)
    result = run("--broker", shop.address, "dlq", "replay", *arguments)
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    assert shop.read("clicks") == []


def test_an_event_goes_back_keyed_by_its_user() -> None:
    sent = again(record(GOOD, own=[("shop", b"7")]))
    assert (sent.topic, sent.key, sent.value, sent.headers) == ("clicks", b"u1", GOOD, [("shop", b"7")])


def test_commands_and_items_get_their_own_keys() -> None:
    assert again(record(FORGET, "profile-commands")).key == b"u2"
    assert again(record(ITEM, "catalog")).key == b"i9"


def test_a_rerouted_event_goes_to_its_origin_as_a_new_record() -> None:
    """Sent to `rerouted` again it would be below its user's fence, and skipped."""
    origin = Rerouted(topic="browses", topic_id="t", partition=3, offset=9).to_headers([("shop", b"7")])
    sent = again(record(GOOD, "rerouted", own=origin))
    assert (sent.topic, sent.headers) == ("browses", [("shop", b"7")])


def test_a_rerouted_event_without_its_origin_is_left() -> None:
    with pytest.raises(NotReplayable, match="origin-topic"):
        again(record(GOOD, "rerouted"))


@pytest.mark.parametrize("topic", ["recommendations", "somebody-elses", "clicks"])
def test_only_inputs_of_the_namespace_are_written_to(topic: str) -> None:
    with pytest.raises(NotReplayable, match="no input of this namespace"):
        again(record(GOOD, topic), namespace="shop1")
    assert again(record(GOOD, "shop1.clicks"), namespace="shop1").topic == "shop1.clicks"


def test_force_sends_what_would_be_refused_with_its_own_key() -> None:
    for value in (b"oops", None, GOOD.replace(b"0000}", b"1501}")):
        with pytest.raises(NotReplayable, match="refused again"):
            again(record(value))
        sent = again(record(value), force=True)
        assert (sent.key, sent.value) == (b"k", value)
    assert again(record(GOOD.replace(b"0000}", b"1500}"))).key == b"u1"


def test_a_record_that_is_no_dead_letter_is_left() -> None:
    stranger = Parked(0, 0, 0, None, GOOD, original_headers(letter().to_headers()), None)
    with pytest.raises(NotReplayable, match="headers"):
        again(stranger)


def test_fields_that_are_wrong_are_listed_with_a_sample(run: Any, shop: Any) -> None:
    for number, position in enumerate(("first", "second", "3", -1)):
        event = {"event_id": f"e{number}", "user_id": "u1", "item_id": "i1", "event_time_ms": 1_700_000_000_000}
        shop.put("clicks", "u1", json.dumps(event | {"position": position}).encode(), partition=2)
    shop.put("clicks", "u1", b"no event")
    shop.put(
        "catalog",
        "i1",
        b'{"item_id": "i1", "title": "Boots", "attributes": {"size": {"cm": "%s"}}}' % (b"x" * 200),
        partition=0,
    )
    shop.put("profile-commands", "u1", b"no command")
    result = run("--broker", shop.address, "dlq", "fields", "--json")
    fields = json.loads(result.stdout)["fields"]
    assert [(one["topic"], one["field"], one["reason"], one["count"]) for one in fields] == [
        ("clicks", "position", "wrong-type", 2),
        ("clicks", "position", "out-of-range", 1),
        ("catalog", "attributes.size", "wrong-type", 1),
    ]
    assert (fields[0]["place"], fields[0]["value"]) == ("2:1", '"second"')
    assert len(fields[2]["value"]) == 80
    told = run("--broker", shop.address, "dlq", "fields").stdout
    assert "clicks:2:1" in told
    assert "attributes.size" in told
    latest = json.loads(run("--broker", shop.address, "dlq", "fields", "--last", "1", "--json").stdout)["fields"]
    assert [(one["topic"], one["value"]) for one in latest] == [("clicks", "-1"), ("catalog", fields[2]["value"])]


def test_without_a_wrong_field_one_sentence_is_said(run: Any, shop: Any) -> None:
    assert run("--broker", shop.address, "dlq", "fields").stdout == "No field was left out of the latest records.\n"
