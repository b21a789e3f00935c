"""The demo as a newcomer runs it: a process of its own, off a terminal, with somebody's settings lying about."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RUN = "import sys; from streams.demo.run import run_demo; sys.exit(run_demo({seconds}, 40, 1, plain=True))"


def demo(folder: Path, seconds: float, **variables: str) -> tuple[subprocess.CompletedProcess[str], float]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", RUN.format(seconds=seconds)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    return done, time.monotonic() - started


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run beside a settings file and a variable that point at a broker: neither may be read."""
    folder = tmp_path_factory.mktemp("demo")
    (folder / "prefstream.toml").write_text('[kafka]\nbootstrap_servers = "kafka.invalid:9092"\n')
    done, seconds = demo(folder, 12, PREFSTREAM_KAFKA__BOOTSTRAP_SERVERS="kafka.invalid:9092")
    return done, seconds, folder


def test_it_ends_by_itself_with_success_and_leaves_nothing_behind(finished):
    done, seconds, folder = finished
    assert done.returncode == 0, done.stdout + done.stderr
    assert seconds < 60
    assert [path.name for path in folder.iterdir()] == ["prefstream.toml"]


def test_it_keeps_the_screen_clean(finished):
    done, _, _ = finished
    assert done.stderr == ""


def test_the_summary_shows_that_the_recommendations_follow_the_taste(finished):
    text = finished[0].stdout
    rates = {name: float(rate) for name, rate in re.findall(r"^  (\w+) +(\d+\.\d) %", text, re.MULTILINE)}
    assert rates.keys() == {"recommended", "trending", "random"}
    assert rates["recommended"] > max(rates["trending"], rates["random"])
    assert rates["random"] < 10
    choices = re.search(r"\((\d+) choices of items new to them", text)
    assert choices
    assert int(choices[1]) >= 50
    followed = re.search(r"(\d+) changes of taste: most of the top 10 fits after (\d+) events? \(median\)", text)
    assert followed
    assert int(followed[1]) > 0
    assert 1 <= int(followed[2]) <= 5


def test_every_event_is_answered_by_a_fresh_list(finished):
    text = finished[0].stdout.replace(",", "")
    counts = re.search(r"^(\d+) events in .* (\d+) answered by a fresh list", text, re.MULTILINE)
    assert counts
    assert int(counts[1]) > 300
    assert counts[1] == counts[2]


def test_with_the_page_it_stays_open_until_it_is_ended(tmp_path):
    command = [sys.executable, "-m", "streams.cli", "demo", "--page", "--plain"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        url = next(found[0] for line in process.stdout if (found := re.search(r"http://127\.0\.0\.1:\d+/", line)))
        deadline = time.monotonic() + 30
        while True:
            with urllib.request.urlopen(url + "api/shop", timeout=10) as answer:
                shop = json.load(answer)
            if shop["products"] == 300 and "mia" in shop["shoppers"]:
                break
            assert time.monotonic() < deadline, shop
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=40)
    finally:
        process.kill()
    assert "events in" in said
    assert process.returncode in (0, 1)  # 1 where so short a run says too little
