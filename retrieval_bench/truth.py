"""What is right: exact neighbours, and which answers of a search are relevant (MEASURING.md, sections 1 and 2)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from retrieval_bench._lists import count_of, find_pairs, first_of_each, joined, pairs, places, restrict_lists
from retrieval_bench.hashing import STEP, splitmix64
from retrieval_bench.nearest import nearest, tie_tolerance
from retrieval_bench.types import Embeddings, GroundTruth, Judgement, SearchResult, Similarity

Ints = NDArray[np.int64]
TIE_BYTES = 160  # what `tie_bounds` holds for each answer of its lists


def permutation(ids: Ints, seed: int) -> Ints:
    """The order in which rows are given to an index: [n], sorted by a seeded hash (splitmix64) of their ids.

    Depends on the set of ids only, not on how they are stored: `ids[permutation(ids, seed)]` is always the same list.
    """
    state = ids.astype(np.uint64) + np.uint64(seed * STEP % 2**64)
    return np.lexsort((ids, splitmix64(state))).astype(np.int64)


def exact_neighbours(
    queries: Embeddings,
    gallery: Embeddings,
    k: int,
    similarity: Similarity,
    seed: int = 0,
    *,
    threads: int | None = None,
) -> SearchResult:
    """The k nearest gallery items of each query, as ids; nothing is removed, and k is the depth returned.

    Ties stand in the order of `permutation`, so that storage order decides nothing.
    """
    order = permutation(gallery.ids, seed)
    rows, scores = nearest(queries.vectors, gallery.vectors, k, similarity, threads, order=order)
    return SearchResult(np.where(rows >= 0, gallery.ids[rows], -1), scores)


def relevant_counts(truth: GroundTruth) -> Ints:
    """R of each query: relevant gallery items that are not ignored: [q]."""
    if truth.relevant is not None:
        owner, ids = pairs(truth.relevant)
        kept = ~_is_ignored(truth, owner, ids)
        return np.bincount(owner[first_of_each(owner, ids) & kept], minlength=len(truth.query_ids)).astype(np.int64)
    query_labels, gallery_labels = _labels(truth)
    counts = count_of(query_labels, gallery_labels)
    return counts - _count_ignored(truth, same_label=True)


def ignored_counts(truth: GroundTruth) -> Ints:
    """Gallery items that are ignored for each query (itself, its group, junk): [q]."""
    return _count_ignored(truth, same_label=False)


def remove_ignored(result: SearchResult, truth: GroundTruth | None, k: int) -> SearchResult:
    """The first k answers of each query that are not ignored, in order; rows with fewer end in -1.

    Raises:
        ValueError: `result` does not hold one row for each query of `truth`.
    """
    keep = result.ids >= 0
    if truth is not None:
        _one_row_each(result, truth)
        owner = np.repeat(np.arange(len(result)), result.k)
        keep &= ~_is_ignored(truth, owner, result.ids.ravel()).reshape(keep.shape)
    rank = np.cumsum(keep, axis=1) - 1
    row, column = np.nonzero(keep & (rank < k))
    ids = np.full((len(result), k), -1, np.int64)
    scores = np.full((len(result), k), -np.inf, np.float32)
    ids[row, rank[row, column]] = result.ids[row, column]
    scores[row, rank[row, column]] = result.scores[row, column]
    return SearchResult(ids, scores, result.candidates)


def judge(result: SearchResult, truth: GroundTruth, k: int) -> Judgement:
    """Which of the first k answers, after what is ignored is removed, are relevant.

    Ask the index for k plus the largest of `ignored_counts`, so that k answers are left.

    Raises:
        ValueError: `result` does not hold one row for each query of `truth`.
    """
    cut = remove_ignored(result, truth, k)
    return judge_ids(cut.ids, truth)


def judge_ids(ids: Ints, truth: GroundTruth) -> Judgement:
    """As `judge`, for lists [q, k] from which what is ignored is already removed; -1 where there is no answer."""
    valid = ids >= 0
    relevant = relevant_counts(truth)
    if truth.relevant is None:
        query_labels, gallery_labels = _labels(truth)
        place, _ = places(ids.ravel(), truth.gallery_ids)
        hits = valid & (gallery_labels[place].reshape(ids.shape) == query_labels[:, None])
        return Judgement(hits, valid, relevant)
    owner = np.repeat(np.arange(len(ids)), ids.shape[1])
    at = find_pairs(truth.relevant, owner, ids.ravel()).reshape(ids.shape)
    hits = valid & (at >= 0)
    if truth.gains is None:
        return Judgement(hits, valid, relevant)
    gains = np.where(hits, truth.gains[np.maximum(at, 0)], 0.0)
    return Judgement(hits, valid, relevant, gains, _ideal_gains(truth, ids.shape[1]))


def tie_depth(k: int, gallery: int) -> int:
    """How deep `tie_bounds` looks for answers that tie with the first k."""
    return max(k, min(2 * k + 32, gallery))


def tie_bounds(
    queries: Embeddings,
    gallery: Embeddings,
    truth: GroundTruth,
    similarity: Similarity,
    k: int,
    *,
    threads: int | None = None,
) -> tuple[Judgement, Judgement]:
    """The best and the worst judgement of the first k answers of an exact search, whatever the order among ties.

    Two answers tie when their scores differ by less than `tie_tolerance`. Optimistic: every relevant item counts as
    closer by its tolerance; pessimistic: as farther. So down to every rank up to k the one holds the most hits that are
    possible, the other the fewest: they bound every label metric at every cut-off, and r_precision and map_at_r where
    k ≥ R. Where a tie reaches below the depth that is looked at (2k + 32 answers), what lies below counts as tied,
    relevant or not as the bound wants it: the bounds may then be wider than the truth, never narrower. On a collapsed
    encoder hit_rate is bounded by 0 and 1.

    Cost: one exact search 2k + 32 + ignored deep, and TIE_BYTES an answer of its lists; nothing grows with q × n.
    """
    depth = tie_depth(k, len(gallery))
    ignored = ignored_counts(truth)
    asked = min(depth + int(ignored.max(initial=0)), len(gallery))
    rows, scores = nearest(queries.vectors, gallery.vectors, asked, similarity, threads)
    ids = np.where(rows >= 0, gallery.ids[rows], -1)
    found = remove_ignored(SearchResult(ids, scores), truth, depth)
    at, _ = places(found.ids.ravel(), gallery.ids)
    at = np.where(found.ids >= 0, at.reshape(found.ids.shape), -1)
    slack = tie_tolerance(queries.vectors, gallery.vectors, at, found.scores, similarity)
    judged = judge_ids(found.ids, truth)
    scores_64, lowest = found.scores.astype(np.float64), found.scores[:, -1:].astype(np.float64)
    reach = (scores_64[:, :k] - slack[:, :k]).min(axis=1)
    open_end = judged.valid[:, -1] & (lowest[:, 0] >= reach)  # ties may go on below the depth
    below = np.where(open_end, len(gallery) - ignored - judged.valid.sum(axis=1), 0)
    lost = np.where(open_end, judged.relevant - judged.hits.sum(axis=1), 0)
    bonus = slack * judged.hits
    best = _extreme(judged, scores_64 + bonus, lowest + slack[:, -1:], lost, k=k, optimistic=True)
    worst = _extreme(judged, scores_64 - bonus, lowest, below - lost, k=k, optimistic=False)
    return best, worst


def _extreme(
    judged: Judgement, keys: NDArray[np.float64], lowest: NDArray[np.float64], below: Ints, *, k: int, optimistic: bool
) -> Judgement:
    """The first k by falling key, and among equal keys what the bound wants: [q, k].

    `below`: how many more items of the wanted kind may stand at the key `lowest` [q, 1]: [q].
    """
    more = np.arange(min(k, int(below.max(initial=0)))) < below[:, None]
    hits = np.concatenate([judged.hits, more & optimistic], axis=1)
    valid = np.concatenate([judged.valid, more], axis=1)
    keys = np.concatenate([keys, np.where(more, lowest, -np.inf)], axis=1)
    order = np.lexsort((hits != optimistic, -keys), axis=1)[:, :k]
    hits, valid = np.take_along_axis(hits, order, 1), np.take_along_axis(valid, order, 1)
    if judged.gains is None or judged.ideal_gains is None:
        return Judgement(hits, valid, judged.relevant)
    gains = np.concatenate([judged.gains, np.where(more & optimistic, judged.ideal_gains[:, :1], 0.0)], axis=1)
    ideal = judged.ideal_gains[:, :k]
    total = np.minimum(np.cumsum(np.take_along_axis(gains, order, 1), axis=1), np.cumsum(ideal, axis=1))
    return Judgement(hits, valid, judged.relevant, np.diff(total, axis=1, prepend=0.0), ideal)


def restrict(truth: GroundTruth, query_ids: Ints, gallery_ids: Ints) -> GroundTruth:
    """The truth for these queries and gallery items only, in this order; ids that it does not know are an error.

    Raises:
        ValueError: an id is not in `truth`.
    """
    query, gallery = _known(query_ids, truth.query_ids, "query"), _known(gallery_ids, truth.gallery_ids, "gallery")
    relevant, kept = restrict_lists(truth.relevant, query, gallery_ids)
    return GroundTruth(
        truth.query_ids[query],
        truth.gallery_ids[gallery],
        None if truth.query_labels is None else truth.query_labels[query],
        None if truth.gallery_labels is None else truth.gallery_labels[gallery],
        None if truth.query_groups is None else truth.query_groups[query],
        None if truth.gallery_groups is None else truth.gallery_groups[gallery],
        relevant,
        restrict_lists(truth.junk, query, gallery_ids)[0],
        None if truth.gains is None else truth.gains[kept],
    )


def _known(ids: Ints, among: Ints, what: str) -> Ints:
    place, found = places(ids, among)
    if not found.all():
        raise ValueError(f"{what} ids that the ground truth does not know: {ids[~found][:5].tolist()}")
    return place


def _one_row_each(result: SearchResult, truth: GroundTruth) -> None:
    if len(result) != len(truth.query_ids):
        raise ValueError(f"{len(result)} rows of answers for {len(truth.query_ids)} queries; give one row each")


def _labels(truth: GroundTruth) -> tuple[Ints, Ints]:
    if truth.query_labels is None or truth.gallery_labels is None:
        raise ValueError("the ground truth has neither labels nor lists of relevant ids")
    return truth.query_labels, truth.gallery_labels


def _is_ignored(truth: GroundTruth, owner: Ints, ids: Ints) -> NDArray[np.bool_]:
    """Whether a gallery id is ignored for the query in row `owner`."""
    ignored: NDArray[np.bool_] = ids == truth.query_ids[owner]
    if truth.query_groups is not None and truth.gallery_groups is not None:
        place, found = places(ids, truth.gallery_ids)
        ignored = ignored | (found & (truth.gallery_groups[place] == truth.query_groups[owner]))
    if truth.junk is not None:
        ignored |= find_pairs(truth.junk, owner, ids) >= 0
    return ignored


def _count_ignored(truth: GroundTruth, same_label: bool) -> Ints:
    """Ignored gallery items of each query; only those of the query's own label, if asked for."""
    itself, present = places(truth.query_ids, truth.gallery_ids)
    counts = present.astype(np.int64)
    if same_label:
        query_labels, gallery_labels = _labels(truth)
        counts *= gallery_labels[itself] == query_labels
    in_group = np.zeros(len(counts), np.bool_)
    if truth.query_groups is not None and truth.gallery_groups is not None:
        in_group = present & (truth.gallery_groups[itself] == truth.query_groups)
        values, among = truth.query_groups, truth.gallery_groups
        if same_label:
            values, among = joined((values, among), _labels(truth))
            in_group &= counts > 0
        counts = counts - in_group + count_of(values, among)
    if truth.junk is not None:
        counts = counts + _count_junk(truth, same_label)
    return counts


