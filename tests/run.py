"""``python -m tests.run [SUITE ...]``: one suite after the other, then the time of each; `make test` runs all of them.

The first suite that fails ends the run.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).parents[1]
ON_SERVERS = ("tests/contract", "tests/integration", "tests/e2e", "tests/console")


@dataclass(frozen=True)
class Suite:
    """Python modules, each with its arguments, that are run one after the other."""

    name: str
    commands: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Result:
    """How a suite ended and how long it took."""

    name: str
    exit_code: int
    seconds: float
    test_seconds: dict[str, float]
    """How long the tests of each folder took, added up; tests that run at the same time both count."""


SUITES = (
    Suite("setup", (("tests.prepare",),)),
    Suite("lint", (("ruff", "check", "."), ("ruff", "format", "--check", "."))),
    Suite("types", (("mypy",),)),
    Suite("faults", (("tests.faults", "--all", "--quick", "--json"),)),
    Suite("unit", (("pytest", "-n", "auto", "--dist", "worksteal", "tests/unit"),)),
    # two processes, each with a stack of its own; the tests of a file share what they start
    Suite("servers", (("pytest", "-n", "2", "--dist", "loadfile", *ON_SERVERS),)),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run suites; returns the exit code of the one that failed, else 0."""
    parser = argparse.ArgumentParser(prog="python -m tests.run", description=__doc__)
    names = [suite.name for suite in SUITES]
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=f"{', '.join(names)} (default: all of them)")
    wanted = parser.parse_args(arguments).suites or names
    if unknown := sorted(set(wanted).difference(names)):
        parser.error(f"no suite is called {', '.join(unknown)}; there are {', '.join(names)}")
    results: list[Result] = []
    try:
        for suite in SUITES:
            if suite.name in wanted:
                results.append(run(suite))
                if results[-1].exit_code != 0:
                    return results[-1].exit_code
    finally:  # also after Ctrl-C
        print(table(results), flush=True)
    return 0


def run(suite: Suite) -> Result:
    """Run the commands of a suite up to the first that fails."""
    began = time.monotonic()
    exit_code = 0
    with tempfile.TemporaryDirectory(prefix="prefstream-tests-") as folder:
        report = Path(folder) / "report.xml"
        for module, *arguments in suite.commands:
            options = [f"--junit-xml={report}"] if module == "pytest" else []
            print(f"\n{suite.name}: {module} {' '.join(arguments)}", flush=True)
            exit_code = subprocess.run([sys.executable, "-m", module, *arguments, *options], cwd=ROOT).returncode
            if exit_code != 0:
                break
        return Result(suite.name, exit_code, time.monotonic() - began, seconds_by_folder(report))


def seconds_by_folder(report: Path) -> dict[str, float]:
    """Add up the times of the tests in pytest's JUnit report, by folder; empty where there is no report."""
    if not report.exists():
        return {}
    seconds: Counter[str] = Counter()
    for test in ElementTree.parse(report).iter("testcase"):
        # tests.contract.test_batching, or with a class behind it
        folder = test.get("classname", "").split(".")[1:2]
        seconds.update({name: float(test.get("time", 0)) for name in folder})
    return dict(seconds)


def table(results: Sequence[Result]) -> str:
    """Lay out the time of each suite."""
    lines = ["", "suite      seconds"]
    for result in results:
        lines.append(f"{result.name:10} {result.seconds:7.1f}{'  failed' if result.exit_code else ''}")
        if len(result.test_seconds) > 1:
            # the suite itself took less: its tests ran two at a time
            lines += [f"  {name:12} {seconds:7.1f} in its tests" for name, seconds in result.test_seconds.items()]
    lines.append(f"{'all':10} {sum(result.seconds for result in results):7.1f}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
