"""An index for each block: what is merged, how it is scored, and what that misses."""

import json
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from retrieval_bench._recipe import Recipe, build_params, rebuilt
from retrieval_bench.errors import BadConfig, CorruptInput
from retrieval_bench.search.annoy import Annoy
from retrieval_bench.search.base import Family, Index, facts
from retrieval_bench.search.exact import Exact
from retrieval_bench.search.hnsw import HNSW
from retrieval_bench.search.ivf import IVF
from retrieval_bench.search.ivf_pq import IVFPQ
from retrieval_bench.search.merge import Merge
from retrieval_bench.search.scalar import Scalar
from retrieval_bench.search.simhash import SimHash
from retrieval_bench.types import Similarity

COSINE, DOT, EUCLIDEAN = Similarity.COSINE, Similarity.DOT, Similarity.EUCLIDEAN
WIDTHS = (24, 16)
# Each of these reads everything at its effort.
INSIDE: dict[str, tuple[partial, int | None]] = {
    "exact": (partial(Exact), None),
    "ivf": (partial(IVF, nlist=4, efforts=[4]), 4),
    "ivf_pq": (partial(IVFPQ, nlist=4, factor=600, efforts=[4]), 4),
    "scalar": (partial(Scalar, nlist=4, efforts=[4]), 4),
    "annoy": (partial(Annoy, trees=10, efforts=[100_000]), 100_000),
    "hnsw": (partial(HNSW, m=32, efforts=[600]), 600),
    "simhash": (partial(SimHash, bits=2, rerank=600, efforts=[4]), 4),
}


class Told(Index):
    """Answers the same rows to everybody, and remembers what it was told."""

    similarities = frozenset(Similarity)
    family = Family.TREE
    knob = "told"
    effort_at_least_k = True

    def __init__(self, rows: Sequence[Sequence[int]] = ((0,),), efforts: Sequence[int] = (1,)) -> None:
        self.rows, self.efforts = np.array(rows, np.int64), efforts
        self.asked: list[tuple] = []

    def build(self, vectors: np.ndarray, similarity: Similarity, seed: int) -> None:
        self.vectors, self.similarity, self.seed = vectors, similarity, seed

    def search(self, queries: np.ndarray, k: int, effort: int | None) -> tuple[np.ndarray, np.ndarray]:
        self.asked.append((queries, k, effort))
        rows = np.pad(self.rows[:, :k], ((0, 0), (0, max(0, k - self.rows.shape[1]))), constant_values=-1)
        rows = np.broadcast_to(rows, (len(queries), k))
        return rows, np.where(rows < 0, -np.inf, 0).astype(np.float32)

    def save(self, path: Path) -> None:
        raise AssertionError

    load = save

    def candidates(self) -> np.ndarray | None:
        return np.full(len(self.asked[-1][0]), 7)


class CosineOnly(Told):
    similarities = frozenset({COSINE})

    def candidates(self) -> None:
        return None


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def streams(n: int, noise: float = 1.0, widths: Sequence[int] = WIDTHS, seed: int = 0) -> np.ndarray:
    """What `two_stream` gives: blocks of one length each, clustered alike."""
    rng = np.random.default_rng(seed)
    classes = rng.integers(0, 40, n)
    parts = [unit(rng.standard_normal((40, d))[classes] + noise * rng.standard_normal((n, d))) for d in widths]
    return (np.concatenate(parts, axis=1) / np.sqrt(len(widths))).astype(np.float32)


def sample(similarity: Similarity, lengths: bool, n: int = 620) -> tuple[np.ndarray, np.ndarray]:
    """Gallery and 20 queries; with blocks of all lengths, or as `two_stream` gives them."""
    x = streams(n)
    if lengths:
        rng = np.random.default_rng(1)
        x *= np.repeat(rng.uniform(0.2, 2, (n, 2)), WIDTHS, axis=1).astype(np.float32)
        x = unit(x).astype(np.float32) if similarity is COSINE else x
    return np.ascontiguousarray(x[:-20]), np.ascontiguousarray(x[-20:])


def scored(queries: np.ndarray, gallery: np.ndarray, similarity: Similarity) -> np.ndarray:
    q, g = queries.astype(np.float64), gallery.astype(np.float64)
    if similarity is EUCLIDEAN:
        return -np.sqrt(((q[:, None] - g[None]) ** 2).sum(axis=2))
    return q @ g.T


