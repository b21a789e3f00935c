"""The Faust app of a worker: its consumer in the consumer group, and the agent that hands on the fetched batches."""

from typing import Any

import faust

from streams.fetch.agent import Put, add_agent
from streams.fetch.faust_settings import faust_options
from streams.fetch.hooks import FetchHooks
from streams.kafka.topics import TopicNames
from streams.settings import Settings

App = Any
"""`faust.App`; Any, because Faust ships no types."""


def make_app(settings: Settings, names: TopicNames, hooks: FetchHooks, put: Put) -> App:
    """Make an app that is not started yet.

    Parameters
    ----------
    names : topics of the namespace; the app subscribes to all inputs
    hooks : settings and callbacks of the consumer
    put : awaited with each fetched batch, in order
    """
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    app = faust.App(
        settings.group,
        **faust_options(settings.kafka),
        broker_commit_interval=settings.checkpoint.interval_s,
        topic_disable_leader=True,
        topic_allow_declare=False,
        store="memory://",
        web_enabled=False,
        stream_wait_empty=False,
        stream_buffer_maxsize=16,
        datadir=str(settings.data_dir / "faust"),
    )
    app.fetch_hooks = hooks
    add_agent(app, names, put)
    app.finalize()
    return app
