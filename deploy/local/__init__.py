"""A local stack for tests and trials: a real Kafka and a real Cassandra on the loopback address, from Maven jars.

Callers use the functions of ``stack``: ``up``, ``down``, ``status``, ``start_server``, ``stop_server``, ``running``.
"""
