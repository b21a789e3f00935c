"""What the package may import, read from its sources."""

import ast
from pathlib import Path

import encoders

SOURCES = sorted(Path(encoders.__file__).parent.rglob("*.py"))


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").partition(".")[0])
    return names


def test_nothing_here_imports_the_stream() -> None:
    assert SOURCES
    assert not [path.name for path in SOURCES if imported(path) & {"streams", "deploy", "faust", "cassandra"}]


def test_one_module_imports_onnx_runtime_and_another_its_tools() -> None:
    assert [path.name for path in SOURCES if "onnxruntime" in imported(path)] == [
        "quantise.py",  # the tools
        "runtime.py",
    ]
