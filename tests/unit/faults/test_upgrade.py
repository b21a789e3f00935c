"""The scenario that needs the sources of the former release."""

from types import SimpleNamespace
from typing import Any

import pytest

from tests.faults import upgrade


def test_a_history_without_the_former_release_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upgrade, "FORMER_RELEASE", "v0.0.0-never-tagged")
    run: Any = SimpleNamespace(beside=None)
    with (
        pytest.raises(
            AssertionError, match=r"v0\.0\.0-never-tagged, can't be taken .* `git fetch --unshallow`, or name"
        ),
        upgrade.former_tree(run),
    ):
        pytest.fail("there is no such tree")