def slow(gallery: np.ndarray, queries: np.ndarray, similarity: Similarity, depth: int, k: int) -> np.ndarray:
    """Union of the exact lists of both blocks, ordered by the sum of the blocks: rows [q, k]."""
    spans = ((0, WIDTHS[0]), (WIDTHS[0], sum(WIDTHS)))
    parts = [scored(queries[:, a:b], gallery[:, a:b], similarity) for a, b in spans]
    total = -sum(part**2 for part in parts) if similarity is EUCLIDEAN else sum(parts)
    found = []
    for i in range(len(queries)):
        union = {int(row) for part in parts for row in np.argsort(-part[i], kind="stable")[:depth]}
        found.append(sorted(union, key=lambda row, i=i: -total[i, row])[:k])
    return np.array(found)


def built(make: partial, gallery: np.ndarray, similarity: Similarity = DOT, seed: int = 0) -> Merge:
    index = make()
    index.set_threads(1)
    index.build(gallery, similarity, seed)
    return index


def test_a_row_that_no_block_has_near_its_top_is_missed_though_the_indexes_are_exact() -> None:
    gallery = np.array([[5, 0], [0, 5], [3, 3], [1, 1]], np.float32)
    query = np.array([[1, 1]], np.float32)
    rows, scores = built(partial(Merge, partial(Exact), [1, 1], factor=1), gallery).search(query, 1, None)
    assert (rows.tolist(), scores.tolist()) == ([[0]], [[5]])  # the lists are 0 and 1
    rows, scores = built(partial(Merge, partial(Exact), [1, 1], factor=2), gallery).search(query, 1, None)
    assert (rows.tolist(), scores.tolist()) == ([[2]], [[6]])  # 0, 2 and 1, 2
    assert not facts(partial(Merge, partial(Exact))).exact


@pytest.mark.parametrize("lengths", [False, True], ids=["two_stream", "lengths"])
@pytest.mark.parametrize("similarity", list(Similarity))
def test_merges_what_a_slow_reference_merges(similarity: Similarity, lengths: bool) -> None:
    gallery, queries = sample(similarity, lengths)
    index = built(partial(Merge, partial(Exact), WIDTHS, factor=1), gallery, similarity)
    rows, scores = index.search(queries, 5, None)
    np.testing.assert_array_equal(rows, slow(gallery, queries, similarity, 5, 5))
    truth = scored(queries, gallery, similarity)
    np.testing.assert_allclose(scores, np.take_along_axis(truth, rows, 1), atol=2e-6)
    assert (rows != np.argsort(-truth, axis=1)[:, :5]).any(), "lists of k do not hold every neighbour"


@pytest.mark.parametrize("lengths", [False, True], ids=["two_stream", "lengths"])
@pytest.mark.parametrize("similarity", list(Similarity))
@pytest.mark.parametrize("name", sorted(INSIDE))
def test_lists_as_deep_as_the_gallery_are_exact_search(name: str, similarity: Similarity, lengths: bool) -> None:
    gallery, queries = sample(similarity, lengths)
    make, effort = INSIDE[name]
    index = built(
        partial(Merge, make, WIDTHS, factor=len(gallery), efforts=[effort] if effort else []), gallery, similarity
    )
    rows, scores = index.search(queries, 10, effort)
    truth = scored(queries, gallery, similarity)
    np.testing.assert_array_equal(rows, np.argsort(-truth, axis=1)[:, :10])
    np.testing.assert_allclose(scores, np.take_along_axis(truth, rows, 1), atol=2e-6)


def test_three_blocks_and_more_threads(tmp_path: Path) -> None:
    x = streams(560, widths=(5, 4, 3))
    index = built(partial(Merge, partial(Exact), [5, 4, 3], factor=560), x[:500], COSINE)
    rows, scores = index.search(x[:560], 5, None)
    np.testing.assert_array_equal(rows[:500, 0], np.arange(500))
    index.set_threads(2)
    np.testing.assert_array_equal(index.search(x[:560], 5, None)[0], rows)
    index.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1", "2", "gallery-product.npy", "merge.json"]
    other = Merge(partial(Exact), factor=560)  # the widths come from the folder
    other.load(tmp_path)
    again = other.search(x[:560], 5, None)
    np.testing.assert_array_equal(again[0], rows)
    np.testing.assert_array_equal(again[1], scores)
    (tmp_path / "merge.json").unlink()
    with pytest.raises(CorruptInput, match="holds no saved merged index; delete the folder"):
        other.load(tmp_path)


