"""Kafka as such: clients, topics, the ends of logs, readers of compacted topics, a simulator for tests and the demo.

May import ``settings``, ``arrays``, ``retry``, ``errors`` and ``monitoring``; nothing of the stages.
"""
