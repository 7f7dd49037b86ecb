"""The 8-bit filter of the kernel: it may turn away nothing that float64 would keep, whatever the data."""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval_bench import _filter, _slab
from retrieval_bench._filter import mask_both, scan_filtered
from retrieval_bench._masks import masks, masks_portable
from retrieval_bench._panels import BLOCK, PANEL, empty_panels, fill_panels, quantised_rows
from retrieval_bench._thresholds import empty_scratch
from retrieval_bench._tiles import empty_best
from retrieval_bench.nearest import nearest, nearest_float32
from retrieval_bench.types import Similarity

ALL = list(Similarity)
DIMS = st.just(1) | st.integers(1, 300)  # one component is rounded exactly: only float32's own rounding is left


def gaussian(rng, n, dim):
    return rng.normal(size=(n, dim))


def rows_of_all_sizes(rng, n, dim):
    return rng.normal(size=(n, dim)) * 10.0 ** rng.uniform(-20, 10, (n, 1))


def columns_of_all_sizes(rng, n, dim):
    return rng.normal(size=(n, dim)) * 10.0 ** rng.uniform(-9, 3, dim)


def one_dominant_component(rng, n, dim):
    x = rng.normal(size=(n, dim))
    x[:, 0] *= 1e6
    return x


def heavy_tails(rng, n, dim):
    return rng.standard_cauchy((n, dim))


def constant_vectors(rng, n, dim):
    return np.repeat(rng.integers(-3, 4, (n, 1)) + 0.5, dim, axis=1)


def collapsed(rng, n, dim):
    return np.full((n, dim), 0.3)


def near_copies(rng, n, dim):
    return 5 + 1e-6 * rng.normal(size=(n, dim))


def small_integers(rng, n, dim):
    return rng.integers(-2, 3, (n, dim))


def some_zero(rng, n, dim):
    return rng.normal(size=(n, dim)) * (rng.random((n, 1)) < 0.5)


def denormal(rng, n, dim):
    return 1e-40 * rng.normal(size=(n, dim))


def some_denormal(rng, n, dim):
    return rng.normal(size=(n, dim)) * np.where(rng.random((n, 1)) < 0.5, 1e-40, 1)


FAMILIES = [
    gaussian,
    rows_of_all_sizes,
    columns_of_all_sizes,
    one_dominant_component,
    heavy_tails,
    constant_vectors,
    collapsed,
    near_copies,
    small_integers,
    some_zero,
    denormal,
    some_denormal,
]


@pytest.fixture
def always(monkeypatch):
    """The filter on small data too, and where the processor would make it slow."""
    monkeypatch.setattr(_filter, "worth_while", lambda *shape: True)


def without_filter(*arguments, **options):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_filter, "available", lambda: False)
        patch.setattr(_filter, "worth_while", ORIGINAL)
        return nearest(*arguments, **options)


ORIGINAL = _filter.worth_while


def bits(mask, rows, columns):
    """[rows, columns] of a mask [panels, 6b]."""
    each = (mask[:, :, None] >> np.arange(PANEL, dtype=np.uint64)) & np.uint64(1)
    return each.transpose(1, 0, 2).reshape(mask.shape[1], -1)[:rows, :columns].astype(bool)


