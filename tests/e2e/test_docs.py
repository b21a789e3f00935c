"""The commands of README and docs do what they say: they run in their order, as a reader types them."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from streams.settings import ENV_PREFIX
from tests.doc_blocks import ROOT, Block, blocks, pages

README, *SITE = pages()

_TIMEOUT_S = 420

# the environment is there already: `make` would install it again, from another folder
_BEGIN = "set -euo pipefail\nmake() { :; }\nexport PREFSTREAM_SERVER__PORT=0\n"

_CODE_OF = {"sh": "{}", "python": "python - <<'END_OF_BLOCK'\n{}END_OF_BLOCK\n"}

pytestmark = pytest.mark.timeout(_TIMEOUT_S + 60)


@pytest.mark.parametrize("shown", [[README], SITE], ids=["readme", "site"])
def test_the_commands_run(shown: list[Path], tmp_path: Path) -> None:
    shutil.copytree(ROOT / "docs" / "tutorials" / "tea-shop", tmp_path / "docs" / "tutorials" / "tea-shop")
    script = _script(block for page in shown for block in blocks(page))
    output, code = _run(script, tmp_path)
    assert code == 0, f"the last block that began failed:\n{output[-6000:]}"


def _script(shown: Iterable[Block]) -> str:
    run = [block for block in shown if block.is_run and block.language in _CODE_OF]
    assert run, "a page without commands proves nothing"
    parts = [f"echo '== {block.name}'\n" + _CODE_OF[block.language].format(block.text) for block in run]
    return _BEGIN + "\n".join(parts)


def _run(script: str, folder: Path) -> tuple[str, int]:
    """Run a script; whatever it leaves running is ended."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ENV_PREFIX)}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    log = folder / "output.log"
    with log.open("wb") as output:
        shell = subprocess.Popen(
            ["bash", "-c", script], cwd=folder, env=environment, stdout=output, stderr=output, start_new_session=True
        )
        try:
            code = shell.wait(_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            code = -1
        finally:
            _end(shell.pid)
            for stack in folder.rglob(".prefstream/stack"):
                subprocess.run(
                    ["prefstream", "stack", "down", "--folder", stack], env=environment, check=True, stdout=output
                )
    return log.read_text("utf-8", "replace"), code


def _end(session: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # the script left nothing running
        os.killpg(session, signal.SIGTERM)
