import socket
from typing import Any

import pytest

from streams.console import run as console_run
from streams.kafka.simulator import Simulator


def test_a_port_that_is_taken_is_one_sentence(run: Any, shop: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = run("--broker", shop.address, "console", "--port", port)
    assert result.exit_code == 1
    assert f"can't be served on 127.0.0.1:{port}" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_host_that_is_none_is_one_sentence(run: Any, shop: Any) -> None:
    result = run("--broker", shop.address, "console", "--host", "no such host", "--port", 0)
    assert result.exit_code == 1
    assert "can't be served on no such host" in result.stderr


def test_topics_that_are_missing_are_one_sentence(run: Any) -> None:
    simulator = Simulator()
    result = run("--broker", simulator.address, "console", "--port", 0)
    assert result.exit_code == 1
    assert "has no topic 'catalog'" in result.stderr


@pytest.mark.parametrize(
    ("platform", "variables", "there"),
    [
        ("linux", {}, False),
        ("linux", {"DISPLAY": ":0"}, True),
        ("linux", {"WAYLAND_DISPLAY": "wayland-0"}, True),
        ("darwin", {}, True),
    ],
)
def test_a_browser_is_opened_where_there_is_a_display(
    monkeypatch: pytest.MonkeyPatch, platform: str, variables: dict[str, str], there: bool
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    opened: list[str] = []
    monkeypatch.setattr(console_run.sys, "platform", platform)
    monkeypatch.setattr(console_run.webbrowser, "open", lambda url: opened.append(url) or True)
    assert console_run.show("http://127.0.0.1:8090/") is there
    assert opened == (["http://127.0.0.1:8090/"] if there else [])
