from itertools import product

import numpy as np

from retrieval_bench.search._probes import empty_probes, probe_table, sequence, sort_options, tables_of


def options(rng: np.random.Generator, owners: list[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Costs, steps (powers of three, so that a key tells its set) and owners."""
    count = len(owners)
    return rng.random(count).astype(np.float32), 3 ** np.arange(count, dtype=np.int64), np.array(owners)


def all_sets(costs: np.ndarray, steps: np.ndarray, owners: np.ndarray) -> list[tuple[float, int]]:
    """Cost and key of every set that takes at most one option of an owner, cheapest first."""
    found = []
    for taken in product([False, True], repeat=len(costs)):
        chosen = np.array(taken)
        if len(np.unique(owners[chosen])) == chosen.sum():
            found.append((float(costs[chosen].astype(np.float64).sum()), int(steps[chosen].sum())))
    return sorted(found)


def test_sets_come_in_the_order_of_their_cost_each_once():
    rng = np.random.default_rng(0)
    for owners in ([0], [0, 1, 2, 3, 4], [0, 0, 1, 1, 2, 2], [0, 0, 0, 0, 1, 1, 1, 1], [0, 0, 0]):
        costs, steps, owner = options(rng, owners)
        expected = all_sets(costs, steps, owner)
        conflicts = np.empty(len(owners), np.uint64)
        sort_options(costs, steps, owner, conflicts)
        assert (np.diff(costs) >= 0).all()
        for wanted in (1, 2, 5, len(expected), len(expected) + 7):
            keys, sets = np.empty(wanted, np.int64), np.empty(wanted, np.uint64)
            found = sequence(0, costs, steps, conflicts, keys, sets)
            assert found == min(wanted, len(expected))
            assert keys[:found].tolist() == [key for _, key in expected[:found]]
            told = [steps[[j for j in range(len(steps)) if int(chosen) >> j & 1]].sum() for chosen in sets[:found]]
            assert told == keys[:found].tolist()


def test_without_options_only_the_own_bucket_is_left():
    keys, sets = np.empty(4, np.int64), np.empty(4, np.uint64)
    nothing = np.empty(0, np.float32), np.empty(0, np.int64), np.empty(0, np.uint64)
    assert sequence(17, *nothing, keys, sets) == 1 and keys[0] == 17


def test_sixty_four_options_fit_into_a_set():
    costs, steps = 1 + np.arange(64, dtype=np.float32) / 100, np.arange(64, dtype=np.int64)
    conflicts = np.uint64(1) << np.arange(64, dtype=np.uint64)
    keys, sets = np.empty(3000, np.int64), np.empty(3000, np.uint64)
    assert sequence(0, costs, steps, conflicts, keys, sets) == 3000
    assert sets[:65].tolist() == [0, *(1 << j for j in range(64))] and len(np.unique(sets)) == 3000


def test_every_bucket_is_found_and_nothing_else():
    rng = np.random.default_rng(2)
    keys = rng.integers(-(2**63), 2**63, (3, 40))[:, rng.integers(0, 40, 500)]
    keys[0] = 0  # a single bucket, with the key of free slots
    tables, orders = tables_of(keys)
    for table in range(3):
        for key in (*np.unique(keys[table]).tolist(), 5):
            probes = empty_probes(tables, 1)
            nothing = np.empty(0, np.float32), np.empty(0, np.int64), np.empty(0, np.int64)
            probe_table(tables, table, key, nothing, probes)
            start, stop = probes.spans[table, 0]
            np.testing.assert_array_equal(orders[table, start:stop], np.flatnonzero(keys[table] == key))
