"""The encoder folder: ``encoder.json`` and the files it names, each with its checksum."""

import hashlib
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from encoders.artifact.signature import IMAGES, PRICES, check_signatures
from encoders.errors import EncoderError
from schemas.catalog import MAX_DIMENSION
from schemas.events import EVENT_TYPES

MANIFEST_FILE = "encoder.json"
ITEMS_MODEL = "items.onnx"  # the item encoder
HEAD_MODEL = "head.onnx"  # the user head
ITEM_IDS_FILE = "items.txt"  # lookup and blend encoders: the row of each id
FORMAT = 1


class Manifest(msgspec.Struct, kw_only=True, frozen=True):
    """The content of ``encoder.json``. Unknown fields are ignored, because a later release may add fields."""

    format: int = FORMAT
    name: str
    version: Annotated[str, msgspec.Meta(max_length=100, pattern=r"^[A-Za-z0-9._-]+\Z")]  # part of a topic's name
    kind: Literal["text", "lookup", "blend"]
    dimension: Annotated[int, msgspec.Meta(ge=1, le=MAX_DIMENSION)]  # d
    history: Annotated[int, msgspec.Meta(ge=1, le=10_000)]  # h: how many recents the head takes
    half_lives_s: Annotated[list[float], msgspec.Meta(min_length=1, max_length=16)]  # T of them, seconds
    type_weights: dict[str, list[float]]  # event type -> its weight in the sum of each half-life
    score_scale: float = 1.0
    item_inputs: list[str]
    head_inputs: list[str]
    files: dict[str, str] = {}  # file name -> sha256
    text_fields: dict[str, float] = {}  # text, blend: weight of each field's features
    text_buckets: Annotated[int, msgspec.Meta(ge=0)] = 0  # text, blend: number of buckets for hashed features
    image_dimension: Annotated[int, msgspec.Meta(ge=0, le=MAX_DIMENSION)] = 0  # blend: of image vectors; 0: not read
    price_scales: dict[str, list[float]] = {}  # blend: currency -> mean and standard deviation of ln price


@dataclass(frozen=True, slots=True)
class Encoder:
    """An encoder folder that was read and checked."""

    folder: Path
    manifest: Manifest

    def path(self, name: str) -> Path:
        return self.folder / name


def load(folder: str | Path) -> Encoder:
    """Read and check an encoder folder: manifest, checksums, inputs and shapes of the graphs.

    Raises
    ------
    EncoderError
        A folder or file is missing, a field is wrong, a checksum differs, the format is unknown, or a graph disagrees
        with the manifest; the message names it.
    """
    folder = Path(folder)
    path = folder / MANIFEST_FILE
    if not folder.is_dir():
        raise EncoderError(
            f"There is no encoder folder at '{folder}': it should hold {MANIFEST_FILE} and its ONNX files. "
            "Check the path, train an encoder with `prefstream train EVENTS -o FOLDER`, or leave the setting out to "
            "use the built-in encoder."
        )
    if not path.is_file():
        raise EncoderError(
            f"The folder '{folder}' has no {MANIFEST_FILE}, so it is no encoder folder: check the path, "
            "or copy the encoder again with all its files."
        )
    manifest = _decode(path)
    _check_fields(path, manifest)
    for name, expected in manifest.files.items():
        _check_file(folder, name, expected)
    check_signatures(
        (folder / ITEMS_MODEL),
        (folder / HEAD_MODEL),
        item_inputs=manifest.item_inputs,
        head_inputs=manifest.head_inputs,
        kind=manifest.kind,
        dimension=manifest.dimension,
        history=manifest.history,
        half_lives=len(manifest.half_lives_s),
        image_dimension=manifest.image_dimension,
    )
    return Encoder(folder, manifest)


def read(folder: Path) -> Manifest:
    """Read a folder's manifest, without its other files.

    Raises
    ------
    EncoderError
        The manifest is not JSON, of another format, or has a wrong field.
    OSError
        The manifest can't be opened.
    """
    return _decode(folder / MANIFEST_FILE)


