"""Hot loops as machine code. Numba compiles each of them in `warm_up` or at its first call, and never at an import.

The machine code is kept on disk, in the user's cache folder, so only the first start on a machine takes seconds.
"""

import functools
import hashlib
import os
import pickle
import re
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numba
from numba.core import cgutils, types
from numba.extending import intrinsic

# sums may be added up in any order, several at a time; infinities and NaN keep their meaning
_MATHS = {"contract", "reassoc"}

_PACKAGES = ("encoders", "streams")
"""Packages that hold kernels."""
_IMPORTED = re.compile(r"^from ((?:schemas|encoders|streams)\b[\w.]*) import", re.MULTILINE)
_CACHE_ERRORS = (OSError, EOFError, pickle.PickleError)
"""What numba raises when a cache file can't be written, or when a power cut left half of one."""

# one lock for all kernels, because numba takes the cache folder from a global setting
_LOCK = threading.RLock()

Function = TypeVar("Function", bound=Callable[..., Any])


class Kernel:
    """A compiled function of one signature. Python code calls it; other compiled functions can't.

    The first call compiles it, which may take seconds. `warm_up` compiles it before that.
    """

    def __init__(self, function: Callable[..., Any], signature: str | Callable[[], Any]) -> None:
        functools.update_wrapper(self, function)
        self.py_func = function
        """The function as Python."""
        self.is_compiled = False
        """Whether a call runs at once."""
        self._signature = signature
        self._run: Callable[..., Any] = self._compile_and_run

    def __call__(self, *arguments: Any) -> Any:
        return self._run(*arguments)

    def __repr__(self) -> str:
        return f"<Kernel {self.py_func.__module__}.{self.py_func.__qualname__}>"

    def compile(self) -> None:
        """Compile the function, or load what another process compiled. A second call does nothing."""
        with _LOCK:
            if self.is_compiled:
                return
            signature = self._signature() if callable(self._signature) else self._signature
            dispatcher = _dispatcher(self.py_func)
            try:
                with _numba_cache_folder() as folder:
                    if folder is not None:
                        dispatcher.enable_caching()
                dispatcher.compile(signature)
            except _CACHE_ERRORS:
                dispatcher = _dispatcher(self.py_func)
                dispatcher.compile(signature)
            # arguments of other types are a mistake: a second machine code would hide it, and cost seconds in a batch
            dispatcher.disable_compile()
            self._run = dispatcher
            self.is_compiled = True

    def _compile_and_run(self, *arguments: Any) -> Any:
        self.compile()
        return self._run(*arguments)


KERNELS: list[Kernel] = []
"""All kernels of the modules that have been imported."""


def compiled(signature: str | Callable[[], Any] | None = None) -> Callable[[Function], Function]:
    """Make machine code of a function of numbers and arrays. It runs without the GIL, so other threads go on meanwhile.

    Nothing is compiled here. A function without a signature is compiled with each kernel that calls it.

    Parameters
    ----------
    signature : numba's types of the result and of the arguments, as a text or as a function that returns them. With a
        signature the result is a `Kernel`, which only Python code can call. Without one, other compiled functions can
        call the function, and their arguments say its types.
    """

    def make(function: Function) -> Function:
        if signature is None:
            return _dispatcher(function)  # type: ignore[no-any-return]
        kernel = Kernel(function, signature)
        KERNELS.append(kernel)
        return kernel  # type: ignore[return-value]

    return make


def tuple_types(*groups: Any) -> list[Any]:
    """Numba's types of NamedTuples, for a signature: each group is a NamedTuple whose fields hold numba's types."""
    return [numba.types.NamedTuple(group, type(group)) for group in groups]


def warm_up(*prefixes: str) -> None:
    """Compile every kernel whose module's name starts with one of the prefixes, or every kernel if none is given.

    Only kernels of modules that have been imported are known. What is compiled already costs nothing.
    """
    for kernel in KERNELS:
        if not prefixes or kernel.py_func.__module__.startswith(prefixes):
            kernel.compile()


def _dispatcher(function: Callable[..., Any]) -> Any:
    return numba.njit(nogil=True, error_model="numpy", fastmath=_MATHS)(function)


@contextmanager
def _numba_cache_folder() -> Iterator[Path | None]:
    """Let numba choose our folder for its cache meanwhile; None if there is no folder that can be written."""
    # numba's own choice would be a folder beside the source, also where ours can't be written
    folder = _cache_folder()
    before = numba.config.CACHE_DIR
    if folder is not None:
        numba.config.CACHE_DIR = str(folder)
    try:
        yield folder
    finally:
        numba.config.CACHE_DIR = before


def _cache_folder() -> Path | None:
    """The folder for the machine code of these sources, made if it is not there; None if it can't be written."""
    try:
        folder = _cache_root() / _digest()
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except (OSError, RuntimeError):  # RuntimeError: the user has no home
        return None
    return folder


def _cache_root() -> Path:
    if numba.config.CACHE_DIR:
        return Path(numba.config.CACHE_DIR)
    chosen = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # the standard of these folders says that a relative path is to be ignored
    return (chosen if chosen.is_absolute() else Path.home() / ".cache") / "prefstream" / "kernels"


@functools.cache
def _digest() -> str:
    return source_digest(Path(__file__).parents[1])


def source_digest(root: Path) -> str:
    """Digest of all that machine code is made of: the modules with kernels, those they import from, and numba.

    Numba itself looks at the file of a kernel only. A change of an inner function in another file, or of a constant,
    would go unseen. ``root`` is the folder of the packages.
    """
    files = [path for package in _PACKAGES for path in (root / package).rglob("*.py")]
    used: set[Path] = set()
    for path in files:
        text = path.read_text("utf-8")
        if "@compiled" in text:
            modules = [root.joinpath(*name.split(".")) for name in _IMPORTED.findall(text)]
            used |= {path, *(module.with_suffix(".py") for module in modules), *(m / "__init__.py" for m in modules)}
    digest = hashlib.sha256(numba.__version__.encode())
    for path in sorted(path for path in used if path.is_file()):
        digest.update(f"\0{path.relative_to(root)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


@intrinsic  # type: ignore[untyped-decorator]
def copy_bytes(_typing: Any, out: Any, at: Any, data: Any, start: Any, size: Any) -> Any:
    """``out[at : at + size] = data[start : start + size]`` for uint8 arrays, in 4 ns: a loop takes four times as long.

    For compiled functions only. Nothing is checked.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        ends = []
        for array, place in ((0, 1), (2, 3)):
            found = context.make_array(signature.args[array])(context, builder, arguments[array])
            ends.append(builder.gep(found.data, [arguments[place]]))
        cgutils.raw_memcpy(builder, *ends, arguments[4], 1)
        return context.get_dummy_value()

    return types.void(out, at, data, start, size), generate
