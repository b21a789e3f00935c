"""Dashboard of the service: traffic, latency, waits and errors."""

from grafana_foundation_sdk.models.dashboard import Dashboard

from deploy.grafana.panels import Query, board, buckets, figure, lines

_IN = 'namespace=~"$namespace"'


def _rate(metric: str, by: str, labels: str = "") -> str:
    return f"sum by ({by}) (rate(prefstream_{metric}{{{_IN}{labels}}}[$__rate_interval]))"


def _quantile(q: float, metric: str) -> str:
    return f"histogram_quantile({q}, sum by (le) (rate(prefstream_{metric}_bucket{{{_IN}}}[$__rate_interval])))"


def build() -> Dashboard:
    """Build the dashboard."""
    glance = [
        figure(
            "Workers",
            "Workers that Prometheus can scrape. Fewer than were started: look at their logs.",
            Query('sum(up{job="prefstream"})'),
            "short",
            warn=1,
            bad=0.5,
        ),
        figure(
            "Events",
            "Events counted in the profiles, a second.",
            Query(f'sum(rate(prefstream_events_total{{{_IN},outcome="applied"}}[$__rate_interval]))'),
            "eps",
        ),
        figure(
            "Within 0.5 s",
            "Share of recommendations that left within half a second of their event's arrival in Kafka, over an hour. "
            "The objective is 99 of 100.",
            Query(
                f'sum(rate(prefstream_event_to_recommendation_seconds_bucket{{{_IN},le="0.5"}}[1h])) / '
                f"sum(rate(prefstream_event_to_recommendation_seconds_count{{{_IN}}}[1h]))"
            ),
            "percentunit",
            warn=0.99,
            bad=0.95,
        ),
        figure(
            "Lag",
            "Records that are in the topics and not processed yet.",
            Query(f"sum(prefstream_consumer_lag{{{_IN}}})"),
            "short",
            warn=1_000,
            bad=10_000,
        ),
        figure(
            "Oldest checkpoint",
            "The longest time since a worker's last good checkpoint: a crash would replay what came since. "
            "An idle worker saves nothing, and its age grows without harm.",
            Query(f"max(time() - prefstream_last_checkpoint_timestamp_seconds{{{_IN}}})"),
            "s",
            warn=10,
            bad=60,
        ),
        figure(
            "Dead letters",
            "Records refused in the last hour.",
            Query(f"sum(increase(prefstream_dead_letters_total{{{_IN}}}[1h]))"),
            "short",
            warn=1,
            bad=100,
        ),
    ]
    traffic = [
        lines(
            "Events by topic",
            "Records counted in the profiles, a second, by topic.",
            [Query(_rate("events_total", "topic", ',outcome="applied"'), "{{topic}}")],
            "eps",
            stack=True,
        ),
        lines(
            "Records by outcome",
            "applied counts in the state; replayed and duplicate were counted before; rerouted came on another "
            "partition than their user's; dead are in dead-letters.",
            [Query(_rate("events_total", "outcome"), "{{outcome}}")],
            "eps",
            stack=True,
        ),
        lines(
            "Lag by topic",
            "Records not processed yet. Growing for minutes: add workers, up to one a partition.",
            [Query(f"sum by (topic) (prefstream_consumer_lag{{{_IN}}})", "{{topic}}")],
            "short",
            warn=1_000,
        ),
    ]
    latency = [
        buckets(
            "Event to recommendation",
            "From a record's Kafka timestamp to its recommendation: recommendations in each time range.",
            f"sum by (le) (increase(prefstream_event_to_recommendation_seconds_bucket{{{_IN}}}[$__rate_interval]))",
            "s",
        ),
        lines(
            "Event to recommendation, quantiles",
            "Half, 19 of 20 and 99 of 100 recommendations were faster than this. The objective is 0.5 s for 99 of 100.",
            [Query(_quantile(q, "event_to_recommendation_seconds"), name) for q, name in _QUANTILES],
            "s",
            bad=0.5,
            width=12,
        ),
    ]
    stages = [
        lines(
            "Where time goes",
            "Seconds spent in each stage, a second, over all workers: 1 is a stage that keeps one worker busy.",
            [Query(_rate("stage_seconds_sum", "stage"), "{{stage}}")],
            "percentunit",
            stack=True,
        ),
        lines(
            "Seconds a batch, by stage",
            "Mean time of a batch in each stage.",
            [
                Query(
                    f"{_rate('stage_seconds_sum', 'stage')} / ({_rate('stage_seconds_count', 'stage')} > 0)",
                    "{{stage}}",
                )
            ],
            "s",
        ),
        lines(
            "Records a batch",
            "Mean size of a batch by topic: small while workers keep up, large while they catch up.",
            [
                Query(
                    f"{_rate('batch_records_sum', 'topic')} / ({_rate('batch_records_count', 'topic')} > 0)",
                    "{{topic}}",
                )
            ],
            "short",
        ),
    ]
    state = [
        lines(
            "Users found in memory",
            "Share of a batch's users that were in memory. Falls if profiles.memory_mb is too small for the active "
            "users.",
            [
                Query(
                    f'sum(rate(prefstream_cache_lookups_total{{{_IN},result="hit"}}[$__rate_interval])) / '
                    f"sum(rate(prefstream_cache_lookups_total{{{_IN}}}[$__rate_interval]))",
                    "hit ratio",
                )
            ],
            "percentunit",
            most=1,
        ),
        lines(
            "Hot and dirty users",
            "Users in memory, and those among them whose state is not saved yet. Fetching pauses at "
            "checkpoint.max_dirty_users.",
            [
                Query(f"sum(prefstream_hot_users{{{_IN}}})", "hot"),
                Query(f"sum(prefstream_dirty_users{{{_IN}}})", "dirty"),
            ],
            "short",
        ),
        lines(
            "Checkpoint age by worker",
            "Time since the last good checkpoint. A busy worker has one each checkpoint.interval_s.",
            [Query(f"time() - prefstream_last_checkpoint_timestamp_seconds{{{_IN}}}", "{{instance}}")],
            "s",
            warn=10,
            bad=60,
        ),
        lines(
            "Checkpoints",
            "Mean seconds of a checkpoint, and the slowest of twenty; small ones are spread over the interval.",
            [
                Query(
                    f"sum(rate(prefstream_checkpoint_seconds_sum{{{_IN}}}[$__rate_interval])) / "
                    f"sum(rate(prefstream_checkpoint_seconds_count{{{_IN}}}[$__rate_interval]))",
                    "mean",
                ),
                Query(_quantile(0.95, "checkpoint_seconds"), "95%"),
            ],
            "s",
        ),
        lines(
            "Profiles saved",
            "Rows written to the store, a second.",
            [Query(f"sum(rate(prefstream_profiles_saved_total{{{_IN}}}[$__rate_interval]))", "rows")],
            "wps",
        ),
        lines(
            "Items",
            "Items whose vector is known, by worker: all have the same, or one is behind.",
            [Query(f"prefstream_index_items{{{_IN}}}", "{{instance}}")],
            "short",
        ),
        lines(
            "Recall of the candidates",
            "In a large catalog, users are ranked from candidates: the share of the exact top-k that is among them, as "
            "measured last. 1 where all items are scored. The goal is ranking.candidate_recall.",
            [Query(f"prefstream_candidate_recall{{{_IN}}}", "{{instance}}")],
            "percentunit",
        ),
        lines(
            "Lists searched for a user",
            "Inverted lists of the index that are searched for each user (nprobe): as few as ranking.candidate_recall "
            "allows; 0 where all items are scored.",
            [Query(f"prefstream_candidate_probes{{{_IN}}}", "{{instance}}")],
            "short",
        ),
    ]
    trouble = [
        lines(
            "Dead letters by reason",
            "Records refused, a second. `prefstream dlq list` shows them.",
            [Query(_rate("dead_letters_total", "reason"), "{{reason}}")],
            "eps",
            stack=True,
        ),
        lines(
            "Store errors by operation",
            "Calls of the store that failed, a second. load and save are tried again; read is a row that is broken.",
            [Query(_rate("store_errors_total", "operation"), "{{operation}}")],
            "ops",
            bad=0.1,
        ),
        lines(
            "Broker errors",
            "What the Kafka clients report, a second. _TRANSPORT is a lost connection, _ALL_BROKERS_DOWN an outage.",
            [Query(_rate("broker_errors_total", "error"), "{{error}}")],
            "ops",
            bad=0.1,
        ),
        lines(
            "Waits by reason",
            "Times that workers had to wait, a second: for the store, for a term, for room among the dirty users.",
            [Query(_rate("waits_total", "reason"), "{{reason}}")],
            "ops",
        ),
        lines(
            "Partitions by worker",
            "Input partitions that each worker owns; uneven where there are fewer partitions than workers need.",
            [Query(f"prefstream_assigned_partitions{{{_IN}}}", "{{instance}}")],
            "short",
            stack=True,
        ),
        lines(
            "ONNX Runtime provider",
            "Where ranking really runs, workers by provider: CUDAExecutionProvider is the GPU.",
            [Query(f"sum by (provider) (prefstream_onnx_provider_info{{{_IN}}})", "{{provider}}")],
            "short",
            stack=True,
        ),
    ]
    return board(
        "prefstream-service",
        "prefstream: service",
        "Whether the workers keep up, how late recommendations are, what they wait for and what goes wrong. "
        "Alerts and what to do: docs/how-to/answer-alerts.md.",
        [
            ("At a glance", glance),
            ("Traffic", traffic),
            ("Latency", latency),
            ("Stages", stages),
            ("State", state),
            ("Trouble", trouble),
        ],
    )


_QUANTILES = ((0.5, "50%"), (0.95, "95%"), (0.99, "99%"))
