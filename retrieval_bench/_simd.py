"""Products of 8-bit vectors by the processor's own instruction, with a portable way beside it.

`dot_u8` and `squared_u8` are called from other compiled functions. Where the processor has AVX-512 VNNI they take 64
bytes a step; elsewhere, and in `dot_u8_portable` and `squared_u8_portable`, a plain loop gives the same integers. The
choice is made while compiling, from the features that are also part of the key of numba's cache on disk: a cache that
moves to another processor is compiled anew. Exact for up to 33,000 components (32-bit sums of 255²).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types, uintp
from numba.core import cgutils
from numba.extending import intrinsic

from retrieval_bench._compiled import njit

WIDTH = 64  # bytes of a vector register
I1, I8, I32, I64 = ir.IntType(1), ir.IntType(8), ir.IntType(32), ir.IntType(64)
BYTES, WORDS, MASK = ir.VectorType(I8, WIDTH), ir.VectorType(I32, WIDTH // 4), ir.VectorType(I1, WIDTH)
NEEDED = ("+avx512f", "+avx512bw", "+avx512vnni")


def target_has_vnni(context: Any) -> bool:
    """Whether code compiled in this numba context may use the instruction."""
    features = context.codegen().magic_tuple()[2].split(",")
    return all(feature in features for feature in NEEDED)


def declared(builder: ir.IRBuilder, name: str, result: ir.Type, arguments: list[ir.Type]) -> ir.Function:
    """An LLVM intrinsic by name, for `builder.call`."""
    kind = ir.FunctionType(result, arguments)
    return cgutils.get_or_insert_function(builder.module, kind, name)  # type: ignore[no-untyped-call]


def splat(kind: ir.VectorType, value: int) -> ir.Constant:
    """A vector of equal integers."""
    return ir.Constant(kind, [value] * kind.count)


def dot_step(builder: ir.IRBuilder, total: ir.Value, unsigned: ir.Value, signed: ir.Value) -> ir.Value:
    """total[i] + the product of the i-th four unsigned and signed bytes; all three are WORDS."""
    step = declared(builder, "llvm.x86.avx512.vpdpbusd.512", WORDS, [WORDS] * 3)
    return builder.call(step, [total, unsigned, signed])


@intrinsic
def has_vnni(typingctx):  # type: ignore[no-untyped-def]
    """Constant in compiled code, so that the branch not taken vanishes."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return I1(int(target_has_vnni(context)))

    return types.boolean(), generate


def _row_sum(square: bool) -> Any:
    """Intrinsic (left address, right address, size) -> int32: Σ l·r, or Σ (l - r)² if `square`, by vectors."""

    @intrinsic
    def row_sum(typingctx, left, right, size):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            if not target_has_vnni(context):
                return I32(0)  # never reached: callers ask has_vnni()
            return _emit_row_sum(builder, arguments, square)

        return types.int32(types.uintp, types.uintp, types.uintp), generate

    return row_sum


def _emit_row_sum(builder: ir.IRBuilder, arguments: list[ir.Value], square: bool) -> ir.Value:
    """Two vectors a step with sums of their own, since one sum would wait for itself; then what is left."""
    left, right, size = arguments
    sums = [cgutils.alloca_once_value(builder, ir.Constant(WORDS, None)) for _ in range(4)]  # type: ignore[no-untyped-call]

    def step(at: ir.Value, sums: list[ir.Value], mask: ir.Value | None = None) -> None:
        one, other = (_load(builder, builder.add(side, at), mask) for side in (left, right))
        if square:
            larger = builder.icmp_unsigned(">", one, other)
            one = other = builder.select(larger, builder.sub(one, other), builder.sub(other, one))
        _add_product(builder, sums, one, other)

    with cgutils.for_range(builder, builder.udiv(size, I64(2 * WIDTH))) as loop:
        at = builder.mul(loop.index, I64(2 * WIDTH))
        step(at, sums[:2])
        step(builder.add(at, I64(WIDTH)), sums[2:])
    with builder.if_then(builder.icmp_unsigned("!=", builder.and_(size, I64(WIDTH)), I64(0))):
        step(builder.and_(size, I64(-2 * WIDTH)), sums[:2])
    rest = builder.and_(size, I64(WIDTH - 1))
    with builder.if_then(builder.icmp_unsigned("!=", rest, I64(0))):
        bits = builder.sub(builder.shl(I64(1), rest), I64(1))
        step(builder.and_(size, I64(-WIDTH)), sums[2:], builder.bitcast(bits, MASK))
    product, plain, second_product, second_plain = (builder.load(total) for total in sums)
    plain = builder.shl(builder.add(plain, second_plain), splat(WORDS, 7))
    total = builder.add(builder.add(product, second_product), plain)
    return builder.call(declared(builder, "llvm.vector.reduce.add.v16i32", I32, [WORDS]), [total])


def _load(builder: ir.IRBuilder, address: ir.Value, mask: ir.Value | None) -> ir.Value:
    """64 bytes from an address; zero, and not read, where the mask is not set."""
    pointer = builder.inttoptr(address, BYTES.as_pointer())
    if mask is None:
        return builder.load(pointer, align=1)
    load = declared(builder, "llvm.masked.load.v64i8.p0", BYTES, [BYTES.as_pointer(), I32, MASK, BYTES])
    return builder.call(load, [pointer, I32(1), mask, ir.Constant(BYTES, None)])


def _add_product(builder: ir.IRBuilder, sums: list[ir.Value], one: ir.Value, other: ir.Value) -> None:
    """sums[0] + 128 · sums[1] grows by one · other: the instruction wants a signed side, other - 128."""
    signed = builder.bitcast(builder.xor(other, splat(BYTES, 128)), WORDS)
    one, ones = builder.bitcast(one, WORDS), builder.bitcast(splat(BYTES, 1), WORDS)
    builder.store(dot_step(builder, builder.load(sums[0]), one, signed), sums[0])
    builder.store(dot_step(builder, builder.load(sums[1]), one, ones), sums[1])


_dot, _squared = _row_sum(square=False), _row_sum(square=True)


@njit(nogil=True, cache=True)
def dot_u8_portable(left, right):  # type: ignore[no-untyped-def]
    """As `dot_u8`, on any processor."""
    total = np.int32(0)
    for d in range(uintp(left.size)):
        total += np.int32(left[d]) * np.int32(right[d])
    return np.int64(total)


@njit(nogil=True, cache=True)
def squared_u8_portable(left, right):  # type: ignore[no-untyped-def]
    """As `squared_u8`, on any processor."""
    total = np.int32(0)
    for d in range(uintp(left.size)):
        difference = np.int32(left[d]) - np.int32(right[d])
        total += difference * difference
    return np.int64(total)


@njit(nogil=True, cache=True)
def dot_u8(left, right):  # type: ignore[no-untyped-def]
    """Product of two contiguous uint8 vectors of one length, up to 33,000: int64."""
    if has_vnni():  # type: ignore[call-arg]
        return np.int64(_dot(uintp(left.ctypes.data), uintp(right.ctypes.data), uintp(left.size)))
    return dot_u8_portable(left, right)


@njit(nogil=True, cache=True)
def squared_u8(left, right):  # type: ignore[no-untyped-def]
    """Squared euclidean distance of two contiguous uint8 vectors of one length, up to 33,000: int64."""
    if has_vnni():  # type: ignore[call-arg]
        return np.int64(_squared(uintp(left.ctypes.data), uintp(right.ctypes.data), uintp(left.size)))
    return squared_u8_portable(left, right)
