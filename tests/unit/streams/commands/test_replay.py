import json
import re
import threading
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from schemas.catalog import CatalogItem
from schemas.codec import decode
from schemas.events import Browse, Click, Purchase
from streams.commands.replay_clock import ReplayClock
from streams.commands.sender import Sender
from streams.decode.partitioner import partitions_of


def line(kind: str, number: int, **more: Any) -> str:
    fields = {"type": kind, "event_id": f"e{number}", "user_id": f"u{number % 7}", "item_id": "i1"}
    return json.dumps(fields | {"event_time_ms": 1_700_000_000_000 + number} | more) + "\n"


def test_events_land_by_type_on_the_partition_of_their_user(run: Any, shop: Any, tmp_path: Path) -> None:
    kinds = ("click", "browse", "purchase")
    (tmp_path / "events.jsonl").write_text("".join(line(kinds[n % 3], n) for n in range(90)), "utf-8")
    (tmp_path / "items.jsonl").write_text('{"item_id": "i1", "title": "Boots"}\n', "utf-8")
    result = run("--broker", shop.address, "replay", "events.jsonl", "--catalog", "items.jsonl", "--json")
    summary = json.loads(result.stdout)
    assert result.exit_code == 0
    assert summary.pop("seconds") >= 0
    assert summary == {"events": 90, "items": 1, "skipped": 0, "field_faults": {}}
    for topic, kind in (("clicks", Click), ("browses", Browse), ("purchases", Purchase)):
        messages = shop.read(topic)
        assert len(messages) == 30
        for message in messages:
            event = decode(kind, message.value())
            assert message.key().decode() == event.user_id
            assert message.partition() == partitions_of([event.user_id], 4, "murmur2")[0]
    [item] = shop.read("catalog")
    assert item.key() == b"i1"
    assert decode(CatalogItem, item.value()).title == "Boots"


