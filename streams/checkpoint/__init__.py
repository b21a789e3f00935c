"""Stage 6, durability and ownership.

State is saved, then records are acknowledged, under a term that fences others off. May import ``state``, ``emit``,
``stores``, ``kafka``, ``monitoring`` and ``fetch.record_batch``.
"""
