"""Grafana dashboards as code, built with Grafana's SDK, and their JSON.

`python -m deploy.grafana` writes dashboards/*.json from the code; a test compares both. Only development needs the SDK.
"""
