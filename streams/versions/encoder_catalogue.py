"""Groups what tells a worker about encoder versions: folders, activations, and progress in encoding the catalog."""

from dataclasses import dataclass

from encoders.artifact.registry import EncoderRegistry
from streams.catalog.catalog_progress import CatalogProgress
from streams.versions.activations import Activations


@dataclass(frozen=True)
class EncoderCatalogue:
    """Three sources of facts about encoder versions, passed on together."""

    registry: EncoderRegistry
    """The encoder folders on this machine."""
    activations: Activations
    """The content of the topic ``encoders``."""
    progress: CatalogProgress
    """Tells how far each version has encoded the catalog."""
