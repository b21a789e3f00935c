"""Who may import whom, read from the sources: schemas <- encoders <- streams, and one module an outside system."""

import ast
import functools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PACKAGES = ("schemas", "encoders", "streams", "deploy")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@functools.cache
def imported(path: Path) -> set[str]:
    """Full names of all modules that a file imports, also inside of functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{name_of(path)} has a relative import"
            found.add(node.module or "")
    return found


def importers(library: str) -> set[str]:
    return {name_of(path) for path in SOURCES if any(name.partition(".")[0] == library for name in imported(path))}


def test_there_are_sources_of_every_package() -> None:
    assert {name_of(path).split("/")[0] for path in SOURCES} == {*PACKAGES}


@pytest.mark.parametrize(
    ("package", "may"),
    [
        ("schemas", {"schemas"}),
        ("encoders", {"schemas", "encoders"}),
        ("streams", {"schemas", "encoders", "streams"}),
        ("deploy", {"deploy"}),
    ],
)
def test_imports_point_one_way(package: str, may: set[str]) -> None:
    wrong = {
        (name_of(path), name)
        for path in (ROOT / package).rglob("*.py")
        for name in imported(path)
        if name.partition(".")[0] in {*PACKAGES, "tests"} - may
        # the command line starts the local stack for whoever asks it to
        and not (name_of(path).startswith("streams/commands/") and name.startswith("deploy.local"))
        # the reference is written from the code
        and not name_of(path).startswith("deploy/docs/")
    }
    assert not wrong


BASE = {"settings", "arrays", "retry", "errors", "clock", "display_text"}
"""Modules of ``streams`` itself, which every folder may import and which import no folder."""
STAGES = {"fetch", "decode", "state", "rank", "emit", "checkpoint"}
TABLE: dict[str, set[str]] = {
    "kafka": set(),
    "stores": set(),
    "monitoring": set(),
    "fetch": {"kafka"},
    "decode": {"fetch", "kafka"},
    "state": {"decode", "kafka"},
    "emit": {"decode", "kafka"},
    "rank": {"state", "monitoring"},
    "catalog": {"decode", "emit", "kafka", "monitoring"},
    "checkpoint": {"state", "emit", "stores", "kafka", "monitoring", "fetch"},
    "versions": {"rank", "catalog", "emit", "state", "kafka", "monitoring"},
    "features": {"rank", "state", "decode", "monitoring"},
    "quality": {"features", "rank", "state", "decode", "monitoring"},
    "pipeline": {*STAGES, "features", "stores", "kafka", "monitoring"},
    "offline": {"rank", "state", "decode", "kafka"},
    "worker": {*STAGES, "pipeline", "features", "versions", "catalog", "stores", "kafka", "monitoring"},
    "console": {"kafka"},
    "demo": {"worker", "console", "kafka", "monitoring"},
    "commands": {
        "decode",
        "worker",
        "versions",
        "catalog",
        "offline",
        "console",
        "demo",
        "checkpoint",
        "stores",
        "kafka",
        "monitoring",
    },
}
"""Folder of ``streams`` -> the folders that it may import, beside itself, BASE, ``schemas`` and ``encoders``."""

FEATURES = {"quality"}
"""Folders that only the table of features names, and that never import each other."""

ENCODERS: dict[str, set[str]] = {
    "artifact": set(),
    "index": set(),
    "ranking": {"artifact", "index"},
    "items": {"artifact"},
    "building": {"artifact", "index", "ranking", "items"},
    "training": {"artifact", "index", "ranking", "items", "building"},
}

TESTS: dict[str, set[str]] = {
    "unit": {"unit", "strategies", "still_feed", "bench", "faults", "console", "doc_blocks", "fuzz", "run"},
    "contract": {"contract", "strategies"},
    "integration": set(),
    "gpu": {"unit"},
    "console": {"console", "e2e"},
    "e2e": {"e2e", "console", "faults", "unit", "doc_blocks"},
    "faults": {"faults", "e2e"},
    "bench": {"bench", "e2e", "still_feed"},
    "fuzz": {"fuzz", "e2e"},
}
"""Folder of ``tests`` -> what of ``tests`` it may import; all of them may import the product."""


def folder_of(path: Path) -> str:
    parts = path.relative_to(ROOT).parts
    return parts[1] if len(parts) > 2 else parts[1].removesuffix(".py")


def wrong_imports(package: str, table: dict[str, set[str]], base: set[str] = frozenset()) -> set[tuple[str, str]]:  # type: ignore[assignment]
    return {
        (name_of(path), name)
        for path in sorted((ROOT / package).rglob("*.py"))
        for name in imported(path)
        if name.startswith(f"{package}.") and folder_of(path) in table
        for target in [name.split(".")[1]]
        if target not in table[folder_of(path)] | {folder_of(path)} | base
    }


@pytest.mark.parametrize("package", ["streams", "encoders", "tests"])
def test_every_folder_stands_in_its_table(package: str) -> None:
    table = {"streams": TABLE, "encoders": ENCODERS, "tests": TESTS}[package]
    folders = {folder_of(path) for path in (ROOT / package).rglob("*.py") if len(path.relative_to(ROOT).parts) > 2}
    assert folders == set(table)


def test_folders_import_what_the_table_says() -> None:
    assert not wrong_imports("streams", TABLE, BASE)
    assert not wrong_imports("encoders", ENCODERS, {"arrays", "compiled", "errors", "onnx_builder", "runtime"})
    assert not wrong_imports("tests", TESTS)


def test_the_modules_of_streams_itself_import_no_folder() -> None:
    files = [ROOT / "streams" / f"{name}.py" for name in BASE]
    assert not {
        (path.name, name)
        for path in files
        for name in imported(path)
        if name.startswith("streams.") and name.split(".")[1] in TABLE
    }


def test_of_fetch_only_the_record_batch_goes_beyond_the_worker() -> None:
    """So that decoding, the state and checkpoints can be used without Faust."""
    users = [path for path in (ROOT / "streams").rglob("*.py") if folder_of(path) not in ("fetch", "worker")]
    assert {name for path in users for name in imported(path) if name.startswith("streams.fetch")} == {
        "streams.fetch.record_batch"
    }


def test_the_core_imports_no_feature() -> None:
    for feature in FEATURES:
        users = {
            name_of(path) for path in SOURCES if any(name.startswith(f"streams.{feature}.") for name in imported(path))
        }
        assert users
        assert all(name.startswith((f"streams/{feature}/", "deploy/docs/")) for name in users), users


def test_nothing_of_the_product_imports_tests() -> None:
    assert not [name_of(path) for path in SOURCES if any(name.split(".")[0] == "tests" for name in imported(path))]


def test_faust_is_imported_where_it_is_wired_only() -> None:
    users = importers("faust") | importers("mode") | importers("aiokafka")
    assert users
    assert all(name.startswith("streams/fetch/") for name in users), users


def test_the_cassandra_driver_is_imported_by_the_cassandra_store_only() -> None:
    users = importers("cassandra")
    assert users
    assert all(name.startswith("streams/stores/cassandra") for name in users), users


def test_onnx_runtime_is_imported_by_one_module_and_its_tools_by_another() -> None:
    assert importers("onnxruntime") == {"encoders/runtime.py", "encoders/building/quantise.py"}


@pytest.mark.parametrize("library", ["jax", "optax", "implicit", "scipy", "pyarrow"])
def test_what_only_training_needs_is_imported_by_training_only(library: str) -> None:
    allowed = {"streams/offline/baselines.py", "streams/offline/event_logs.py"}  # inside of functions
    assert all(name.startswith("encoders/training/") or name in allowed for name in importers(library))


def test_a_worker_does_not_need_the_extra_train() -> None:
    code = (
        "import sys\n"
        "for name in ('jax', 'optax', 'implicit', 'scipy', 'pyarrow'): sys.modules[name] = None\n"
        "import streams.worker.worker, streams.commands.evaluate, streams.commands.train\n"
        "import streams.offline.event_logs, streams.offline.baselines\n"
        "assert not any(name.startswith('encoders.training') for name in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr[-2_000:]


MATHS = [
    *(path for path in sorted((ROOT / "streams/state").glob("*.py")) if path.stem not in ("__init__", "state")),
    *(ROOT / "streams/rank" / f"{name}.py" for name in ("exclusions", "head_inputs", "popular_items")),
]


@pytest.mark.parametrize("path", MATHS, ids=name_of)
def test_the_maths_knows_no_clock_and_no_outside(path: Path) -> None:
    outside = {"time", "datetime", "os", "asyncio", "threading", "socket", "random", "confluent_kafka", "aiokafka"}
    assert not {name.partition(".")[0] for name in imported(path)} & outside


ENVIRONMENT = {"environ", "getenv", "environb"}


def at_import(tree: ast.AST) -> Iterator[ast.AST]:
    """What runs when the module is imported: everything but the bodies of functions."""
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.If) and "__main__" in ast.dump(child.test):
            continue
        yield child
        yield from at_import(child)


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_nothing_reads_the_environment_at_import(path: Path) -> None:
    read = [
        node.lineno
        for node in at_import(ast.parse(path.read_text("utf-8")))
        if (isinstance(node, ast.Attribute) and node.attr in ENVIRONMENT)
        or (isinstance(node, ast.Name) and node.id in ENVIRONMENT)
    ]
    assert not read


_WATCH = """
import importlib, pkgutil, socket, subprocess, sys, threading

def may_connect(event, args):
    if event in ("socket.connect", "socket.bind", "sqlite3.connect"):
        raise AssertionError(f"{event} at import of a module")

sys.addaudithook(may_connect)
before = threading.active_count()
for package in sys.argv[1:]:
    root = importlib.import_module(package)
    for found in pkgutil.walk_packages(root.__path__, package + "."):
        if not found.name.endswith("__main__"):
            importlib.import_module(found.name)
assert threading.active_count() == before, threading.enumerate()
"""


def test_importing_every_module_connects_to_nothing_and_starts_no_thread() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _WATCH, *PACKAGES], cwd=ROOT, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr[-2_000:]


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_says_what_lives_there(package: str) -> None:
    tree = ast.parse((ROOT / package / "__init__.py").read_text("utf-8"))
    assert len(ast.get_docstring(tree) or "") > 40
