"""Stage 3, the state of a worker: users' profiles and trending counts.

Arrays and maths only: no I/O, and the time is passed in.
May import ``decode``, ``kafka``, ``schemas`` and ``encoders``.
"""
