"""Sets of (query, id) pairs and multisets of labels, searched and counted without a loop; for `truth.py`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from retrieval_bench.types import Ragged

Ints = NDArray[np.int64]


def places(values: Ints, among: Ints) -> tuple[Ints, NDArray[np.bool_]]:
    """Where each value stands in `among` (unique), and whether it does; 0 where not."""
    if not len(among):
        return np.zeros(len(values), np.int64), np.zeros(len(values), np.bool_)
    order = np.argsort(among)
    place = np.minimum(np.searchsorted(among, values, sorter=order), len(among) - 1)
    place = order[place]
    found = among[place] == values
    return np.where(found, place, 0), found


def pairs(lists: Ragged) -> tuple[Ints, Ints]:
    """Owner and value of every entry."""
    owner = np.repeat(np.arange(len(lists)), np.diff(lists.offsets))
    return owner, lists.values.astype(np.int64)


def first_of_each(owner: Ints, ids: Ints) -> NDArray[np.bool_]:
    """Marks one entry of every distinct pair."""
    order = np.lexsort((ids, owner))
    fresh = np.ones(len(order), np.bool_)
    fresh[1:] = (np.diff(owner[order]) != 0) | (ids[order][1:] != ids[order][:-1])
    out = np.zeros(len(order), np.bool_)
    out[order[fresh]] = True
    return out


def find_pairs(lists: Ragged, owner: Ints, ids: Ints) -> Ints:
    """Where in `lists.values` the list of `owner` names the id; -1 where it does not."""
    list_owner, list_ids = pairs(lists)
    if not len(list_ids):
        return np.full(len(ids), -1, np.int64)
    names, code = np.unique(list_ids, return_inverse=True)
    wanted, known = places(ids, names)
    keys = list_owner * len(names) + code
    order = np.argsort(keys, kind="stable")
    target = owner * len(names) + wanted
    place = order[np.minimum(np.searchsorted(keys, target, sorter=order), len(keys) - 1)]
    return np.where(known & (keys[place] == target), place, -1)


def count_of(values: Ints, among: Ints) -> Ints:
    """How often each value stands in `among`."""
    names, counts = np.unique(among, return_counts=True)
    place, found = places(values, names)
    return np.where(found, counts[place] if len(counts) else 0, 0).astype(np.int64)


def joined(first: tuple[Ints, Ints], second: tuple[Ints, Ints]) -> tuple[Ints, Ints]:
    """One code for each pair of values, over both sides."""
    sizes = len(first[0])
    both = np.stack([np.concatenate(first), np.concatenate(second)], axis=1)
    code = np.unique(both, axis=0, return_inverse=True)[1].ravel().astype(np.int64)
    return code[:sizes], code[sizes:]


def restrict_lists(lists: Ragged | None, queries: Ints, gallery_ids: Ints) -> tuple[Ragged | None, Ints]:
    """Lists of these queries without ids outside the gallery, and where their values stood."""
    if lists is None:
        return None, queries[:0]
    lengths = np.diff(lists.offsets)[queries]
    starts = np.repeat(lists.offsets[queries] - np.cumsum(lengths) + lengths, lengths)
    at = starts + np.arange(lengths.sum())
    kept = np.isin(lists.values[at], gallery_ids)
    owner = np.repeat(np.arange(len(queries)), lengths)[kept]
    counts = np.bincount(owner, minlength=len(queries))
    return Ragged(lists.values[at[kept]], np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)), at[kept]
