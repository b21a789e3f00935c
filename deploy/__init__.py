"""Deployment: ``local`` (Kafka and Cassandra from Maven jars), ``compose.yaml``, ``Dockerfile``, dashboards, alerts.

Never imports the other packages; the command line in ``streams`` calls ``local``.
"""
