"""The registry of encoder versions: finds their folders by their manifests."""

from pathlib import Path

import msgspec

from encoders.artifact import manifest
from encoders.artifact.manifest import MANIFEST_FILE, Encoder
from encoders.errors import EncoderError


class _VersionField(msgspec.Struct):
    """The field of a manifest that the registry reads."""

    version: str


class EncoderRegistry:
    """The encoder folders that a worker can load: that of ``first``, and those in ``folder``.

    Each call reads the disk again, so a folder that is copied later is found.
    """

    def __init__(self, first: Encoder, folder: Path | None = None) -> None:
        self.first = first
        self._folder = folder

    def paths(self) -> dict[str, Path]:
        """The folder of each version; where several have the same version, ``first``, else the first by name."""
        folders = {self.first.manifest.version: self.first.folder}
        for path in sorted(self._folder.glob(f"*/{MANIFEST_FILE}")) if self._folder is not None else ():
            try:
                folders.setdefault(msgspec.json.decode(path.read_bytes(), type=_VersionField).version, path.parent)
            except (OSError, msgspec.MsgspecError):
                continue  # half copied, or no encoder folder
        return folders

    def take(self, version: str) -> Encoder:
        """Read and check a version's folder.

        Raises
        ------
        EncoderError
            No folder has that version, or the folder is not sound; the message says which folders were searched.
        """
        if version == self.first.manifest.version:
            return self.first
        folders = self.paths()
        if version not in folders:
            where = "encoder.folders is not set" if self._folder is None else f"none in '{self._folder}'"
            known = ", ".join(sorted(folders))
            raise EncoderError(
                f"There is no folder of encoder version {version!r} here ({where}; known: {known}): "
                "copy it into the folder that encoder.folders names."
            )
        return manifest.load(folders[version])
