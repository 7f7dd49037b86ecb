"""Words and bytes as the processor handles them, for compiled functions; LLVM makes them fit every target."""

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic as numba_intrinsic

BLOCK = 64  # bytes that `at_most` looks at
I1, I8, I32, I64 = ir.IntType(1), ir.IntType(8), ir.IntType(32), ir.IntType(64)
BYTES = ir.VectorType(I8, BLOCK)
intrinsic: Any = numba_intrinsic  # called without the typing context, which its own type asks for


@intrinsic
def popcount(typingctx, word):  # type: ignore[no-untyped-def]
    """Set bits of a uint64."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), generate


@intrinsic
def lowest_bit(typingctx, word):  # type: ignore[no-untyped-def]
    """Place of the lowest set bit of a uint64 that is not 0."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.cttz(arguments[0], I1(1))

    return types.uint64(types.uint64), generate


@intrinsic
def at_most(typingctx, address, limit):  # type: ignore[no-untyped-def]
    """Bit j of the answer: byte j of the 64 at an address is at most the limit."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        block = builder.load(builder.inttoptr(arguments[0], BYTES.as_pointer()), align=1)
        one = builder.insert_element(ir.Constant(BYTES, ir.Undefined), arguments[1], I32(0))
        limits = builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(I32, BLOCK), [0] * BLOCK))
        return builder.bitcast(builder.icmp_unsigned("<=", block, limits), I64)

    return types.uint64(types.uintp, types.uint8), generate


@intrinsic
def prefetch(typingctx, address):  # type: ignore[no-untyped-def]
    """Ask for the cache line at an address; a hint, whatever the address."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        pointer = builder.inttoptr(arguments[0], I8.as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [I8.as_pointer(), I32, I32, I32])
        hint: Any = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")  # type: ignore[no-untyped-call]
        builder.call(hint, [pointer, I32(0), I32(3), I32(1)])
        return context.get_dummy_value()

    return types.void(types.uintp), generate


@intrinsic
def bytes_at(typingctx, address):  # type: ignore[no-untyped-def]
    """The address as a pointer to bytes, for `numba.carray`: a view that nobody counts references to."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.inttoptr(arguments[0], I8.as_pointer())

    return types.CPointer(types.uint8)(types.uintp), generate  # type: ignore[no-untyped-call]
