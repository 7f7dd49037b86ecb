"""Moments end to end: what is timed, what is answered through an index, and what a run over them writes."""

import io
import json
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic_moments import study

from retrieval_bench import run
from retrieval_bench._clusters import cluster_columns
from retrieval_bench._messages import ArrayFile, MomentParts
from retrieval_bench._moments import MomentSearch, moment_search
from retrieval_bench._questions import Questions
from retrieval_bench._scene import Scene
from retrieval_bench.choose import Target
from retrieval_bench.data.base import Items, MomentDataset, TrueMoments, Video
from retrieval_bench.errors import BadConfig
from retrieval_bench.goals import goal_of
from retrieval_bench.intervals import temporal_iou
from retrieval_bench.measure import Candidate, Measure, Plan, measure, result_folder
from retrieval_bench.metric.hit_rate import hit_rate
from retrieval_bench.moment.base import GalleryWindows, QueryWindows
from retrieval_bench.moment.search import Moments
from retrieval_bench.points import Exact, Stage, exact_search, stage_rows
from retrieval_bench.record import RunRecord
from retrieval_bench.report.moments import moment_remarks
from retrieval_bench.report.page import page
from retrieval_bench.report.remarks import run_facts
from retrieval_bench.report.rows import operating_points
from retrieval_bench.report.table import render_table
from retrieval_bench.search.exact import Exact as ExactIndex
from retrieval_bench.search.simhash import SimHash
from retrieval_bench.stats import bootstrap_columns, halves
from retrieval_bench.types import Embeddings, SearchResult, Segments, Similarity

K, QUERIES = 20, 14
pytestmark = pytest.mark.xdist_group("moment_run")  # what they look at is made once
FINDER = Moments()
INDEXES = [
    Candidate("exact", partial(ExactIndex)),
    Candidate("simhash", partial(SimHash, bits=10, tables=2, efforts=[1])),
]
SETTINGS = Measure(passes=2, max_queries=10, batch_threads=1, clients=2, client_seconds=0.2)


class Given(MomentDataset):
    """Made-up windows, whose vectors are known."""

    name, window, stride = "given", 2.0, 1.0

    def __init__(self, queries: Segments, gallery: Segments, moments: TrueMoments) -> None:
        self._sides = queries, gallery
        self._items = [
            Items([f"{name} {i}" for i in range(len(side.items))], lambda row: {}, name)
            for name, side in zip(("query", "video"), self._sides, strict=True)
        ]
        self._moments = moments

    def train(self) -> Items:
        return self._items[1]

    validation = train

    def queries(self) -> Items:
        return self._items[0]

    def gallery(self) -> Items:
        return self._items[1]

    def query_segments(self) -> Segments:
        return self._sides[0]

    def gallery_segments(self) -> Segments:
        return self._sides[1]

    def videos(self) -> Mapping[int, Video]:
        raise NotImplementedError

    def moments(self) -> TrueMoments:
        return self._moments

    protocol = {}  # noqa: RUF012


@pytest.fixture(scope="module")
def given() -> tuple[Given, Embeddings, Embeddings]:
    """Queries are cut from six videos; one more lasts longer than any of them."""
    made = study(6, QUERIES - 1, 0.9, 4)
    rng = np.random.default_rng(8)
    long = np.arange(185.0)
    queries = [*made.queries, QueryWindows(long, long + 2, rng.standard_normal((185, 32)).astype(np.float32))]
    ids = np.append(made.truth.query_ids, 6000)
    counts = [len(query) for query in queries]
    asked = Segments(*(np.concatenate(part) for part in (
        [np.repeat(ids, counts)], [query.starts for query in queries], [query.ends for query in queries]
    )))  # fmt: skip
    video, starts, ends = made.truth.videos.values, made.truth.starts, made.truth.ends
    moments = TrueMoments(
        ids, [f"q{i}" for i in ids], np.append(video, video[0]), np.append(starts, 0.0), np.append(ends, 30.0)
    )
    data = Given(asked, made.gallery.segments, moments)
    vectors = np.concatenate([np.asarray(query.vectors) for query in queries])
    sides = (
        Embeddings(data.queries().ids, vectors, fingerprint="q"),
        Embeddings(data.gallery().ids, np.asarray(made.gallery.vectors), fingerprint="g"),
    )
    return data, *sides


