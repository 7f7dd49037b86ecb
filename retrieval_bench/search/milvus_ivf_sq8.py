"""Milvus with its IVF_SQ8: inverted lists of components of 8 bits, of which `nprobe` are read."""

from __future__ import annotations

from collections.abc import Sequence

from retrieval_bench.errors import BadConfig
from retrieval_bench.search._milvus import MilvusIndex


class MilvusIVFSQ8(MilvusIndex):
    """k-means cells on each sealed segment; components of 8 bits in each.

    Args:
        nlist: cells of a segment, fewer where it has fewer vectors.
        uri, token_env, keep, connect_s, timeout_s, retries: as in `MilvusIndex`.
        efforts: values of `nprobe`; more than nlist read all cells.
    """

    knob = "nprobe"
    approximate_scores = True

    def __init__(  # noqa: PLR0917
        self,
        nlist: int = 256,
        uri: str | None = None,
        token_env: str | None = None,
        keep: bool = False,
        connect_s: float = 5.0,
        timeout_s: float = 30.0,
        retries: int = 3,
        efforts: Sequence[int] = (1, 4, 16, 64, 256),
    ) -> None:
        if nlist < 1:
            raise BadConfig(f"nlist={nlist}: at least 1 is needed")
        super().__init__(uri, token_env, keep, connect_s, timeout_s, retries)
        self.nlist, self.efforts = nlist, tuple(efforts)

    def _kind(self) -> tuple[str, dict[str, int]]:
        return "IVF_SQ8", {"nlist": self.nlist}

    def _asked(self, k: int, effort: int | None) -> dict[str, int]:
        return {"nprobe": min(effort or 1, self.nlist)}
