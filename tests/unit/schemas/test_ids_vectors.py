"""Ids as hashes, vectors as bytes."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.catalog import pack_vector, unpack_vector
from schemas.errors import DecodeError, DecodeReason
from schemas.events import BROWSE, CLICK, EVENT_CLASSES, EVENT_TYPES, PURCHASE
from schemas.ids import id_hash, id_hashes

# a busy machine is no reason to fail
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def test_a_hash_never_changes_because_it_is_stored() -> None:
    assert id_hash("") == 0x2D06800538D394C2  # xxh3_64 of no bytes, as in the test vectors of xxHash
    assert id_hash("item-1") == 12172481486005482930
    assert id_hash("Zoë 东京") == 1335297981971666795


@patient
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]))))
def test_many_hashes_are_the_hashes_of_each(texts: list[str]) -> None:
    hashes = id_hashes(iter(texts))
    assert hashes.dtype == np.uint64
    assert hashes.shape == (len(texts),)
    assert hashes.tolist() == [id_hash(text) for text in texts]


def test_event_type_codes_never_change_because_they_are_stored() -> None:
    assert (CLICK, BROWSE, PURCHASE) == (0, 1, 2)
    assert EVENT_TYPES == ("click", "browse", "purchase")
    assert [event_class.__name__.lower() for event_class in EVENT_CLASSES] == list(EVENT_TYPES)


@patient
@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1))
def test_a_vector_is_read_back_the_same(components: list[float]) -> None:
    vector = unpack_vector(pack_vector(components), len(components))
    assert vector.dtype == np.float32
    assert vector.tolist() == components


def test_a_vector_is_little_endian_wherever_it_is_made() -> None:
    assert pack_vector(np.array([1.0], dtype=">f8")) == b"\x00\x00\x80\x3f"


@pytest.mark.parametrize(
    "data", [b"", b"\x00" * 7, b"\x00" * 12, pack_vector([1.0, np.nan]), pack_vector([np.inf, 0.0])]
)
def test_a_vector_of_another_length_or_not_finite_is_refused(data: bytes) -> None:
    with pytest.raises(DecodeError) as caught:
        unpack_vector(data, 2)
    assert (caught.value.reason, caught.value.field) == (DecodeReason.OUT_OF_RANGE, "vector")
