"""compose.yaml, Dockerfile and .dockerignore agree with each other and with the settings (no Docker engine needed)."""

import json
import re
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml

from streams.settings import load_settings

ROOT = Path(__file__).resolve().parents[3]
COMPOSE = ROOT / "deploy" / "compose.yaml"
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
WORKERS = ("worker", "worker-gpu")


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    compose: dict[str, Any] = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))
    volumes = {mount.split(":")[0] for service in compose["services"].values() for mount in service.get("volumes", [])}
    assert set(compose["volumes"]) == volumes
    return compose["services"]


def instructions(name: str) -> list[str]:
    return re.findall(rf"^{name} (.+)$", DOCKERFILE.replace("\\\n", ""), flags=re.MULTILINE)


def pinned(lock: str) -> set[tuple[str, str]]:
    """Names and versions; a package may have several versions, for several Pythons."""
    return set(re.findall(r"^([a-z0-9._-]+)==(\S+)", lock, flags=re.MULTILINE))


def stages() -> dict[str, str]:
    """Each stage's name and what it is built from."""
    return {name: source for source, name in (line.split(" AS ") for line in instructions("FROM"))}


def test_the_servers_are_the_versions_that_the_tests_run(services: dict[str, dict[str, Any]]) -> None:
    pom = (ROOT / "deploy" / "local" / "pom.xml").read_text(encoding="utf-8")
    image, version = services["kafka"]["image"].split(":")
    assert (image, f"<version>{version}</version>" in pom) == ("apache/kafka", True)
    image, version = services["cassandra"]["image"].split(":")
    assert (image, f"<version>{version}." in pom) == ("cassandra", True)


def test_topics_are_made_once_both_servers_are_healthy_and_before_any_worker(
    services: dict[str, dict[str, Any]],
) -> None:
    topics = services["topics"]
    assert topics["command"] == ["topics", "create"]
    assert topics["depends_on"] == {name: {"condition": "service_healthy"} for name in ("kafka", "cassandra")}
    for name in ("kafka", "cassandra"):
        assert services[name]["healthcheck"]["test"][0] == "CMD"
    for name in WORKERS:
        assert services[name]["depends_on"] == {"topics": {"condition": "service_completed_successfully"}}


def test_workers_scale(services: dict[str, dict[str, Any]]) -> None:
    for name in WORKERS:
        assert not {"container_name", "ports", "hostname"} & services[name].keys()
        assert "command" not in services[name]  # the image's own, "worker"


def test_only_the_gpu_worker_asks_for_a_gpu_and_only_in_its_profile(services: dict[str, dict[str, Any]]) -> None:
    assert [name for name, service in services.items() if "profiles" in service] == ["worker-gpu"]
    assert services["worker-gpu"]["profiles"] == ["gpu"]
    (device,) = services["worker-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
    assert services["worker-gpu"]["build"]["target"] == "cuda"
    assert services["worker"]["build"]["target"] == "cpu"


def test_the_page_is_reached_from_this_machine_alone(services: dict[str, dict[str, Any]]) -> None:
    console = services["console"]
    assert console["ports"] == ["127.0.0.1:8090:8090"]
    assert console["command"] == ["console", "--host", "0.0.0.0", "--port", "8090"]
    assert "http://127.0.0.1:8090/" in console["healthcheck"]["test"][-1]


@pytest.mark.parametrize("name", ["topics", "console", *WORKERS])
def test_the_variables_are_settings(
    services: dict[str, dict[str, Any]], name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    given = services[name]["environment"]
    for variable, value in given.items():
        assert re.fullmatch(r"PREFSTREAM_[A-Z]+(__[A-Z]+(_[A-Z]+)*)+", variable)
        monkeypatch.setenv(variable, value)
    settings = load_settings()
    assert settings.kafka.bootstrap_servers == "kafka:9092"
    assert settings.store.kind == "cassandra"
    assert settings.store.cassandra.hosts == json.loads(given["PREFSTREAM_STORE__CASSANDRA__HOSTS"]) == ["cassandra"]
    assert settings.encoder.device == ("cuda" if name == "worker-gpu" else "auto")


def test_the_image_listens_where_its_health_check_asks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    variables = dict(pair.split("=", 1) for line in instructions("ENV") for pair in line.split())
    for variable in (name for name in variables if name.startswith("PREFSTREAM_")):
        monkeypatch.setenv(variable, variables[variable])
    settings = load_settings()
    assert settings.server.host == "0.0.0.0"
    assert f"http://127.0.0.1:{settings.server.port}/healthz" in instructions("HEALTHCHECK")[0]
    assert instructions("EXPOSE") == [str(settings.server.port)]


def test_every_build_target_of_compose_is_a_stage(services: dict[str, dict[str, Any]]) -> None:
    for service in services.values():
        if build := service.get("build"):
            assert (COMPOSE.parent / build["context"]).resolve() == ROOT
            assert (ROOT / build["dockerfile"]).is_file()
            assert build["target"] in stages()
            assert service["image"] == f"prefstream:{build['target']}"


def test_every_stage_starts_from_a_known_one_and_runs_as_nobody_special() -> None:
    names = stages()
    assert list(names)[-1] == "cpu"  # what a build without --target makes
    assert {source for source in names.values() if source not in names} == {"python:3.11-slim"}
    assert names["cpu"] == names["cuda"] == "run"
    assert instructions("USER") == ["10001"]
    assert instructions("ENTRYPOINT") == ['["prefstream"]']
    assert instructions("CMD") == ['["worker"]']


def test_dependencies_are_installed_by_hash_and_nothing_else_is() -> None:
    installs = [line for line in instructions("RUN") if line.startswith("pip install")]
    assert [line.removeprefix("pip install ") for line in installs] == [
        "--require-hashes -r requirements.lock",
        "--no-deps --no-build-isolation .",
        "--require-hashes -r requirements-cuda.lock",
    ]


def test_the_cuda_lock_adds_libraries_and_changes_no_version() -> None:
    plain, cuda = (pinned((ROOT / name).read_text()) for name in ("requirements.lock", "requirements-cuda.lock"))
    assert plain <= cuda
    assert {name for name, _ in cuda - plain} >= {"nvidia-cublas", "nvidia-cuda-runtime", "nvidia-cufft"}
    assert all(name.startswith("nvidia-") for name, _ in cuda - plain)
    assert ("hatchling", dict(plain)["hatchling"]) in cuda  # for --no-build-isolation


def test_what_the_image_copies_is_not_ignored() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in lines
    kept = [line.removeprefix("!") for line in lines if line.startswith("!")]
    sources = [source for line in instructions("COPY") if "--from" not in line for source in line.split()[:-1]]
    assert {"streams", "pyproject.toml", "requirements.lock"} <= set(sources)
    assert [source for source in sources if not any(fnmatch(source, pattern) for pattern in kept)] == []
