"""How spread out embeddings are: the spectrum of their covariance, and hubs among nearest neighbours."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST = 8192  # vectors of a spectrum, a seeded sample
KEPT = 64  # places of a curve that a record keeps, spaced as powers
ROUNDING = 1e-12  # shares below it are errors of rounding
K = 10  # depth of hubness, the literature's own

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def sampled(vectors: NDArray[np.generic], seed: int, most: int = MOST) -> Floats:
    """At most so many of the vectors [n, dim], drawn by the seed, in float64."""
    rows = np.arange(len(vectors))
    if len(rows) > most:
        rows = np.sort(np.random.default_rng(seed).choice(len(rows), most, replace=False))
    return np.asarray(vectors[rows], np.float64)


def spectrum(vectors: Floats) -> Floats:
    """Share of the variance along each principal axis: [min(n, dim)], falling, sum 1 up to rounding.

    Zeros where all vectors are equal.
    """
    centred = vectors - vectors.mean(axis=0)
    n, dim = centred.shape
    product = centred @ centred.T if n < dim else centred.T @ centred
    values: Floats = np.linalg.eigvalsh(product)[::-1].clip(min=0)
    total = values.sum()
    if total <= ROUNDING * float((vectors**2).sum()):
        return np.zeros(len(values))
    shares: Floats = values / total
    return np.where(shares > ROUNDING, shares, 0.0)


def effective_rank(shares: Floats) -> float:
    """The exponential of the entropy of the singular values, scaled to sum 1 (Roy & Vetterli 2007).

    As many axes of equal strength would have the same entropy. Here the vectors are centred first, so that a common
    offset is no axis; 0 where all are equal.

    Args:
        shares: as `spectrum` gives them: squares of the singular values, scaled.

    >>> round(effective_rank(np.full(5, 0.2)), 6), effective_rank(np.zeros(3))
    (5.0, 0.0)
    """
    singular = np.sqrt(shares[shares > 0])
    if not len(singular):
        return 0.0
    p = singular / singular.sum()
    return float(np.exp(-(p * np.log(p)).sum()))


def mean_cosine(vectors: Floats) -> float:
    """Mean cosine of two different vectors [n, dim], vectors of zeros left out; NaN for fewer than two.

    >>> mean_cosine(np.eye(3)), mean_cosine(np.ones((2, 5)))
    (0.0, 1.0)
    """
    lengths = np.linalg.norm(vectors, axis=1)
    units = vectors[lengths > 0] / lengths[lengths > 0, None]
    n = len(units)
    return float(round(((units.sum(axis=0) ** 2).sum() - n) / (n * (n - 1)), 12)) if n > 1 else float("nan")


def k_occurrence(neighbours: Ints, gallery: Ints) -> Ints:
    """In how many of the lists each gallery item stands: [n].

    Args:
        neighbours: [q, k] ids, -1 where there is none. gallery: [n] ids.
    """
    order = np.argsort(gallery)
    ids = neighbours[neighbours >= 0]
    counts = np.bincount(np.searchsorted(gallery, ids, sorter=order), minlength=len(gallery))
    found = np.empty(len(gallery), np.int64)
    found[order] = counts
    return found


def skewness(counts: Ints) -> float:
    """Third standardised moment; of k-occurrences it is hubness (Radovanović et al. 2010). 0 where all are equal.

    >>> round(skewness(np.array([0, 0, 0, 4])), 6)
    1.154701
    """
    away = counts - counts.mean()
    deviation = float(np.sqrt((away**2).mean()))
    return float((away**3).mean() / deviation**3) if deviation > 0 else 0.0


def collapse_facts(vectors: NDArray[np.generic], gallery: Ints, neighbours: Ints, seed: int) -> dict[str, Any]:
    """What a record keeps, so that a report needs no embeddings: JSON values.

    Args:
        vectors: [n, dim] of the gallery. gallery: [n] its ids. neighbours: [q, k] exact, without what is ignored.
    """
    sample = sampled(vectors, seed)
    shares = spectrum(sample)
    k = min(K, neighbours.shape[1])
    counts = np.sort(k_occurrence(neighbours[:, :k], gallery))[::-1]
    axes, items = _places(len(shares)), _places(len(counts))
    return {
        "n": len(sample),
        "effective_rank": effective_rank(shares),
        "mean_cosine": mean_cosine(sample),
        "spectrum": {"axis": axes.tolist(), "share": [float(f"{shares[at - 1]:.4g}") for at in axes]},
        "hubness": {
            "k": k,
            "skewness": skewness(counts),
            "never": float((counts == 0).mean()),
            "item": items.tolist(),
            "occurrence": [int(counts[at - 1]) for at in items],
        },
    }


def _places(n: int) -> Ints:
    """Places from 1 to n, spaced as powers."""
    return np.unique(np.geomspace(1, n, KEPT).round().astype(np.int64)) if n else np.empty(0, np.int64)
