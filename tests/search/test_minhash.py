"""MinHash signatures are datasketch's own."""

import numpy as np
import pytest
from datasketch import MinHash
from datasketch.hashfunc import sha1_hash32

from retrieval_bench.search._minhash import bulk_hashes, fmix32, mixed, permutations, signatures, token_hashes


def random_sets(n: int, size: int) -> list[list[bytes]]:
    numbers = np.random.default_rng(size).integers(0, 500, (n, size))
    return [[int(t).to_bytes(4, "little") for t in row] for row in numbers]


@pytest.mark.parametrize("seed", [0, 1, 2**32 - 1])
@pytest.mark.parametrize(("size", "number"), [(1, 128), (16, 128), (33, 7), (16, 1)])
def test_signatures_are_those_of_datasketch(size: int, number: int, seed: int) -> None:
    sets = random_sets(50, size)
    theirs = [minhash.hashvalues for minhash in MinHash.bulk(sets, num_perm=number, seed=seed, scheme="affine32")]
    ours = signatures(bulk_hashes(sets), permutations(number, seed))
    assert ours.dtype == np.uint32
    np.testing.assert_array_equal(ours, theirs)


def test_the_first_permutations_give_the_first_components() -> None:
    hashes = bulk_hashes(random_sets(20, 5))
    drawn = permutations(128, 3)
    np.testing.assert_array_equal(signatures(hashes, drawn[:, :64]), signatures(hashes, drawn)[:, :64])


def test_an_empty_set_signs_as_datasketch_does() -> None:
    np.testing.assert_array_equal(
        signatures(np.empty((2, 0), np.uint32), permutations(8, 0)), np.tile(MinHash(8).hashvalues, (2, 1))
    )


def test_a_token_is_hashed_by_sha1() -> None:
    tokens = [b"", b"abc", b"\x00\x01"]
    np.testing.assert_array_equal(token_hashes(tokens), [sha1_hash32(token) for token in tokens])
    assert token_hashes([b"abc"])[0] == 0x363E99A9  # SHA-1 of abc begins a9 99 3e 36


def test_permutations_are_bijections_and_their_seed_counts_modulo_32_bits() -> None:
    a, b = permutations(1000, 5)
    assert (a % 2 == 1).all() and len(set(b.tolist())) > 990
    np.testing.assert_array_equal(permutations(4, 5), permutations(4, 5 + 2**32))
    assert (permutations(4, 5) != permutations(4, 6)).any()


def test_the_finaliser_of_murmurhash() -> None:
    known = {0: 0, 1: 0x514E28B7, 0xFFFFFFFF: 0x81F16F39}
    assert {h: int(fmix32(np.uint32(h))) for h in known} == known
    np.testing.assert_array_equal(mixed(np.array(list(known), np.uint32)), list(known.values()))
