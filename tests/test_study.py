"""A search finds the best point of a grid whose answer is known, with few evaluations, and goes on after a kill."""

from pathlib import Path
from threading import Event, Thread
from time import monotonic, sleep
from types import SimpleNamespace
from typing import Any

import pytest
from omegaconf import OmegaConf

from hydra_plugins.retrieval_bench_optuna import OptunaSweeper
from retrieval_bench.errors import BadConfig
from retrieval_bench.objective import Choice, Interval, Objective
from retrieval_bench.report.rows import measured_points
from retrieval_bench.study import Study
from retrieval_bench.sweep import OK, Outcome, begin_sweep, current_sweep

EFFORTS = tuple(f"[{2**i}]" for i in range(8))
SPACES = [
    {"search": Choice((name,)), "m": Choice(("8", "16", "32", "64"), True), "efforts": Choice(EFFORTS, True, True)}
    for name in ("[hnsw]", "[ivf]", "[lsh]")
]
BASE = {"[hnsw]": 1.0, "[ivf]": 1.6, "[lsh]": 2.5}
WANTED = Objective(("latency_p50_ms",), {"ann_loss_map_at_r": 0.01})


def point(settings: dict[str, str]) -> dict[str, float]:
    """Costs rise and losses fall with the effort, and with m."""
    effort, m = EFFORTS.index(settings["efforts"]), int(settings["m"])
    loss = 0.2 / (2**effort * (m / 8) ** 0.7)
    return {"latency_p50_ms": BASE[settings["search"]] * (1 + m / 40) * (1 + 0.4 * effort), "ann_loss_map_at_r": loss}


def grid() -> list[dict[str, str]]:
    return [{"search": name, "m": m, "efforts": e} for name in BASE for m in ("8", "16", "32", "64") for e in EFFORTS]


def best_of_grid() -> dict[str, str]:
    kept = [one for one in grid() if point(one)["ann_loss_map_at_r"] <= 0.01]
    return min(kept, key=lambda one: point(one)["latency_p50_ms"])


