"""Java and Maven: found, or a sentence that says what to install."""

from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.local import java
from deploy.local.__main__ import main
from deploy.local.errors import StackError
from deploy.local.jars import cache_folder

Tool = Callable[[str, str], Path]


def version(text: str) -> str:
    return f"echo 'openjdk version \"{text}\" 2025-04-15' >&2"


@pytest.mark.parametrize(
    ("shown", "major"),
    [
        ('openjdk version "17.0.15" 2025-04-15', 17),
        ('java version "1.8.0_402"', 8),
        ('openjdk version "21-ea" 2023-09-19', 21),
        ('Picked up _JAVA_OPTIONS: -Xmx1g\nopenjdk version "11.0.2"', 11),
        ("The operation couldn't be completed. Unable to locate a Java Runtime.", None),
    ],
)
def test_the_major_version_is_read(shown: str, major: int | None) -> None:
    assert java.major_version(shown) == major


@pytest.mark.parametrize("text", ["17.0.15", "21.0.8", "23"])
def test_a_java_that_suits_is_found_on_the_path(tool: Tool, text: str) -> None:
    path = tool("java", version(text))
    assert java.find_java() == path


def test_java_home_comes_before_the_path(tool: Tool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = tool("java", version("11.0.2"))
    home = tmp_path / "jdk"
    (home / "bin").mkdir(parents=True)
    (home / "bin" / "java").write_text(old.read_text().replace("11.0.2", "17.0.15"))
    (home / "bin" / "java").chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(home))
    assert java.find_java() == home / "bin" / "java"


def test_no_java_says_what_to_install(tool: Tool) -> None:
    with pytest.raises(StackError, match="needs Java, and no java was found: install a JDK 17"):
        java.find_java()


@pytest.mark.parametrize(("text", "major"), [("11.0.2", 11), ("1.8.0_402", 8), ("25.0.2", 25)])
def test_a_java_that_does_not_suit_says_what_to_install(tool: Tool, text: str, major: int) -> None:
    path = tool("java", version(text))
    with pytest.raises(StackError) as raised:
        java.find_java()
    assert f"runs on Java 17 to 23, and {path} is Java {major}: install a JDK 17" in str(raised.value)


def test_a_java_that_is_only_a_stub_says_what_to_install(tool: Tool) -> None:
    tool("java", "echo 'Unable to locate a Java Runtime.' >&2; exit 1")
    with pytest.raises(StackError, match="did not print a Java version: install a JDK 17"):
        java.find_java()


def test_no_maven_says_what_to_install(tool: Tool) -> None:
    with pytest.raises(StackError, match=r"no mvn was found: install Maven"):
        java.find_maven()
    mvn = tool("mvn", "exit 0")
    assert java.find_maven() == mvn


def test_check_wants_java_and_until_the_jars_are_there_maven(
    tool: Tool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert main(["check"]) == 1
    assert capsys.readouterr().err.startswith("error: The local stack needs Java")
    tool("java", version("17.0.15"))
    assert main(["check"]) == 1
    assert "no mvn was found" in capsys.readouterr().err
    cache_folder().mkdir(parents=True)
    assert main(["check"]) == 0
    assert capsys.readouterr() == ("", "")


def test_the_command_prints_one_sentence_and_no_traceback(
    tool: Tool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["up", str(tmp_path / "stack")]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: The local stack needs Java")
    assert printed.err.count("\n") == 1