@pytest.fixture(scope="module")
def search(given: tuple[Given, Embeddings, Embeddings]) -> MomentSearch:
    return moment_search(given[0], FINDER, {"rerank": True}, *given[1:])


@pytest.fixture(scope="module")
def stage(given: tuple[Given, Embeddings, Embeddings], search: MomentSearch) -> Stage:
    data, queries, gallery = given
    metrics = {"hit_rate": partial(hit_rate)}
    parts = (queries, gallery, data.truth(), Similarity.COSINE, metrics, (1, 5), 3, float("nan"))
    return Stage("given", *parts, moments=search)


@pytest.fixture(scope="module")
def exact(stage: Stage) -> Exact:
    return exact_search(stage, K, 0)


@pytest.fixture(scope="module")
def measured(stage: Stage, exact: Exact, tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("measured")
    plan = Plan(stage.similarity, [K], 0, stage.seed, SETTINGS, moments=stage.moments)
    results = measure(INDEXES, stage.queries, stage.gallery, plan, folder, lambda *told: None)
    return results, *stage_rows(stage, exact, results)


def brute_force(stage: Stage, data: Given, k: int = K) -> list:
    """Every query's moments by a plain product and sort, videos as rows of the whole gallery."""
    q, g = (np.asarray(e.vectors, np.float64) for e in (stage.queries, stage.gallery))
    q, g = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (q, g))
    windows = GalleryWindows(data.gallery_segments(), g, Similarity.COSINE)
    answers = []
    for name in np.unique(data.query_segments().items):
        mine = np.flatnonzero(data.query_segments().items == name)
        scores = q[mine] @ g.T
        rows = np.argsort(-scores, axis=1)[:, :k]
        query = QueryWindows(data.query_segments().starts[mine], data.query_segments().ends[mine], q[mine])
        answers.append(FINDER(rows, np.take_along_axis(scores, rows, 1).astype(np.float32), query, windows))
    return answers


def first_hits(answers: list, moments: TrueMoments, iou: float) -> list[float]:
    """Whether the first answer of each query overlaps its moment enough."""
    found = []
    for i, answer in enumerate(answers):
        same = len(answer.videos) > 0 and answer.videos[0] == moments.videos[i]
        own = moments.starts[i], moments.ends[i]
        found.append(float(same and temporal_iou(answer.starts[0], answer.ends[0], *own) >= iou))
    return found


def test_exact_lists_answer_as_brute_force_by_hand(stage: Stage, exact: Exact, given: tuple, measured: tuple) -> None:
    data = given[0]
    answers = brute_force(stage, data)
    hits = first_hits(answers, data.moments(), 0.5)
    assert 0.3 < np.mean(hits) < 1, "some are found, some are not"
    through = stage.moments_through(exact.cut(K))
    assert through.values["moment_hit_rate_iou0.5@1"].tolist() == hits
    assert through.values["moment_hit_rate_iou0.7@1"].tolist() == first_hits(answers, data.moments(), 0.7)
    row = next(row for row in measured[1] if row["index"] == "exact" and row["half"] == "all")
    assert row["moment_hit_rate_iou0.5@1"] == row["exact_moment_hit_rate_iou0.5@1"] == pytest.approx(np.mean(hits))
    assert row["ann_loss_moment_average_precision"] == 0 and row["ann_recall"] == 1
    table = measured[2]["moments"]
    for line, answer in zip(table[table["index"] == "exact"].itertuples(), answers, strict=True):
        assert line.videos.tolist() == answer.videos.tolist()
        np.testing.assert_allclose(line.starts, answer.starts, atol=1e-4)
        np.testing.assert_allclose(line.ends, answer.ends, atol=1e-4)