@pytest.mark.parametrize("seed", range(3))
def test_the_best_of_the_grid_in_a_quarter_of_it(seed: int, tmp_path: Path) -> None:
    study = Study(tmp_path / "journal", SPACES, WANTED, len(grid()) // 4, 4, seed)
    tried = []
    while study.left and (proposal := study.ask()) is not None:
        tried.append(tuple(proposal.settings.items()))
        study.tell(proposal, [point(proposal.settings)])
    assert len(set(tried)) == len(tried) <= len(grid()) // 4, "nothing is tried twice"
    [(settings, values)] = study.best()
    assert settings == best_of_grid() and values == (point(settings)["latency_p50_ms"],)


def test_efforts_below_the_least_that_an_index_knows_are_not_tried(tmp_path: Path) -> None:
    space = [{"m": Choice(("8",)), "efforts": Choice(EFFORTS, True, True)}]
    study, tried = Study(tmp_path / "journal", space, WANTED, 8, 1, 0), []
    while study.left and (proposal := study.ask()) is not None:
        tried.append(EFFORTS.index(proposal.settings["efforts"]))
        study.tell(proposal, [{"latency_p50_ms": 1.0 + max(4, tried[-1]), "ann_loss_map_at_r": 0.0}])
    assert tried == [4, 3], "ef of HNSW is never below k: 3 is measured as 4, and so are 0 to 2"


def test_costs_that_are_no_times_may_repeat(tmp_path: Path) -> None:
    space = [{"m": Choice(("8",)), "efforts": Choice(EFFORTS, True, True)}]
    wanted = Objective(("candidate_fraction",), {"ann_loss_map_at_r": 0.01})
    study = Study(tmp_path / "journal", space, wanted, 8, 1, 0)
    while study.left and (proposal := study.ask()) is not None:
        effort = EFFORTS.index(proposal.settings["efforts"])
        study.tell(proposal, [{"candidate_fraction": min(1.0, (effort + 1) / 3), "ann_loss_map_at_r": 0.0}])
    [(settings, values)] = study.best()
    assert settings["efforts"] == "[1]" and values == (1 / 3,), "efforts from 2 on all reach everything"


def test_what_goes_on_knows_the_best_effort_of_a_kind(tmp_path: Path) -> None:
    space = [{"m": Choice(("1", "2", "3"), True), "efforts": Choice(EFFORTS, True, True)}]

    def go_on(evaluations: int) -> list[int]:
        study, tried = Study(tmp_path / "journal", space, WANTED, evaluations, 1, 0), []
        while study.left and (proposal := study.ask()) is not None:
            tried.append(EFFORTS.index(proposal.settings["efforts"]))
            loss = 0.0 if tried[-1] >= 6 else 1.0
            study.tell(proposal, [{"latency_p50_ms": 9.0 - study.left / 10 + tried[-1], "ann_loss_map_at_r": loss}])
        return tried

    assert go_on(3) == [4, 6, 5]
    assert go_on(4) == [6], "and not the middle, 4"


def test_what_is_far_behind_waits_until_nothing_new_is_left(tmp_path: Path) -> None:
    space = [{"m": Choice(("1", "2", "3", "4", "5", "6"), True), "efforts": Choice(EFFORTS, True, True)}]
    study, tried = Study(tmp_path / "journal", space, WANTED, 48, 2, 0), []
    while study.left and (proposal := study.ask()) is not None:
        m, effort = proposal.settings["m"], EFFORTS.index(proposal.settings["efforts"])
        tried.append(m)
        loss = 0.0 if effort >= 2 else 1.0
        study.tell(proposal, [{"latency_p50_ms": (1.0 if m == "4" else 20.0) + effort, "ann_loss_map_at_r": loss}])
    [(settings, values)] = study.best()
    assert settings == {"m": "4", "efforts": "[4]"} and values == (3.0,)
    new = list(dict.fromkeys(tried))
    assert sorted(new) == ["1", "2", "3", "4", "5", "6"]
    before = tried[: tried.index(new[-1]) + 1]
    aside = [m for m in new if m != "4" and new.index(m) > max(0, new.index("4"))]
    assert len(aside) >= 2, "the seed draws the best early enough"
    assert all(before.count(m) == 1 for m in aside) and all(tried.count(m) > 1 for m in aside)


def test_a_killed_search_goes_on(tmp_path: Path) -> None:
    first = Study(tmp_path / "journal", SPACES, WANTED, 8, 2, 0)
    before = []
    for _ in range(5):
        proposal = first.ask()
        assert proposal is not None
        before.append(tuple(proposal.settings.items()))
        first.tell(proposal, [point(proposal.settings)])
    assert first.ask() is not None, "asked, and killed before it was told"
    again = Study(tmp_path / "journal", SPACES, WANTED, 8, 2, 0)
    assert again.left == 3
    while again.left and (proposal := again.ask()) is not None:
        assert tuple(proposal.settings.items()) not in before
        again.tell(proposal, [point(proposal.settings)])
    assert Study(tmp_path / "journal", SPACES, WANTED, 8, 2, 0).left == again.left == 0


def test_what_fails_is_never_best_and_two_objectives_leave_a_front(tmp_path: Path) -> None:
    space = [{"m": Choice(("1", "2", "3", "4"), True)}]
    study = Study(tmp_path / "journal", space, Objective(("latency_p50_ms", "ann_recall")), 4, 4, 0)
    gives = {"1": (1.0, 0.5), "2": (2.0, 0.9), "3": (3.0, 0.8)}  # m=3 is surpassed by m=2; m=4 fails
    while study.left and (proposal := study.ask()) is not None:
        found = gives.get(proposal.settings["m"])
        study.tell(proposal, [] if found is None else [{"latency_p50_ms": found[0], "ann_recall": found[1]}])
    assert {settings["m"]: values for settings, values in study.best()} == {"1": (1.0, -0.5), "2": (2.0, -0.9)}


def test_an_interval_is_drawn_within_its_ends(tmp_path: Path) -> None:
    space = [{"m": Interval(4, 64, True, True), "rate": Interval(0.25, 0.5)}]
    study = Study(tmp_path / "journal", space, Objective(("latency_p50_ms",)), 4, 2, 0)
    while study.left and (proposal := study.ask()) is not None:
        m, rate = int(proposal.settings["m"]), float(proposal.settings["rate"])
        assert 4 <= m <= 64 and 0.25 <= rate <= 0.5
        study.tell(proposal, [{"latency_p50_ms": float(m)}])


def test_mistakes_name_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="one or two different columns"):
        Objective(())
    with pytest.raises(BadConfig, match="did you mean latency_p50_ms"):
        Objective(("latency_p5_ms",)).worth([{"latency_p50_ms": 1.0, "index": "exact"}])
    with pytest.raises(BadConfig, match=r"needs something to choose.*hydra\.sweeper\.evaluations=20"):
        Study(tmp_path / "journal", [{}], WANTED, 4, 2, 0)


