"""Kafka itself: clients, topics and their ids, the ends of logs, a reader of compacted topics, and a simulator.

May import the modules that lie directly in ``streams`` (``settings``, ``errors`` and the like), and no other folder.
"""
