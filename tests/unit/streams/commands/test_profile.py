import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from encoders.building import lookup
from encoders.building.folder_writer import UserSide
from schemas.catalog import ItemVector, pack_vector
from schemas.codec import decode, encode
from schemas.command import ProfileCommand
from schemas.encoder_state import EncoderState
from schemas.ids import id_hashes
from streams.checkpoint.stored_profile import AppliedOffset, Counters, EncoderSums, EventLog, ProfileState, encode_state
from streams.decode.partitioner import partitions_of
from streams.state.user_actions import UserActions
from streams.stores.base import StoredProfile, version
from streams.stores.sqlite import SqliteStore

VERSION = "hashed-text-1"


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built-in encoder is built once for all tests here."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture(autouse=True)
def _encoder(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFSTREAM_DATA_DIR", str(data_dir))


def events(items: list[str], first_ms: int) -> EventLog:
    n = len(items)
    return EventLog(
        items=id_hashes(items).tobytes(),
        types=np.array([0, 1, 2][:n], np.uint8).tobytes(),
        times=np.arange(first_ms, first_ms + n * 1000, 1000).tobytes(),
        ids=np.arange(n, dtype=np.uint64).tobytes(),
    )


def save(user: str, **more: Any) -> None:
    state = ProfileState(
        recents=events(["i1", "i2", "i3"], 1_700_000_000_000),
        pending=events(["i4"], 1_600_000_000_000),
        sums=[
            EncoderSums(
                encoder=VERSION,
                sums=np.zeros((2, 2), "<f4").tobytes(),
                mass=np.array([0.5, 2.0], "<f4").tobytes(),
                time_ms=1_500_000_000_000,
            )
        ],
        purchased_items=id_hashes(["i3"]).tobytes(),
        purchased_times=np.array([1_700_000_002_000]).tobytes(),
        seen_ids=np.arange(5, dtype=np.uint64).tobytes(),
        fences=[AppliedOffset("clicks", "topic-id", 3, 17)],
        counters=Counters(applied=[4, 2, 1], duplicates=3, pending_dropped=6),
    )
    fields: dict[str, Any] = {
        "user_id": user,
        "partition": 3,
        "version": version(5, 9),
        "state": encode_state(state),
        "short_term": pack_vector([1.0, 0.0]),
        "long_term": pack_vector([1.0, 0.0]),
        "mixed": pack_vector([1.0, 0.0]),
        "encoder": VERSION,
    }

    async def write() -> None:
        Path(".prefstream").mkdir(exist_ok=True)
        store = SqliteStore(Path(".prefstream/profiles.sqlite"))
        await store.open()
        await store.save([StoredProfile(**(fields | more))])
        await store.close()

    asyncio.run(write())


def test_show_json_tells_everything_by_hash(run: Any) -> None:
    save("u1")
    result = run("profile", "show", "u1", "--json")
    assert result.exit_code == 0
    assert "--broker" in result.stderr
    found = json.loads(result.stdout)
    hashes = [f"{item:016x}" for item in id_hashes(["i1", "i2", "i3", "i4"]).tolist()]
    assert (found["partition"], found["term"], found["save"], found["encoder"]) == (3, 5, 9, VERSION)
    assert found["applied"] == {"click": 4, "browse": 2, "purchase": 1}
    assert (found["duplicates"], found["pending_dropped"], found["seen_ids"]) == (3, 6, 5)
    assert [(event["type"], event["item"]["hash"]) for event in found["recents"]] == list(
        zip(("click", "browse", "purchase"), hashes[:3], strict=True)
    )
    assert found["recents"][1]["time_ms"] == 1_700_000_001_000
    assert [event["item"]["hash"] for event in found["pending"]] == [hashes[3]]
    assert found["purchases"] == [
        {"time_ms": 1_700_000_002_000, "item": {"hash": hashes[2], "item_id": None, "title": None}}
    ]
    assert [weight["mass"] for weight in found["sums"]] == [0.5, 2.0]
    assert found["fences"] == [{"topic": "clicks", "topic_id": "topic-id", "partition": 3, "next_offset": 17}]
    assert found["nearest"] is None


def test_show_is_readable_and_names_items_that_the_broker_knows(run: Any, shop: Any) -> None:
    save("u1")
    topic = f"item-vectors-{VERSION}"
    shop.simulator.create_topics([topic])
    for item, vector in (("i1", [0.0, 1.0]), ("i2", [0.9, 0.0]), ("near", [1.0, 0.0])):
        value = encode(ItemVector(item_id=item, vector=pack_vector(vector), encoder_version=VERSION))
        shop.put(topic, item, value)
    shop.put("catalog", "i2", b'{"item_id": "i2", "title": "Red \\u001b[31m boots"}')
    shop.put("catalog", "i3", b'{"item_id": "i3", "title": "Known by the catalog alone"}')
    text = run("--broker", shop.address, "profile", "show", "u1").stdout
    found = json.loads(run("--broker", shop.address, "profile", "show", "u1", "--json").stdout)
    names = [(event["item"]["item_id"], event["item"]["title"]) for event in found["recents"]]
    assert names == [("i1", None), ("i2", "Red \x1b[31m boots"), ("i3", "Known by the catalog alone")]
    assert [(near["item_id"], near["similarity"]) for near in found["nearest"]] == [
        ("near", 1.0),
        ("i2", 0.9),
        ("i1", 0.0),
    ]
    assert "\x1b" not in text
    for said in (
        "user u1, partition 3, last saved under term 5 (save number 9 of that worker)",
        "7 events counted (4 click, 2 browse, 1 purchase), 3 duplicates",
        "Red [31m boots",
        f"#{id_hashes(['i4'])[0]:016x}",
        "2023-11-14 22:13:20",
        "weighs 0.5",
        "clicks:3 next 17",
    ):
        assert said in text


def test_show_tells_refunds_hidden_items_and_consents(run: Any) -> None:
    [bought, hidden] = id_hashes(["i3", "i9"]).tolist()
    actions = UserActions(
        refunds={bought: (1_700_000_003_000, 1)},
        hidden_items={hidden: (1, 1, 2**63 - 1)},
        hidden_labels={5: (1, 1, 2), 6: (1, 1, 2)},
        consents={"ads": (1_700_000_004_000, 1, False)},
    )
    save("u1", state=encode_state(ProfileState(actions=actions)))
    found = json.loads(run("profile", "show", "u1", "--json").stdout)
    nameless = {"item_id": None, "title": None}
    assert found["refunds"] == [{"time_ms": 1_700_000_003_000, "item": nameless | {"hash": f"{bought:016x}"}}]
    assert found["hidden"] == [{"until_ms": None, "item": nameless | {"hash": f"{hidden:016x}"}}]
    assert found["hidden_labels"] == 2
    assert found["consents"] == [{"purpose": "ads", "given": False, "time_ms": 1_700_000_004_000}]
    told = run("profile", "show", "u1").stdout
    for part in ("refunded", "for ever", "2 brands or categories are hidden", "consent for ads: withdrawn, 2023-11-14"):
        assert part in told


def test_half_lives_are_told_of_every_version_that_is_known(
    run: Any, shop: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the built-in encoder, of one whose folder is kept, of one that was activated; and not of another one."""
    lookup.build(tmp_path / "kept" / "v1", ["i1"], np.ones((1, 2)), "v1", user=UserSide(half_lives_s=(60.0, 5_400.0)))
    monkeypatch.setenv("PREFSTREAM_ENCODER__FOLDERS", str(tmp_path / "kept"))
    shop.simulator.create_topics(["encoders"])
    shop.put("encoders", "v2", encode(EncoderState(version="v2", name="n", dimension=2, half_lives_s=[7_200, 9_000])))
    mass = np.ones(2, "<f4").tobytes()
    sums = [EncoderSums(encoder=name, sums=mass * 2, mass=mass, time_ms=5) for name in (VERSION, "v1", "v2", "v3")]
    save("u1", state=encode_state(ProfileState(sums=sums)))
    told = json.loads(run("--broker", shop.address, "profile", "show", "u1", "--json").stdout)["sums"]
    assert [one["half_life_s"] for one in told] == [604_800, 5_184_000, 60, 5_400, 7_200, 9_000, None, None]
    assert [one["half_life_s"] for one in json.loads(run("profile", "show", "u1", "--json").stdout)["sums"]] == [
        604_800, 5_184_000, 60, 5_400, None, None, None, None,
    ]  # fmt: skip
    text = run("--broker", shop.address, "profile", "show", "u1").stdout
    assert "half-life 90 minutes: weighs 1" in text
    assert "half-life not known here (encoder.folders has no such version): weighs 1" in text


def test_a_forgotten_user_is_said_to_be_forgotten(run: Any) -> None:
    save("u1", expires_s=7200, state=encode_state(ProfileState()))
    assert "forgotten: only the counters and the applied offsets are kept" in run("profile", "show", "u1").stdout
    assert json.loads(run("profile", "show", "u1", "--json").stdout)["forgotten"] is True


def test_a_forgotten_user_whose_row_never_expires_is_said_to_be_forgotten(run: Any) -> None:
    """Regression: only rows that expire were told from those of other users."""
    save("u1", state=encode_state(ProfileState(forgotten_ms=7)))
    assert "they are kept for ever" in run("profile", "show", "u1").stdout
    assert json.loads(run("profile", "show", "u1", "--json").stdout)["forgotten"] is True


def test_an_unknown_user_is_one_sentence(run: Any) -> None:
    save("u1")
    result = run("profile", "show", "nobody")
    assert result.exit_code == 1
    assert "no profile of user 'nobody'" in result.stderr
    assert result.stdout == ""


def test_looking_makes_no_store(run: Any, tmp_path: Path) -> None:
    assert run("profile", "show", "u1").exit_code == 1
    assert list(tmp_path.iterdir()) == []


def test_a_broken_row_is_one_sentence(run: Any) -> None:
    save("u1", state=b"\xc1")
    result = run("profile", "show", "u1")
    assert result.exit_code == 1
    assert "The stored profile of user 'u1' is broken" in result.stderr


def test_forget_asks_the_owner_of_the_user(run: Any, shop: Any) -> None:
    result = run("--broker", shop.address, "profile", "forget", "u1", "--yes", "--json")
    [message] = shop.read("profile-commands")
    assert (result.exit_code, message.key()) == (0, b"u1")
    assert message.partition() == partitions_of(["u1"], 4, "murmur2")[0]
    command = decode(ProfileCommand, message.value())
    assert (command.command, command.user_id) == ("forget", "u1")
    assert json.loads(result.stdout) == {
        "user_id": "u1",
        "topic": "profile-commands",
        "partition": message.partition(),
        "offset": 0,
    }


def test_forget_says_if_the_store_has_no_such_user(run: Any, shop: Any) -> None:
    result = run("--broker", shop.address, "profile", "forget", "nobody", "--yes")
    assert result.exit_code == 0
    assert "No profile of user nobody is in the SQLite store" in result.stderr
    assert len(shop.read("profile-commands")) == 1


def test_forget_asks_first(run: Any, shop: Any) -> None:
    assert run("--broker", shop.address, "profile", "forget", "u1", stdin="n\n").exit_code == 1
    assert shop.read("profile-commands") == []
    assert run("--broker", shop.address, "profile", "forget", "u1", stdin="y\n").exit_code == 0
    assert len(shop.read("profile-commands")) == 1


def test_a_user_id_that_no_event_can_have_is_refused(run: Any, shop: Any) -> None:
    result = run("--broker", shop.address, "profile", "forget", "u" * 257, "--yes")
    assert result.exit_code == 1
    assert "is no user id" in result.stderr