def test_a_poor_index_is_judged_by_its_own_lists(stage: Stage, given: tuple, measured: tuple) -> None:
    data, tables = given[0], measured[2]
    lists = tables["neighbours"][tables["neighbours"]["index"] == "simhash"].set_index("query_id")
    rows_of = {int(i): row for row, i in enumerate(stage.gallery.ids)}
    windows = GalleryWindows(data.gallery_segments(), stage.gallery.vectors, Similarity.COSINE)
    answers = []
    for name in data.moments().queries:
        mine = np.flatnonzero(data.query_segments().items == name)
        part = lists.loc[stage.queries.ids[mine]]
        rows = np.array([[rows_of.get(int(i), -1) for i in ids] for ids in part["ids"]])
        query = QueryWindows(*(getattr(data.query_segments(), side)[mine] for side in ("starts", "ends")),
                             stage.queries.vectors[mine])  # fmt: skip
        answers.append(FINDER(rows, np.stack(part["scores"].to_list()), query, windows))
    hits = first_hits(answers, data.moments(), 0.5)
    row = next(row for row in measured[1] if row["index"] == "simhash" and row["half"] == "all")
    assert row["ann_recall"] < 0.9 and row["empty_rate"] >= 0
    assert row["moment_hit_rate_iou0.5@1"] == pytest.approx(np.mean(hits))
    right = np.mean(first_hits(brute_force(stage, data), data.moments(), 0.5))
    assert row["ann_loss_moment_hit_rate_iou0.5@1"] == pytest.approx(right - np.mean(hits))
    quality = tables["queries"]
    own = quality[(quality["index"] == "simhash") & (quality["pass"] == -1)].set_index("query_id")
    assert own.loc[data.moments().queries, "moment_hit_rate_iou0.5@1"].tolist() == hits
    assert own.loc[stage.queries.ids, "moment_hit_rate_iou0.5@1"].isna().all()
    assert len(own) == len(stage.queries) + QUERIES and own["ann_recall"].notna().sum() == len(stage.queries)


def test_whole_moment_queries_are_timed(stage: Stage, measured: tuple) -> None:
    results, rows, tables = measured
    assert [result.build["status"] for result in results] == ["ok"] * 3
    for result in results:
        (point,) = result.points
        assert point.timing.nanoseconds.shape == (2, 10) and set(point.timed_ids) <= set(stage.moments.ids)
        assert len(point.result) == len(stage.queries), "lists are those of all windows"
    row = next(row for row in rows if row["index"] == "exact" and row["half"] == "all")
    assert (row["n_moments"], row["n_timed"], row["n_queries"]) == (QUERIES, 10, len(stage.queries))
    assert row["rerank_bytes"] == stage.gallery.vectors.nbytes and row["latency_floor_ms"] > 0
    assert row["clients"] == 2 and row["qps_clients"] > 0
    times = tables["queries"][tables["queries"]["pass"] >= 0]
    assert set(times["query_id"]) <= set(stage.moments.ids)


def test_windows_of_a_query_share_its_half(stage: Stage, measured: tuple) -> None:
    tune = halves(stage.moments.ids, stage.seed)
    assert 0 < tune.sum() < QUERIES
    hits = stage.moments_through(exact_search(stage, K, 0).cut(K)).values["moment_hit_rate_iou0.5@1"]
    found = {row["half"]: row for row in measured[1] if row["index"] == "exact"}
    assert found["tune"]["moment_hit_rate_iou0.5@1"] == pytest.approx(hits[tune].mean())
    assert found["report"]["moment_hit_rate_iou0.5@1"] == pytest.approx(hits[~tune].mean())


