"""Grafana dashboards as code: panels and dashboards built with Grafana's SDK, and the JSON that they make.

`python -m deploy.grafana` writes dashboards/*.json; a test keeps them equal. Only development depends on the SDK.
"""
