"""Sums up a run of the demo in words: its figures, and whether the recommendations beat simple lists."""

from streams.demo.mall import Mall
from streams.demo.score import LEAST_CHOICES, RANDOM, RECOMMENDED, TRENDING

_BAR = 40
"""Width of a bar of 100 %, in characters."""


def bar(share: float, width: int = _BAR) -> str:
    """Draw a share as a bar of at most ``width`` characters.

    >>> bar(0.5, 4), bar(0.0, 4)
    ('██', '')
    """
    eighths = round(min(1.0, max(0.0, share)) * width * 8)
    return "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()


def milliseconds(value: float | None) -> str:
    """Write a latency for people."""
    return "–" if value is None else f"{value:.0f} ms"


def summary(mall: Mall, seconds: float) -> str:
    """Write the figures of a run that took ``seconds``."""
    hits, changes = mall.hits, mall.changes
    lines = [
        f"{mall.events:,} events in {seconds:.1f} s ({mall.events / max(seconds, 0.1):.0f}/s); "
        f"{mall.answered:,} answered by a fresh list",
        f"from an event to its list: {milliseconds(mall.latencies.quantile(0.5))} (median), "
        f"{milliseconds(mall.latencies.quantile(0.99))} (p99)",
        "",
        f"Hit rate@{hits.k}: share of the shoppers' free choices that were in the list before",
        f"({hits.choices:,} choices of items new to them; picks from the recommendations don't count)",
        *(
            f"  {name:<12} {100 * hits.rate(name):5.1f} %  {bar(hits.rate(name))}".rstrip()
            for name in (RECOMMENDED, TRENDING, RANDOM)
        ),
        "",
        f"{changes.count} changes of taste: {_followed(mall)}",
        "",
        verdict(mall)[1],
    ]
    return "\n".join(lines)


def _followed(mall: Mall) -> str:
    median = mall.changes.median()
    if median is None:
        return "the run was too short to see the lists follow a change"
    if median == float("inf"):
        return f"most tastes ended before most of the top {mall.hits.k} fitted them"
    events = "1 event" if median == 1 else f"{median:g} events"
    late = f"; {mall.changes.missed} were never followed" if mall.changes.missed else ""
    return f"most of the top {mall.hits.k} fits after {events} (median){late}"


def verdict(mall: Mall) -> tuple[bool, str]:
    """Tell whether the recommendations beat both other lists, and say so in a sentence."""
    hits = mall.hits
    if not mall.answered:
        return False, "No recommendation came for any event: the demo is broken on this machine; please report it."
    if hits.choices < LEAST_CHOICES:
        return False, (
            f"Only {hits.choices} choices could be scored, too few to compare hit rates: run the demo with more "
            f"--seconds or more --shoppers (at least {LEAST_CHOICES} choices are needed)."
        )
    recommended, trending, random = (hits.rate(name) for name in (RECOMMENDED, TRENDING, RANDOM))
    if recommended > max(trending, random):
        return True, f"The recommendations follow the taste: {_times(recommended, trending, random)}."
    return False, (
        f"The recommendations do not beat trending and random here ({recommended:.1%} against {trending:.1%} and "
        f"{random:.1%}): the worker was too slow for so many shoppers, or its ranking is wrong. "
        "Run the demo again when the machine is less busy."
    )


def _times(recommended: float, trending: float, random: float) -> str:
    parts = [
        f"{recommended / rate:.1f} times the hits of {name}"
        for name, rate in (("a trending list", trending), ("a random one", random))
        if rate > 0
    ]
    return " and ".join(parts) or "neither a trending nor a random list had a hit"
