"""The features of a worker: each is imported only where the settings ask for it."""

import importlib
from collections.abc import Callable

from streams.features.contract import Feature
from streams.settings import Settings

FEATURES: tuple[tuple[str, Callable[[Settings], bool]], ...] = (
    # the module whose FEATURE it is, and whether the settings ask for it
    ("streams.quality.observer", lambda _: True),
)


def features_of(settings: Settings) -> list[Feature]:
    """Import the features that the settings ask for."""
    modules = [module for module, is_on in FEATURES if is_on(settings)]
    return [importlib.import_module(module).FEATURE for module in modules]
