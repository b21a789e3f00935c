"""Writes the JSON Schema files and asyncapi.yaml beside the message classes: ``python -m schemas.generate``."""

import argparse
import importlib
import json
import sys
from pathlib import Path
from typing import Any, Final

from schemas.documents import asyncapi_document, schema_documents

FOLDER: Final = Path(__file__).parent
COMMAND: Final = "python -m schemas.generate"


def generated_files() -> dict[str, str]:
    """Texts of the generated files, by file name.

    Raises
    ------
    ModuleNotFoundError
        PyYAML, a dependency of development only, is not installed.
    """
    files = {
        name: json.dumps(document, indent=2, ensure_ascii=False) + "\n" for name, document in schema_documents().items()
    }
    files["asyncapi.yaml"] = f"# Written by {COMMAND}: change the message classes, then run it.\n{_as_yaml()}"
    return files


def differences(folder: Path, files: dict[str, str]) -> list[str]:
    """Names of the files that must be written or deleted, so that the folder holds just these generated files."""
    differing = [name for name, text in files.items() if _text(folder / name) != text]
    return sorted(differing + [path.name for path in _leftovers(folder, files)])


def write(folder: Path, files: dict[str, str]) -> list[str]:
    """Make the folder hold just these generated files; returns the names of the changed files."""
    changed = differences(folder, files)
    for name in set(changed) & files.keys():
        (folder / name).write_text(files[name], encoding="utf-8", newline="\n")
    for path in _leftovers(folder, files):
        path.unlink()
    return changed


def main(arguments: list[str] | None = None, folder: Path = FOLDER) -> int:
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a file is out of date")
    check = parser.parse_args(arguments).check
    try:
        files = generated_files()
    except ModuleNotFoundError as error:
        print(f"{error.name} is not installed: install the development dependencies (group dev).", file=sys.stderr)
        return 1
    if not check:
        changed = write(folder, files)
        print(f"{len(files)} files are up to date; changed: {', '.join(changed) or 'none'}.")
        return 0
    changed = differences(folder, files)
    if changed:
        print(f"Out of date in {folder.name}/: {', '.join(changed)}. Run `{COMMAND}`.", file=sys.stderr)
        return 1
    print(f"{len(files)} files are up to date.")
    return 0


def _as_yaml() -> str:
    # imported here and by name, because PyYAML is a dependency of development only and has no types
    yaml: Any = importlib.import_module("yaml")
    # through JSON, so that YAML writes no part as an alias of another
    document = json.loads(json.dumps(asyncapi_document()))
    return str(yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120))


def _text(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None


def _leftovers(folder: Path, files: dict[str, str]) -> list[Path]:
    return [path for path in folder.glob("*.schema.json") if path.name not in files]


if __name__ == "__main__":
    sys.exit(main())