def test_an_exact_score_finds_what_an_imputed_one_does_not() -> None:
    """The other way to merge: a row that a list lacks is given that list's last score."""
    x = streams(3100, noise=3)
    gallery, queries, depth = x[:3000], x[3000:], 80
    truth = np.argsort(-scored(queries, gallery, COSINE), axis=1, kind="stable")[:, :10]
    ours, _ = built(partial(Merge, partial(Exact), WIDTHS, factor=8), gallery, COSINE).search(queries, 10, None)
    guessed = []
    parts = [scored(queries[:, a:b], gallery[:, a:b], DOT) for a, b in ((0, 24), (24, 40))]
    for i in range(len(queries)):
        total: dict[int, float] = {}
        lists = [np.argsort(-part[i])[:depth] for part in parts]
        for row in np.union1d(*lists):
            total[row] = sum(p[i, row] if row in rows else p[i, rows[-1]] for p, rows in zip(parts, lists, strict=True))
        guessed.append(sorted(total, key=lambda row, total=total: -total[row])[:10])

    def found(rows: Sequence[Sequence[int]]) -> int:
        return sum(len(set(a) & set(b)) for a, b in zip(rows, truth.tolist(), strict=True))

    assert (found(ours.tolist()), found(guessed)) == (983, 245)  # of 1,000


def test_an_index_inside_that_finds_little(monkeypatch: pytest.MonkeyPatch) -> None:
    gallery = np.arange(8, dtype=np.float32).reshape(4, 2)
    index = built(partial(Merge, partial(Told, [[2, 1, -1]]), [1, 1], efforts=[1]), gallery)
    rows, scores = index.search(np.ones((2, 2), np.float32), 3, 1)
    assert rows.tolist() == [[2, 1, -1]] * 2 and scores.tolist() == [[9, 5, -np.inf]] * 2
    monkeypatch.setattr(index._parts[1].index, "rows", np.array([[-1, -1, -1]]))
    assert index.search(np.ones((2, 2), np.float32), 3, 1)[0].tolist() == [[2, 1, -1]] * 2
    monkeypatch.setattr(index._parts[0].index, "rows", np.array([[-1, -1, -1]]))
    rows, scores = index.search(np.ones((1, 2), np.float32), 3, 1)
    assert rows.tolist() == [[-1, -1, -1]] and scores.tolist() == [[-np.inf] * 3]


def test_zero_blocks_have_a_product_of_zero() -> None:
    gallery, queries = (side.copy() for side in sample(COSINE, False))
    gallery[::3, :24], gallery[1::3, 24:] = 0, 0
    queries[0, :24], queries[1, 24:] = 0, 0
    gallery, queries = unit(gallery).astype(np.float32), unit(queries).astype(np.float32)
    for make in (partial(Exact), partial(HNSW, m=32, efforts=[600]), partial(SimHash, bits=2, efforts=[4])):
        efforts = make.keywords.get("efforts", [])
        index = built(partial(Merge, make, WIDTHS, factor=600, efforts=efforts), gallery, COSINE)
        rows, _ = index.search(queries, 5, efforts[0] if efforts else None)
        np.testing.assert_array_equal(rows, np.argsort(-scored(queries, gallery, COSINE), axis=1)[:, :5])


def test_a_stream_without_weight_changes_nothing() -> None:
    gallery, queries = (side.copy() for side in sample(COSINE, False))
    gallery[:, 24:], queries[:, 24:] = 0, 0
    gallery, queries = unit(gallery).astype(np.float32), unit(queries).astype(np.float32)
    index = built(partial(Merge, partial(Exact), WIDTHS, factor=1), gallery, COSINE)
    truth = np.argsort(-scored(queries, gallery, COSINE), axis=1)[:, :5]
    np.testing.assert_array_equal(index.search(queries, 5, None)[0], truth)
    assert [part.similarity for part in index._parts] == [COSINE, DOT]


