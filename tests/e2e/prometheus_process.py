"""A real Prometheus on loopback that scrapes given workers each second and evaluates the project's rules."""

import json
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from deploy.local import ports, prometheus
from tests.e2e.worker_process import wait_for

RULES = Path(__file__).parents[2] / "deploy" / "prometheus" / "rules"


class QueryFailed(AssertionError):
    """Prometheus refused a query."""


@dataclass(frozen=True)
class Series:
    """One series over time."""

    labels: dict[str, str]
    times: list[float]
    """Seconds since the start of what was asked for."""
    values: list[float]


class PrometheusProcess:
    """Started at once; `stop` ends it. Its data and log are in ``folder``."""

    def __init__(self, folder: Path, worker_ports: Sequence[int]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._port = ports.pick()
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(RULES / "*.yml")],
            "scrape_configs": [
                {
                    "job_name": "prefstream",
                    "static_configs": [{"targets": [f"{ports.HOST}:{port}" for port in worker_ports]}],
                }
            ],
        }
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config), "utf-8")
        self._log = folder / "prometheus.log"
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(
                [
                    str(prometheus.find(print).prometheus),
                    f"--config.file={folder / 'prometheus.yml'}",
                    f"--storage.tsdb.path={folder / 'data'}",
                    f"--web.listen-address={ports.HOST}:{self._port}",
                    "--log.level=warn",
                ],
                stdout=output,
                stderr=output,
                cwd=folder,
            )
        wait_for("Prometheus to be ready", self._ready, timeout_s=60)

    def _ready(self) -> bool:
        if self._process.poll() is not None:
            raise AssertionError(f"Prometheus ended with {self._process.returncode}: {self._log.read_text()[-2000:]}")
        try:
            with urllib.request.urlopen(f"http://{ports.HOST}:{self._port}/-/ready", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def query(self, expr: str) -> list[tuple[dict[str, str], float]]:
        """Labels and value of each series that an instant query gives now; `QueryFailed` if it is refused."""
        data = self._get("query", query=expr)
        if data["resultType"] == "scalar":
            return [({}, float(data["result"][1]))]
        return [(series["metric"], float(series["value"][1])) for series in data["result"]]

    def query_range(self, expr: str, start_s: float, end_s: float, step_s: float) -> list[Series]:
        """Each series that a query gives between two Unix times, as a panel asks for it; `QueryFailed` if refused."""
        data = self._get("query_range", query=expr, start=str(start_s), end=str(end_s), step=str(step_s))
        return [
            Series(
                one["metric"],
                [float(time_s) - start_s for time_s, _ in one["values"]],
                [float(value) for _, value in one["values"]],
            )
            for one in data["result"]
        ]

    def value(self, expr: str) -> float:
        """The one value of a query; 0 where there is no series."""
        return sum(value for _, value in self.query(expr))

    def rules(self) -> list[dict[str, Any]]:
        """Every rule as it stands: name, health, lastError, query; alerts with their state."""
        return [rule for group in self._get("rules")["groups"] for rule in group["rules"]]

    def _get(self, path: str, **parameters: str) -> Any:
        url = f"http://{ports.HOST}:{self._port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise QueryFailed(json.load(error)["error"]) from None

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(30)
