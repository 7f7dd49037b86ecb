"""Merged indexes in whole runs: composed, measured, recorded, told apart, and opened again."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from retrieval_bench import run
from retrieval_bench._opened import chosen
from retrieval_bench.cli import experiment, reopen
from retrieval_bench.doctor import shipped_backend
from retrieval_bench.errors import BadConfig
from retrieval_bench.measure import Candidate, Measure, Plan, forget, measure, open_index
from retrieval_bench.record import RunRecord
from retrieval_bench.search.exact import Exact
from retrieval_bench.search.hnsw import HNSW
from retrieval_bench.search.merge import Merge
from retrieval_bench.types import Embeddings, Similarity

pytestmark = pytest.mark.xdist_group("merged")  # what they look at is made once
MERGED = ["search=[exact,merge]", "search@search.merge.index=ivf", "search.merge.index.nlist=9"]
MERGED += ["search.merge.efforts=[1,9]", "search.merge.blocks=[10,6]", "search.merge.factor=1"]


DEEP = ["+search@search.merge_deep=merge", "search@search.merge_deep.index=exact", "search.merge_deep.factor=80"]
DEEP += ["search.merge_deep.blocks=[10,6]"]


@pytest.fixture(scope="module")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """400 vectors of two blocks and 30 queries of their own, as overrides."""
    place = tmp_path_factory.mktemp("vectors")
    x = np.random.default_rng(4).standard_normal((430, 16)).astype(np.float32)
    np.save(place / "gallery.npy", x[:400])
    np.save(place / "queries.npy", x[400:])
    paths = [f"data.{side}={place / side}.npy" for side in ("gallery", "queries")]
    paths += [f"paths.{name}={place / name}" for name in ("cache", "runs")]
    quick = ["k=[5]", "measure.max_queries=20", "measure.passes=2", "measure.batch_threads=1"]
    return ["data=vectors", "logger=[]", *paths, *quick]


@pytest.fixture(scope="module")
def record(vectors: list[str]) -> RunRecord:
    return run([*vectors, *MERGED, *DEEP])


def embeddings(n: int, first: int, blocks: dict[str, tuple[int, int]] | None) -> Embeddings:
    x = np.random.default_rng(first).standard_normal((n, 8)).astype(np.float32)
    return Embeddings(np.arange(first, first + n), x, blocks=blocks, fingerprint=str(first))


def test_a_run_measures_merged_indexes_beside_others(vectors: list[str], record: RunRecord) -> None:
    points = record.points[(record.points["half"] == "all") & (record.points["index"] != "null")]
    assert set(points["status"]) == {"ok"}
    told = {(row["index"], row["knob"], row["effort"]): row for row in points.to_dict("records")}
    effort = {key[2] for key in told if key[0] == "merge"}
    assert effort == {1, 9} and {key[1] for key in told if key[0] == "merge"} == {"nprobe"}
    deep = next(row for row in told.values() if row["index"] == "merge_deep")
    assert deep["ann_recall"] == 1 and deep["candidate_fraction"] == 1 and deep["family"] == "other"
    shallow = next(row for key, row in told.items() if key[0] == "merge" and key[2] == 9)
    assert shallow["candidate_fraction"] == 1 and 0 < shallow["ann_recall"] < 1, "lists of 5"
    assert json.loads(shallow["index_params"])["index"] == {
        "_target_": "retrieval_bench.search.ivf.IVF",
        "nlist": 9,
        "train_points": 64,
        "iterations": 10,
    }
    assert shallow["index_bytes"] > deep["index_bytes"] > 2 * 400 * 16 * 4, "the gallery, and each block once more"
    assert run([*vectors, *MERGED, *DEEP]) == record, "nothing is missing"


def test_a_finished_run_is_asked_through_its_merged_index(record: RunRecord) -> None:
    again = reopen(record)
    choice = chosen(record, again, "given", "merge", 4)
    index = open_index(record.folder / "results" / "given", choice.candidate, choice.build_seed)
    queries = np.load(again.config["data"]["queries"])
    rows = index.search(queries, 5, choice.effort).ids
    assert rows.shape == (30, 5) and choice.candidate.factory.keywords["index"].keywords["nlist"] == 9
    with pytest.raises(BadConfig, match="merge has the knob nprobe, a whole number from 1"):
        chosen(record, again, "given", "merge", -1)


@pytest.mark.slow
def test_blocks_that_nobody_tells_are_a_failed_row(vectors: list[str]) -> None:
    rows = run([*vectors, "search=[exact,merge]", "k=[4]"]).rows  # a run of its own
    failed = [row for row in rows if row["index"] == "merge"]
    assert [row["status"] for row in failed] == ["failed"]
    assert "Give the widths of the blocks, 16 columns together, such as blocks=[8,8]" in failed[0]["error"]
    assert {row["status"] for row in rows if row["index"] == "exact"} == {"ok"}


@pytest.mark.slow
def test_the_blocks_of_the_embeddings_reach_the_index(tmp_path: Path) -> None:
    plan = Plan(Similarity.COSINE, [3], 0, 0, Measure(passes=1, max_queries=5, max_seconds=0.1, batch_threads=1))
    merge = Candidate("merge", partial(Merge, index=partial(Exact), factor=40))
    for blocks in ({"rgb": (0, 5), "flow": (5, 8)}, {"rgb": (0, 6), "flow": (6, 8)}):
        gallery = embeddings(40, 0, blocks)
        result = measure([merge], embeddings(6, 1000, blocks), gallery, plan, tmp_path, lambda *_: None)[1]
        assert result.build["status"] == "ok", result.build["error"]
        index = open_index(tmp_path, merge).index
        assert [(part.start, part.stop) for part in index._parts] == sorted(blocks.values()), "measured anew"
    forget(tmp_path, [merge], [0])
    with pytest.raises(BadConfig, match="no finished index merge"):
        open_index(tmp_path, merge)


def test_an_effort_below_the_depth_is_measured_once(tmp_path: Path) -> None:
    plan = Plan(Similarity.DOT, [3], 0, 0, Measure(passes=1, max_queries=5, max_seconds=0.1, batch_threads=1))
    make = partial(Merge, index=partial(HNSW, efforts=[9]), blocks=[4, 4], efforts=[1, 2, 30])
    sides = embeddings(6, 1000, None), embeddings(40, 0, None)
    result = measure([Candidate("merge", make)], *sides, plan, tmp_path, lambda *_: None)[1]
    assert [point.effort for point in result.points] == [1, 2, 30] and result.build["knob"] == "ef"
    kept = sorted(file.name for file in tmp_path.glob("merge-*/neighbours-*.parquet"))
    assert len(kept) == 2 and "3" in kept[0], kept


def test_a_secret_inside_a_wrapped_index_is_refused(vectors: list[str]) -> None:
    given = [*vectors, "search=[merge]", "search@search.merge.index=milvus", "search.merge.blocks=[8,8]"]
    with pytest.raises(BadConfig, match=r"search\.merge\.index\.uri holds a user or password") as caught:
        experiment([*given, "search.merge.index.uri=http://me:hidden@host:1"])
    assert "hidden" not in str(caught.value)


def test_a_misspelt_part_of_a_wrapped_index_is_told(vectors: list[str]) -> None:
    with pytest.raises(BadConfig, match=r"search\.merge\.index.*'nlsit'.*nlist"):
        experiment([*vectors, *MERGED, "+search.merge.index.nlsit=3"])
    with pytest.raises(BadConfig, match=r"search\.merge\.index\._partial_=False: true is needed here"):
        experiment([*vectors, *MERGED, "search.merge.index._partial_=false"])


def test_the_efforts_are_those_of_what_is_inside(vectors: list[str]) -> None:
    given = [*vectors, "search=[merge]", "search@search.merge.index=ivf", "search.merge.blocks=[8,8]"]
    assert experiment(given).efforts("merge") == [1, 2, 4, 8, 16, 32, 64]
    exact = [each.replace("index=ivf", "index=exact") for each in given]
    assert experiment(exact).efforts("merge") == [None]
    conf = Path(__file__).parents[1] / "conf" / "search"
    assert (
        experiment([*vectors, "search=[merge]"]).search["merge"].keywords.keys()
        == shipped_backend(conf / "merge.yaml").keywords.keys()
    )
