"""Hot loops as machine code: numba compiles them when their module is imported and keeps the result on disk."""

from collections.abc import Callable
from typing import Any, TypeVar

import numba

# sums may be added up in any order, several at a time; infinities and NaN keep their meaning
_MATHS = {"contract", "reassoc"}

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(signature: str | None = None) -> Callable[[Function], Function]:
    """Compile a function of numbers and arrays; it runs without the GIL, so other threads go on meanwhile.

    Parameters
    ----------
    signature : numba's types of the result and the arguments; without it the function can be called by compiled ones
        only, which say its types
    """

    def make(function: Function) -> Function:
        signatures = [signature] if signature else []
        try:
            return numba.njit(*signatures, nogil=True, cache=True, error_model="numpy", fastmath=_MATHS)(function)  # type: ignore[no-any-return]
        except RuntimeError:  # neither the package's folder nor the user's can be written: each process compiles anew
            return numba.njit(*signatures, nogil=True, error_model="numpy", fastmath=_MATHS)(function)  # type: ignore[no-any-return]

    return make
