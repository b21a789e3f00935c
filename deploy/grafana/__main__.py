"""``python -m deploy.grafana``: write the dashboards' JSON from the code."""

from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from deploy.grafana import recommendations, service

FOLDER = Path(__file__).with_name("dashboards")


def generated() -> dict[Path, str]:
    """Path and JSON text of each dashboard."""
    builders = {"service": service, "recommendations": recommendations}
    return {
        FOLDER / f"{name}.json": JSONEncoder(sort_keys=True, indent=2).encode(builder.build()) + "\n"
        for name, builder in builders.items()
    }


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for path, text in generated().items():
        path.write_text(text, "utf-8")
