"""An installed prefstream serves the page: its files are in the wheel."""

import zipfile
from pathlib import Path

from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).parents[4]


def test_the_wheel_holds_every_file_of_the_page(tmp_path: Path) -> None:
    [wheel] = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    with zipfile.ZipFile(wheel) as files:
        packed = {name for name in files.namelist() if name.startswith("streams/console/static/")}
    static = ROOT / "streams" / "console" / "static"
    assert packed == {f"streams/console/static/{path.name}" for path in static.iterdir()}
    assert {"index.html", "app.js", "style.css"} <= {Path(name).name for name in packed}
