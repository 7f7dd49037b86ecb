"""Milvus with its FLAT: every vector is compared with every query."""

from __future__ import annotations

from collections.abc import Sequence

from retrieval_bench.errors import BadConfig
from retrieval_bench.search._milvus import MilvusIndex


class MilvusFlat(MilvusIndex):
    """Exact search inside Milvus: what the database itself costs, apart from any index.

    Args:
        uri, token_env, keep, connect_s, timeout_s, retries: as in `MilvusIndex`.
        efforts: none; there is no knob.
    """

    exact = True
    compares_all = True

    def __init__(  # noqa: PLR0917
        self,
        uri: str | None = None,
        token_env: str | None = None,
        keep: bool = False,
        connect_s: float = 5.0,
        timeout_s: float = 30.0,
        retries: int = 3,
        efforts: Sequence[int] = (),
    ) -> None:
        if efforts:
            raise BadConfig(f"efforts={list(efforts)}: FLAT has no knob; type efforts=[]")
        super().__init__(uri, token_env, keep, connect_s, timeout_s, retries)
        self.efforts: Sequence[int] = ()

    def _kind(self) -> tuple[str, dict[str, int]]:
        return "FLAT", {}

    def _asked(self, k: int, effort: int | None) -> dict[str, int]:
        return {}
