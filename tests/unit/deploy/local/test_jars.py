"""The jars: fetched once, whole or not at all, also by two at once. Maven is a script here that writes a file."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.local import jars
from deploy.local.errors import StackError

Tool = Callable[[str, str], Path]

# its last argument is -DoutputDirectory=FOLDER
WRITE_JAR = 'for last; do :; done; into=${last#*=}; mkdir -p "$into"; echo jar > "$into/a.jar"; echo "$@" >> "$0.calls"'


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "prefstream"


def quiet(_: str) -> None:
    pass


def test_the_cache_is_the_users_and_named_by_the_pom(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = jars.cache_folder()
    assert first.parent == cache
    other = cache.parent / "pom.xml"
    other.parent.mkdir(exist_ok=True)
    other.write_bytes(jars.POM.read_bytes().replace(b"4.3.0", b"4.3.1"))
    assert jars.cache_folder(other) != first
    assert jars.cache_folder(other).parent == cache
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert jars.cache_folder().parent == Path.home() / ".cache" / "prefstream"


def test_they_are_fetched_once_for_each_server(tool: Tool, cache: Path) -> None:
    mvn = tool("mvn", WRITE_JAR)
    told: list[str] = []
    folder = jars.fetch(told.append)
    assert jars.fetch(told.append) == folder == jars.cache_folder()
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*.jar")) == ["cassandra/a.jar", "kafka/a.jar"]
    calls = mvn.with_name("mvn.calls").read_text().splitlines()
    assert ["-Pkafka" in calls[0], "-Pcassandra" in calls[1], len(calls), len(told)] == [True, True, 2, 2]
    assert list(cache.iterdir()) == [folder]


def test_no_maven_is_needed_once_they_are_there(tool: Tool) -> None:
    jars.cache_folder().mkdir(parents=True)
    assert jars.fetch(quiet) == jars.cache_folder()


def test_a_failure_gives_mavens_reason_and_leaves_nothing(tool: Tool, cache: Path) -> None:
    tool("mvn", f"{WRITE_JAR}; echo '[ERROR] Could not resolve dependencies: offline'; echo '[ERROR] more'; exit 1")
    with pytest.raises(StackError, match=r"jars of Kafka \(Could not resolve dependencies: offline\): check the net"):
        jars.fetch(quiet)
    assert list(cache.iterdir()) == []


def test_a_maven_that_fetches_nothing_is_a_failure(tool: Tool, cache: Path) -> None:
    tool("mvn", "exit 0")
    with pytest.raises(StackError, match=r"jars of Kafka \(exit code 0\)"):
        jars.fetch(quiet)
    assert list(cache.iterdir()) == []


def test_two_at_once_both_get_whole_jars(tool: Tool, cache: Path) -> None:
    tool("mvn", WRITE_JAR)
    both = threading.Barrier(2)
    got: list[Path] = []

    def fetch() -> None:
        # past the look into the cache together: both fetch, and one of them comes second with its move
        got.append(jars.fetch(lambda line: both.wait(10) if "Kafka" in line else None))

    threads = [threading.Thread(target=fetch) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [jars.cache_folder()] * 2
    assert list(cache.iterdir()) == [jars.cache_folder()]
    assert (jars.cache_folder() / "cassandra" / "a.jar").exists()
