"""Loads the encoder that a worker uses while no version has been activated."""

import shutil
import tempfile
from pathlib import Path

import structlog

from encoders.artifact import manifest
from encoders.artifact.manifest import Encoder
from encoders.building import hashed_text
from streams.settings import Settings

log = structlog.get_logger(__name__)


def load_encoder(settings: Settings) -> Encoder:
    """Load the encoder folder of the settings, or the built-in hashed text encoder, which is built on first use."""
    if settings.encoder.folder is not None:
        return manifest.load(settings.encoder.folder)
    folder = settings.data_dir / "encoders" / "hashed-text-1"
    if not folder.is_dir():
        log.info("building the built-in hashed text encoder", folder=str(folder))
        _build_aside(folder)
    return manifest.load(folder)


def _build_aside(folder: Path) -> None:
    """Build in a temporary folder, then rename it: another worker never sees half an encoder."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent))
    try:
        hashed_text.build(temporary / folder.name)
        try:
            (temporary / folder.name).rename(folder)
        except OSError:
            if not folder.is_dir():  # if it is there, another worker was faster and built the same bytes
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
