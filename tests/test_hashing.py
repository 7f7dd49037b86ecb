"""Values that other programs give, and that runs on disk were made with."""

from __future__ import annotations

import json
from hashlib import blake2b

import numpy as np

from retrieval_bench.hashing import STEP, json_digest, splitmix64


def test_splitmix64_gives_the_published_sequence() -> None:
    states = np.array([(1234567 + i * STEP) % 2**64 for i in range(5)], np.uint64)
    assert splitmix64(states).tolist() == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    assert splitmix64(np.zeros(1, np.uint64)).tolist() == [0xE220A8397B1DCDAF]
    before = states.copy()
    splitmix64(states)
    np.testing.assert_array_equal(states, before)


def test_digest_of_json() -> None:
    value = {"b": [1, None], "a": "ü"}
    expected = blake2b(json.dumps(value, sort_keys=True).encode(), digest_size=8).hexdigest()
    assert json_digest(value, 8) == json_digest(dict(reversed(value.items())), 8) == expected
    assert len(json_digest(value)) == 32
