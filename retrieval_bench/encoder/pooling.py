"""From a feature map to one vector: average, GeM, MAC and a spatial grid."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (torch's own name for it)

from retrieval_bench.encoder.base import Pool
from retrieval_bench.errors import BadConfig


class Average(Pool):
    """Mean over all positions."""

    def forward(self, features: Tensor) -> Tensor:
        """[b, c, h, w] → [b, c]."""
        return features.mean(dim=(2, 3))


class GeM(Pool):
    """Generalised mean: (mean over positions of max(x, eps)^p)^(1/p). Radenović, Tolias, Chum 2018, eq. 3.

    p = 1 is the average (of what exceeds eps), p → ∞ the maximum. p is one trained parameter.

    Args:
        p: exponent, above 0.
        eps: floor of the features, above 0 (they may be negative, and 0 has no gradient under a power).
    """

    def __init__(self, p: float = 3.0, eps: float = 1e-6) -> None:
        super().__init__()
        if p <= 0 or eps <= 0:
            raise BadConfig(f"pool.p={p} and pool.eps={eps}: type numbers above 0, such as p=3 and eps=1e-6")
        self.p = nn.Parameter(torch.tensor(float(p)))
        self.eps = eps

    def forward(self, features: Tensor) -> Tensor:
        """[b, c, h, w] → [b, c]."""
        return features.clamp(min=self.eps).pow(self.p).mean(dim=(2, 3)).pow(1.0 / self.p)

    def describe(self) -> dict[str, Any]:
        """Name, p and eps."""
        return {"pool": "GeM", "p": float(self.p.detach()), "eps": self.eps}


class MAC(Pool):
    """Maximum over all positions. Tolias, Sicre, Jégou 2016."""

    def forward(self, features: Tensor) -> Tensor:
        """[b, c, h, w] → [b, c]."""
        return features.amax(dim=(2, 3))


class Grid(Pool):
    """Averages over the cells of a spatial grid, one cell after the other: keeps a coarse layout.

    Cell borders are torch's adaptive ones: cell i of n covers rows floor(i·h/n) to ceil((i+1)·h/n).

    Args:
        rows, columns: size of the grid, at least 1.
    """

    def __init__(self, rows: int = 2, columns: int = 2) -> None:
        super().__init__()
        if rows < 1 or columns < 1:
            raise BadConfig(f"pool.rows={rows} pool.columns={columns}: type whole numbers of 1 or more")
        self.rows, self.columns = rows, columns
        self.factor = rows * columns

    def forward(self, features: Tensor) -> Tensor:
        """[b, c, h, w] → [b, rows · columns · c]: all channels of the upper left cell come first."""
        cells = F.adaptive_avg_pool2d(features, (self.rows, self.columns))
        return cells.permute(0, 2, 3, 1).flatten(1)

    def describe(self) -> dict[str, Any]:
        """Name and size of the grid."""
        return {"pool": "Grid", "rows": self.rows, "columns": self.columns}
