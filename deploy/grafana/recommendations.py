"""Dashboard of the recommendations' quality: scored online, by what users did next."""

from grafana_foundation_sdk.models.dashboard import Dashboard

from deploy.grafana.panels import Query, board, figure, lines

_IN = 'namespace=~"$namespace"'
_TRENDING = ',kind="trending"'
_WINDOW = "15m"
"""Hits are rare, so shorter windows would show noise."""


def _rate(metric: str, by: str = "", labels: str = "", window: str = _WINDOW) -> str:
    grouped = f"sum by ({by})" if by else "sum"
    return f"{grouped} (rate(prefstream_{metric}{{{_IN}{labels}}}[{window}]))"


def _share(metric: str, by: str = "", of: str = "online_events_total", window: str = _WINDOW) -> str:
    """Ratio of a counter to another one with the same labels."""
    return f"{_rate(metric, by, window=window)} / ({_rate(of, by, window=window)} > 0)"


def build() -> Dashboard:
    """Build the dashboard."""
    glance = [
        figure(
            "Hit rate",
            "Of the events whose user had a list, the share whose item was in it, over an hour.",
            Query(_share("online_hits_total", window="1h")),
            "percentunit",
        ),
        figure(
            "Hit rate of popularity",
            "The same events scored against what was trending, under the same rules: what users would have been given "
            "without personalisation.",
            Query(_share("online_baseline_hits_total", window="1h")),
            "percentunit",
        ),
        figure(
            "Lift over popularity",
            "Hit rate over that of popularity, over an hour. Below 1, what is trending would be the better list.",
            Query(
                f"{_rate('online_hits_total', window='1h')} / ({_rate('online_baseline_hits_total', window='1h')} > 0)"
            ),
            "suffix:×",
            warn=1.5,
            bad=1,
        ),
        figure(
            "Conversion",
            "Of all purchases, the share that followed from a recommendation, over an hour.",
            Query(_share("conversions_total", of="purchases_total", window="1h")),
            "percentunit",
        ),
        figure(
            "Trending fallbacks",
            "Share of lists that are what is trending, as the user's taste is unknown.",
            Query(
                f'sum(rate(prefstream_recommendations_total{{{_IN},kind="trending"}}[1h])) / '
                f"sum(rate(prefstream_recommendations_total{{{_IN}}}[1h]))"
            ),
            "percentunit",
            warn=0.3,
            bad=0.6,
        ),
        figure(
            "Unknown items",
            "Share of events whose item has no vector: not in the catalog, or not encoded yet. Neither can it be "
            "recommended nor does it say anything of a taste.",
            Query(
                f"{_rate('unknown_item_events_total', window='1h')} / "
                f'(sum (rate(prefstream_events_total{{{_IN},outcome="applied"}}[1h])) > 0)'
            ),
            "percentunit",
            warn=0.02,
            bad=0.1,
        ),
    ]
    hits = [
        lines(
            "Hit rate against popularity",
            "Prequential: each event is scored against the list its user last got, before it changes anything. "
            "Popularity is scored on the same events.",
            [
                Query(_share("online_hits_total"), "recommended"),
                Query(_share("online_baseline_hits_total"), "trending"),
            ],
            "percentunit",
            width=12,
        ),
        lines(
            "Mean reciprocal rank against popularity",
            "1 if what the user did next stood first in the list, 1/2 if second, 0 if not in it.",
            [
                Query(_share("online_reciprocal_rank_total"), "recommended"),
                Query(_share("online_baseline_reciprocal_rank_total"), "trending"),
            ],
            "none",
            width=12,
        ),
        lines(
            "Events scored, and why others are not",
            "no-list: the user's first event. left-out: the rules kept the item out of any list, as it was just seen "
            "or bought.",
            [
                Query(_rate("online_events_total"), "scored"),
                Query(_rate("online_unscored_events_total", "why"), "{{why}}"),
            ],
            "eps",
            stack=True,
        ),
        lines(
            "Hit rate by reason",
            "Hits by the reason of the item that was hit, in shares of all scored events: they add up to the hit rate.",
            [
                Query(
                    f"{_rate('online_hits_total', 'reason')} / scalar({_rate('online_events_total')} > 0)", "{{reason}}"
                ),
            ],
            "percentunit",
            stack=True,
        ),
        lines(
            "Hits by item of a reason",
            "Hits in shares of the items recommended with that reason: which reasons are worth their places.",
            [Query(_share("online_hits_total", "reason", of="recommended_items_total"), "{{reason}}")],
            "percentunit",
        ),
        lines(
            "Hit rate of new and known users",
            "A user is new before the fifth event.",
            [
                Query(_share("online_hits_total", "user"), "{{user}}"),
                Query(_share("online_baseline_hits_total", "user"), "{{user}}, trending"),
            ],
            "percentunit",
        ),
        lines(
            "Mean reciprocal rank of new and known users",
            "A user is new before the fifth event.",
            [
                Query(_share("online_reciprocal_rank_total", "user"), "{{user}}"),
                Query(_share("online_baseline_reciprocal_rank_total", "user"), "{{user}}, trending"),
            ],
            "none",
        ),
        lines(
            "Mean reciprocal rank by reason",
            "By the reason of the item that was hit, over all scored events: the parts add up to the mean.",
            [
                Query(
                    f"{_rate('online_reciprocal_rank_total', 'reason')} / scalar({_rate('online_events_total')} > 0)",
                    "{{reason}}",
                ),
            ],
            "none",
            stack=True,
        ),
        lines(
            "Hit rate by model",
            "By the encoder version that made the list; after a change of versions both are scored for a while.",
            [Query(_share("online_hits_total", "model"), "{{model}}")],
            "percentunit",
        ),
        lines(
            "Mean reciprocal rank by model",
            "By the encoder version that made the list.",
            [Query(_share("online_reciprocal_rank_total", "model"), "{{model}}")],
            "none",
        ),
        lines(
            "Lift over popularity by model, 6 h",
            "As the alert sees it. Below 1, what is trending would be the better list.",
            [
                Query(
                    f"namespace_model:prefstream_online_hits:ratio_rate6h{{{_IN}}} / "
                    f"(namespace_model:prefstream_online_baseline_hits:ratio_rate6h{{{_IN}}} > 0)",
                    "{{model}}",
                )
            ],
            "suffix:×",
            warn=1.5,
            bad=1,
        ),
    ]
    business = [
        lines(
            "Conversions",
            "Purchases that followed from a recommendation, a second. list: of an item in the user's last list. visit: "
            "of an item that the user went to from a list. id: the event names a recommendation.",
            [Query(_rate("conversions_total", "via"), "{{via}}")],
            "ops",
            stack=True,
        ),
        lines(
            "Conversion by reason",
            "In shares of all purchases, by the reason with which the item was recommended.",
            [Query(f"{_rate('conversions_total', 'reason')} / scalar({_rate('purchases_total')} > 0)", "{{reason}}")],
            "percentunit",
            stack=True,
        ),
        lines(
            "Events that name a recommendation",
            "Events with a recommendation_id, a second: of their user's last list, or of an earlier one.",
            [Query(_rate("attributed_events_total", "type, list"), "{{type}}, {{list}}")],
            "ops",
            stack=True,
        ),
    ]
    lists = [
        lines(
            "Catalog coverage",
            "Share of the items that a worker recommended to anybody within an hour, by worker.",
            [Query(f"prefstream_catalog_coverage_ratio{{{_IN}}}", "{{instance}}")],
            "percentunit",
        ),
        lines(
            "Novelty",
            "Mean self-information of the recommended items, -log2 of their share of all events: the more bits, the "
            "less obvious.",
            [
                Query(
                    f"{_rate('recommended_self_information_bits_total')} / ({_rate('recommended_items_total')} > 0)",
                    "bits",
                )
            ],
            "none",
        ),
        lines(
            "What lists are made of",
            "Items recommended, by the largest part of their score.",
            [Query(_rate("recommended_items_total", "reason"), "{{reason}}")],
            "ops",
            stack=True,
        ),
        lines(
            "Share of trending fallbacks",
            "Lists that are what is trending, as the user's taste is unknown.",
            [
                Query(
                    f"{_rate('recommendations_total', labels=_TRENDING)} / {_rate('recommendations_total')}",
                    "trending",
                )
            ],
            "percentunit",
            most=1,
        ),
        lines(
            "Drift of vectors",
            "Cosine distance between the mean vector of the last minutes and of the last hours: of the items that "
            "events name, and of the users' tastes. 0 is no change.",
            [Query(f"prefstream_vector_drift_ratio{{{_IN}}}", "{{of}}, {{instance}}")],
            "none",
            warn=0.2,
        ),
        lines(
            "Unknown items",
            "Events a second whose item has no vector, and item vectors that are written and not in the index yet.",
            [
                Query(_rate("unknown_item_events_total"), "events of unknown items"),
                Query(f"max(prefstream_index_lag_records{{{_IN}}})", "vectors on their way"),
            ],
            "short",
        ),
    ]
    return board(
        "prefstream-recommendations",
        "prefstream: recommendations online",
        "How good the recommendations are, by what users do next. How it is counted: "
        "streams/quality/online_quality.py. "
        "Alerts and what to do: docs/how-to/answer-alerts.md.",
        [("At a glance", glance), ("Hits", hits), ("Business", business), ("Lists", lists)],
    )
