"""The scenario that needs the sources of the former release."""

from types import SimpleNamespace
from typing import Any

import pytest

from tests.faults import upgrade


def test_a_history_without_the_former_release_is_one_sentence() -> None:
    run: Any = SimpleNamespace(beside=None)
    with (
        pytest.raises(
            AssertionError, match=r"v0\.0\.0-never-tagged, can't be taken .* `git fetch --unshallow`, or name"
        ),
        upgrade.former_tree(run, "v0.0.0-never-tagged"),
    ):
        pytest.fail("there is no such tree")
