"""The Faust app of a worker: the group's consumer, and the agent that hands on what it fetches."""

from typing import Any

import faust

from streams.fetch.agent import Put, add_agent
from streams.fetch.faust_settings import faust_options
from streams.fetch.hooks import FetchHooks
from streams.kafka.topics import TopicNames
from streams.settings import Settings

App = Any
"""`faust.App`, which ships no types."""


def make_app(settings: Settings, names: TopicNames, hooks: FetchHooks, put: Put) -> App:
    """Make an app that isn't started yet.

    Parameters
    ----------
    names : topics of the namespace; the app subscribes to all inputs
    hooks : what the consumer is told, and whom it tells
    put : awaited with each batch that is fetched, in order
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