@pytest.mark.parametrize("short", [False, True])
def test_a_worker_answers_what_the_harness_judges(stage: Stage, tmp_path: Path, short: bool) -> None:
    """The index knows rows in an order of its own, and may lack answers."""

    class Short(ExactIndex):
        def search(self, queries, k, effort):
            rows, scores = (part.copy() for part in super().search(queries, k, effort))
            rows[:, k // 2 :], scores[:, k // 2 :] = -1, -np.inf
            return rows, scores

    scene = Scene(stage.queries, stage.gallery, stage.similarity, 0, 1, tmp_path, moments=stage.moments)
    unit = stage.gallery.vectors / np.linalg.norm(stage.gallery.vectors, axis=1, keepdims=True)
    index = (Short if short else ExactIndex)()
    index.build(unit[scene.order].astype(np.float32), stage.similarity, 0)
    questions = Questions.of(scene.moment_parts, stage.similarity)
    queries = (stage.queries.vectors / np.linalg.norm(stage.queries.vectors, axis=1, keepdims=True)).astype(np.float32)
    rows, scores = index.search(queries, K, None)
    judged = stage.moments_through(SearchResult(np.where(rows < 0, -1, scene.index_ids[rows]), np.array(scores)))
    for number in range(QUERIES):
        question = questions.question(number, queries[questions.part(number)])
        answer = questions.asking(index)(question, K, None)
        n = len(answer.videos)
        assert n and judged.result.videos[number, :n].tolist() == answer.videos.tolist()
        np.testing.assert_allclose(judged.result.starts[number, :n], answer.starts, atol=1e-4)
        np.testing.assert_allclose(judged.result.ends[number, :n], answer.ends, atol=1e-4)


def test_vectors_stay_in_their_file_and_only_for_the_rerank(stage: Stage, tmp_path: Path) -> None:
    scene = Scene(stage.queries, stage.gallery, stage.similarity, 0, 1, tmp_path, moments=stage.moments)
    parts: MomentParts = scene.moment_parts
    vectors = Questions.of(parts, stage.similarity).gallery.vectors
    assert ArrayFile.of(vectors) is not None and (vectors == stage.gallery.vectors).all()
    without = replace(parts, finder=Moments(rerank=False))
    assert Questions.of(without, stage.similarity).gallery.vectors is None


def test_what_decides_times_and_answers_is_part_of_the_protocol(stage: Stage, tmp_path: Path) -> None:
    def protocol(moments: MomentSearch | None) -> str:
        return Scene(stage.queries, stage.gallery, stage.similarity, 0, 1, tmp_path, moments=moments).protocol

    other = replace(stage.moments, settings={"rerank": False})
    assert len({protocol(None), protocol(stage.moments), protocol(other)}) == 3


def test_moments_of_what_could_be_read(given: tuple, search: MomentSearch) -> None:
    data, queries, gallery = given
    moments = data.moments()
    assert search.ids.tolist() == moments.queries.tolist() and len(search.truth.starts) == QUERIES
    first, lost = moments.queries[0], moments.videos[1]
    few = queries.take(np.flatnonzero(data.query_segments().items != first))
    part = gallery.take(np.flatnonzero(data.gallery_segments().items != lost))
    found = moment_search(data, FINDER, {}, few, part)
    assert found.ids.tolist() == moments.queries[1:].tolist(), "a query without windows is left out"
    lengths = np.diff(found.truth.videos.offsets)
    assert (lengths == (moments.videos[1:] != lost)).all(), "a moment of a lost video cannot be found"
    assert found.first.tolist() == [0, *np.cumsum(np.unique(found.queries.items, return_counts=True)[1])]
    inside = (
        (data.gallery_segments().items == moments.videos[2])
        & (data.gallery_segments().starts < moments.ends[2])
        & (data.gallery_segments().ends > moments.starts[2])
    )
    without = moment_search(data, FINDER, {}, queries, gallery.take(np.flatnonzero(~inside)))
    assert np.diff(without.truth.videos.offsets)[2] == 0, "nor one of which no window is left"
    with pytest.raises(ValueError, match="windows that the data set does not know"):
        moment_search(data, FINDER, {}, replace(queries, ids=queries.ids + 1), gallery)


def test_efforts_are_chosen_by_a_moment_metric(stage: Stage, exact: Exact, measured: tuple) -> None:
    name = "moment_average_precision"
    goal = goal_of(Target(metric=name, loss=0.05), stage, exact, [K])
    tune = halves(stage.moments.ids, stage.seed)
    (point,) = next(result for result in measured[0] if result.build["index"] == "simhash").points
    lost = stage.moments_through(exact.cut(K)).values[name] - stage.moments_through(point.result).values[name]
    assert goal.needed == -0.05 and goal.quality(exact.cut(K), K) == 0
    assert goal.quality(point.result, K) == pytest.approx(-lost[tune].mean()) != 0
    with pytest.raises(BadConfig, match=r"is not measured; measured are hit_rate@1.*video_hit_rate@1"):
        goal_of(Target(metric="moment_hit_rate", loss=0.05), stage, exact, [K])
    assert goal_of(Target(metric="hit_rate@1", loss=0.05), stage, exact, [K]).quality(exact.cut(K), K) == 0


@pytest.mark.slow
def test_a_killed_measurement_goes_on(stage: Stage, tmp_path: Path) -> None:
    plan = Plan(stage.similarity, [K], 0, stage.seed, SETTINGS, moments=stage.moments)

    class Killed(Exception):
        pass

    def stop(task: str, done: int, total: int) -> None:
        if "pass 2" in task:
            raise Killed

    with pytest.raises(Killed):
        measure(INDEXES[:1], stage.queries, stage.gallery, plan, tmp_path, stop)
    times = result_folder(tmp_path, INDEXES[0], 0) / f"times-enone-k{K}-p1.parquet"
    before = times.stat().st_mtime_ns
    told: list[str] = []
    floor, found = measure(
        INDEXES[:1], stage.queries, stage.gallery, plan, tmp_path, lambda task, *_: told.append(task)
    )
    assert times.stat().st_mtime_ns == before and not any("building" in task for task in told)
    assert found.points[0].timing.nanoseconds.shape == floor.points[0].timing.nanoseconds.shape == (2, 10)


def test_intervals_over_whole_queries() -> None:
    rng = np.random.default_rng(1)
    values = rng.random(30)
    alike = {"x": np.repeat(values, 5)}
    owner = np.repeat(np.arange(30) * 3, 5)
    mine, plain = cluster_columns(alike, owner, 0)["x"], bootstrap_columns({"x": values}, 0)["x"]
    np.testing.assert_allclose([mine.value, mine.lo, mine.hi], [plain.value, plain.lo, plain.hi], atol=1e-6)
    order = rng.permutation(150)
    mixed = cluster_columns({"x": alike["x"][order]}, owner[order], 0)["x"]
    np.testing.assert_allclose([mixed.value, mixed.lo, mixed.hi], [mine.value, mine.lo, mine.hi], rtol=1e-12)
    gaps = np.where(np.arange(150) % 7 == 0, np.nan, alike["x"])
    assert cluster_columns({"x": gaps}, owner, 0)["x"].value == pytest.approx(np.nanmean(gaps))
    one = cluster_columns({"x": np.array([0.0, 1.0])}, np.array([4, 4]), 0)["x"]
    assert one.value == 0.5 and np.isnan([one.lo, one.hi]).all()


# A whole run, of drawn videos.
SMALL = [
    *("data=moments", "encoder=frames", "clip.width=null", "clip.height=null", "data.n_videos=3", "data.rate=4"),
    *("data.train_videos=1", "data.validation_videos=1", "data.image_size=32", "encoder.frame.model=test_resnet"),
    *("encoder.frame.weights=none", "embed.engine=torch", "measure.batch_threads=1", "measure.passes=1", "logger=[]"),
]
INDEX = ["search=[exact,simhash]", "search.simhash.bits=10", "search.simhash.tables=2", "search.simhash.efforts=[1]"]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> RunRecord:
    folder = tmp_path_factory.mktemp("done")
    return run([*SMALL, *INDEX, f"paths.runs={folder / 'runs'}", f"paths.cache={folder / 'cache'}"])


def paths(done: RunRecord) -> list[str]:
    top = done.folder.parents[2]
    return [f"paths.runs={top / 'runs'}", f"paths.cache={top / 'cache'}"]


def test_a_run_over_moments(done: RunRecord) -> None:
    from retrieval_bench.cli import reopen

    data = reopen(done).data
    moments = data.moments()
    answers = pd.read_parquet(done.folder / "moments.parquet")
    quality = pd.read_parquet(done.folder / "queries.parquet")
    points = pd.read_parquet(done.folder / "points.parquet")
    assert set(answers["index"]) == {"exact", "simhash"} and len(answers) == 2 * 9
    for index, unordered in answers.groupby("index"):
        group = unordered.set_index("query_id").loc[moments.queries]
        row = points[(points["index"] == index) & (points["half"] == "all")].iloc[0]
        for iou in (0.5, 0.7):
            hits = first_hits(list(group.itertuples()), moments, iou)
            assert row[f"moment_hit_rate_iou{iou}@1"] == pytest.approx(np.mean(hits))
        firsts = [line.videos[0] if len(line.videos) else -1 for line in group.itertuples()]
        assert row["video_hit_rate@1"] == pytest.approx(np.mean(np.array(firsts) == moments.videos))
        own = quality[(quality["index"] == index) & (quality["pass"] == -1)]
        assert len(own) == 9 + len(data.queries())
    assert done.stages["random"]["moments"] == {"count": 9, "nothing_relevant": [], "unreadable": []}
    assert done.protocol["moment"]["window"] == done.config["data"]["window"] == 2.0


@pytest.mark.slow
def test_what_is_shown_of_moments(done: RunRecord) -> None:
    from rich.console import Console

    console = Console(width=80, record=True, file=io.StringIO())
    console.print(render_table(done.points, run_facts(done), 80))
    told = console.export_text()
    assert max(map(len, told.splitlines())) <= 80
    rows = operating_points(done.points)
    exact = f"{rows[0]['exact_moment_hit_rate_iou0.5@1']:.3f}"
    for words in ("9 queries of", "Moments through each index", "exact lists", "voting and re-rank", exact):
        assert words in told
    remarks = list(moment_remarks(rows))
    assert all(word in remarks[0] for word in ("short", "medium", "long", "k = 10"))
    html = page([done])
    for name in ("moment_hit_rate_iou0.5@1 via index", "moment_average_precision exact", "video_hit_rate@1 via index"):
        assert name in html
    assert "moment_hit_rate_iou0.5_short" in html and remarks[0].replace("'", "&#39;") in html


@pytest.mark.slow
def test_a_second_run_computes_nothing_and_from_starts_anew(done: RunRecord, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {p: p.stat().st_mtime_ns for p in done.folder.rglob("*") if p.is_file() and p.name != ".lock"}
    assert run([*SMALL, *INDEX, *paths(done)]) == done
    assert {p: p.stat().st_mtime_ns for p in before} == before
    other = run([f"from={done.folder}", "search=[exact]", "moment.rerank=false", "moment.moments=5", *paths(done)])
    assert other.run_id != done.run_id and other.config["moment"]["rerank"] is False
    points = other.points
    assert points["rerank_bytes"].isna().all() and "moment_hit_rate_iou0.5@10" not in points
    answers = pd.read_parquet(other.folder / "moments.parquet")
    assert answers["videos"].map(len).max() <= 5


@pytest.mark.slow
def test_moments_of_transformed_vectors(done: RunRecord) -> None:
    less = run(
        [f"from={done.folder}", "search=[exact]", "transform=[truncation]", "transform.truncation.dim=8", *paths(done)]
    )
    assert set(less.points["dim"]) == {8} and less.points["moment_hit_rate_iou0.5@1"].notna().any()
    one = less.points[less.points["half"] == "all"].iloc[-1]
    assert one["rerank_bytes"] == one["n_gallery"] * 8 * 4


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["data.window=3"], r"data\.window=3 but moment\.window=2.*type moment\.window=3"),
        (["data.stride=0.5", "moment.stride=2"], r"data\.stride=0\.5 but moment\.stride=2"),
        (["moment.window=no"], r"moment\.window='no': a number is needed"),
        (["moment.fastest=9"], r"moment\.fastest=9: 1 … 4 is needed"),
        (["k=[100000]"], r"k=100000 is larger than the gallery \(\d+ items to find\)"),
        (["target.ann_recall=0.9", "target.break_even=true"], "belong together; leave it out"),
        (
            ["target.metric=moment_hit_rate@1", "target.loss=0.1"],
            "moment_hit_rate@1 is not measured; .*video_hit_rate@1",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(done: RunRecord, typed: list[str], message: str) -> None:
    with pytest.raises(BadConfig, match=message):
        run([*SMALL, *INDEX, *paths(done), *typed])


def test_windows_are_cut_as_moments_are_found() -> None:
    from retrieval_bench.cli import experiment

    made = experiment([*SMALL, "moment.window=3", "moment.stride=1.5"])
    assert (made.data.window, made.data.stride, made.moment.window) == (3.0, 1.5, 3.0)
    ordinary = experiment(["data=digits", "encoder=timm", "encoder.model=test_resnet", "moment.window=3"])
    assert ordinary.moment is None and "moment" not in ordinary.config
    assert json.dumps(ordinary.config)
