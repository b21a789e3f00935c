"""One worker on real Kafka and Cassandra: what goes in, what comes out, and what is kept."""

import json
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import msgspec
import numpy as np
import pytest
from cassandra.cluster import Cluster
from confluent_kafka.admin import NewPartitions

from deploy.local.stack import Stack
from schemas.recommendation import Recommendation
from streams.decode.partitioner import partitions_of
from tests.e2e.shop import ShopOnStack, TopicReader
from tests.e2e.worker_process import INPUTS, WorkerProcess, backlog, wait_for

pytestmark = pytest.mark.timeout(180)

SHELVES = {"boots": "Hiking", "tent": "Hiking", "stove": "Hiking", "rope": "Hiking", "novel": "Books", "atlas": "Books"}


@pytest.fixture(scope="module")
def shop(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> ShopOnStack:
    return ShopOnStack(stack, tmp_path_factory.mktemp("shop"), ranking={"k": 5})


@pytest.fixture(scope="module")
def worker(shop: ShopOnStack) -> Iterator[WorkerProcess]:
    worker = shop.start_worker()
    for item, shelf in SHELVES.items():
        shop.send("catalog", item, {"item_id": item, "title": f"{item} for {shelf}", "category": [shelf]})
    wait_for("the catalog", lambda: worker.metric("prefstream_index_items") == len(SHELVES))
    yield worker
    assert worker.stop() == 0


@pytest.fixture(scope="module")
def recommendations(shop: ShopOnStack, worker: WorkerProcess) -> Iterator[TopicReader]:
    reader = TopicReader(shop, "recommendations")
    yield reader
    reader.close()


def after(recommendations: TopicReader, event_id: str) -> Recommendation:
    """The recommendation that an event caused."""

    def caused(message: Any) -> bool:
        return message.value() is not None and json.loads(message.value())["cause"]["event_id"] == event_id

    message = recommendations.until(f"the recommendation after {event_id}", caused)
    return msgspec.json.decode(message.value(), type=Recommendation)


def names(recommendation: Recommendation) -> list[str]:
    return [item.item_id for item in recommendation.items]


def stored(stack: Stack, shop: ShopOnStack, user: str) -> Any:
    """The row of a user, by plain CQL."""
    with Cluster(stack.cassandra_hosts, stack.cassandra_port) as cluster:
        session = cluster.connect(shop.settings.keyspace)
        row = session.execute("SELECT * FROM profiles WHERE user_id = %s", (user,)).one()
        return None if row is None else (row, msgspec.msgpack.decode(row.state))


def test_an_event_becomes_a_recommendation_with_its_cause_and_exact_reasons(
    shop: ShopOnStack, recommendations: TopicReader
) -> None:
    event_id = shop.click("ann", "boots")
    found = after(recommendations, event_id)
    assert found.user_id == "ann"
    assert found.cause.item_id == "boots"
    assert found.received_ms <= found.emitted_ms
    first = found.items[0]
    assert SHELVES[first.item_id] == "Hiking"
    assert "boots" not in [item.item_id for item in found.items]  # just seen
    assert first.reason.kind == "recent"
    assert first.reason.recents[0].item_id == "boots"
    for item in found.items:
        parts = item.reason
        named = sum(share.share for share in parts.recents)
        total = named + parts.other_recents + parts.older + parts.bonus + parts.bias
        assert parts.exact
        assert total == pytest.approx(item.score, abs=1e-5)


def test_a_later_event_has_a_larger_revision(shop: ShopOnStack, recommendations: TopicReader) -> None:
    first = after(recommendations, shop.click("bob", "tent"))
    second = after(recommendations, shop.click("bob", "novel"))
    assert second.revision > first.revision
    assert second.items[0].item_id == "atlas"


def test_an_unknown_taste_gets_what_is_trending(shop: ShopOnStack, recommendations: TopicReader) -> None:
    after(recommendations, shop.click("eve", "stove"))
    found = after(recommendations, shop.click("stranger", "no-such-item"))
    assert {item.reason.kind for item in found.items} == {"trending"}
    assert "stove" in [item.item_id for item in found.items]


def test_a_withdrawn_item_is_gone_from_the_next_recommendation(
    shop: ShopOnStack, worker: WorkerProcess, recommendations: TopicReader
) -> None:
    assert "rope" in [item.item_id for item in after(recommendations, shop.click("dan", "tent")).items]
    rope = {"item_id": "rope", "title": "rope for Hiking", "category": ["Hiking"]}
    shop.send("catalog", "rope", rope | {"available": False})
    withdrawn = f'prefstream_items_encoded_total{{namespace="{shop.namespace}",outcome="withdrawn"}}'
    wait_for("the withdrawal", lambda: worker.metric(withdrawn) >= 1)

    def gone() -> bool:
        return "rope" not in [item.item_id for item in after(recommendations, shop.click("dan", "boots")).items]

    wait_for("a list without the withdrawn item", gone, timeout_s=10)


def test_an_offer_withdraws_an_item_and_its_removal_shows_it_again(
    shop: ShopOnStack, recommendations: TopicReader
) -> None:
    def is_listed() -> bool:
        return "stove" in [item.item_id for item in after(recommendations, shop.click("otto", "boots")).items]

    assert is_listed()
    shop.send("offers", "stove", {"item_id": "stove", "available": False})
    wait_for("a list without the item", lambda: not is_listed(), timeout_s=10)
    late = shop.start_worker("late")  # it reads the offers before it serves
    assert late.metric("prefstream_offers_total") == 1
    assert late.stop() == 0
    shop.send("offers", "stove", None)
    wait_for("a list with the item", is_listed, timeout_s=10)


def test_a_withdrawal_needs_no_title(shop: ShopOnStack, worker: WorkerProcess, recommendations: TopicReader) -> None:
    def listed() -> list[str]:
        return [item.item_id for item in after(recommendations, shop.click("olga", "novel")).items]

    assert listed()[0] == "atlas"
    shop.send("catalog", "atlas", {"item_id": "atlas", "available": False})
    wait_for("a list without the item", lambda: "atlas" not in listed(), timeout_s=10)
    assert worker.metric("prefstream_dead_letters_total") == 0
    shop.click("olga", "atlas")  # its vector stays: the taste is known
    assert after(recommendations, shop.click("olga", "atlas")).items[0].reason.kind == "recent"
    shop.send("catalog", "atlas", {"item_id": "atlas", "title": "atlas for Books", "category": ["Books"]})
    wait_for("a list with the item", lambda: "atlas" in listed(), timeout_s=10)


@pytest.mark.parametrize(
    ("item", "key"), [("map", '"map"'), ("flask", '{"item_id":"flask"}'), ("lamp", b"\x00\x00\x00\x00\x07\x08lamp")]
)
def test_an_item_is_removed_by_a_key_in_another_form(
    shop: ShopOnStack, worker: WorkerProcess, item: str, key: str | bytes
) -> None:
    items = partial(worker.metric, "prefstream_index_items")
    before = items()
    shop.producer.produce(shop.topic("catalog"), json.dumps({"item_id": item, "title": f"{item} for Hiking"}), key)
    shop.producer.flush(10)
    wait_for("the item", lambda: items() == before + 1)
    shop.producer.produce(shop.topic("catalog"), None, key)
    shop.producer.flush(10)
    wait_for("its removal", lambda: items() == before)


def act(shop: ShopOnStack, kind: str, user: str, **more: Any) -> str:
    """An action now; returns its id."""
    event_id = more.pop("event_id", f"{kind}-{time.time_ns()}")
    action = {"action": kind, "event_id": event_id, "user_id": user, "event_time_ms": int(time.time() * 1000)}
    partition = more.pop("partition", -1)
    shop.send("actions", user, action | more, partition=partition)
    return event_id


def test_a_refunded_item_is_recommended_again(shop: ShopOnStack, recommendations: TopicReader) -> None:
    bought = {"event_id": "b1", "user_id": "rita", "item_id": "stove", "event_time_ms": int(time.time() * 1000)}
    shop.send("purchases", "rita", bought)
    after(recommendations, "b1")
    assert "stove" not in names(after(recommendations, shop.click("rita", "novel")))
    refunded = after(recommendations, act(shop, "refund", "rita", item_id="stove"))
    assert (refunded.cause.event_type, refunded.cause.item_id) == ("refund", "stove")
    # it was just seen, and comes back to fill up a list
    assert "stove" in names(after(recommendations, shop.click("rita", "novel")))


def test_a_refund_may_be_read_before_its_purchase(
    stack: Stack, shop: ShopOnStack, recommendations: TopicReader
) -> None:
    now = int(time.time() * 1000)
    after(recommendations, act(shop, "refund", "pia", item_id="stove"))
    for event_id, item in (("pia-1", "stove"), ("pia-2", "boots")):
        event = {"event_id": event_id, "user_id": "pia", "item_id": item, "event_time_ms": now - 1_000}
        shop.send("purchases", "pia", event)
    after(recommendations, "pia-2")
    found = names(after(recommendations, shop.click("pia", "novel")))
    assert "stove" in found
    assert "boots" not in found  # nobody gave it back

    def sums() -> Any:
        row = stored(stack, shop, "pia")
        return row[1]["sums"] if row is not None and row[1]["counters"]["applied"] == [1, 0, 2] else None

    [refund] = wait_for("the row", sums)  # the events are still in the recents, so the sums are the refund alone
    assert all(weight > 0 for weight in np.frombuffer(refund["mass"], "<f4").tolist())


def test_a_misplaced_action_is_sent_on_and_counted_once(
    stack: Stack, shop: ShopOnStack, worker: WorkerProcess, recommendations: TopicReader
) -> None:
    labels = f'action="refund",namespace="{shop.namespace}"'
    counted = partial(worker.metric, f"prefstream_actions_total{{{labels}}}")
    rerouted = f'namespace="{shop.namespace}",outcome="rerouted",topic="{shop.topic("actions")}"'
    sent_on = partial(worker.metric, f"prefstream_events_total{{{rerouted}}}")
    before = counted(), sent_on()
    right = int(partitions_of(["moritz"], 4, "murmur2")[0])
    event_id = act(shop, "refund", "moritz", item_id="tent", partition=(right + 1) % 4)
    after(recommendations, event_id)
    once = wait_for("the row", lambda: stored(stack, shop, "moritz"))[1]
    # sent once more, to the right partition
    act(shop, "refund", "moritz", item_id="tent", event_id=event_id, partition=right)
    again = wait_for(
        "the duplicate", lambda: (row := stored(stack, shop, "moritz"))[1]["counters"]["duplicates"] and row
    )[1]
    assert (counted(), sent_on()) == (before[0] + 1, before[1] + 1)
    assert len(again["seen_ids"]) == 8
    assert (again["sums"], again["actions"]) == (once["sums"], once["actions"])


def test_broken_actions_are_dead_letters_byte_for_byte(shop: ShopOnStack) -> None:
    good = {"action": "refund", "event_id": "e", "user_id": "u", "item_id": "i", "event_time_ms": 1_760_000_000_000}
    broken: dict[str, tuple[str, Any, str]] = {
        "a-bytes": ("actions", b"\xff\x00{", "malformed"),
        "a-null": ("actions", None, "null-value"),
        "a-unknown": ("actions", good | {"action": "return"}, "out-of-range"),
        "a-nameless": ("actions", {name: good[name] for name in good if name != "action"}, "missing-field"),
        "a-item": ("actions", {name: good[name] for name in good if name != "item_id"}, "missing-field"),
        "a-future": ("actions", good | {"event_time_ms": int(time.time() * 1000) + 86_400_000}, "time-in-future"),
        "a-forget": ("actions", {"command": "forget", "user_id": "u", "requested_ms": 1}, "missing-field"),
        "c-refund": ("profile-commands", good, "missing-field"),
    }
    for key, (topic, value, _) in broken.items():
        shop.send(topic, key, value)
    reader = TopicReader(shop, "dead-letters")
    for key, (topic, value, reason) in broken.items():
        message = reader.until(f"the dead letter {key}", lambda one, key=key: one.key() == key.encode())
        headers = dict(message.headers())
        assert message.value() == (json.dumps(value).encode() if isinstance(value, dict) else value)
        assert headers["prefstream-reason"].decode() == reason, key
        assert headers["prefstream-source-topic"].decode() == shop.topic(topic)
    reader.close()


def test_what_a_user_hides_is_in_no_list_until_it_is_shown_again(
    stack: Stack, shop: ShopOnStack, recommendations: TopicReader
) -> None:
    assert "tent" in names(after(recommendations, shop.click("hugo", "boots")))
    assert "tent" not in names(after(recommendations, act(shop, "hide", "hugo", item_id="tent")))
    # on another partition than the user's: it takes a detour, and counts once
    wrong = (int(partitions_of(["hugo"], 4, "murmur2")[0]) + 1) % 4
    books = after(recommendations, act(shop, "hide", "hugo", category="Books", partition=wrong))
    assert not {"novel", "atlas"} & set(names(books))
    assert "tent" in names(after(recommendations, act(shop, "hide", "hugo", item_id="tent", until_ms=0)))
    act(shop, "consent", "hugo", given=False)
    _, state = wait_for("the consent", lambda: _with_consent(stored(stack, shop, "hugo")))
    assert state["actions"]["consents"]["marketing"][2] is False
    assert state["counters"]["duplicates"] == 0


def _with_consent(row: Any) -> Any:
    return row if row is not None and (row[1]["actions"] or {}).get("consents") else None


def test_impressions_are_counted(shop: ShopOnStack, worker: WorkerProcess) -> None:
    counted = partial(worker.metric, f'prefstream_actions_total{{action="impression",namespace="{shop.namespace}"}}')
    act(shop, "impression", "ines", items=["boots", "tent"], placement="home")
    wait_for("the impression", lambda: counted() == 1)


def test_broken_records_are_dead_letters_byte_for_byte(shop: ShopOnStack, worker: WorkerProcess) -> None:
    now = int(time.time() * 1000)
    good = {"event_id": "e", "user_id": "u", "item_id": "i", "event_time_ms": now}
    broken: dict[str, tuple[bytes | None, str]] = {
        "bytes": (b"\xff\x00{", "malformed"),
        "type": (json.dumps(good | {"item_id": [5]}).encode(), "wrong-type"),
        "nan": (json.dumps(good | {"event_time_ms": float("nan")}).encode(), "out-of-range"),
        "negative": (json.dumps(good | {"event_time_ms": -1}).encode(), "out-of-range"),
        "future": (json.dumps(good | {"event_time_ms": now + 86_400_000}).encode(), "time-in-future"),
        "empty": (json.dumps(good | {"user_id": ""}).encode(), "out-of-range"),
        "long": (json.dumps(good | {"user_id": "x" * 10_000}).encode(), "out-of-range"),
        "megabyte": (json.dumps(good | {"item_id": "x" * 1_000_000}).encode(), "out-of-range"),
        "null": (None, "null-value"),
        "missing": (b'{"event_id": "e"}', "missing-field"),
    }
    for key, (value, _) in broken.items():
        shop.send("clicks", key, value)
    reader = TopicReader(shop, "dead-letters")
    for key, (value, reason) in broken.items():
        message = reader.until(f"the dead letter {key}", lambda one, key=key: one.key() == key.encode())
        headers = dict(message.headers())
        assert message.value() == value
        assert headers["prefstream-reason"].decode() == reason, key
        assert headers["prefstream-source-topic"].decode() == shop.topic("clicks")
    reader.close()
    assert worker.get("/healthz")[0] == 200


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [("position", float("nan"), "out-of-range"), ("list", "x" * 900_000, "out-of-range"), ("list", [], "wrong-type")],
)
def test_an_optional_field_that_is_wrong_costs_only_itself(
    shop: ShopOnStack, worker: WorkerProcess, recommendations: TopicReader, field: str, value: Any, reason: str
) -> None:
    labels = f'field="{field}",namespace="{shop.namespace}",reason="{reason}",topic="{shop.topic("clicks")}"'
    faults = partial(worker.metric, f"prefstream_field_faults_total{{{labels}}}")
    before = faults()
    event_id = f"odd-{field}-{reason}"
    event = {"event_id": event_id, "user_id": "odd", "item_id": "boots", "event_time_ms": int(time.time() * 1000)}
    shop.send("clicks", "odd", event | {field: value})
    assert after(recommendations, event_id).cause.item_id == "boots"
    assert faults() == before + 1


