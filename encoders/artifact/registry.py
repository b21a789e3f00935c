"""A folder of encoder folders: which versions are there, by their manifests."""

from pathlib import Path

import msgspec

from encoders.artifact import manifest
from encoders.artifact.manifest import MANIFEST_FILE, Encoder
from encoders.errors import EncoderError


class _Named(msgspec.Struct):
    version: str


class EncoderRegistry:
    """The encoder folders that a worker can reach: one, and those in ``folder``. Looked into anew at each call."""

    def __init__(self, first: Encoder, folder: Path | None = None) -> None:
        self.first = first
        self._folder = folder

    def paths(self) -> dict[str, Path]:
        """The folder of each version; of two with one version the one whose name sorts first."""
        found = {self.first.manifest.version: self.first.folder}
        for path in sorted(self._folder.glob(f"*/{MANIFEST_FILE}")) if self._folder is not None else ():
            try:
                found.setdefault(msgspec.json.decode(path.read_bytes(), type=_Named).version, path.parent)
            except (OSError, msgspec.MsgspecError):
                continue  # half copied, or of something else
        return found

    def take(self, version: str) -> Encoder:
        """Read and check a version's folder.

        Raises
        ------
        EncoderError
            No folder has that version, or it is not sound; the sentence says what was looked at.
        """
        if version == self.first.manifest.version:
            return self.first
        found = self.paths()
        if version not in found:
            where = "encoder.folders is not set" if self._folder is None else f"none in '{self._folder}'"
            raise EncoderError(
                f"There is no folder of encoder version {version!r} here ({where}; known: {', '.join(sorted(found))}): "
                "copy it into the folder that encoder.folders names."
            )
        return manifest.load(found[version])
