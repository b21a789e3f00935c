"""Scores of 64 int8 vectors at once, in vector instructions: each lane adds up four products of bytes.

A tile holds TILE vectors as (D / 4, TILE, 4) bytes: for each four axes, the bytes of all vectors side by side. The
instruction ``vpdpbusd`` (AVX-512 VNNI) reads them in this order. It multiplies unsigned with signed bytes, so items are
stored as code + 128, and 128 times the sum of a user's codes is subtracted from the score. Processors without this
instruction run other vector code, which computes the same integers.
"""

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

TILE = 64
"""Vectors of a tile: their scores fill four AVX-512 registers."""
AXES = 4
"""Axes of a lane, a byte each; the dimension is padded to a multiple of it."""
TOGETHER = 4
"""Users that are scored in one read of a tile: they take 16 registers of sums, and the tile takes 4."""
SHIFT = 128
"""Added to an item's codes, so that they are unsigned."""

_LANES = 16
_REGISTERS = range(TILE // _LANES)
_VNNI, _AVX2 = "+avx512vnni", "+avx2"  # LLVM's names of processor features
_BYTE, _INT, _LONG, _FLOAT = ir.IntType(8), ir.IntType(32), ir.IntType(64), ir.FloatType()
_INTS, _FLOATS = ir.VectorType(_INT, _LANES), ir.VectorType(_FLOAT, _LANES)
_SHORTS = ir.VectorType(ir.IntType(16), 2 * _LANES)


def _add_products(builder: Any, sums: Any, unsigned: Any, signed: Any, features: str) -> Any:
    """Add to ``sums`` (16,) int32, in each lane, the products of four unsigned with four signed bytes."""
    if _VNNI in features:
        return _call(builder, "llvm.x86.avx512.vpdpbusd.512", _INTS, sums, unsigned, signed)
    a, b = builder.bitcast(unsigned, _SHORTS), builder.bitcast(signed, _SHORTS)
    eight = ir.Constant(_SHORTS, [8] * 2 * _LANES)
    # widened to 16 bits: bytes 0 and 2 of each lane, then bytes 1 and 3
    for left, right in (
        (builder.lshr(builder.shl(a, eight), eight), builder.ashr(builder.shl(b, eight), eight)),
        (builder.lshr(a, eight), builder.ashr(b, eight)),
    ):
        if _AVX2 in features:
            halves = []
            for start in (0, _LANES):
                half = [_part(builder, side, range(start, start + _LANES)) for side in (left, right)]
                halves.append(_call(builder, "llvm.x86.avx2.pmadd.wd", ir.VectorType(_INT, _LANES // 2), *half))
            sums = builder.add(sums, _part(builder, halves[0], range(_LANES), halves[1]))
            continue
        for part in (0, 1):
            lanes = range(part, 2 * _LANES, 2)
            wide = [builder.sext(_part(builder, side, lanes), _INTS) for side in (left, right)]
            sums = builder.add(sums, builder.mul(*wide))
    return sums


def _call(builder: Any, name: str, result: Any, *arguments: Any) -> Any:
    kind = ir.FunctionType(result, [argument.type for argument in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), arguments)


def _part(builder: Any, vector: Any, lanes: range, other: Any = None) -> Any:
    """Take ``lanes`` of a vector, or of two vectors, one behind the other."""
    other = ir.Constant(vector.type, ir.Undefined) if other is None else other
    return builder.shuffle_vector(vector, other, ir.Constant(ir.VectorType(_INT, len(lanes)), list(lanes)))


def _splat(builder: Any, value: Any) -> Any:
    """Repeat a value in all lanes."""
    none = ir.Constant(ir.VectorType(value.type, _LANES), ir.Undefined)
    first = builder.insert_element(none, value, ir.Constant(_INT, 0))
    return builder.shuffle_vector(first, none, ir.Constant(_INTS, [0] * _LANES))


def _scorer(together: int) -> Any:
    """Make the function that scores a tile for ``together`` users."""

    def score(_typing: Any, tile: Any, scales: Any, biases: Any, users: Any, offsets: Any, user_scales: Any,
              who: Any, first_user: Any, bounds: Any, scores: Any, above: Any) -> Any:  # fmt: skip
        """Score a tile for the users ``who[first_user:]``.

        Fills ``scores``, and ``above`` with a bit for each column whose score is above the user's bound.
        """

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            arrays = [context.make_array(kind)(context, builder, value) if isinstance(kind, types.Array) else value
                      for kind, value in zip(signature.args, arguments, strict=True)]  # fmt: skip
            tile, scales, biases, users, offsets, user_scales, who, first_user, bounds, scores, above = arrays
            groups = cgutils.unpack_tuple(builder, tile.shape)[0]
            width = cgutils.unpack_tuple(builder, users.shape)[1]
            features = context.codegen().magic_tuple()[2]

            def pointer(array: Any, index: Any, kind: Any) -> Any:
                index = index if isinstance(index, ir.Value) else ir.Constant(_LONG, index)
                return builder.bitcast(builder.gep(array.data, [index]), kind.as_pointer())

            def load(array: Any, index: Any, kind: Any) -> Any:
                return builder.load(pointer(array, index, kind), align=1)

            chosen = [load(who, builder.add(first_user, ir.Constant(_LONG, n)), _LONG) for n in range(together)]
            rows = [builder.mul(user, width) for user in chosen]
            bits: list[Any] = [ir.Constant(_LONG, 0)] * together
            # processors without AVX-512 have 16 vector registers, not 32
            at_once = len(_REGISTERS) if _VNNI in features else 1
            for first in range(0, len(_REGISTERS), at_once):
                columns = [_LANES * register for register in range(first, first + at_once)]
                sums = []
                for user in chosen:
                    start = _splat(builder, load(offsets, user, _INT))
                    sums.append([cgutils.alloca_once_value(builder, start) for _ in columns])
                with cgutils.for_range(builder, groups, intp=_LONG) as loop:
                    here = builder.mul(loop.index, ir.Constant(_LONG, TILE * AXES))
                    axes = builder.mul(loop.index, ir.Constant(_LONG, AXES))
                    starts = [builder.add(here, ir.Constant(_LONG, AXES * column)) for column in columns]
                    vectors = [load(tile, start, _INTS) for start in starts]
                    for row, totals in zip(rows, sums, strict=True):
                        codes = _splat(builder, load(users, builder.add(row, axes), _INT))
                        for vector, total in zip(vectors, totals, strict=True):
                            added = _add_products(builder, builder.load(total), vector, codes, features)
                            builder.store(added, total)
                for n, (user, totals) in enumerate(zip(chosen, sums, strict=True)):
                    user_scale = _splat(builder, load(user_scales, user, _FLOAT))
                    bound = _splat(builder, load(bounds, n, _FLOAT))
                    for column, total in zip(columns, totals, strict=True):
                        product = builder.fmul(builder.sitofp(builder.load(total), _FLOATS), user_scale)
                        product = builder.fmul(product, load(scales, column, _FLOATS))
                        lane_scores = builder.fadd(product, load(biases, column, _FLOATS))
                        builder.store(lane_scores, pointer(scores, n * TILE + column, _FLOATS), align=1)
                        mask = builder.bitcast(builder.fcmp_ordered(">", lane_scores, bound), ir.IntType(_LANES))
                        mask = builder.shl(builder.zext(mask, _LONG), ir.Constant(_LONG, column))
                        bits[n] = builder.or_(bits[n], mask)
            for n, mask in enumerate(bits):
                builder.store(mask, pointer(above, n, _LONG))
            return context.get_dummy_value()

        signature = types.void(
            tile, scales, biases, users, offsets, user_scales, who, first_user, bounds, scores, above
        )
        return signature, generate

    return intrinsic(score)


score_one, score_four = _scorer(1), _scorer(TOGETHER)


@intrinsic  # type: ignore[untyped-decorator]
def lowest_bit(_typing: Any, bits: Any) -> Any:
    """Number of the lowest set bit of a uint64, which must not be 0."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(bits), generate
