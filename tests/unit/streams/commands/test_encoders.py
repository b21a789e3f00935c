import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from confluent_kafka import Consumer, TopicPartition

from encoders.building import lookup
from encoders.building.folder_writer import UserSide
from schemas.codec import decode, encode
from schemas.encoder_state import EncoderState
from streams.clock import now_ms
from streams.kafka.topics import CATALOG, ENCODERS

FIRST, SECOND = "trained-1", "trained-2"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of encoder folders."""
    folder = tmp_path_factory.mktemp("folders")
    for number, version in enumerate((FIRST, SECOND), start=2):
        lookup.build(folder / f"of-{version}", ["a", "b"], [[1.0] * number] * 2, version, user=UserSide())
    return folder


@pytest.fixture(autouse=True)
def _settings(folders: Path, shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFSTREAM_ENCODER__FOLDER", str(folders / f"of-{FIRST}"))
    monkeypatch.setenv("PREFSTREAM_ENCODER__FOLDERS", str(folders))
    shop.simulator.create_topics([ENCODERS])


def states(shop: Any) -> dict[str, EncoderState]:
    """What the topic says: the last record of each version."""
    return {message.key().decode(): decode(EncoderState, message.value()) for message in shop.read(ENCODERS)}


def activate(run: Any, shop: Any, *words: str) -> dict[str, Any]:
    result = run("--broker", shop.address, "encoders", *words, "--json")
    assert result.exit_code == 0, result.stderr
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


def test_activating_names_the_version_with_what_workers_need_to_know(run: Any, shop: Any) -> None:
    for number in range(5):
        shop.put("catalog", f"item-{number}", b"{}")
    answer = activate(run, shop, "activate", SECOND)
    found = states(shop)
    assert (answer["version"], answer["dimension"], len(answer["half_lives_s"])) == (SECOND, 3, 2)
    assert sum(found[SECOND].catalog_ends) == 5
    # the one that served before is there to go back to
    assert (found[FIRST].active_since_ms or 0) < (found[SECOND].active_since_ms or 0)


def test_the_name_of_a_folder_means_its_version(run: Any, shop: Any) -> None:
    assert activate(run, shop, "activate", f"of-{SECOND}")["version"] == SECOND


def test_rolling_back_activates_the_former_one_and_again_the_latter(run: Any, shop: Any) -> None:
    activate(run, shop, "activate", SECOND)
    assert activate(run, shop, "rollback")["version"] == FIRST
    assert activate(run, shop, "rollback")["version"] == SECOND


def test_a_clock_that_is_behind_activates_all_the_same(run: Any, shop: Any) -> None:
    activate(run, shop, "activate", SECOND)
    in_an_hour_ms = now_ms() + 3_600_000
    by_a_fast_clock = msgspec.structs.replace(states(shop)[SECOND], active_since_ms=in_an_hour_ms)
    shop.put(ENCODERS, SECOND, encode(by_a_fast_clock))
    assert activate(run, shop, "rollback")["active_since_ms"] == in_an_hour_ms + 1


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["activate", "nobody-has-it"], "There is no folder of encoder version 'nobody-has-it' in "),
        (["activate", FIRST], "'trained-1' serves already"),
        (["rollback"], "There is no former encoder version to go back to"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(run: Any, shop: Any, words: list[str], sentence: str) -> None:
    result = run("--broker", shop.address, "encoders", *words)
    assert result.exit_code == 1
    assert sentence in result.stderr
    assert states(shop) == {}


def test_activating_the_active_version_is_refused(run: Any, shop: Any) -> None:
    activate(run, shop, "activate", SECOND)
    result = run("--broker", shop.address, "encoders", "activate", SECOND)
    assert result.exit_code == 1
    assert "active already" in result.stderr


def test_a_version_whose_folder_is_gone_can_be_gone_back_to(run: Any, shop: Any, folders: Path) -> None:
    activate(run, shop, "activate", SECOND)
    activate(run, shop, "rollback")
    hidden = folders / f"of-{SECOND}"
    hidden.rename(folders.parent / "hidden")
    try:
        assert activate(run, shop, "activate", SECOND)["dimension"] == 3
    finally:
        (folders.parent / "hidden").rename(hidden)


def test_the_list_shows_what_is_there_and_what_is_active(run: Any, shop: Any) -> None:
    before = json.loads(run("--broker", shop.address, "encoders", "list", "--json").stdout)
    assert [(one["version"], one["active"]) for one in before] == [(FIRST, True), (SECOND, False)]
    activate(run, shop, "activate", SECOND)
    after = json.loads(run("--broker", shop.address, "encoders", "list", "--json").stdout)
    assert [(one["version"], one["active"], one["dimension"]) for one in after] == [
        (SECOND, True, 3),
        (FIRST, False, 2),
    ]
    shown = run("--broker", shop.address, "encoders", "list").stdout
    assert SECOND in shown
    assert "active" in shown


def test_the_list_says_how_much_of_the_catalog_is_encoded(run: Any, shop: Any) -> None:
    for number in range(4):
        shop.put("catalog", f"item-{number}", b"{}")
    group = Consumer({"bootstrap.servers": shop.address, "group.id": f"prefstream.catalog-{FIRST}", "log_level": 0})
    metadata = group.list_topics(CATALOG, timeout=10).topics[CATALOG]
    ends = {n: group.get_watermark_offsets(TopicPartition(CATALOG, n), timeout=10)[1] for n in metadata.partitions}
    try:
        for share, words in ((0, "0%, 4 records to go"), (1, "all")):
            offsets = [TopicPartition(CATALOG, number, share * end) for number, end in ends.items()]
            group.commit(offsets=offsets, asynchronous=False)
            assert words in run("--broker", shop.address, "encoders", "list").stdout
    finally:
        group.close()
