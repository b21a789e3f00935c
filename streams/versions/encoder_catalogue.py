"""What a worker knows of encoder versions: folders, activations, and how far the catalog is encoded for each."""

from dataclasses import dataclass

from encoders.artifact.registry import EncoderRegistry
from streams.catalog.catalog_progress import CatalogProgress
from streams.versions.activations import Activations


@dataclass(frozen=True)
class EncoderCatalogue:
    """Travels as one."""

    registry: EncoderRegistry
    """The encoder folders on this machine."""
    activations: Activations
    """What the topic ``encoders`` says."""
    progress: CatalogProgress
    """How far each version has encoded the catalog."""
