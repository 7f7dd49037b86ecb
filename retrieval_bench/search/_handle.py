"""Arrays handed to compiled code as one thing: a tuple of a dozen costs 4 µs at every call, a handle half a µs."""

from __future__ import annotations

from typing import Any

from numba import types
from numba.experimental import structref
from numba.extending import overload

from retrieval_bench._compiled import njit


class Handle(structref.StructRefProxy):
    """A tuple that lives on the compiled side; compiled functions read its `parts`."""


@structref.register
class HandleType(types.StructRef):
    """The compiled type of `Handle`."""

    def preprocess_fields(self, fields: Any) -> Any:
        """Field types without literal values."""
        return tuple((name, types.unliteral(kind)) for name, kind in fields)  # type: ignore[no-untyped-call]


structref.define_boxing(HandleType, Handle)  # type: ignore[no-untyped-call]


def _new(parts: Any) -> Handle:
    raise NotImplementedError("compiled code only")


@overload(_new)
def _compiled_new(parts):  # type: ignore[no-untyped-def]
    kind = HandleType([("parts", parts)])  # type: ignore[no-untyped-call]

    def make(parts):  # type: ignore[no-untyped-def]
        handle: Any = structref.new(kind)  # type: ignore[call-arg]
        handle.parts = parts
        return handle

    return make


@njit(cache=True)
def held(parts):  # type: ignore[no-untyped-def]
    """A handle of a tuple of arrays, numbers and named tuples of them; it keeps the arrays alive."""
    return _new(parts)