def test_a_misplaced_event_is_sent_on_and_counted_once(
    stack: Stack, shop: ShopOnStack, recommendations: TopicReader
) -> None:
    right = int(partitions_of(["lost"], 4, "murmur2")[0])
    event_id = shop.click("lost", "tent", partition=(right + 1) % 4)
    after(recommendations, event_id)
    _, state = wait_for("the row", lambda: stored(stack, shop, "lost"))
    assert state["counters"]["applied"] == [1, 0, 0]
    [[topic, _, partition, next_offset]] = state["fences"]
    assert (topic, partition) == (shop.topic("clicks"), (right + 1) % 4)
    assert next_offset > 0


def test_a_forgotten_user_leaves_nothing_but_fences_and_counters(
    stack: Stack, shop: ShopOnStack, recommendations: TopicReader
) -> None:
    after(recommendations, shop.click("private", "tent"))
    wait_for("the row", lambda: stored(stack, shop, "private"))
    command = {"command": "forget", "user_id": "private", "requested_ms": 1}
    shop.send("profile-commands", "private", command)
    recommendations.until("the tombstone", lambda one: one.key() == b"private" and one.value() is None)

    def empty() -> Any:
        row, state = stored(stack, shop, "private")
        return (row, state) if state["recents"]["items"] == b"" else None

    row, state = wait_for("the emptied row", empty)
    assert not any(row.mixed + row.short_term + row.long_term)
    assert state["sums"] == []
    assert state["seen_ids"] == b""
    assert state["purchased_items"] == b""
    assert {fence[0] for fence in state["fences"]} == {shop.topic("clicks"), shop.topic("profile-commands")}
    assert state["counters"]["applied"] == [1, 0, 0]


