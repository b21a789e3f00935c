"""Stage 3, what a worker remembers of users: arrays and maths, without I/O and without a clock.

May import ``decode``, ``kafka``, ``schemas`` and ``encoders``.
"""
