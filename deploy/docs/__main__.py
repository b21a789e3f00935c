"""``python -m deploy.docs [--check]``: write the generated pages of the documentation site's reference."""

import argparse
import sys
from pathlib import Path

from deploy.docs import commands, mending, metrics, settings, stored_row, topics
from deploy.docs.markdown import COMMAND

FOLDER = Path(__file__).parents[2] / "docs" / "reference"


def generated() -> dict[Path, str]:
    """Path and text of each page."""
    pages = {
        "commands": commands,
        "settings": settings,
        "topics": topics,
        "refused-and-mended": mending,
        "stored-row": stored_row,
        "metrics": metrics,
    }
    return {FOLDER / f"{name}.md": module.page() for name, module in pages.items()}


def main(arguments: list[str] | None = None) -> int:
    """Write the pages; with ``--check`` only check that the files are up to date."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a page is out of date")
    check = parser.parse_args(arguments).check
    pages = generated()
    old = [path for path, text in pages.items() if not path.exists() or path.read_text("utf-8") != text]
    if check and old:
        print(f"Out of date: {', '.join(path.name for path in old)}. Run `{COMMAND}`.", file=sys.stderr)
        return 1
    for path in old:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(pages[path], "utf-8")
    print(f"{len(pages)} pages are up to date; changed: {', '.join(path.name for path in old) or 'none'}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