def _count_junk(truth: GroundTruth, same_label: bool) -> Ints:
    """Junk of each query that is not ignored for another reason already."""
    if truth.junk is None:
        return np.zeros(len(truth.query_ids), np.int64)
    owner, ids = pairs(truth.junk)
    fresh = first_of_each(owner, ids) & (ids != truth.query_ids[owner])
    place, _ = places(ids, truth.gallery_ids)
    if truth.query_groups is not None and truth.gallery_groups is not None:
        fresh &= truth.gallery_groups[place] != truth.query_groups[owner]
    if same_label:
        query_labels, gallery_labels = _labels(truth)
        fresh &= gallery_labels[place] == query_labels[owner]
    return np.bincount(owner[fresh], minlength=len(truth.query_ids)).astype(np.int64)


def _ideal_gains(truth: GroundTruth, k: int) -> NDArray[np.float64]:
    """The k largest gains among what is relevant and not ignored, falling: [q, k]."""
    out = np.zeros((len(truth.query_ids), k))
    if truth.relevant is None or truth.gains is None:
        return out
    owner, ids = pairs(truth.relevant)
    kept = first_of_each(owner, ids) & ~_is_ignored(truth, owner, ids)
    owner, gains = owner[kept], truth.gains[kept]
    order = np.lexsort((-gains, owner))
    owner, gains = owner[order], gains[order]
    rank = np.arange(len(owner)) - np.searchsorted(owner, owner)
    inside = rank < k
    out[owner[inside], rank[inside]] = gains[inside]
    return out
