"""Every query of the dashboards and every rule works on what a real worker tells a real Prometheus."""

from pathlib import Path

import pytest

from deploy.local.stack import Stack
from tests.e2e.dashboard_plots import draw
from tests.e2e.dashboards import DASHBOARDS, problems, run


@pytest.mark.timeout(300)
def test_no_query_or_rule_fails_every_panel_has_data_and_can_be_drawn(stack: Stack, tmp_path: Path) -> None:
    found = run(stack, tmp_path)
    assert len(found.evaluated) > 50
    assert len(found.rules) == 21
    assert not problems(found)
    lags = [one for query in found.evaluated if query.query.panel == "Lag by topic" for one in query.series]
    # Regression: after a rebalance a worker said of a catalog that was all encoded that all of it was behind
    assert [one.values[-1] for one in lags if one.labels["topic"].endswith("catalog")] == [0.0]
    for dashboard in DASHBOARDS.glob("*.json"):
        picture = tmp_path / f"{dashboard.stem}.png"
        draw(found, dashboard, picture)
        assert 20_000 < picture.stat().st_size < 200_000
