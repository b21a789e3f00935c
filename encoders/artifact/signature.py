"""Checks the inputs and outputs of an encoder folder's graphs against its manifest; reads the ONNX files only."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import onnx

from encoders.errors import EncoderError

INT64 = onnx.TensorProto.INT64
FLOAT = onnx.TensorProto.FLOAT

SENTENCES, IMAGES, PRICES = "sentences", "images", "prices"
KNOTS = 9  # weights that a price becomes, see ``items.prices``
ITEM_INPUTS = {
    "text": ("feature_ids", "feature_weights"),
    "lookup": ("item_row",),
    "blend": ("item_row", "feature_ids", "feature_weights"),
}
ITEM_OPTIONAL: dict[str, tuple[str, ...]] = {"text": (), "lookup": (), "blend": (SENTENCES, IMAGES, PRICES)}
HEAD_INPUTS = ("sums", "mass", "recent_vectors", "recent_types", "recent_ages", "recent_rows")
# input -> output with its weights; a head is linear if it gives the weights of all of these inputs that it takes
PARTS = {"recent_vectors": "recent_weights", "sums": "sum_weights"}


class Port(NamedTuple):
    """An input or output of a graph; a dimension of None is free."""

    element: int
    shape: tuple[int | None, ...]


def check_signatures(
    items_path: Path,
    head_path: Path,
    *,
    item_inputs: list[str],
    head_inputs: list[str],
    kind: str,
    dimension: int,
    history: int,
    half_lives: int,
    image_dimension: int = 0,
) -> None:
    """Raise ``EncoderError`` if a graph disagrees with the manifest, or with the inputs of the ranking graph."""
    item_ports = {
        "feature_ids": Port(INT64, (None, None)),
        "feature_weights": Port(FLOAT, (None, None)),
        "item_row": Port(INT64, (None,)),
        SENTENCES: Port(FLOAT, (None, None)),
        IMAGES: Port(FLOAT, (None, image_dimension)),
        PRICES: Port(FLOAT, (None, KNOTS)),
    }
    head_ports = {
        "sums": Port(FLOAT, (None, half_lives, dimension)),
        "mass": Port(FLOAT, (None, half_lives)),
        "recent_vectors": Port(FLOAT, (None, history, dimension)),
        "recent_types": Port(INT64, (None, history)),
        "recent_ages": Port(FLOAT, (None, history)),
        "recent_rows": Port(INT64, (None, history)),
    }
    items, head = _read(items_path).graph, _read(head_path).graph
    optional = [name for name in ITEM_OPTIONAL[kind] if name in item_inputs]
    known = {name: item_ports[name] for name in (*ITEM_INPUTS[kind], *optional)}
    _check_inputs(items_path, items, item_inputs, known, whole=True)
    _check_outputs(items_path, items, {"vectors": Port(FLOAT, (None, dimension))}, {"bias": Port(FLOAT, (None,))})
    _check_inputs(head_path, head, head_inputs, head_ports, whole=False)
    linear = {
        "recent_weights": Port(FLOAT, (None, history)),
        "sum_weights": Port(FLOAT, (None, half_lives)),
    }
    extra = linear | {"recent_scores": Port(FLOAT, (None, history))}
    given = _check_outputs(head_path, head, {"user": Port(FLOAT, (None, dimension))}, extra)
    if "recent_scores" in given and not {"recent_vectors", "recent_rows"} <= {*head_inputs}:
        raise EncoderError(
            f"'{head_path}' gives recent_scores, but takes {_list(head_inputs)}: a head that scores the recents' own "
            "items must take recent_vectors and recent_rows."
        )
    weights = given & {*linear}
    needed = {weight for part, weight in PARTS.items() if part in head_inputs}
    if weights and weights != needed:
        raise EncoderError(
            f"'{head_path}' gives {_list(sorted(weights))}, but takes {_list(head_inputs)}: a linear head gives "
            f"{_list(sorted(needed))} for these, any other head gives no weights at all."
        )


def _check_inputs(
    path: Path, graph: onnx.GraphProto, stated: list[str], known: dict[str, Port], *, whole: bool
) -> None:
    """Check that a graph takes the inputs that its manifest states; with ``whole``, that these are all known ones."""
    constants = {tensor.name for tensor in graph.initializer}  # before IR 4 constants are inputs too
    ports = {item.name: _port(item) for item in graph.input if item.name not in constants}
    if {*stated} != {*ports}:
        raise EncoderError(
            f"'{path}' takes {_list(ports)}, its manifest says {_list(stated)}: "
            "correct the manifest or export the encoder anew."
        )
    if not {*ports} <= {*known} or (whole and {*ports} != {*known}):
        raise EncoderError(f"'{path}' takes {_list(ports)}, but may take {_list(known)}: name its inputs so.")
    _compare(path, ports, known)


def _check_outputs(path: Path, graph: onnx.GraphProto, needed: dict[str, Port], optional: dict[str, Port]) -> set[str]:
    """Check the outputs of a graph; returns their names."""
    ports = {item.name: _port(item) for item in graph.output}
    missing = {*needed} - {*ports}
    if missing:
        raise EncoderError(f"'{path}' gives {_list(ports)}, but must give {_list(needed)}: name its outputs so.")
    _compare(path, ports, needed | optional)
    return {*ports}


def _compare(path: Path, ports: dict[str, Port], expected: dict[str, Port]) -> None:
    """Check element types and shapes of the ports that are expected and there."""
    for name, want in expected.items():
        have = ports.get(name, want)
        same_rank = len(have.shape) == len(want.shape)
        if have.element != want.element or not same_rank or not all(map(_fits, have.shape, want.shape)):
            raise EncoderError(
                f"'{path}' has '{name}' as {_show(have)}, expected {_show(want)} by the dimension, history and "
                "half_lives_s of the manifest: correct the manifest or export the encoder anew."
            )


def _fits(have: int | None, want: int | None) -> bool:
    return have is None or want is None or have == want


def _read(path: Path) -> onnx.ModelProto:
    try:
        return onnx.load(path, load_external_data=False)
    except Exception as error:  # protobuf's and onnx's errors have no base that onnx exports
        raise EncoderError(f"'{path}' is no ONNX model ({error}): export or copy the encoder again.") from error


def _port(value: onnx.ValueInfoProto) -> Port:
    tensor = value.type.tensor_type
    return Port(tensor.elem_type, tuple(d.dim_value if d.HasField("dim_value") else None for d in tensor.shape.dim))


def _show(port: Port) -> str:
    shape = ", ".join("any" if size is None else str(size) for size in port.shape)
    return f"{onnx.TensorProto.DataType.Name(port.element).lower()} ({shape})"


def _list(names: Iterable[str]) -> str:
    return ", ".join(names) or "nothing"
