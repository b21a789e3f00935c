"""``python -m tests.dist``: builds the wheel and the sdist in `dist/`, and tries the wheel in an empty environment."""

import filecmp
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DIST = ROOT / "dist"
_TRIALS = (
    ("prefstream", "--version"),
    ("prefstream", "--help"),
    # a worker, an encoder, Kafka's simulator and the files of the page
    ("prefstream", "demo", "--seconds", "5", "--plain", "--page"),
    ("pip", "check"),
)


def main() -> int:
    """Build and try; returns the exit code of the first command that failed, else 0."""
    shutil.rmtree(DIST, ignore_errors=True)
    try:
        wheel, sdist = build(ROOT, DIST)
        with tempfile.TemporaryDirectory(prefix="prefstream-dist-") as folder:
            compare(wheel, sdist, Path(folder))
            try_out(wheel, Path(folder))
    except subprocess.CalledProcessError as error:
        say(f"failed with exit code {error.returncode}: {' '.join(map(str, error.cmd))}")
        return error.returncode
    for path in (wheel, sdist):
        say(f"{path.relative_to(ROOT)}, {path.stat().st_size:,} bytes")
    return 0


def build(tree: Path, folder: Path) -> tuple[Path, Path]:
    """Build the wheel and the sdist of a tree into a folder; return their paths."""
    say(f"building from {tree}")
    run(sys.executable, "-m", "hatchling", "build", "-d", folder, cwd=tree)
    [wheel], [sdist] = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return wheel, sdist


def compare(wheel: Path, sdist: Path, folder: Path) -> None:
    """Check that the sdist builds the very wheel."""
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "sdist", filter="data")
    [tree] = (folder / "sdist").iterdir()
    again, _ = build(tree, folder / "again")
    if not filecmp.cmp(wheel, again, shallow=False):
        raise AssertionError(f"the sdist builds another wheel than the tree: compare {wheel} and {again}")


def try_out(wheel: Path, folder: Path) -> None:
    """Install the wheel with the locked versions of its dependencies in an empty environment, and use it there."""
    environment, elsewhere = folder / "venv", folder / "empty"
    elsewhere.mkdir()
    say("installing into an empty environment")
    venv.create(environment, with_pip=True)
    pip = (environment / "bin" / "pip", "--quiet", "install")
    run(*pip, "--require-hashes", "-r", ROOT / "requirements.lock", cwd=elsewhere)
    run(*pip, "--no-deps", wheel, cwd=elsewhere)
    for program, *arguments in _TRIALS:
        say(f"trying: {' '.join((program, *arguments))}")
        run(environment / "bin" / program, *arguments, cwd=elsewhere)


def run(*command: str | Path, cwd: Path) -> None:
    """Run a command; raises `subprocess.CalledProcessError` if it fails."""
    subprocess.run(command, cwd=cwd, check=True, stdout=subprocess.DEVNULL)


def say(text: str) -> None:
    """Tell a step."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
