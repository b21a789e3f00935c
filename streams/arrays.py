"""Types of arrays, and arrays of stored bytes: defined once, used everywhere."""

import numpy as np

from encoders.arrays import (
    BoolArray,
    Float32Array,
    Float64Array,
    Int8Array,
    Int32Array,
    Int64Array,
    IntpArray,
    UInt8Array,
    UInt16Array,
    UInt64Array,
)

__all__ = [
    "BoolArray",
    "Float32Array",
    "Float64Array",
    "Int8Array",
    "Int32Array",
    "Int64Array",
    "IntpArray",
    "UInt8Array",
    "UInt16Array",
    "UInt64Array",
    "floats",
]


def floats(data: bytes) -> Float32Array:
    """Read the float32 array (little-endian) that ``data`` holds."""
    return np.frombuffer(data, "<f4")