def test_blocks_of_one_length_are_searched_by_cosine_and_others_by_product() -> None:
    gallery, queries = sample(COSINE, False)
    make = partial(Merge, partial(Told), WIDTHS, efforts=[1])
    index = built(make, gallery, COSINE, seed=5)
    index.search(queries * np.float32(3), 4, 1)
    for (first, second), part in zip(((0, 24), (24, 40)), index._parts, strict=True):
        inside = part.index
        assert isinstance(inside, Told) and inside.similarity is COSINE
        np.testing.assert_allclose(inside.vectors, unit(gallery[:, first:second]), atol=1e-6)
        np.testing.assert_allclose(inside.asked[0][0], unit(queries[:, first:second]), atol=1e-6)
        assert inside.vectors.flags.c_contiguous and inside.vectors.dtype == np.float32
    assert index._parts[0].index.seed != index._parts[1].index.seed, "each block draws by itself"
    gallery, queries = sample(COSINE, True)
    assert [part.index.similarity for part in built(make, gallery, COSINE)._parts] == [DOT, DOT]
    with pytest.raises(BadConfig, match="CosineOnly searches by cosine only, and the vectors of a block differ"):
        built(partial(Merge, partial(CosineOnly), WIDTHS, efforts=[1]), gallery, COSINE)


def test_a_list_is_no_longer_than_the_queue_that_the_effort_is() -> None:
    index = built(partial(Merge, partial(Told), WIDTHS, factor=3, efforts=[1]), sample(DOT, True)[0])
    for effort in (1, 8, 12, 100):
        index.search(sample(DOT, True)[1], 5, effort)
    index.search(sample(DOT, True)[1], 500, 2000)
    assert [asked[1] for asked in index._parts[0].index.asked] == [5, 8, 12, 15, 600]
    assert [asked[2] for asked in index._parts[1].index.asked] == [1, 8, 12, 100, 2000]


def test_a_vector_of_a_block_counts_as_its_share() -> None:
    index = built(partial(Merge, partial(Told), [1, 2], efforts=[1]), np.ones((4, 3), np.float32))
    index.search(np.ones((2, 3), np.float32), 1, 1)
    assert index.candidates().tolist() == [7, 7]
    index = built(partial(Merge, partial(Exact), WIDTHS), sample(DOT, True)[0])
    index.search(sample(DOT, True)[1][:3], 1, None)
    assert index.candidates().tolist() == [600] * 3
    index = built(partial(Merge, partial(CosineOnly), WIDTHS, efforts=[1]), sample(COSINE, False)[0], COSINE)
    index.search(sample(DOT, True)[1], 1, 1)
    assert index.candidates() is None


@pytest.mark.parametrize(
    ("blocks", "own", "message"),
    [
        ([24, 24], None, "blocks=[24, 24] have 48 columns together, the vectors 40; type blocks=[20,20], for instance"),
        ([10], {"rgb": (0, 24), "flow": (24, 40)}, "type blocks=null for the embedding's own (rgb 24, flow 16)"),
        (None, None, "these vectors come without blocks: an encoder of one stream makes none, and transforms and"),
        (None, None, "widths of the blocks, 40 columns together, such as blocks=[20,20], or use encoder=two_stream"),
        (None, {"rgb": (0, 24), "flow": (24, 39)}, "the embedding's blocks (rgb 24, flow 15) are not all of its 40"),
        (None, {"rgb": (0, 24), "flow": (20, 40)}, "(rgb 24, flow 20) are not all of its 40 columns; type blocks=[20"),
        ([], None, "blocks=[]: widths are whole numbers from 1, for instance blocks=[1280,1280]"),
        ([40, 0], None, "blocks=[40, 0]: widths are whole numbers from 1"),
        ([True, 39], None, "blocks=[True, 39]: widths are whole numbers from 1"),
    ],
)
def test_blocks_that_do_not_fit_are_refused(
    blocks: list[int] | None, own: dict[str, tuple[int, int]] | None, message: str
) -> None:
    with pytest.raises(BadConfig, match=re.escape(message)):
        index = Merge(partial(Exact), blocks)
        index.set_blocks(own)
        index.build(sample(DOT, True)[0], DOT, 0)