@pytest.mark.slow
@settings(max_examples=80, deadline=None)
@given(st.sampled_from(FAMILIES), st.integers(1, 40), st.integers(1, 300), DIMS, st.integers(0, 99))
def test_what_float64_keeps_passes_on_both_sides(family, m, n, dim, seed):
    """Limits stand exactly at scores that occur: the closest case there is."""
    rng = np.random.default_rng(seed)
    vectors = family(rng, n + m, dim).astype(np.float32)
    vectors /= max(1.0, abs(vectors).max() / 1e9)  # as the frame sees to
    half = ((vectors.astype(np.float64) ** 2).sum(1) / 2).astype(np.float32)
    largest = float(np.linalg.norm(vectors.astype(np.float64), axis=1).max())
    panels = empty_panels(vectors, half)
    fill_panels(panels, 0, n + m)
    products = vectors[:m].astype(np.float64) @ vectors.T.astype(np.float64)
    down, across = products - half.astype(np.float64), products - half[:m, None].astype(np.float64)
    best = empty_best(n + m, 1, n + m, np.float32)
    best.limits[:] = rng.choice(across, n + m)[np.arange(n + m), np.arange(n + m)]
    best.limits[:m] = [rng.choice(line) for line in down]
    rows = quantised_rows(vectors[:m], largest)
    scratch = empty_scratch(rows)
    mask_both(rows, panels, best, (0, 0, n + m, 0), scratch)
    limits = best.limits.astype(np.float64)
    assert bits(scratch.masks, m, n + m)[down >= limits[:m, None]].all()
    assert bits(scratch.other_masks, m, n + m)[across >= limits].all()


def test_of_random_vectors_few_pass_and_the_portable_way_agrees():
    rng = np.random.default_rng(0)
    queries, gallery = (rng.normal(size=(n, 128)).astype(np.float32) for n in (50, 512))
    panels = empty_panels(gallery, np.zeros(512, np.float32))
    fill_panels(panels, 0, 512)
    rows = quantised_rows(queries, 20.0)
    exact = queries.astype(np.float64) @ gallery.T.astype(np.float64)
    thresholds = np.repeat((-rows.inverses * 30)[None], 8, axis=0)
    found = [np.zeros((8, len(rows.begins)), np.uint64) for _ in range(2)]
    for way, out in zip((masks, masks_portable), found, strict=True):
        way(rows, panels, (0, 8), (panels.halves, thresholds, out))
    np.testing.assert_array_equal(bits(found[0], 50, 512), bits(found[1], 50, 512))
    differs = bits(found[0], 50, 512) != (exact >= 30)
    assert abs(exact[differs] - 30).max() < 0.7  # rounding to 8 bits moves a product by 0.11 on average
    assert len(rows.begins) % BLOCK == 0


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("similarity", ALL)
@pytest.mark.parametrize("one_set", [True, False])
def test_answers_are_those_without_the_filter(always, family, similarity, one_set):
    for seed, (n, dim, k) in enumerate([(1500, 32, 4), (1100, 9, 30), (700, 130, 1), (600, 3, 599)]):
        rng = np.random.default_rng(seed)
        gallery = family(rng, n, dim).astype(np.float32)
        if similarity is Similarity.COSINE:
            gallery[~gallery.any(axis=1)] = 1
        queries = gallery if one_set else gallery[: n // 3].copy()
        order = rng.permutation(n)
        rows, scores = nearest(queries, gallery, k, similarity, 2, order=order)
        want, best = without_filter(queries, gallery, k, similarity, 2, order=order)
        np.testing.assert_array_equal(rows, want)
        np.testing.assert_array_equal(scores, best)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(ALL), st.integers(1, 300), st.integers(513, 900), st.integers(1, 900), st.integers(0, 99))
def test_every_shape(similarity, dim, n, k, seed):
    rng = np.random.default_rng(seed)
    gallery = rng.integers(1, 6, (n, dim)).astype(np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_filter, "worth_while", lambda *shape: True)
        rows, scores = nearest(gallery[:40].copy(), gallery, k, similarity, 1)
    want, best = without_filter(gallery[:40].copy(), gallery, k, similarity, 1)
    np.testing.assert_array_equal(rows, want)
    np.testing.assert_array_equal(scores, best)


def counted(monkeypatch):
    """How often the filter answers for good, and how many float32 tiles are made."""
    seen = {"filtered": 0, "both": 0, "tiles": 0}
    tile = _slab._Scan.tile

    def one(rows, panels, best, places, scratch):
        reached = scan_filtered(rows, panels, best, places, scratch)
        seen["filtered"] += reached - places[1]
        return reached

    def both(*arguments):
        served = mask_both(*arguments)
        seen["both"] += bool(served)
        return served

    def made(self, first, last):
        seen["tiles"] += 1
        return tile(self, first, last)

    monkeypatch.setattr(_slab, "scan_filtered", one)
    monkeypatch.setattr(_slab, "mask_both", both)
    monkeypatch.setattr(_slab._Scan, "tile", made)
    return seen


