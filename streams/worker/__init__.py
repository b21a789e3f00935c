"""Wires, starts and stops a worker process.

May import all of ``streams`` except ``commands``, ``console``, ``demo`` and ``offline``.
"""