def test_the_blocks_of_the_embedding_are_taken() -> None:
    gallery, queries = sample(COSINE, False)
    index = Merge(partial(Exact))
    index.set_blocks({"flow": (24, 40), "rgb": (0, 24)})
    index.build(gallery, COSINE, 0)
    given = built(partial(Merge, partial(Exact), WIDTHS), gallery, COSINE)
    np.testing.assert_array_equal(index.search(queries, 5, None)[0], given.search(queries, 5, None)[0])
    assert [(part.start, part.stop) for part in index._parts] == [(0, 24), (24, 40)]
    index.set_blocks({"all": (0, 40)})
    index.build(gallery, COSINE, 0)
    np.testing.assert_array_equal(
        index.search(queries, 5, None)[0], np.argsort(-scored(queries, gallery, COSINE), axis=1)[:, :5]
    )


def test_what_is_wrapped_decides_the_facts() -> None:
    graph = facts(partial(Merge, partial(HNSW, m=8)))
    assert (graph.knob, graph.family, graph.effort_at_least_k, graph.library) == ("ef", Family.GRAPH, True, "faiss-cpu")
    lists = facts(partial(Merge, index=partial(IVF)))
    assert (lists.knob, lists.family, lists.effort_at_least_k) == ("nprobe", Family.INVERTED_LIST, False)
    codes = facts(partial(Merge, partial(Scalar)))
    assert codes.family is Family.QUANTISED and not codes.approximate_scores
    exact = facts(partial(Merge, index=partial(Exact)))
    assert (exact.knob, exact.family, exact.library, exact.exact) == (None, Family.OTHER, None, False)
    assert facts(partial(Merge, index=partial(CosineOnly))).similarities == {COSINE}
    twice = facts(partial(Merge, index=partial(Merge, index=partial(IVF))))
    assert issubclass(twice, Merge) and twice.knob == "nprobe"
    assert (twice.__module__, twice.__qualname__) == (Merge.__module__, "Merge")


@pytest.mark.parametrize("index", [None, Exact, partial(dict), Exact()])
def test_only_a_backend_that_is_not_constructed_can_be_wrapped(index: object) -> None:
    told = r"is not a subclass" if isinstance(index, partial) else r"is not constructed yet \(_partial_: true\), not"
    with pytest.raises(TypeError, match=told):
        Recipe.of(partial(Merge, index=index))
    with pytest.raises(TypeError, match=told):
        Merge(index)


def test_wrong_parameters_are_refused() -> None:
    with pytest.raises(BadConfig, match="factor=0: at least 1 is needed"):
        Merge(partial(Exact), factor=0)
    with pytest.raises(BadConfig, match=r"Exact has no knob, so efforts must be \[\], not \[3\]"):
        Merge(partial(Exact), efforts=[3])
    with pytest.raises(TypeError, match=r"Merge has the knob nprobe, so it needs values: efforts=\[…\]"):
        Recipe.of(partial(Merge, index=partial(IVF, efforts=[1])))


def test_the_record_tells_what_is_wrapped_and_builds_it_again() -> None:
    make = partial(Merge, index=partial(IVF, nlist=7, efforts=[1, 2]), blocks=[3, 4], factor=8, efforts=[1, 2])
    params = json.loads(json.dumps(Recipe.of(make).params))
    inside = {"_target_": "retrieval_bench.search.ivf.IVF", "nlist": 7}
    assert params == build_params(make) == {"index": inside, "blocks": [3, 4], "factor": 8}
    again = rebuilt(make, params | {"index": inside | {"nlist": 9}}, [5])
    assert again.func is Merge and again.keywords["efforts"] == [5]
    assert again.keywords["index"].func is IVF and again.keywords["index"].keywords["nlist"] == 9
    assert Recipe.of(rebuilt(make, params, [5])).key == Recipe.of(make).key
    with pytest.raises(BadConfig, match=r"index is os\.System here and retrieval_bench\.search\.ivf\.IVF in"):
        rebuilt(make, params | {"index": {"_target_": "os.System"}}, [5])


def test_a_key_for_each_wrapped_index_but_not_for_its_efforts() -> None:
    def key(inside: partial, **given: object) -> str:
        return Recipe.of(partial(Merge, index=inside, **({"efforts": [1]} | given))).key

    first = key(partial(IVF, nlist=7, efforts=[1]))
    assert key(partial(IVF, nlist=7, efforts=[1, 2]), efforts=[2]) == first == key(partial(IVF, nlist=7))
    others = [key(partial(IVF, nlist=8)), key(partial(HNSW)), key(partial(IVF, nlist=7), factor=9)]
    assert len({first, *others}) == 4