def test_a_clean_stop_leaves_nothing_to_do_again(shop: ShopOnStack, worker: WorkerProcess) -> None:
    second = shop.start_worker("second")
    shop.click("mover", "tent")
    wait_for("the event", lambda: worker.metric("prefstream_hot_users") + second.metric("prefstream_hot_users") > 0)
    start = time.monotonic()
    assert second.stop() == 0
    assert time.monotonic() - start < 10
    shop.click("mover", "boots")
    wait_for("the partitions to come back", lambda: worker.metric("prefstream_assigned_partitions") == 4)
    replayed = f'prefstream_events_total{{namespace="{shop.namespace}",outcome="replayed"'
    lines = [line for line in worker.get("/metrics")[1].splitlines() if line.startswith(replayed)]
    assert sum(float(line.rpartition(" ")[2]) for line in lines) == 0


def test_unequal_partition_counts_are_refused_with_a_sentence(stack: Stack, tmp_path: Any) -> None:
    shop = ShopOnStack(stack, tmp_path)
    for future in shop.admin.create_partitions([NewPartitions(shop.topic("clicks"), 6)]).values():
        future.result(30)
    clicks = shop.topic("clicks")
    wait_for(
        "the broker to show it",
        lambda: len(shop.admin.list_topics(clicks, timeout=10).topics[clicks].partitions) == 6,
    )
    worker = WorkerProcess(shop.config, tmp_path / "worker.log")
    assert worker.process.wait(60) == 1
    log = (tmp_path / "worker.log").read_text()
    assert "unequal partition counts" in log
    assert "prefstream topics grow 6" in log
    assert "Traceback" not in log


