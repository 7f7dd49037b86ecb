"""Which buckets a query reads: hash tables of buckets, and the order in which perturbed keys are tried."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import uintp
from numpy.typing import NDArray

from retrieval_bench._compiled import njit

OPTIONS = 64  # perturbations of one key that are considered: bits of a set
MIX = np.uint64(0x9E3779B97F4A7C15)


class Tables(NamedTuple):
    """Open-addressing hash tables: the slots of table t hold a bucket's key and its span in the order of the table."""

    keys: NDArray[np.int64]  # [tables, slots], slots a power of two
    spans: NDArray[np.int32]  # [tables, slots, 2]: start, stop; equal where the slot is free


class Probes(NamedTuple):
    """What a query reads: `count` probes of each table."""

    keys: NDArray[np.int64]  # [tables, probes]
    found: NDArray[np.int64]  # [tables]: how many there are; fewer where perturbations run out
    sets: NDArray[np.uint64]  # [tables, probes]: which of the sorted perturbations lead to the key
    spans: NDArray[np.int64]  # [tables, probes, 2]: start and stop of the bucket in the order of the table


@njit(nogil=True, cache=True)
def _slot(key, slots):  # type: ignore[no-untyped-def]
    mixed = np.uint64(key) * MIX
    return uintp((mixed ^ (mixed >> np.uint64(32))) & np.uint64(slots - 1))


@njit(nogil=True, cache=True)
def enter(keys, slot_keys, slot_spans):  # type: ignore[no-untyped-def]
    """Fill one table from the sorted keys [n] of its rows."""
    slots, start = slot_keys.size, 0
    while start < keys.size:
        stop = start + 1
        while stop < keys.size and keys[stop] == keys[start]:
            stop += 1
        at = _slot(keys[start], slots)
        while slot_spans[at, 0] != slot_spans[at, 1]:
            at = (at + uintp(1)) & uintp(slots - 1)
        slot_keys[at], slot_spans[at, 0], slot_spans[at, 1] = keys[start], start, stop
        start = stop


def tables_of(keys: NDArray[np.int64]) -> tuple[Tables, NDArray[np.int64]]:
    """Hash tables for the keys [tables, n], and for each the rows in its order [tables, n]."""
    orders = np.argsort(keys, axis=1, kind="stable")
    sorted_keys = np.take_along_axis(keys, orders, 1)
    most = 1 + int((np.diff(sorted_keys, axis=1) != 0).sum(1).max(initial=0))
    slots = 1 << int(2 * most - 1).bit_length()
    tables = Tables(np.zeros((len(keys), slots), np.int64), np.zeros((len(keys), slots, 2), np.int32))
    for table in range(len(keys)):
        enter(sorted_keys[table], tables.keys[table], tables.spans[table])
    return tables, orders


@njit(nogil=True, cache=True)
def _push(heap, costs, size, node):  # type: ignore[no-untyped-def]
    at, cost = size, costs[node]
    while at > 0:
        parent = (at - 1) >> 1
        if costs[heap[parent]] <= cost:
            break
        heap[at] = heap[parent]
        at = parent
    heap[at] = node


@njit(nogil=True, cache=True)
def _pop(heap, costs, size):  # type: ignore[no-untyped-def]
    """The cheapest node; `size` counts it."""
    top, node = heap[0], heap[size - 1]
    cost, at, last = costs[node], 0, size - 1
    while 2 * at + 1 < last:
        child = 2 * at + 1
        if child + 1 < last and costs[heap[child + 1]] < costs[heap[child]]:
            child += 1
        if costs[heap[child]] >= cost:
            break
        heap[at] = heap[child]
        at = child
    heap[at] = node
    return top