def save(folder: str | Path, manifest: Manifest) -> Encoder:
    """Write ``encoder.json`` with the checksums of all other plain files in the folder; return the checked encoder."""
    folder = Path(folder)
    names = sorted(p.name for p in folder.iterdir() if p.is_file() and p.name != MANIFEST_FILE and p.name[0] != ".")
    manifest = msgspec.structs.replace(manifest, files={name: sha256(folder / name) for name in names})
    text = msgspec.json.format(msgspec.json.encode(manifest), indent=2)
    (folder / MANIFEST_FILE).write_bytes(text + b"\n")
    return load(folder)


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _decode(path: Path) -> Manifest:
    data = path.read_bytes()
    try:
        fields = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise EncoderError(f"'{path}' is not JSON ({error}): copy the encoder again.") from error
    # the format goes first, because another format may have other fields
    if isinstance(fields, dict) and fields.get("format", FORMAT) != FORMAT:
        raise EncoderError(
            f"'{path}' has format {fields['format']!r}, this release of prefstream reads format {FORMAT}: "
            "use a release that reads it, or export the encoder anew."
        )
    try:
        return msgspec.convert(fields, Manifest)
    except msgspec.ValidationError as error:
        raise EncoderError(f"'{path}' has a wrong field: {error}. Correct it or export the encoder anew.") from error


def _check_fields(path: Path, manifest: Manifest) -> None:
    half_lives = len(manifest.half_lives_s)
    weights = [weight for row in manifest.type_weights.values() for weight in row]
    wrong = [
        ("half_lives_s", "seconds above 0", all(math.isfinite(s) and s > 0 for s in manifest.half_lives_s)),
        (
            "type_weights",
            f"an entry for each of {', '.join(EVENT_TYPES)}",
            set(manifest.type_weights) == {*EVENT_TYPES},
        ),
        (
            "type_weights",
            f"{half_lives} numbers of 0 or more for each event type, one for each half-life",
            all(len(row) == half_lives for row in manifest.type_weights.values())
            and all(math.isfinite(weight) and weight >= 0 for weight in weights),
        ),
        ("score_scale", "a number above 0", math.isfinite(manifest.score_scale) and manifest.score_scale > 0),
        ("files", f"{ITEMS_MODEL} and {HEAD_MODEL}", {ITEMS_MODEL, HEAD_MODEL} <= {*manifest.files}),
        ("files", "plain file names", all(re.fullmatch(r"[^/\\]+", n) and n != ".." for n in manifest.files)),
        (
            "files",
            f"{ITEM_IDS_FILE} (kind {manifest.kind})",
            manifest.kind == "text" or ITEM_IDS_FILE in manifest.files,
        ),
        ("text_buckets", f"1 or more (kind {manifest.kind})", manifest.kind == "lookup" or manifest.text_buckets >= 1),
        (
            "image_dimension",
            "the length of image vectors where item_inputs names images, else 0",
            (manifest.image_dimension > 0) == (IMAGES in manifest.item_inputs),
        ),
        (
            "price_scales",
            "a mean and a standard deviation above 0 by currency where item_inputs names prices, else nothing",
            bool(manifest.price_scales) == (PRICES in manifest.item_inputs)
            and all(
                len(scale) == 2 and all(map(math.isfinite, scale)) and scale[1] > 0
                for scale in manifest.price_scales.values()
            ),
        ),
        ("text_fields", "finite weights", all(math.isfinite(w) for w in manifest.text_fields.values())),
    ]
    for field, expected, good in wrong:
        if not good:
            value = msgspec.json.encode(getattr(manifest, field)).decode()
            raise EncoderError(f"'{path}' has a wrong field: {field} should hold {expected}, found {value[:200]}.")


def _check_file(folder: Path, name: str, expected: str) -> None:
    path = folder / name
    if not path.is_file():
        raise EncoderError(f"The encoder at '{folder}' lacks its file '{name}': copy it again with all its files.")
    actual = sha256(path)
    if actual != expected:
        raise EncoderError(
            f"'{path}' has the checksum sha256 {actual}, {MANIFEST_FILE} expects {expected}: the file was changed or "
            "only partly copied. Copy the encoder again; if you changed the file on purpose, write the manifest anew "
            "with `encoders.artifact.manifest.save`."
        )
