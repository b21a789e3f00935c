"""What all unit tests share."""

import pytest

from encoders.compiled import warm_up


@pytest.fixture(scope="session", autouse=True)
def _compiled() -> None:
    """Compile before the first test: a test with a deadline must not pay for it."""
    warm_up()
