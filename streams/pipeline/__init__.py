"""Runs the stages of a micro-batch in order: decode, load, update, rank, emit.

May import every stage, and neither ``versions`` nor ``worker``.
"""