def test_grown_topics_are_taken_up_without_loss(stack: Stack, tmp_path: Any) -> None:
    shop = ShopOnStack(stack, tmp_path)
    worker = shop.start_worker()
    users = [f"u{n}" for n in range(40)]
    for user in users:
        shop.click(user, "tent")
    requests = [NewPartitions(shop.topic(name), 8) for name in INPUTS]
    for future in shop.admin.create_partitions(requests).values():
        future.result(30)
    wait_for("the new partitions", lambda: worker.metric("prefstream_assigned_partitions") == 8, timeout_s=60)
    for user in users:
        shop.click(user, "tent", partition=int(partitions_of([user], 8, "murmur2")[0]))

    def counted() -> bool:
        rows = [stored(stack, shop, user) for user in users]
        return all(row is not None and row[1]["counters"]["applied"] == [2, 0, 0] for row in rows)

    wait_for("both clicks of every user", counted, timeout_s=60, every_s=0.5)
    assert worker.stop() == 0


def test_the_committed_offset_is_the_log_end_when_all_is_done(shop: ShopOnStack, worker: WorkerProcess) -> None:
    shop.click("last", "tent")
    topics = [shop.topic(name) for name in INPUTS]
    wait_for("everything to be committed", lambda: backlog(shop.admin, shop.settings.group, topics) == 0)
    wait_for("nothing to be unsaved", lambda: worker.metric("prefstream_dirty_users") == 0)
