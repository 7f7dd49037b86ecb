"""LSH theory beside practice: which pairs are looked at, and how often those of like similarity collide."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from retrieval_bench._scene import Pairs
from retrieval_bench.measure import IndexResult
from retrieval_bench.nearest import rescore
from retrieval_bench.points import Exact, Stage, gallery_rows

QUERIES = 200
NEAREST = 16
DRAWN = 1024  # of which `SPREAD` are kept, at ranks that grow by a factor: near pairs are rare
SPREAD = 48
BINS = 20


def sampled_pairs(stage: Stage, exact: Exact) -> Pairs:
    """A seeded sample of query rows [q], and gallery rows [q, m] from the nearest to any: each row of them distinct."""
    draw = np.random.default_rng([stage.seed, 0x50A1])
    n, count = len(stage.gallery), min(QUERIES, len(stage.queries))
    queries = np.sort(draw.choice(len(stage.queries), count, replace=False))
    near = gallery_rows(stage.gallery, exact.neighbours.ids[queries, :NEAREST])
    near = near[:, (near >= 0).all(axis=0)]  # a small gallery has lists that end early
    others = min(n - near.shape[1], DRAWN)
    if others == 0:
        return queries, near
    more = (draw.choice(n, others + near.shape[1], replace=False) for _ in near)
    drawn = np.stack([rows[~np.isin(rows, taken)][:others] for rows, taken in zip(more, near, strict=True)])
    scores = rescore(stage.queries.vectors[queries], stage.gallery.vectors, drawn, stage.similarity)
    ranked = np.take_along_axis(drawn, np.argsort(-scores, axis=1), axis=1)
    ranks = np.unique(np.geomspace(1, others, SPREAD).astype(np.int64)) - 1
    return queries, np.concatenate([near, ranked[:, ranks]], axis=1)


def collision_table(stage: Stage, results: Sequence[IndexResult]) -> pd.DataFrame:
    """Pairs of all backends that have a theory.

    Columns: stage, index, index_params, build_seed, knob, effort, similarity (in the family's own terms), predicted
    (probability) and candidate (whether the pair met).
    """
    tables = [
        table.to_pandas().assign(
            stage=stage.name,
            index=result.build["index"],
            index_params=json.dumps(result.build["params"], sort_keys=True),
            build_seed=result.build["build_seed"],
            knob=result.build["knob"],
            effort=effort,
        )
        for result in results
        for effort, table in result.collisions.items()
    ]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def collision_curves(table: pd.DataFrame) -> pd.DataFrame:
    """Pairs in bins of about equal count by similarity, for every stage, index and effort.

    Returns:
        stage, index, index_params, knob, effort, similarity (mean of the bin), predicted (mean probability), measured
        (share of candidates), measured_lo, measured_hi (95 %, Wilson 1927: as if pairs were independent), pairs.
    """
    keys = [name for name in ("stage", "index", "index_params", "knob", "effort") if name in table.columns]
    rows = []
    for key, group in table.groupby(keys, dropna=False, sort=False):
        ordered = group.sort_values("similarity", kind="stable")
        values = ordered["similarity"].to_numpy()
        firsts = [part[0] for part in np.array_split(values, min(BINS, len(values)))]
        bins = np.searchsorted(np.unique(firsts), values, side="right")  # equal ones, as of token sets, stay together
        for _, cell in ordered.groupby(bins):
            share = binomtest(int(cell["candidate"].sum()), len(cell))
            lo, hi = share.proportion_ci(method="wilson")
            found = {"measured": share.statistic, "measured_lo": lo, "measured_hi": hi, "pairs": len(cell)}
            means = {name: float(cell[name].mean()) for name in ("similarity", "predicted")}
            rows.append(dict(zip(keys, key, strict=True)) | means | found)
    return pd.DataFrame(rows)
