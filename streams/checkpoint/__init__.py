"""Stage 6, durability and ownership: saves the state, and acknowledges records only after that.

Each save carries the term of its owner (a fencing token, as in Raft), so a former owner can't overwrite it.
May import ``state``, ``emit``, ``stores``, ``kafka``, ``monitoring`` and ``fetch.record_batch``.
"""
