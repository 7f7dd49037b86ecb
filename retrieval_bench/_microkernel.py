"""Six queries times 64 gallery vectors in 8 bits, and which of the 384 products pass; for `_filter.py`.

The sums stay in registers from the first component to the test, so nothing is written but one bit a product. Emitted as
LLVM instructions, because no loop that a compiler is given becomes this one; `masks_portable` says what it does.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, types, uintp
from numba.core import cgutils
from numba.extending import intrinsic

from retrieval_bench._panels import BLOCK, PANEL
from retrieval_bench._simd import I32, I64, WORDS, declared, dot_step, has_vnni, target_has_vnni

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
def _block(typingctx, addresses):  # type: ignore[no-untyped-def]
    """The masks of one block and one panel: addresses from `_codes` and `_side`, three more for the other side."""

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


@njit(nogil=True, cache=True)
def masks_portable(rows, panels, place, side):  # type: ignore[no-untyped-def]
    """Bit j of out[p, i]: scale[j] · (codes of j · codes of i) + inverse[i] · lowered[p, j] >= threshold[p, i].

    For all rows i and `place`: the first panel and their number; `side` is (lowered [p, 64], threshold [p, 6b], out).
    """
    first, count = place
    lowered, threshold, out = side
    words, columns = rows.codes.view(np.int8), panels.codes.view(np.uint8)
    for p in range(count):
        at = first + p
        for i in range(out.shape[1]):
            out[p, i] = 0
            for j in range(PANEL):
                total = rows.begins[i]
                for s in range(columns.shape[1]):
                    for b in range(4):
                        word = np.int32(words[i // BLOCK, s, 4 * (i % BLOCK) + b])
                        total += np.int32(columns[at, s, 4 * j + b]) * word
                value = np.float32(total) * panels.scales[at, j] + rows.inverses[i] * lowered[p, j]
                if value >= threshold[p, i]:
                    out[p, i] |= np.uint64(1) << np.uint64(j)


@njit(nogil=True, cache=True)
def masks(rows, panels, place, side):  # type: ignore[no-untyped-def]
    """As `masks_portable`, by vector instruction where there is one."""
    if not has_vnni():  # type: ignore[call-arg]
        masks_portable(rows, panels, place, side)
        return
    for p in range(uintp(place[1])):
        for b in range(uintp(rows.codes.shape[0])):
            _block((*_codes(rows, panels, place[0] + p, b), *_side(side, p, b)))


@njit(nogil=True, cache=True)
def masks_of_both(rows, panels, place, sides):  # type: ignore[no-untyped-def]
    """As `masks` for two sides, for the price of one product."""
    if not has_vnni():  # type: ignore[call-arg]
        masks_portable(rows, panels, place, sides[0])
        masks_portable(rows, panels, place, sides[1])
        return
    for p in range(uintp(place[1])):
        for b in range(uintp(rows.codes.shape[0])):
            _block((*_codes(rows, panels, place[0] + p, b), *_side(sides[0], p, b), *_side(sides[1], p, b)))


@njit(nogil=True, cache=True, inline="always")
def _codes(rows, panels, panel, block):  # type: ignore[no-untyped-def]
    """Addresses, by arithmetic: slices of arrays would cost as much as a tenth of the products."""
    steps = uintp(rows.codes.shape[1])
    return (
        uintp(panels.codes.ctypes.data) + uintp(panel) * steps * uintp(4 * PANEL),
        uintp(rows.codes.ctypes.data) + uintp(block) * steps * uintp(4 * BLOCK),
        steps,
        uintp(rows.begins.ctypes.data) + uintp(block) * uintp(4 * BLOCK),
        uintp(panels.scales.ctypes.data) + uintp(panel) * uintp(4 * PANEL),
        uintp(rows.inverses.ctypes.data) + uintp(block) * uintp(4 * BLOCK),
    )


@njit(nogil=True, cache=True, inline="always")
def _side(side, p, block):  # type: ignore[no-untyped-def]
    cell = uintp(p) * uintp(side[1].shape[1]) + uintp(block) * uintp(BLOCK)
    return (
        uintp(side[0].ctypes.data) + uintp(p) * uintp(4 * PANEL),
        uintp(side[1].ctypes.data) + uintp(4) * cell,
        uintp(side[2].ctypes.data) + uintp(8) * cell,
    )