def test_random_vectors_are_filtered(always, monkeypatch):
    seen = counted(monkeypatch)
    gallery = np.random.default_rng(1).normal(size=(5120, 64)).astype(np.float32)
    nearest(gallery[:512].copy(), gallery, 4, Similarity.DOT, 1)
    assert seen == {"filtered": 5120 - 512, "both": 0, "tiles": 1}  # the first tile sets the limits
    seen.update(filtered=0, tiles=0)
    nearest(gallery, gallery, 4, Similarity.DOT, 1)
    assert seen == {"filtered": 5120, "both": 45, "tiles": 0}


def test_where_8_bits_tell_nothing_apart_float32_takes_over(always, monkeypatch):
    """Asked before tiles 2, 4, 7, 12, 21 and 38 of 40; every tile is made in float32, as without the filter."""
    seen, asked = counted(monkeypatch), []
    watched = _slab.scan_filtered
    monkeypatch.setattr(_slab, "scan_filtered", lambda *a: asked.append(a[3][1] // 512 + 1) or watched(*a))
    gallery = np.full((40 * 512, 8), 0.3, np.float32)
    gallery += 1e-7 * np.random.default_rng(0).normal(size=gallery.shape).astype(np.float32)
    gallery[::2, 0] += 1e3
    nearest_float32(gallery[:64].copy(), gallery, 4, Similarity.EUCLIDEAN, 1)
    assert seen == {"filtered": 0, "both": 0, "tiles": 40}
    assert asked == [2, 3, 5, 9, 17, 33]


def test_shapes_that_are_not_worth_the_rounding(monkeypatch):
    monkeypatch.setattr(_filter, "available", lambda: True)
    assert ORIGINAL(1000, 100_000, 128, 14)
    assert not ORIGINAL(1, 100_000, 128, 14)  # rounding the gallery costs more than one query
    assert not ORIGINAL(1000, 1000, 128, 14)
    assert not ORIGINAL(1000, 100_000, 128, 10_000)  # a tenth of the gallery passes anyway
    assert not ORIGINAL(1000, 100_000, 1 << 15, 14)  # sums of codes leave 32 bits
    monkeypatch.setattr(_filter, "available", lambda: False)
    assert not ORIGINAL(1000, 100_000, 128, 14)


def test_products_that_vanish_below_float32_are_not_taken_for_proven():
    """Squares of 1e-25 are nothing in float32; the float64 pass has to answer."""
    gallery = 1e-25 * np.random.default_rng(2).normal(size=(900, 6))
    gallery[:, 0] = 1.0
    rows, _ = nearest(gallery[:30].copy(), gallery, 5, Similarity.EUCLIDEAN)
    distances = ((gallery[:30, None] - gallery[None]) ** 2).sum(-1)
    np.testing.assert_array_equal(rows, np.argsort(distances, axis=1, kind="stable")[:, :5])


@pytest.mark.slow
def test_code_for_a_processor_without_the_instruction(tmp_path):
    """Everything compiled anew for an older processor: the filter stays out, and where it is forced it is right."""
    code = """
import numpy as np
from retrieval_bench import _filter
from retrieval_bench.nearest import nearest
assert not _filter.available()
x = np.random.default_rng(0).normal(size=(2100, 20)).astype(np.float32)
plain = nearest(x, x, 5, "euclidean", 1), nearest(x[:40].copy(), x, 5, "dot", 1)
_filter.worth_while = lambda *shape: True
for (rows, scores), (want, best) in zip(
    (nearest(x, x, 5, "euclidean", 1), nearest(x[:40].copy(), x, 5, "dot", 1)), plain, strict=True
):
    np.testing.assert_array_equal(rows, want)
    np.testing.assert_array_equal(scores, best)
"""
    other = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": "", "NUMBA_CACHE_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | other)
