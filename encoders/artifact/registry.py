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

    def __init__(self, first: Encoder, folder: Path) -> None:
        """``folder`` need not exist yet."""
        self.first = first
        self._folder = folder

    def paths(self) -> dict[str, Path]:
        """The folder of each version; where several have the same version, ``first``, else the first by name."""
        folders = {self.first.manifest.version: self.first.folder}
        for path in sorted(self._folder.glob(f"*/{MANIFEST_FILE}")):
            try:
                folders.setdefault(msgspec.json.decode(path.read_bytes(), type=_VersionField).version, path.parent)
            except (OSError, msgspec.MsgspecError):
                continue  # half copied, or no encoder folder
        return folders

    def version_of(self, name: str) -> str:
        """The version that ``name`` means: a version itself, or the name of its folder.

        A name that is neither is returned as it is.
        """
        folders = self.paths()
        if name in folders:
            return name
        return next((version for version, path in folders.items() if path.name == name), name)

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
            known = (
                name if path.name == name else f"{name} (folder {path.name})" for name, path in sorted(folders.items())
            )
            raise EncoderError(
                f"There is no folder of encoder version {version!r} in '{self._folder}' (known: {', '.join(known)}): "
                "copy the encoder folder there, or set encoder.folders."
            )
        return manifest.load(folders[version])
