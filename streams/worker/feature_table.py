"""Lists the features of a worker. A feature is imported only if the settings ask for it."""

import importlib
from collections.abc import Callable

from streams.features.contract import Feature
from streams.settings import Settings

FEATURES: tuple[tuple[str, Callable[[Settings], bool]], ...] = (
    # the module that holds the FEATURE, and a function that tells whether the settings ask for it
    ("streams.quality.observer", lambda _: True),
)


def feature_topics(settings: Settings) -> list[str]:
    """Topics, without the namespace, of the features that the settings ask for."""
    return [topic for feature in features_of(settings) for topic in feature.topics]


def features_of(settings: Settings) -> list[Feature]:
    """Import the features that the settings ask for."""
    modules = [module for module, is_on in FEATURES if is_on(settings)]
    return [importlib.import_module(module).FEATURE for module in modules]
