"""Milvus with its HNSW: embedded (Milvus Lite), a server, or a cluster, as a URI decides."""

from __future__ import annotations

from collections.abc import Sequence

from retrieval_bench.errors import BadConfig
from retrieval_bench.search._milvus import MilvusIndex


class Milvus(MilvusIndex):
    """A layered graph of neighbours on each sealed segment, walked with a queue of `ef` vertices.

    Args:
        m: links a vertex. ef_construction: length of the queue while building.
        uri, token_env, keep, connect_s, timeout_s, retries: as in `MilvusIndex`.
        efforts: values of `ef`; Milvus refuses less than k, so such searches take k.
    """

    knob = "ef"
    effort_at_least_k = True

    def __init__(  # noqa: PLR0917
        self,
        m: int = 16,
        ef_construction: int = 200,
        uri: str | None = None,
        token_env: str | None = None,
        keep: bool = False,
        connect_s: float = 5.0,
        timeout_s: float = 30.0,
        retries: int = 3,
        efforts: Sequence[int] = (16, 32, 64, 128, 256),
    ) -> None:
        if m < 2 or ef_construction < 1:
            raise BadConfig(f"m={m}, ef_construction={ef_construction}: m from 2 and ef_construction from 1 are needed")
        super().__init__(uri, token_env, keep, connect_s, timeout_s, retries)
        self.m, self.ef_construction, self.efforts = m, ef_construction, tuple(efforts)

    def _kind(self) -> tuple[str, dict[str, int]]:
        return "HNSW", {"M": self.m, "efConstruction": self.ef_construction}

    def _asked(self, k: int, effort: int | None) -> dict[str, int]:
        return {"ef": max(k, effort or k)}
