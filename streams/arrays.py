"""Types of arrays, and arrays of stored bytes: defined once, used everywhere."""

import numpy as np
from numpy.typing import NDArray

Float32Array = NDArray[np.float32]


Float64Array = NDArray[np.float64]


Int64Array = NDArray[np.int64]


UInt64Array = NDArray[np.uint64]


IntpArray = NDArray[np.intp]


def floats(data: bytes) -> NDArray[np.float32]:
    """float32 array of stored bytes."""
    return np.frombuffer(data, "<f4")
