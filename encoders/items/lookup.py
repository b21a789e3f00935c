"""The lookup encoder: an item's trained vector, by its item id."""

import msgspec

from encoders.artifact.manifest import ITEM_IDS_FILE, Encoder
from encoders.errors import EncoderError


def read_rows(encoder: Encoder) -> dict[str, int]:
    """Read the row of each item id of a lookup or blend encoder.

    Raises
    ------
    EncoderError
        The file of ids is not one JSON string a line.
    """
    path = encoder.path(ITEM_IDS_FILE)
    try:
        ids = msgspec.json.Decoder(str).decode_lines(path.read_bytes())
    except msgspec.DecodeError as error:
        raise EncoderError(
            f"'{path}' should hold one JSON string a line, an item id each: {error}. Copy or export the encoder again."
        ) from error
    return {item_id: row for row, item_id in enumerate(ids)}
