"""Every query of the dashboards and every rule works on what a real worker tells a real Prometheus."""

from pathlib import Path

import pytest

from deploy.local.stack import Stack
from tests.e2e.dashboards import problems, run


@pytest.mark.timeout(300)
def test_no_query_or_rule_fails_and_every_panel_has_data(stack: Stack, tmp_path: Path) -> None:
    evaluated, rules = run(stack, tmp_path)
    assert len(evaluated) > 50
    assert len(rules) == 20
    assert not problems(evaluated, rules)
