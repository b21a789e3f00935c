"""The lookup encoder: vectors trained elsewhere, found by item id."""

import msgspec

from encoders.artifact.manifest import ITEM_IDS_FILE, Encoder
from encoders.errors import EncoderError


def read_rows(encoder: Encoder) -> dict[str, int]:
    """Row of each item id of an encoder that was trained on items."""
    path = encoder.path(ITEM_IDS_FILE)
    try:
        ids = msgspec.json.Decoder(str).decode_lines(path.read_bytes())
    except msgspec.DecodeError as error:
        raise EncoderError(f"'{path}' should hold one JSON string a line, an item id each: {error}.") from error
    return {item_id: row for row, item_id in enumerate(ids)}
