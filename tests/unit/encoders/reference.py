"""Plain numpy versions of the encoders' formulas, in float64, written apart from the graphs."""

from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from encoders import onnx_builder
from encoders.artifact import manifest
from encoders.artifact.manifest import Encoder
from encoders.index.item_index import IndexSnapshot, ItemIndex
from encoders.ranking.ranking_io import HeadInputs
from encoders.ranking.user_head import LinearHead

Floats = npt.NDArray[np.floating]


def unit(vectors: Floats) -> Floats:
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)


def random_unit(rng: np.random.Generator, *shape: int) -> npt.NDArray[np.float32]:
    return unit(rng.standard_normal(shape)).astype(np.float32)


def make_users(rng: np.random.Generator, users: int, half_lives: int, dimension: int, history: int) -> HeadInputs:
    """Users of every kind: new, short, full, with unknown vectors, with and without sums."""
    counts = rng.integers(0, history + 1, users)
    present = np.arange(history) < counts[:, None]
    vectors = random_unit(rng, users, history, dimension)
    vectors[~present | (rng.random((users, history)) < 0.1)] = 0.0
    mass = (rng.random((users, half_lives)) * 9).astype(np.float32)
    mass[rng.random(users) < 0.3] = 0.0
    sums = random_unit(rng, users, half_lives, dimension) * mass[..., None] * np.float32(0.7)
    types = np.where(present, rng.integers(0, 3, (users, history)), -1)
    ages = np.cumsum(rng.random((users, history)) * 1e4, axis=1).astype(np.float32)
    return HeadInputs(sums=sums, mass=mass, recent_vectors=vectors, recent_types=types, recent_ages=ages)


def take(inputs: HeadInputs, where: slice) -> HeadInputs:
    names = ("sums", "mass", "recent_vectors", "recent_types", "recent_ages")
    return HeadInputs(**{name: getattr(inputs, name)[where] for name in names})


