"""The order of the stages for a micro-batch: update, load, rank, emit.

May import every stage, and neither ``versions`` nor ``worker``.
"""
