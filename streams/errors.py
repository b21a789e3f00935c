"""The root of all errors that prefstream raises on purpose.

It is defined in ``schemas``, which the other packages import.
"""

from schemas.errors import PrefstreamError

__all__ = ["PrefstreamError"]
