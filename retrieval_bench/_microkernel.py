"""Six queries times 64 gallery vectors in 8 bits, and which of the 384 products pass; for `_masks.py`.

The sums stay in registers from the first component to the test, so nothing is written but one bit a product. Emitted as
LLVM instructions, because no loop that a compiler is given becomes this one; `_masks.py` says it in plain loops.
"""

from __future__ import annotations

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from retrieval_bench._panels import BLOCK, PANEL
from retrieval_bench._simd import I32, I64, WORDS, declared, dot_step, target_has_vnni

FLOAT = ir.FloatType()
FLOATS = ir.VectorType(FLOAT, 16)
PARTS = PANEL // 16


def _at(builder: ir.IRBuilder, address: ir.Value, kind: ir.Type, index: ir.Value) -> ir.Value:
    return builder.load(builder.gep(builder.inttoptr(address, kind.as_pointer()), [index]), align=4)


def _filled(builder: ir.IRBuilder, value: ir.Value, kind: ir.VectorType) -> ir.Value:
    """A vector of one value."""
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), value, I32(0))
    places = ir.Constant(ir.VectorType(I32, kind.count), None)
    return builder.shuffle_vector(one, ir.Constant(kind, ir.Undefined), places)


def _emit_sums(builder: ir.IRBuilder, addresses: list[ir.Value]) -> list[ir.Value]:
    """Products of 6 queries and 64 gallery vectors: sum i · 4 + c holds query i and gallery vectors from 16c on."""
    panel, block, steps, begins = addresses[:4]
    zero = I64(0)
    starts = [_filled(builder, _at(builder, begins, I32, I64(i)), WORDS) for i in range(BLOCK) for _ in range(PARTS)]
    before, loop = builder.block, builder.append_basic_block("products")
    after = builder.append_basic_block("products.end")
    builder.branch(loop)
    builder.position_at_end(loop)
    index = builder.phi(I64)
    sums = [builder.phi(WORDS) for _ in starts]
    columns = [_at(builder, panel, WORDS, builder.add(builder.mul(index, I64(PARTS)), I64(c))) for c in range(PARTS)]
    grown = []
    for i in range(BLOCK):
        word = _at(builder, block, I32, builder.add(builder.mul(index, I64(BLOCK)), I64(i)))
        word = _filled(builder, word, WORDS)
        grown += [dot_step(builder, sums[i * PARTS + c], columns[c], word) for c in range(PARTS)]
    following = builder.add(index, I64(1))
    for phi, start, value in zip([index, *sums], [zero, *starts], [following, *grown], strict=True):
        phi.add_incoming(start, before)
        phi.add_incoming(value, loop)
    builder.cbranch(builder.icmp_unsigned("<", following, steps), loop, after)
    builder.position_at_end(after)
    return grown


def _emit_test(builder: ir.IRBuilder, products: list[ir.Value], inverse: ir.Value, sides: list[ir.Value]) -> None:
    """Bit j of out[i]: whether product + inverse · lowered[j] reaches threshold[i]."""
    lowered, threshold, out, row = sides
    fma = declared(builder, "llvm.fma.v16f32", FLOATS, [FLOATS] * 3)
    wanted = _filled(builder, _at(builder, threshold, FLOAT, row), FLOATS)
    bits = I64(0)
    for c, product in enumerate(products):
        value = builder.call(fma, [inverse, _at(builder, lowered, FLOATS, I64(c)), product])
        passed = builder.bitcast(builder.fcmp_ordered(">=", value, wanted), ir.IntType(16))
        bits = builder.or_(bits, builder.shl(builder.zext(passed, I64), I64(16 * c)))
    builder.store(bits, builder.gep(builder.inttoptr(out, I64.as_pointer()), [row]))


@intrinsic
def block(typingctx, addresses):  # type: ignore[no-untyped-def]
    """The masks of one block and one panel: addresses as `_masks.py` gives them, three more for the other side."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        if target_has_vnni(context):  # otherwise never reached: callers ask has_vnni()
            _emit_block(builder, cgutils.unpack_tuple(builder, arguments[0]))  # type: ignore[no-untyped-call]
        return context.get_dummy_value()

    return types.void(addresses), generate


def _emit_block(builder: ir.IRBuilder, addresses: list[ir.Value]) -> None:
    scales, inverses = addresses[4:6]
    sums = _emit_sums(builder, addresses)
    factors = [_at(builder, scales, FLOATS, I64(c)) for c in range(PARTS)]
    for i in range(BLOCK):
        inverse = _filled(builder, _at(builder, inverses, FLOAT, I64(i)), FLOATS)
        products = [
            builder.fmul(builder.sitofp(sums[i * PARTS + c], FLOATS), factor) for c, factor in enumerate(factors)
        ]
        for side in range(6, len(addresses), 3):
            _emit_test(builder, products, inverse, [*addresses[side : side + 3], I64(i)])
