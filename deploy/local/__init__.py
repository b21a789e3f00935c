"""A real Kafka and a real Cassandra on this machine's loopback, from Maven jars, for tests and trials.

``stack`` is the door: ``up``, ``down``, ``status``, ``start_server``, ``stop_server``, ``running``.
"""