def make_index(rng: np.random.Generator, items: int, dimension: int) -> ItemIndex:
    """An index with some items withdrawn and some removed."""
    index = ItemIndex(dimension, capacity=4)
    ids = [f"item-{i}" for i in range(items)]
    index.put(ids, random_unit(rng, items, dimension), (rng.standard_normal(items) * 0.05).astype(np.float32))
    index.withdraw(ids[:: max(2, items // 7)])
    index.remove(ids[1 :: max(2, items // 5)])
    return index


def linear_head(params: LinearHead, inputs: HeadInputs) -> tuple[Floats, ...]:
    """Loops that follow the formula in ``LinearHead``: the vector, its two parts, and the weights of both."""
    users, history = inputs.recent_types.shape
    recent_weights = np.zeros((users, history))
    sum_weights = np.zeros((users, inputs.mass.shape[1]))
    for b in range(users):
        n = sum(1 for code in inputs.recent_types[b] if code >= 0)
        for rho, mix in zip(params.rank_decays, params.mix, strict=True):
            for j in range(n):
                weight = params.type_weights[inputs.recent_types[b, j]]
                recent_weights[b, j] += mix * (1 - rho) * rho**j * weight
            for t, part in enumerate(params.half_life_mix):
                if inputs.mass[b, t] > 0:
                    sum_weights[b, t] += mix * rho**n * part / float(inputs.mass[b, t])
    short = np.einsum("bh,bhd->bd", recent_weights, inputs.recent_vectors.astype(np.float64))
    long = np.einsum("bt,btd->bd", sum_weights, inputs.sums.astype(np.float64))
    length = np.linalg.norm(short + long, axis=1, keepdims=True)
    scale = np.divide(1, length, out=np.zeros_like(length), where=length > 0)
    return (short + long) * scale, short * scale, long * scale, recent_weights * scale, sum_weights * scale


def scores(
    user: Floats, snapshot: IndexSnapshot, adjust_rows: npt.NDArray[np.int64], adjust: Floats, score_scale: float
) -> Floats:
    found = score_scale * user @ snapshot.items.astype(np.float64).T + snapshot.bias
    for b in range(len(user)):
        for row, amount in zip(adjust_rows[b], adjust[b], strict=True):
            if row >= 0:
                found[b, row] += amount
    return found


def replace_head(encoder: Encoder, folder: Path, model: onnx.ModelProto, inputs: list[str]) -> Encoder:
    """The same encoder with another head, as a new folder."""
    folder.mkdir()
    for name in encoder.manifest.files:
        (folder / name).write_bytes(encoder.path(name).read_bytes())
    onnx_builder.write(folder / manifest.HEAD_MODEL, model)
    return manifest.save(folder, msgspec.structs.replace(encoder.manifest, head_inputs=inputs))


def attention_head(dimension: int, history: int, opset: int = 18) -> onnx.ModelProto:
    """A head that is not linear: softmax attention of the newest recent over all, plus ages and the first sum.

    Its inner names are those that the ranking graph uses, so that a clash would show.
    """
    node = helper.make_node
    nodes = [
        node("Slice", ["recent_vectors", "zero", "one", "one"], ["picked"]),  # (B, 1, d)
        node("Transpose", ["recent_vectors"], ["scores"], perm=[0, 2, 1]),
        node("MatMul", ["picked", "scores"], ["plain_scores"]),  # (B, 1, h)
        node("Unsqueeze", ["recent_ages", "one"], ["age_row"]),
        node("Mul", ["age_row", "slope"], ["age_term"]),
        node("Add", ["plain_scores", "age_term"], ["all_scores"]),
        node("Softmax", ["all_scores"], ["rows"], axis=2),
        node("MatMul", ["rows", "recent_vectors"], ["mixed"]),  # (B, 1, d)
        node("Slice", ["sums", "zero", "one", "one"], ["first_sum"]),
        node("Mul", ["first_sum", "tenth"], ["scale"]),
        node("Add", ["mixed", "scale"], ["both"]),
        node("Squeeze", ["both", "one"], ["flat"]),
        node("Tanh", ["flat"], ["user"]),
    ]
    constants = [
        numpy_helper.from_array(np.array([0], np.int64), "zero"),
        numpy_helper.from_array(np.array([1], np.int64), "one"),
        numpy_helper.from_array(np.array(-1e-4, np.float32), "slope"),
        numpy_helper.from_array(np.array(0.1, np.float32), "tenth"),
    ]
    info = helper.make_tensor_value_info
    ports = [
        info("recent_vectors", TensorProto.FLOAT, ["batch", history, dimension]),
        info("recent_ages", TensorProto.FLOAT, ["N", history]),
        info("sums", TensorProto.FLOAT, ["k", 2, dimension]),
    ]
    graph = helper.make_graph(nodes, "g", ports, [info("user", TensorProto.FLOAT, ["A", dimension])], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def attention(inputs: HeadInputs) -> Floats:
    recents = inputs.recent_vectors.astype(np.float64)
    weights = np.einsum("bd,bhd->bh", recents[:, 0], recents) - 1e-4 * inputs.recent_ages
    weights = np.exp(weights - weights.max(axis=1, keepdims=True))
    weights /= weights.sum(axis=1, keepdims=True)
    return np.tanh(np.einsum("bh,bhd->bd", weights, recents) + 0.1 * inputs.sums[:, 0])


def newest_head(dimension: int, history: int, extra: bool = False) -> onnx.ModelProto:
    """A linear head of the recents alone: the newest one's vector. ``extra``: it gives a weight more than it should."""
    g = onnx_builder.GraphWriter()
    g.constant("first", [1.0] + [0.0] * (history - 1))
    g.constant("ones", np.ones((1, history)))
    g.constant("axis_1", [1], np.int64)
    g.constant("last_axis", [-1], np.int64)
    g.node("ReduceSum", ["recent_vectors", "last_axis"], "row_sums", keepdims=0)  # (B, h), for its shape
    g.constant("zero", 0.0)
    g.node("Mul", ["row_sums", "zero"], "zeros")
    g.node("Add", ["zeros", "first"], "weights")
    g.constant("last", [history - 1], np.int64)
    g.node("Gather", ["weights", "last"], "last_weight", axis=1)
    g.node("Concat", ["weights", "last_weight"] if extra else ["weights"], "recent_weights", axis=1)
    g.node("Unsqueeze", ["weights", "axis_1"], "weights_row")
    g.node("MatMul", ["weights_row", "recent_vectors"], "user_row")
    g.node("Squeeze", ["user_row", "axis_1"], "user")
    return g.model(
        "newest",
        {"recent_vectors": (onnx_builder.FLOAT, ("B", history, dimension))},
        {"user": (onnx_builder.FLOAT, ("B", dimension)), "recent_weights": (onnx_builder.FLOAT, ("B", "W"))},
    )
