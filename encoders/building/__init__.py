"""Building: writes encoder folders.

May import ``schemas`` and all of ``encoders`` but ``encoders.training``.
"""
