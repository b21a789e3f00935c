"""When kernels are compiled, and where their machine code is kept."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
from numba.core import event, types

from encoders.compiled import KERNELS, Kernel, compiled, source_digest, warm_up

ROOT = Path(__file__).parents[3]
FILES = ("*.nbi", "*.nbc")
"""Of numba: an index for each function, and machine code."""


@pytest.fixture(autouse=True)
def _own_kernels() -> Iterator[None]:
    """No other test compiles the kernels of a test."""
    before = len(KERNELS)
    yield
    del KERNELS[before:]


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(folder))
    return folder


def files_in(folder: Path) -> set[Path]:
    return {path for pattern in FILES for path in folder.rglob(pattern)}


def files_beside_sources() -> set[Path]:
    return {path for folder in ("schemas", "encoders", "streams", "tests") for path in files_in(ROOT / folder)}


def double(values: Any) -> None:
    """Double each value."""
    for place in range(len(values)):
        values[place] *= 2


def kernel_of(function: Callable[..., Any] = double) -> Any:
    return compiled("void(float64[::1])")(function)


def works(kernel: Any) -> bool:
    values = np.array([1.0, 2.5])
    kernel(values)
    return values.tolist() == [2.0, 5.0]


def compilations(work: Callable[[], Any]) -> int:
    """Functions that numba compiles meanwhile."""
    with event.install_recorder("numba:compile") as recorder:
        work()
    return sum(found.is_start for _, found in recorder.buffer)


def test_imports_compile_nothing_and_write_no_cache(tmp_path: Path) -> None:
    code = (
        "from numba.core import event\n"
        "with event.install_recorder('numba:compile') as recorder:\n"
        "    import streams.worker.worker, streams.quality.online_quality, streams.checkpoint.profile_rows\n"
        "    import encoders.index.tile_search, encoders.ranking.candidate_ranker\n"
        "from encoders.compiled import KERNELS\n"
        "assert len(KERNELS) > 15, KERNELS\n"
        "assert not recorder.buffer, recorder.buffer\n"
        "assert not [kernel for kernel in KERNELS if kernel.is_compiled]\n"
    )
    before = files_beside_sources()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environment | {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    assert not files_in(tmp_path)
    assert files_beside_sources() <= before


def test_the_first_call_compiles_and_no_call_after_it() -> None:
    kernel = kernel_of()
    assert not kernel.is_compiled
    assert compilations(lambda: works(kernel)) == 1
    assert kernel.is_compiled
    assert compilations(lambda: works(kernel)) == 0
    assert works(kernel)


def test_a_kernel_keeps_what_a_reader_sees_of_the_function() -> None:
    kernel = kernel_of()
    assert (kernel.__name__, kernel.__doc__, kernel.py_func) == ("double", "Double each value.", double)
    assert repr(kernel).endswith("test_compiled.double>")


def test_arguments_of_other_types_are_an_error_instead_of_more_machine_code() -> None:
    kernel = kernel_of()
    for _ in range(2):
        with pytest.raises(TypeError):
            kernel(np.array([1, 2]))
        with pytest.raises(TypeError):
            kernel(np.ones((2, 2)))
    assert works(kernel)


def test_a_signature_may_be_a_function_that_is_asked_when_the_kernel_is_compiled() -> None:
    asked = []

    def signature() -> Any:
        asked.append(1)
        return types.void(types.float64[::1])

    kernel = compiled(signature)(double)
    assert not asked
    assert works(kernel)
    assert works(kernel)
    assert asked == [1]


def test_a_function_without_a_signature_is_compiled_with_the_kernel_that_calls_it() -> None:
    before = list(KERNELS)

    @compiled()
    def twice(value: float) -> float:
        return 2 * value

    def doubled(values: Any) -> None:
        for place in range(len(values)):
            values[place] = twice(values[place])

    assert before == KERNELS
    assert not twice.signatures  # type: ignore[attr-defined]
    assert works(kernel_of(doubled))
    assert twice.signatures  # type: ignore[attr-defined]


def test_warm_up_compiles_the_kernels_of_modules_with_a_prefix() -> None:
    names = ("made.one", "made.two", "made.index.table", "made.index")

    def a_kernel_of(name: str) -> Kernel:
        def function(values: Any) -> None:
            values[0] *= 2

        function.__module__ = name
        return kernel_of(function)  # type: ignore[no-any-return]

    one, two, table, index = map(a_kernel_of, names)
    warm_up("made.index.", "made.two")
    assert [kernel.is_compiled for kernel in (one, two, table, index)] == [False, True, True, False]
    warm_up("made.two")
    warm_up()
    assert all(kernel.is_compiled for kernel in KERNELS)
    assert compilations(warm_up) == 0


def test_machine_code_is_kept_in_the_cache_folder_and_read_from_there(cache: Path) -> None:
    before = files_beside_sources()
    assert works(kernel_of())
    assert len(files_in(cache)) == 2
    again = kernel_of()
    assert compilations(lambda: works(again)) == 0
    assert works(again)
    assert files_beside_sources() == before
    assert str(cache) == numba.config.CACHE_DIR


@pytest.mark.parametrize("chosen", [True, False])
def test_the_cache_folder_is_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, chosen: bool) -> None:
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "chosen") if chosen else "not/absolute")
    assert works(kernel_of())
    assert files_in(tmp_path / ("chosen" if chosen else ".cache") / "prefstream" / "kernels")


def test_a_cache_folder_that_cannot_be_written_costs_the_cache_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = files_beside_sources()
    (tmp_path / "file").write_text("no folder")  # chmod would not stop a test that runs as root
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "file"))
    assert works(kernel_of())
    assert files_beside_sources() == before


def test_a_user_without_a_home_has_no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    def home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    before = files_beside_sources()
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", home)
    assert works(kernel_of())
    assert files_beside_sources() == before


@pytest.mark.parametrize("pattern", FILES)
@pytest.mark.parametrize("size", [0, 60])
def test_half_a_cache_file_is_as_none(cache: Path, pattern: str, size: int) -> None:
    assert works(kernel_of())
    (path,) = cache.rglob(pattern)
    path.write_bytes(path.read_bytes()[:size])
    assert works(kernel_of())


def test_a_disk_that_fills_up_costs_the_cache_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("numba.core.caching.IndexDataCacheFile._save_data", full)
    assert works(kernel_of())


def test_two_threads_may_make_the_first_call_at_once() -> None:
    kernel = kernel_of()
    start = threading.Barrier(4)
    done: list[bool] = []

    def call() -> None:
        start.wait()
        done.append(works(kernel))

    threads = [threading.Thread(target=call) for _ in range(4)]

    def all_at_once() -> None:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert compilations(all_at_once) == 1
    assert done == [True] * 4


def test_machine_code_is_stale_when_a_kernel_or_what_it_imports_changes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    texts = {
        "encoders/compiled.py": "",
        "streams/kernel.py": "from encoders.inner import TINY\n\n\n@compiled()\ndef f(): ...\n",
        "encoders/inner.py": "TINY = 1e-6\n",
        "encoders/other.py": "",
    }
    for name, text in texts.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    first = source_digest(tmp_path)
    (tmp_path / "encoders" / "other.py").write_text("# no kernel\n")
    assert source_digest(tmp_path) == first
    (tmp_path / "encoders" / "inner.py").write_text("TINY = 1e-7\n")
    second = source_digest(tmp_path)
    assert second != first
    (tmp_path / "streams" / "kernel.py").write_text(texts["streams/kernel.py"] + "# changed\n")
    third = source_digest(tmp_path)
    assert third not in (first, second)
    monkeypatch.setattr(numba, "__version__", "0")
    assert source_digest(tmp_path) != third
