"""Dashboards, rules and runbook agree with each other and with the worker's metrics; promtool tests the alerts."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from deploy.grafana.__main__ import FOLDER, generated
from deploy.local import prometheus
from streams.monitoring.metrics import Metrics

DEPLOY = Path(__file__).resolve().parents[4] / "deploy"
RULES = sorted((DEPLOY / "prometheus" / "rules").glob("*.yml"))
ALERTS = [
    rule
    for path in RULES
    for group in yaml.safe_load(path.read_text("utf-8"))["groups"]
    for rule in group["rules"]
    if "alert" in rule
]


def panels() -> list[dict[str, Any]]:
    boards = [json.loads(path.read_text("utf-8")) for path in sorted(FOLDER.glob("*.json"))]
    return [panel for board in boards for panel in board["panels"] if panel["type"] != "row"]


def expressions() -> list[str]:
    recorded = [
        str(rule["expr"])
        for path in RULES
        for group in yaml.safe_load(path.read_text("utf-8"))["groups"]
        for rule in group["rules"]
    ]
    return [target["expr"] for panel in panels() for target in panel["targets"]] + recorded


def test_the_committed_json_is_what_the_code_makes() -> None:
    committed = {path: path.read_text("utf-8") for path in FOLDER.glob("*.json")}
    assert committed == generated(), "run `python -m deploy.grafana`"


def test_the_committed_json_is_of_the_types_of_grafanas_sdk_and_they_lose_nothing_of_it() -> None:
    register_default_plugins()
    for path in FOLDER.glob("*.json"):
        text = path.read_text("utf-8")
        assert JSONEncoder(sort_keys=True, indent=2).encode(Dashboard.from_json(json.loads(text))) + "\n" == text


def test_every_panel_says_what_it_means_and_in_which_unit() -> None:
    for panel in panels():
        assert len(panel["description"]) > 30, panel["title"]
        assert panel["type"] == "heatmap" or panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["datasource"]["uid"] == "$datasource"
    for path in FOLDER.glob("*.json"):
        ids = [panel["id"] for panel in json.loads(path.read_text("utf-8"))["panels"]]
        assert len(set(ids)) == len(ids)


def test_every_metric_that_is_asked_for_is_one_that_a_worker_has() -> None:
    known = set()
    for family in Metrics().registry.collect():
        known |= {family.name, *(family.name + suffix for suffix in ("_total", "_sum", "_count", "_bucket"))}
    asked = {name for expr in expressions() for name in re.findall(r"(?<!:)\bprefstream_\w+\b(?!:)", expr)}
    assert asked - known == set()
    recorded = {match for expr in expressions() for match in re.findall(r"\bnamespace\w*:prefstream_\w+:\w+", expr)}
    made = {
        rule["record"]
        for path in RULES
        for g in yaml.safe_load(path.read_text())["groups"]
        for rule in g["rules"]
        if "record" in rule
    }
    assert recorded <= made


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_every_alert_names_a_section_of_the_runbook_that_names_it(alert: dict[str, Any]) -> None:
    page, _, section = alert["annotations"]["runbook_url"].partition("#")
    text = (DEPLOY.parent / page).read_text("utf-8")
    sections = {
        re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-"): body
        for title, body in re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", text, flags=re.MULTILINE | re.DOTALL)
    }
    assert f"`{alert['alert']}`" in sections[section]
    assert {"**Look at**", "**Do**"} <= set(re.findall(r"\*\*.+?\*\*", sections[section]))
    assert alert["labels"]["severity"] in ("page", "ticket")
    assert f"alertname: {alert['alert']}" in (DEPLOY / "prometheus" / "tests" / "alerts_test.yml").read_text("utf-8")


def test_the_runbook_names_panels_that_are_there() -> None:
    titles = {panel["title"] for panel in panels()}
    text = (DEPLOY.parent / "docs" / "how-to" / "answer-alerts.md").read_text("utf-8").replace("\n  ", " ")
    named = set(re.findall(r'"([A-Z][^"]+)"', text))
    assert named - titles == set()


def test_promtool_finds_rules_and_configuration_sound_and_alerts_as_expected() -> None:
    promtool = prometheus.find(print).promtool
    for arguments in (
        ["check", "config", str(DEPLOY / "prometheus" / "prometheus.yml")],
        ["test", "rules", str(DEPLOY / "prometheus" / "tests" / "alerts_test.yml")],
    ):
        done = subprocess.run([str(promtool), *arguments], capture_output=True, text=True, check=False, timeout=100)
        assert done.returncode == 0, done.stdout + done.stderr


def test_compose_gives_grafana_the_dashboards_and_prometheus_its_rules() -> None:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))["services"]
    provider = yaml.safe_load((DEPLOY / "grafana/provisioning/dashboards/prefstream.yaml").read_text("utf-8"))
    path = provider["providers"][0]["options"]["path"]
    assert f"./grafana/dashboards:{path}:ro" in services["grafana"]["volumes"]
    assert services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"] == f"{path}/service.json"
    source = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/prometheus.yaml").read_text("utf-8"))
    assert source["datasources"][0]["url"] == "http://prometheus:9090"
    config = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text("utf-8"))
    assert config["scrape_configs"][0]["dns_sd_configs"][0]["names"] == ["worker", "worker-gpu"]
    version = services["grafana"]["image"].split(":")[1]
    assert f'"grafana-foundation-sdk==1769699379!{version}"' in (DEPLOY.parent / "pyproject.toml").read_text("utf-8")