def test_the_partitioner_of_the_settings_is_used(run: Any, shop: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("PREFSTREAM_KAFKA__INPUT_PARTITIONER", "crc32")
    (tmp_path / "events.jsonl").write_text("".join(line("click", n) for n in range(7)), "utf-8")
    assert run("--broker", shop.address, "replay", "events.jsonl").exit_code == 0
    found = {message.key().decode(): message.partition() for message in shop.read("clicks")}
    users = [f"u{n}" for n in range(7)]
    assert found == dict(zip(users, partitions_of(users, 4, "crc32").tolist(), strict=True))


def test_broken_lines_are_reported_skipped_and_counted(run: Any, shop: Any, tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_text(line("click", 1) + "oops\n" + line("click", 2, user_id=["u"]))
    result = run("--broker", shop.address, "replay", "events.jsonl", "--json")
    assert result.exit_code == 0
    summary = json.loads(result.stdout)
    assert (summary["events"], summary["skipped"]) == (1, 2)
    first, second = result.stderr.splitlines()
    assert first.startswith("events.jsonl:2: malformed: ")
    assert second.startswith("events.jsonl:3: wrong-type: `user_id`")
    assert len(shop.read("clicks")) == 1


def test_fields_that_were_left_out_are_told_at_the_end(run: Any, shop: Any, tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_text(line("click", 1, position="first") + line("click", 2, position="3"))
    (tmp_path / "items.jsonl").write_text('{"item_id": "i1", "title": "Boots", "price": "much", "brand": null}\n')
    arguments = ("--broker", shop.address, "replay", "events.jsonl", "--catalog", "items.jsonl")
    told = "events.jsonl: optional fields that are wrong were left out or cut: position: wrong-type (1 lines)"
    assert told in run(*arguments).stderr.replace("\n", " ")
    faults = json.loads(run(*arguments, "--json").stdout)["field_faults"]
    assert faults == {"items.jsonl": {"price: wrong-type": 1}, "events.jsonl": {"position: wrong-type": 1}}


def test_many_broken_lines_are_not_all_shown(run: Any, shop: Any, tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_text(line("click", 1) + "oops\n" * 80)
    result = run("--broker", shop.address, "replay", "events.jsonl", "--json")
    assert json.loads(result.stdout)["skipped"] == 80
    assert len(result.stderr.splitlines()) == 51
    assert result.stderr.splitlines()[-1] == "30 more broken lines were skipped."


def test_strict_stops_at_the_first_broken_line(run: Any, shop: Any, tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_text(line("click", 1) + "oops\n" + line("click", 2))
    result = run("--broker", shop.address, "replay", "events.jsonl", "--strict")
    assert result.exit_code == 1
    assert "events.jsonl:2: malformed" in result.stderr
    assert len(shop.read("clicks")) == 1


def test_where_no_line_can_be_used_the_reasons_are_above(run: Any, shop: Any, tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_text(line("click", 1, event_time_ms=5) + line("view", 2))
    result = run("--broker", shop.address, "replay", "events.jsonl")
    assert result.exit_code == 1
    first, second, last = result.stderr.splitlines()
    assert first.endswith(
        "out-of-range: `event_time_ms` is no time; expected a time since 1973: seconds, milliseconds, microseconds or "
        "nanoseconds since 1970-01-01 UTC, or ISO 8601 such as 2026-01-31T09:30:00Z"
    )
    assert "'view'" in second
    assert last.startswith("prefstream: No line could be used: the reasons are above.")
    assert shop.read("clicks") == []


@pytest.mark.parametrize(("count", "has_rate"), [(1_000, False), (1_001, True)])
def test_a_rate_is_told_for_many_events_only(run: Any, shop: Any, tmp_path: Path, count: int, has_rate: bool) -> None:
    (tmp_path / "events.jsonl").write_text("".join(line("click", n) for n in range(count)), "utf-8")
    told = run("--broker", shop.address, "replay", "events.jsonl").stdout
    assert f"{count:,} events and 0 items sent, 0 skipped, in " in told
    assert ("events/s" in told) == has_rate
    assert "waiting" not in told


def test_limit_counts_events(run: Any, shop: Any, tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_text("oops\n" + "".join(line("click", n) for n in range(10)))
    for limit in (0, 3):
        result = run("--broker", shop.address, "replay", "events.jsonl", "--limit", limit, "--json")
        assert json.loads(result.stdout)["events"] == limit
    assert len(shop.read("clicks")) == 3


def test_with_a_speed_events_come_in_the_order_of_their_times(run: Any, shop: Any, tmp_path: Path) -> None:
    lines = [line("click", n, user_id="u1", event_time_ms=1_700_000_000_000 + n) for n in (30, 10, 20)]
    (tmp_path / "events.jsonl").write_text("".join(lines), "utf-8")
    assert run("--broker", shop.address, "replay", "events.jsonl", "--speed", 10).exit_code == 0
    times = [msgspec.json.decode(message.value())["event_time_ms"] for message in shop.read("clicks")]
    assert [time - 1_700_000_000_000 for time in times] == [10, 20, 30]


def test_pace_follows_event_times_at_its_speed() -> None:
    now = [100.0]

    def wait(seconds: float) -> None:
        assert 0 < seconds <= 0.2
        now[0] += seconds

    clock = ReplayClock(10.0, wait, lambda: now[0])
    due = []
    for time_ms in (5_000, 7_000, 6_000, 15_000):
        clock.wait_until(time_ms)
        due.append(round(now[0] - 100.0, 6))
    assert due == [0.0, 0.2, 0.2, 1.0]


def test_an_empty_file_is_no_failure(run: Any, shop: Any, tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_text("")
    result = run("--broker", shop.address, "replay", "events.jsonl", "--json")
    assert (result.exit_code, json.loads(result.stdout)["events"]) == (0, 0)


def test_what_cannot_be_replayed_is_one_sentence(run: Any, shop: Any, tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n")
    for arguments, said in (
        (["replay", "missing.jsonl"], "'missing.jsonl' can't be read"),
        (["replay", "bad.csv"], "'bad.csv' is no file of events"),
        (["replay"], "nothing to replay"),
        (["replay", "bad.csv", "--speed", 0], "--speed is 0"),
    ):
        result = run("--broker", shop.address, *arguments)
        assert result.exit_code == 1
        assert said in result.stderr
        assert len(result.stderr.splitlines()) == 1


def test_topics_that_are_missing_are_named_before_anything_is_sent(
    run: Any, shop: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setenv("PREFSTREAM_NAMESPACE", "other")
    (tmp_path / "events.jsonl").write_text(line("click", 1))
    result = run("--broker", shop.address, "replay", "events.jsonl")
    assert result.exit_code == 1
    assert "'other.clicks'" in result.stderr
    assert "prefstream topics create" in result.stderr


def test_events_wait_until_a_worker_has_encoded_the_items(run: Any, shop: Any, tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_text(line("click", 1), "utf-8")
    (tmp_path / "items.jsonl").write_text('{"item_id": "i1", "title": "A"}\n{"item_id": "i2", "title": "B"}\n', "utf-8")
    shop.simulator.create_topics(["item-vectors-v1", "item-vectors-v2"])
    shop.put("item-vectors-v1", "i0", b"written before")
    clicks_at_vectors = []

    def encode_items() -> None:  # a worker
        while len(shop.read("catalog")) < 2:
            time.sleep(0.02)
        for item in ("i1", "i2"):
            clicks_at_vectors.append(len(shop.read("clicks")))
            shop.put("item-vectors-v1", item, None)

    worker = threading.Thread(target=encode_items, daemon=True)
    worker.start()
    result = run("--broker", shop.address, "replay", "events.jsonl", "--catalog", "items.jsonl")
    worker.join(20)
    assert result.exit_code == 0
    assert result.stderr == "Waiting until a worker has encoded the 2 items. Then the events are sent.\n"
    assert re.fullmatch(
        r"1 events and 2 items sent, 0 skipped, in \d+\.\d s \(\d+\.\d s of it waiting for the workers to encode the "
        r"items\)\n",
        result.stdout,
    )
    assert clicks_at_vectors == [0, 0]
    assert len(shop.read("clicks")) == 1


def test_events_are_sent_if_nobody_encodes_the_items(run: Any, shop: Any, tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_text(line("click", 1), "utf-8")
    (tmp_path / "items.jsonl").write_text('{"item_id": "i1", "title": "A"}\n', "utf-8")
    result = run("--broker", shop.address, "replay", "events.jsonl", "--catalog", "items.jsonl")
    assert result.exit_code == 0
    assert "No worker encoded the items" in result.stderr
    assert len(shop.read("clicks")) == 1


@pytest.mark.parametrize("speed", [[], ["--speed", "1e9"]])
def test_a_stopped_replay_goes_on_without_sending_an_event_twice(
    run: Any, shop: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, speed: list[str]
) -> None:
    (tmp_path / "events.jsonl").write_text("oops\n" + "".join(line("click", n) for n in range(9)), "utf-8")
    send = Sender.send

    def interrupted(self: Sender, topic: str, key: Any, *rest: Any) -> None:
        if self.sent == 4:
            raise KeyboardInterrupt
        send(self, topic, key, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Sender, "send", interrupted)
        result = run("--broker", shop.address, "replay", "events.jsonl", *speed)
    assert result.exit_code == 130
    [following] = re.findall(r"--from (\d+)", result.stderr)
    assert run("--broker", shop.address, "replay", "events.jsonl", "--from", following, *speed).exit_code == 0
    sent = [decode(Click, message.value()).event_id for message in shop.read("clicks")]
    assert sorted(sent) == [f"e{n}" for n in range(9)]