def test_no_half_and_no_build_seed_keeps_a_limit_alone() -> None:
    def row(half: str, seed: int, recall: float) -> dict[str, object]:
        named = {"stage": "given", "index": "hnsw", "index_params": "{}", "effort": 16.0, "k": 10, "knob": "ef"}
        return {**named, "status": "ok", "half": half, "build_seed": seed, "ann_recall": recall, "latency_p50_ms": 1.0}

    seeds = ((0, 0.005), (1, -0.025))
    rows = [row(half, seed, 0.905 + more) for half in ("all", "tune", "report") for seed, more in seeds]
    rows += [row("tune", 0, 0.95)]
    wanted = Objective(("latency_p50_ms",), at_least={"ann_recall": 0.9})
    assert wanted.worth(rows)[1] == 0, "some half of some build is lucky"
    kept, beyond, _ = wanted.worth(measured_points(rows))
    assert kept == [] and beyond == pytest.approx(0.005), "the mean of both builds, of all queries, is 0.895"


def test_what_failed_is_tried_anew_by_the_next_command_and_only_once_by_each(tmp_path: Path) -> None:
    space = [{"m": Choice(("1", "2"), True), "efforts": Choice(EFFORTS, True, True)}]
    first = Study(tmp_path / "journal", space, WANTED, 2, 2, 0)
    failed = []
    for _ in range(2):
        proposal = first.ask()
        assert proposal is not None
        failed.append(proposal.settings)
        first.tell(proposal, [{"index": "null", "status": "ok"}, {"index": "hnsw", "status": "failed"}])
    assert first.left == 0 and failed[0] != failed[1], "in one command a failure is an evaluation"
    again = Study(tmp_path / "journal", space, WANTED, 2, 2, 0)
    assert again.left == 2, "of the next command it is none"
    proposal = again.ask()
    assert proposal is not None and proposal.settings["m"] in {one["m"] for one in failed}
    again.tell(proposal, [{"latency_p50_ms": 2.0, "ann_loss_map_at_r": 0.0}])
    assert [values for _, values in again.best()] == [(2.0,)]
    assert Study(tmp_path / "journal", space, WANTED, 2, 2, 0).left == 1


def test_failures_alone_end(tmp_path: Path) -> None:
    study = Study(tmp_path / "journal", [{"m": Choice(("1", "2", "3"), True)}], WANTED, 50, 2, 0)
    asked = []
    while study.left and (proposal := study.ask()) is not None:
        asked.append(proposal.settings["m"])
        study.tell(proposal, [])
    assert sorted(asked) == ["1", "2", "3"]
    again = Study(tmp_path / "journal", [{"m": Choice(("1", "2", "3"), True)}], WANTED, 50, 2, 0)
    assert sorted(p.settings["m"] for _ in range(4) if (p := again.ask()) is not None) == ["1", "2", "3"]


POINT = {"stage": "given", "index": "hnsw", "index_params": "{}", "effort": 16.0, "k": 10, "knob": "ef"}
POINT |= {"half": "all", "build_seed": 0, "status": "ok", "latency_p50_ms": 1.0}


