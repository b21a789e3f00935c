"""Real purchases as tables for `train` and `evaluate`, from the dependency group `evaluation`."""

from importlib.util import find_spec
from pathlib import Path

import pytest

pytest.importorskip("pyarrow", reason="Parquet needs the extra `train`")

from encoders.items import prices
from streams.commands.catalog_files import read_catalog
from streams.offline.event_logs import read_log
from tests.bench import journey


@pytest.mark.skipif(find_spec(journey.PACKAGE) is None, reason=f"{journey.PACKAGE} is in the group `evaluation`")
def test_households_are_apart_and_their_purchases_in_order(tmp_path: Path) -> None:
    journey.write(tmp_path, households=12)
    train, test = (read_log(tmp_path / f"{name}.parquet") for name in ("train", "test"))
    assert (len(train.histories), len(test.histories), train.skipped.count) == (10, 2, 0)
    catalog = read_catalog(tmp_path / "items.jsonl")
    for history in (*train.histories, *test.histories):
        assert history.times_ms is not None
        assert list(history.times_ms) == sorted(history.times_ms)
        assert 1_483_000_000_000 < history.times_ms[0] < history.times_ms[-1] < 1_515_000_000_000  # 2017
        assert {*(history.types or ())} == {2}
        assert len({*history.items} - catalog.keys()) < 0.1 * len({*history.items})  # some products are in no list
    mean, deviation = prices.scales(catalog.values())["USD"]
    assert 0.5 < mean < 2.0  # a few dollars
    assert 0.3 < deviation < 2.0
