"""Small helpers that write ONNX graphs, all of one opset; equal graphs give equal bytes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

OPSET = 18  # the lowest with the operators used here; every later release of ONNX Runtime reads it
IR_VERSION = 8

INT64 = onnx.TensorProto.INT64
FLOAT = onnx.TensorProto.FLOAT

TINY = 1e-20  # a length or a total weight up to this counts as zero

Shape = Sequence[str | int]


class GraphWriter:
    """Collects the nodes and constants of a graph; each method returns the name of its output."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}

    @property
    def constants(self) -> list[onnx.TensorProto]:
        return list(self._constants.values())

    def constant(self, name: str, value: npt.ArrayLike, dtype: type[np.generic] = np.float32) -> str:
        """Add a constant; a name that exists keeps its first value."""
        if name not in self._constants:
            self._constants[name] = numpy_helper.from_array(np.asarray(value, dtype, order="C"), name)
        return name

    def node(self, op: str, inputs: Sequence[str], output: str, **attributes: object) -> str:
        """Add a node of the operator ``op``."""
        self.nodes.append(helper.make_node(op, list(inputs), [output], name=output, **attributes))
        return output

    def unit(self, vectors: str, output: str) -> str:
        """Add unit vectors: vectors along the last axis, at length 1; a zero vector stays zero."""
        return self.node("Mul", [vectors, self.inverse_length(vectors, f"{output}/inverse_length")], output)

    def inverse_length(self, vectors: str, output: str) -> str:
        """Add 1 / length of vectors along the last axis, which is kept with size 1; 0 for a zero vector."""
        self.constant("tiny", TINY)
        self.constant("one", 1.0)
        self.constant("zero", 0.0)
        self.constant("last_axis", [-1], np.int64)
        length = self.node("ReduceL2", [vectors, "last_axis"], f"{output}/length", keepdims=1)
        positive = self.node("Greater", [length, "tiny"], f"{output}/positive")
        safe = self.node("Where", [positive, length, "one"], f"{output}/safe")
        inverse = self.node("Reciprocal", [safe], f"{output}/reciprocal")
        return self.node("Where", [positive, inverse, "zero"], output)

    def model(
        self, name: str, inputs: dict[str, tuple[int, Shape]], outputs: dict[str, tuple[int, Shape]]
    ) -> onnx.ModelProto:
        """Make the model of the collected nodes, with ports by name: element type and shape. ONNX checks it."""
        graph = helper.make_graph(
            self.nodes, name, [value(n, *port) for n, port in inputs.items()],
            [value(n, *port) for n, port in outputs.items()], self.constants,
        )  # fmt: skip
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="prefstream")
        onnx.checker.check_model(model)
        return model


def value(name: str, element: int, shape: Shape) -> onnx.ValueInfoProto:
    """Describe an input or output of a graph."""
    return helper.make_tensor_value_info(name, element, list(shape))


def write(path: Path, model: onnx.ModelProto) -> None:
    """Write a model to a file; equal models give equal bytes."""
    path.write_bytes(model.SerializeToString(deterministic=True))
