"""Prometheus comes from PATH, else from Debian's package, fetched once; else a sentence says what to install."""

from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.local import prometheus
from deploy.local.errors import StackError

Tool = Callable[[str, str], Path]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("LISTS", str(tmp_path / "lists"))
    return tmp_path / "cache" / "prefstream"


def test_what_is_on_the_path_is_taken(tool: Tool, cache: Path) -> None:
    server, promtool = tool("prometheus", ""), tool("promtool", "")
    assert prometheus.find(pytest.fail) == prometheus.Prometheus(server, promtool)


def test_a_machine_without_lists_of_packages_gets_them_and_the_package_once(
    tool: Tool, cache: Path, tmp_path: Path
) -> None:
    tool("apt-get", 'case "$*" in update*) touch "$LISTS" ;; *) [ -e "$LISTS" ] && touch prometheus_1_all.deb ;; esac')
    tool("dpkg-deb", 'mkdir -p unpacked/usr/bin; echo unpacked >> "$LISTS"')
    said: list[str] = []
    found = prometheus.find(said.append)
    assert found.promtool == cache / "prometheus/usr/bin/promtool"
    assert prometheus.find(said.append) == found
    assert len(said) == 1
    assert (tmp_path / "lists").read_text() == "unpacked\n"
    assert [path.name for path in cache.iterdir()] == ["prometheus"]


def test_where_it_cant_be_had_the_error_says_what_to_install(tool: Tool, cache: Path) -> None:
    with pytest.raises(StackError, match="install Prometheus"):
        prometheus.find(lambda _: None)
    assert not list(cache.iterdir())