@njit(nogil=True, cache=True)
def sequence(base, costs, steps, conflicts, keys, sets):  # type: ignore[no-untyped-def]  # noqa: PLR0917
    """Fill keys [p] in rising order of cost, the unperturbed `base` first (Lv et al. 2007); returns how many there are.

    costs [o] rise, o ≤ OPTIONS; option j adds steps[j] to the key and excludes the options in the bits of conflicts[j].
    """
    options, wanted = costs.size, keys.size
    keys[0], sets[0], found = base, np.uint64(0), 1
    if options == 0 or wanted == 1:
        return found
    # A node is a valid set, its key, and one more option beyond its last: the `newest`. Each emitted set adds at most
    # one node to those waiting and two to those made; a conflict replaces its node.
    room = 2 * wanted + 2
    node_costs, node_sets = np.empty(room, np.float32), np.empty(room, np.uint64)
    node_keys, newest, heap = np.empty(room, np.int64), np.empty(room, np.int32), np.empty(wanted + 2, np.int32)
    node_costs[0], node_sets[0], node_keys[0], newest[0] = costs[0], 0, base, 0
    heap[0], size, made = 0, 1, 1
    while found < wanted and size > 0:
        node = _pop(heap, node_costs, size)
        size -= 1
        last = newest[node]
        valid = node_sets[node] & conflicts[last] == 0
        if valid:
            keys[found] = node_keys[node] + steps[last]
            sets[found] = node_sets[node] | (np.uint64(1) << np.uint64(last))
            found += 1
        if last + 1 == options:
            continue
        more = costs[last + 1]
        if valid:
            node_costs[made], newest[made] = node_costs[node] + more, last + 1
            node_sets[made], node_keys[made] = sets[found - 1], keys[found - 1]
            _push(heap, node_costs, size, made)
            made += 1
            size += 1
        node_costs[node] += more - costs[last]
        newest[node] = last + 1
        _push(heap, node_costs, size, node)
        size += 1
    return found


@njit(nogil=True, cache=True)
def sort_options(costs, steps, owners, conflicts):  # type: ignore[no-untyped-def]
    """Order options [o] by cost, in place; options of one owner exclude one another."""
    for i in range(1, costs.size):
        cost, step, owner = costs[i], steps[i], owners[i]
        at = i
        while at > 0 and costs[at - 1] > cost:
            costs[at], steps[at], owners[at] = costs[at - 1], steps[at - 1], owners[at - 1]
            at -= 1
        costs[at], steps[at], owners[at] = cost, step, owner
    conflicts[:] = 0
    for i in range(owners.size):
        for j in range(i + 1):
            if owners[j] == owners[i]:  # the first of this owner gathers all of them
                conflicts[j] |= np.uint64(1) << np.uint64(i)
                break
    for i in range(owners.size):
        for j in range(i):
            if owners[j] == owners[i]:
                conflicts[i] = conflicts[j]
                break


@njit(nogil=True, cache=True)
def _look_up(slot_keys, slot_spans, keys, spans):  # type: ignore[no-untyped-def]
    """Spans [p, 2] of the buckets of keys [p] in one table; (0, 0) where there is none."""
    slots = slot_keys.size
    for p in range(keys.size):
        key = keys[p]
        at = _slot(key, slots)
        while slot_spans[at, 0] != slot_spans[at, 1] and slot_keys[at] != key:
            at = (at + uintp(1)) & uintp(slots - 1)
        spans[p, 0], spans[p, 1] = slot_spans[at, 0], slot_spans[at, 1]


@njit(nogil=True, cache=True)
def probe_table(tables, table, base, options, probes):  # type: ignore[no-untyped-def]
    """Fill one table's part of the probes; options: costs, steps and owners, which are sorted here."""
    costs, steps, owners = options
    conflicts = np.empty(costs.size, np.uint64)
    sort_options(costs, steps, owners, conflicts)
    keys = probes.keys[table]
    found = sequence(base, costs, steps, conflicts, keys, probes.sets[table])
    probes.found[table] = found
    _look_up(tables.keys[table], tables.spans[table], keys[:found], probes.spans[table])


@njit(nogil=True, cache=True)
def empty_probes(tables, count):  # type: ignore[no-untyped-def]
    """Room for `count` probes of each table."""
    t = tables.keys.shape[0]
    keys, sets = np.empty((t, count), np.int64), np.empty((t, count), np.uint64)
    return Probes(keys, np.zeros(t, np.int64), sets, np.zeros((t, count, 2), np.int64))