class Launcher:
    """Answers every job with one point, once it may."""

    def __init__(self, may: Event) -> None:
        self.may, self.begun, self.jobs = may, Event(), 0

    def launch(self, batch: list[list[str]], initial_job_idx: int) -> list[Any]:
        del initial_job_idx
        self.begun.set()
        assert self.may.wait(60)
        self.jobs += len(batch)
        return [SimpleNamespace(return_value=SimpleNamespace(rows=[POINT], run=None)) for _ in batch]


def test_the_same_search_at_once_waits_and_finds_all_done(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    may, answers = Event(), dict[int, Any]()
    begin_sweep(tmp_path, ["m=1,2,3"])
    launchers = [Launcher(may), Launcher(may)]

    def search(number: int) -> None:
        found = OptunaSweeper(["latency_p50_ms"], {}, {}, 3, 1, 2, 0, {"m": "choice(1,2,3)"}, [])
        found.config, found.launcher = OmegaConf.create({"paths": {"runs": str(tmp_path)}}), launchers[number]
        found.validate_batch_is_legal = lambda batch: None
        try:
            answers[number] = found.sweep([])
        except Exception as error:  # noqa: BLE001  # whatever it is, the main thread shows it
            answers[number] = error

    first, second = (Thread(target=search, args=(number,), daemon=True) for number in range(2))
    with caplog.at_level("WARNING"):
        first.start()
        assert launchers[0].begun.wait(60)
        second.start()
        deadline = monotonic() + 60
        while "another search" not in caplog.text and not launchers[1].begun.is_set() and monotonic() < deadline:
            sleep(0.01)
        may.set()
        first.join(60)
        second.join(60)
    assert caplog.text.count("another search of the same settings is running; waiting for it") == 1
    assert answers[0] == answers[1] and len(answers[0]) == 3, answers
    assert [each.jobs for each in launchers] == [3, 0]


class Machine:
    """Answers every job with a run of the data that lie there; the first value is the cheapest of these."""

    def __init__(self, data: str, cheapest: int) -> None:
        self.data, self.cheapest, self.jobs = data, cheapest, list[str]()

    def launch(self, batch: list[list[str]], initial_job_idx: int) -> list[Any]:
        del initial_job_idx
        self.jobs += [job[-1] for job in batch]
        for number, job in enumerate(batch):
            current_sweep().write(Outcome(number, job, OK, run=f"runs/adhoc/{self.data}"))
        costs = [1.0 + abs(int(job[-1][-1]) - self.cheapest) for job in batch]
        results = [SimpleNamespace(rows=[POINT | {"latency_p50_ms": c}], run=f"runs/adhoc/{self.data}") for c in costs]
        return [SimpleNamespace(return_value=each) for each in results]


def test_what_was_found_in_other_data_is_not_believed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def search(machine: Machine) -> list[dict[str, str]]:
        begin_sweep(tmp_path, ["m=1,2,3"])
        found = OptunaSweeper(["latency_p50_ms"], {}, {}, 3, 1, 2, 0, {"m": "choice(1,2,3)"}, [])
        found.config, found.launcher = OmegaConf.create({"paths": {"runs": str(tmp_path)}}), machine  # type: ignore[assignment]
        found.validate_batch_is_legal = lambda batch: None  # type: ignore[method-assign]
        return [settings for settings, _ in found.sweep([])]

    first, same, changed, after = Machine("a", 1), Machine("a", 1), Machine("b", 3), Machine("b", 3)
    with caplog.at_level("WARNING"):
        assert search(first) == search(same) == [{"m": "1"}]
        assert len(first.jobs) == 3 and len(same.jobs) == 1, "one is looked at, none is left to be evaluated"
        assert "begins anew" not in caplog.text
        assert search(changed) == [{"m": "3"}] and len(changed.jobs) == 4
        assert {Path(str(one.run)).name for one in current_sweep().outcomes()} == {"b"}, (
            "the table tells of these alone"
        )
        [aside] = current_sweep().folder.glob("jobs-*")
        assert len(list(aside.iterdir())) == 3, "and nothing is lost"
        assert caplog.text.count("the data or the encoder changed since the earlier evaluations") == 1
        assert search(after) == [{"m": "3"}] and len(after.jobs) == 1
    assert caplog.text.count("begins anew") == 1
