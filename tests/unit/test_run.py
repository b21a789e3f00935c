"""The runner of the suites: their order, the end at the first failure, the times."""

import re
from pathlib import Path

import pytest

from tests import run
from tests.run import Result, Suite, seconds_by_folder, table

REPORT = """<?xml version="1.0"?><testsuites><testsuite>
<testcase classname="tests.contract.test_batching" name="a" time="1.5"/>
<testcase classname="tests.contract.test_store.TestClass" name="b" time="0.25"/>
<testcase classname="tests.e2e.test_worker" name="c" time="2"/>
</testsuite></testsuites>"""


@pytest.fixture
def suites(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three suites of scripts, of which the second fails; each command writes a line into the file returned."""
    calls = tmp_path / "calls"
    calls.touch()
    script = tmp_path / "suite_script.py"
    script.write_text(
        f"import sys; open({str(calls)!r}, 'a').write(' '.join(sys.argv[1:]) + '\\n'); sys.exit(int(sys.argv[1]))"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    name = script.stem
    made = (
        Suite("good", ((name, "0", "a"), (name, "0", "b"))),
        Suite("bad", ((name, "3", "c"), (name, "0", "never"))),
        Suite("later", ((name, "0", "d"),)),
    )
    monkeypatch.setattr(run, "SUITES", made)
    return calls


def shown_suites(output: str) -> list[str]:
    return re.findall(r"^(\w+) +\d+\.\d(?:  failed)?$", output, re.MULTILINE)


def test_the_first_failure_ends_the_run_with_its_exit_code_and_the_times(
    suites: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run.main([]) == 3
    assert suites.read_text().splitlines() == ["0 a", "0 b", "3 c"]
    output = capfd.readouterr().out
    assert shown_suites(output) == ["good", "bad", "all"]
    assert re.search(r"^bad +\d+\.\d  failed$", output, re.MULTILINE)


def test_suites_can_be_named_and_keep_their_order(suites: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run.main(["later", "good"]) == 0
    assert suites.read_text().splitlines() == ["0 a", "0 b", "0 d"]
    assert shown_suites(capfd.readouterr().out) == ["good", "later", "all"]


def test_an_unknown_suite_is_named(suites: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run.main(["late"])
    assert "no suite is called late; there are good, bad, later" in capfd.readouterr().err
    assert suites.read_text() == ""


def test_the_tests_of_a_report_are_added_up_by_folder(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    assert seconds_by_folder(report) == {}
    report.write_text(REPORT)
    assert seconds_by_folder(report) == {"contract": 1.75, "e2e": 2.0}


def test_folders_are_shown_where_there_are_several() -> None:
    shown = table(
        [
            Result("unit", 0, 61.04, {"unit": 100.0}),
            Result("servers", 1, 200.0, {"contract": 90.5, "e2e": 250.0}),
        ]
    )
    assert shown.splitlines() == [
        "",
        "suite      seconds",
        "unit          61.0",
        "servers      200.0  failed",
        "  contract        90.5 in its tests",
        "  e2e            250.0 in its tests",
        "all          261.0",
    ]
