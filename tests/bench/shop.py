"""A namespace of the bench: topics, settings and an encoder whose item vectors are clustered as a trained model's."""

import tempfile
from pathlib import Path
from typing import Any

from deploy.local.stack import Stack
from encoders import lookup
from tests.bench import workload
from tests.e2e.shop import ShopOnStack


class BenchShop(ShopOnStack):
    """One worker core: ONNX Runtime gets one thread, as the figures are of one."""

    def __init__(self, stack: Stack, folder: Path, items: int, **sections: Any) -> None:
        encoder = folder / f"encoder-{items}"
        if not encoder.is_dir():
            lookup.build(encoder, workload.item_ids(items), workload.item_vectors(items), f"bench-{items}")
        self.items = items
        folder = Path(tempfile.mkdtemp(dir=folder, prefix="shop-"))
        settings: dict[str, Any] = {
            "encoder": {"folder": str(encoder), "threads": 1},
            "ranking": {"k": workload.K},
            "profiles": {"history": workload.HISTORY},
            "kafka": {"max_batch_records": workload.BATCH},
            "checkpoint": {"interval_s": 1.0},
        }
        for name, section in sections.items():
            settings[name] = {**settings.get(name, {}), **section}
        super().__init__(stack, folder, **settings)
