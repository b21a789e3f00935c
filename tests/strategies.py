"""Hypothesis strategies that several suites share."""

import msgspec
from hypothesis import strategies as st

from schemas.events import EVENT_TYPES, Browse, Click, OrderLine, Purchase

ids = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=256)
"""Every id that the schemas allow."""

time_ms = st.integers(0, 253_402_300_799_999)

event_type = st.sampled_from(range(len(EVENT_TYPES)))

_common = {
    "event_id": ids,
    "user_id": ids,
    "item_id": ids,
    "event_time_ms": time_ms,
    "session_id": st.none() | ids,
    "recommendation_id": st.none() | ids,
}
clicks = st.builds(Click, **_common, list=st.none() | ids, position=st.none() | st.integers(0, 10_000))
browses = st.builds(Browse, **_common, dwell_ms=st.none() | st.integers(0, 10_000_000))
_quantities = st.integers(1, 99).map(float) | st.floats(0.001, 1e6)
_bought = {"quantity": _quantities, "price": st.none() | st.floats(0, 1e6)}
order_lines = st.lists(st.builds(OrderLine, item_id=ids, **_bought), min_size=1, max_size=4)
purchases = st.builds(Purchase, **_common, items=st.none() | order_lines, **_bought)
events = clicks | browses | purchases

_field_names = st.sampled_from([*Click.__struct_fields__, *Browse.__struct_fields__, *Purchase.__struct_fields__])
_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_field_names | st.text(max_size=5), inner, max_size=6),
    max_leaves=12,
)
record_values = st.one_of(
    st.none(),
    st.binary(max_size=200),
    events.map(msgspec.json.encode),
    st.dictionaries(_field_names, _json, max_size=8).map(msgspec.json.encode),
)
"""What a producer may put into a record: nothing, any bytes, an event, something that looks like one."""


def cuts(length: int) -> st.SearchStrategy[list[slice]]:
    """Every way to cut a sequence into consecutive pieces."""
    return st.sets(st.integers(1, max(1, length - 1))).map(
        lambda inner: [
            slice(start, end)
            for start, end in zip([0, *sorted(inner)], [*sorted(inner), length], strict=True)
            if start < end
        ]
    )
