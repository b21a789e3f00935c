"""What stands around lists: the bytes are those of the message's own struct, whatever the ids are."""

from typing import Any

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from encoders.index.item_index import ItemIndex
from encoders.ranking.ranking_io import Ranked
from schemas.codec import encode
from schemas.events import EVENT_TYPES
from schemas.fields import MAX_INT64, MAX_TIME_MS
from schemas.recommendation import Cause, ListReasons, Recommendation, Revision
from streams.emit.envelope_json import frames
from streams.emit.list_json import ListEncoder, reason_codes
from streams.state.profile_shape import ProfileShape
from streams.state.profile_table import ProfileTable
from tests.strategies import ids
from tests.unit.streams.profile_model import Ev, batch_of

times = st.integers(0, MAX_TIME_MS)
TOLD: tuple[ListReasons, ...] = ("full", "largest", "none")
drawn = st.lists(st.tuples(ids, ids, ids, st.integers(0, 2), times, times), min_size=1, max_size=6)


@given(drawn, st.data(), st.integers(0, 1 << 40), st.integers(0, MAX_INT64 - 99), ids, times, st.sampled_from(TOLD))
@example([('"', "\\", '\\"', 0, 0, 0), ("a\n", ",", "]", 2, MAX_TIME_MS, 0)], None, 0, 0, "[1,2]", 7, "full")
def test_a_frame_is_the_message_without_its_items(
    rows: list[Any], data: Any, term: int, first: int, version: str, emitted_ms: int, told: ListReasons
) -> None:
    events = batch_of([Ev(user, item, event, kind, time, 0) for user, item, event, kind, time, _ in rows])
    count = len(rows)
    places = list(range(count)) if data is None else data.draw(st.permutations(range(count)))
    newest = np.array([row[5] for row in rows], np.int64)
    sequences = range(first, first + count)
    names = [f"{term:x}-{sequence:x}" for sequence in sequences]
    found = frames(events, np.array(places, np.intp), names, term, sequences, newest, version, emitted_ms, told)
    for message, place in enumerate(places):
        expected = Recommendation(
            recommendation_id=names[message],
            user_id=events.user_ids[place],
            revision=Revision(term=term, sequence=sequences[message]),
            items=[],
            cause=Cause(
                event_id=events.event_ids[place],
                event_type=EVENT_TYPES[events.types[place]],
                item_id=events.item_ids[place],
                event_time_ms=int(events.times[place]),
            ),
            encoder_version=version,
            event_time_ms=int(newest[message]),
            received_ms=int(events.received[place]),
            emitted_ms=emitted_ms,
            reasons=told,
        )
        assert found.around(message, b"[]") == encode(expected)


def test_lists_are_written_into_their_frames_however_many_they_are() -> None:
    users, items = 300, ["red", 'with "quotes"', "größe"]
    index = ItemIndex(4)
    index.put(items, np.ones((3, 4), np.float32))
    table = ProfileTable(users, ProfileShape(history=5, dimension=4))
    slots = table.allocate([f"u{n}" for n in range(users)], 0, 1)
    rng = np.random.default_rng(1)
    table.rows[slots] = rng.integers(-1, 3, (users, 5))
    scores = -np.sort(-rng.standard_normal((users, 3)), axis=1).astype(np.float32)
    scores[7:9, 1:] = -np.inf
    scores[9] = -np.inf
    none = np.zeros((users, 3), np.float32)
    vectors = np.zeros((users, 4), np.float32)
    rows = rng.integers(0, 3, (users, 3))
    recents = rng.standard_normal((users, 3, 5)).astype(np.float32)
    ranked = Ranked(vectors, vectors, vectors, scores, rows, recents, none, none, none, exact=True)
    reasons = reason_codes(ranked)
    events = batch_of([Ev(f"u{n}", "red" * (n % 5 + 1), f"e{n}", n % 3, n, n) for n in range(users)])
    places = np.arange(users)[::-1].copy()
    framed = frames(events, places, [f"r{n}" for n in range(users)], 3, range(users), places * 1_000, "v1", 5)
    lists = ListEncoder(index)
    alone = lists.encode(table.rows[slots], table.types[slots], ranked, reasons)
    assert alone[9] == b"[]"
    messages = lists.encode(table.rows[slots], table.types[slots], ranked, reasons, framed)
    assert messages == [framed.around(n, alone[n]) for n in range(users)]
    for n in (1, 2, 199):
        few = lists.encode(table.rows[slots[:n]], table.types[slots[:n]], ranked_first(ranked, n), reasons[:n])
        assert few == alone[:n]


def ranked_first(ranked: Ranked, count: int) -> Ranked:
    parts = (getattr(ranked, name) for name in Ranked.__dataclass_fields__ if name != "exact")
    return Ranked(*(part[:count] for part in parts), exact=ranked.exact)
