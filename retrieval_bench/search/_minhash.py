"""MinHash signatures, bit for bit those of datasketch 2.0 (`MinHash(scheme="affine32")`).

A token is bytes; its hash h is the first four bytes of its SHA-1, little-endian. Component p of a signature is the
min over its tokens of a[p] · fmix32(h) + b[p], modulo 2^32 (Broder 1997; the permutations are datasketch's).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha1

import numpy as np
from numba import uintp
from numpy.typing import NDArray

from retrieval_bench._compiled import njit

SEEDS = 1 << 32  # of numpy's RandomState


def permutations(number: int, seed: int) -> NDArray[np.uint32]:
    """Factors a and terms b of so many permutations: [2, number]. Seeds count modulo 2^32."""
    draw = np.random.RandomState(seed % SEEDS)
    a = draw.randint(0, 1 << 31, number, dtype=np.uint32) * np.uint32(2) + np.uint32(1)
    return np.array([a, draw.randint(0, 1 << 32, number, dtype=np.uint32)])


def token_hashes(tokens: Iterable[bytes]) -> NDArray[np.uint32]:
    """First four bytes, little-endian, of each token's SHA-1: [tokens]."""
    digests = b"".join([sha1(token, usedforsecurity=False).digest()[:4] for token in tokens])
    return np.frombuffer(digests, "<u4").copy()  # writable, as what is loaded: to compiled code another type


def bulk_hashes(sets: Sequence[Sequence[bytes]]) -> NDArray[np.uint32]:
    """Token hashes [sets, m] of sets of m tokens each; every distinct token is hashed once."""
    known: dict[bytes, int] = {}
    ids = [known.setdefault(token, len(known)) for tokens in sets for token in tokens]
    return token_hashes(known)[np.array(ids, np.int64)].reshape(len(sets), -1)


@njit("uint32(uint32)", nogil=True, cache=True, inline="always")
def fmix32(h):  # type: ignore[no-untyped-def]
    """The finaliser of MurmurHash3: a bijection that spreads its input."""
    h = np.uint32(h ^ (h >> np.uint32(16)))  # numba widens each product to 64 bits
    h = np.uint32(h * np.uint32(0x85EBCA6B))
    h = np.uint32(h ^ (h >> np.uint32(13)))
    h = np.uint32(h * np.uint32(0xC2B2AE35))
    return np.uint32(h ^ (h >> np.uint32(16)))


@njit(nogil=True, cache=True)
def sign(mixed, permutation, signature):  # type: ignore[no-untyped-def]
    """Signature [p] of one set, from the mixed hashes [m] of its tokens and the first p permutations."""
    size = uintp(signature.size)
    a, b = permutation[0], permutation[1]
    for p in range(size):
        signature[p] = np.uint32(0xFFFFFFFF)
    for token in range(mixed.size):
        h = mixed[token]
        for p in range(size):
            signature[p] = min(signature[p], np.uint32(a[p] * h + b[p]))


@njit(nogil=True, cache=True)
def mixed(hashes):  # type: ignore[no-untyped-def]
    """fmix32 of every hash, flat."""
    out = np.empty(hashes.size, np.uint32)
    for i in range(hashes.size):
        out[i] = fmix32(hashes.flat[i])
    return out


@njit(nogil=True, cache=True)
def _sign_all(hashes, permutation, out):  # type: ignore[no-untyped-def]
    all_mixed = mixed(hashes).reshape(hashes.shape)
    for i in range(hashes.shape[0]):
        sign(all_mixed[i], permutation, out[i])


def signatures(hashes: NDArray[np.uint32], permutation: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Signatures [n, p] of n sets of m token hashes [n, m]; an empty set (m = 0) has 2^32 - 1 everywhere."""
    out = np.empty((len(hashes), permutation.shape[1]), np.uint32)
    _sign_all(np.ascontiguousarray(hashes), np.ascontiguousarray(permutation), out)
    return out
