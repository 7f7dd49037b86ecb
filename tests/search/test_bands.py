"""Banded tables against dictionaries."""

import numpy as np
import pytest

from retrieval_bench.search import _bands


def mix(key: int) -> int:
    key ^= key >> 33
    key = key * 0xFF51AFD7ED558CCD % 2**64
    return key ^ (key >> 33)


def rows_of(bands: _bands.Bands, band: int, signature: np.ndarray) -> list[int]:
    start, size = _bands.bucket(bands, band, signature[None], 0)
    return bands.rows[band, start : start + size].tolist()


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize(("n", "values"), [(1, 1), (400, 3), (3000, 10_000)])
def test_buckets_are_those_of_a_dictionary(n: int, values: int, size: int) -> None:
    rng = np.random.default_rng(n)
    signatures = rng.integers(0, values, (n, 4 * size + 3)).astype(np.uint32)
    asked = np.concatenate([signatures[:200], rng.integers(0, values + 1, (200, 4 * size + 3)).astype(np.uint32)])
    bands = _bands.build(signatures, 4, size)
    for band in range(4):
        part = slice(band * size, (band + 1) * size)
        expected: dict[bytes, list[int]] = {}
        for row, signature in enumerate(signatures):
            expected.setdefault(signature[part].tobytes(), []).append(row)
        for signature in asked:
            assert rows_of(bands, band, signature) == expected.get(signature[part].tobytes(), [])


def test_bands_that_share_a_key_keep_their_own_buckets() -> None:
    seen: dict[int, tuple[int, int, int]] = {}
    for i in range(1 << 20):  # the first two components, mixed: equal high halves let the third make equal keys
        state = mix(i << 32 | (i * 7919 % 2**32))
        if (state >> 32) in seen:
            break
        seen[state >> 32] = (i, i * 7919 % 2**32, state)
    first, second, other = seen[state >> 32]
    one = np.array([first, second, 0], np.uint32)
    two = np.array([i, i * 7919 % 2**32, (state ^ other) % 2**32], np.uint32)
    assert _bands.band_key(one[None], 0, 0, 3) == _bands.band_key(two[None], 0, 0, 3) and (one != two).all()
    bands = _bands.build(np.array([one, two, one]), 1, 3)
    assert rows_of(bands, 0, one) == [0, 2] and rows_of(bands, 0, two) == [1]
    lookup = _bands.Lookup(bands)
    assert [rows.tolist() for rows in lookup(np.array([one, two]))] == [[0, 2], [1]]
    only = _bands.build(np.array([one]), 1, 3)
    assert rows_of(only, 0, two) == [] and _bands.Lookup(only)(two[None])[0].tolist() == []


@pytest.mark.parametrize("tables", [1, 3, 6])
def test_gathering_takes_each_row_once(tables: int) -> None:
    rng = np.random.default_rng(1)
    signatures = rng.integers(0, 4, (500, 12)).astype(np.uint32)
    bands = _bands.build(signatures, 6, 2)
    seen, found, lookup = np.zeros(500, np.uint8), np.empty(501, np.int32), _bands.Lookup(bands)
    for query in signatures[:20]:
        agree = (signatures.reshape(500, 6, 2) == query.reshape(6, 2)).all(axis=2)[:, :tables].any(axis=1)
        count = _bands.gather(bands, query[None], 0, seen, found, tables)
        np.testing.assert_array_equal(np.sort(found[:count]), np.flatnonzero(agree))
        assert not seen.any()
        np.testing.assert_array_equal(lookup(query[None], tables)[0], found[:count])
    together, lone = lookup(signatures, tables), [lookup(line[None], tables)[0] for line in signatures]
    assert [rows.tolist() for rows in together] == [rows.tolist() for rows in lone]
    assert lookup(signatures[:0]) == []
