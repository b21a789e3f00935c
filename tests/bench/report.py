"""What the bench writes down: JSON, tables on the terminal, and plots."""

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

GOALS: dict[str, tuple[str, float]] = {
    "fetch_ratio_vs_stock_faust": (">=", 30),
    "job_ratio_vs_quix": (">=", 5),
    "job_ratio_vs_stock_faust": (">=", 10),
    "cpu_us_per_event": ("<=", 15),
    "save_us_per_user": ("<=", 20),
    "score_us_10k": ("<=", 24),
    "score_us_100k": ("<=", 40),
    "recall_100k": (">=", 0.97),
    "score_us_1m": ("<=", 60),
    "recall_1m": (">=", 0.97),
    "latency_ms_p50": ("<=", 10),
    "latency_ms_p99": ("<=", 50),
    "two_workers_speedup": (">=", 1.9),
}


def show(figures: dict[str, float], details: dict[str, Any]) -> None:
    """Tables: the figures beside their goals, ranking beside FAISS, then everything that was measured."""
    console = Console(width=110)
    table = Table("figure", "measured", "goal", "met", title="prefstream bench")
    for name, value in figures.items():
        if name not in GOALS:
            continue
        sign, goal = GOALS[name]
        met = value >= goal if sign == ">=" else value <= goal
        table.add_row(name, f"{value:g}", f"{sign} {goal:g}", "yes" if met else "no")
    console.print(table)
    if any("faiss" in found for _, found in _rankings(details)):
        console.print(_beside_faiss(details))
    for section, found in details.items():
        table = Table("what", "value", title=section)
        for name, value in _flat(found):
            table.add_row(name, f"{value:,.2f}" if isinstance(value, float) else str(value))
        console.print(table)


def _beside_faiss(details: dict[str, Any]) -> Table:
    table = Table(
        *("items", "ranked by", "CPU a user", "ratio", "recall", "lists read", "CPU of the build"),
        title="ranking beside FAISS's IVF,Flat, at equal recall",
        caption="prefstream's time includes the user's vector and the attributions (the reasons) of each item of the "
        "list; FAISS is given the vector, and finds the items alone. Both leave out the user's recent items. "
        "prefstream's build includes the choice of how many lists are read.",
    )
    for items, found in _rankings(details):
        if "faiss" in found:
            for name, row in (("prefstream", found), ("FAISS", found["faiss"])):
                table.add_row(
                    f"{items:,}",
                    name,
                    f"{row['score_us']:.1f} us",
                    f"{row['ratio']:.2f} times as much" if "ratio" in row else "",
                    f"{row['recall']:.4f}",
                    f"{row['probes']:,} of {row['clusters']:,}",
                    f"{row['build_s']:.1f} s",
                )
    return table


def _rankings(details: dict[str, Any]) -> list[tuple[int, dict[str, Any]]]:
    """Sections of the ranking, by number of items."""
    return [(int(name.split()[1]), found) for name, found in details.items() if name.startswith("scoring ")]


def write(folder: Path, figures: dict[str, float], details: dict[str, Any]) -> None:
    """``bench.json`` and the plots."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bench.json").write_text(json.dumps({"figures": figures, "details": details}, indent=1), "utf-8")
    _plots(folder, details)


def _plots(folder: Path, details: dict[str, Any]) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, (jobs, rankings, delays) = plt.subplots(1, 3, figsize=(16, 4))
    peers = details["job"]
    jobs.barh(list(peers), [row["cpu_us"] for row in peers.values()])
    jobs.set_xlabel("CPU microseconds an event, the whole job")
    sizes = _rankings(details)
    for name, rows in (
        ("prefstream, with reasons", [(items, found["score_us"]) for items, found in sizes]),
        (
            "FAISS IVF,Flat at the same recall",
            [(items, found["faiss"]["score_us"]) for items, found in sizes if "faiss" in found],
        ),
    ):
        rankings.plot([items for items, _ in rows], [us for _, us in rows], "o-", label=name)
    rankings.set_xlabel("items")
    rankings.set_ylabel("CPU microseconds a user, ranking")
    rankings.set_xscale("log")
    rankings.set_ylim(bottom=0)
    rankings.legend()
    loads = details["latency"]
    for where, style in (("end_to_end", "o-"), ("worker", "s--")):
        delays.set_prop_cycle(None)  # one colour a quantile
        for name in ("p50", "p99", "p99.9"):
            rates, values = zip(*((row["rate"], row[where].get(name)) for row in loads.values()), strict=True)
            delays.plot(rates, values, style, label=f"{name}, {where.replace('_', ' ')}")
    delays.set_xlabel("events a second")
    delays.set_ylabel("event to list, ms")
    delays.set_yscale("log")
    delays.legend()
    figure.tight_layout()
    figure.savefig(folder / "bench.png", dpi=120)


def _flat(found: Any, prefix: str = "") -> list[tuple[str, Any]]:
    if not isinstance(found, dict):
        return [(prefix, found)]
    return [row for name, value in found.items() for row in _flat(value, f"{prefix}.{name}" if prefix else str(name))]
