"""A worker process: its composition root, start and end.

May import all of ``streams`` but ``commands``, ``console``, ``demo`` and ``offline``.
"""
