import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from retrieval_bench.commands import main
from retrieval_bench.errors import BadConfig
from retrieval_bench.record import RunRecord, write_json
from retrieval_bench.report.paper import TableForm, paper_figures, paper_tables

Make = Callable[..., pd.DataFrame]


def record(points: pd.DataFrame, run: str = "a", folder: Path = Path("a")) -> RunRecord:
    rows = json.loads(points.to_json(orient="records"))
    return RunRecord(run, "adhoc", {}, {"data": "glyphs"}, "f", {}, {"run": 0}, {}, rows, folder=folder)


def keep(folder: Path, points: pd.DataFrame, *runs: str) -> None:
    for run in runs:
        write_json(folder / run / "record.json", record(points, run).to_json())


def test_markdown_has_a_line_a_point(make_points: Make) -> None:
    lines = paper_tables([record(make_points(stages=("random",)))], TableForm.MARKDOWN).splitlines()
    assert lines[0].startswith(
        "| stage | index | effort | k | ann_recall@k | hit_rate@1 exact | hit_rate@1 via index |"
    )
    assert len(lines) == 2 + 9 + 1
    assert any(line.startswith("| random | hnsw | ef 64 | 10 | 0.979 ±.004 | 0.132 ±.012 |") for line in lines)
    assert len({line.count("|") for line in lines}) == 1


def test_latex_escapes_names_and_closes(make_points: Make) -> None:
    points = make_points(stages=("random",))
    points["index"] = points["index"].replace({"hnsw": "h_n&w%"})
    text = paper_tables([record(points)], TableForm.LATEX)
    assert r"random & h\_n\&w\% & ef 64 & 10 & 0.979 $\pm$.004" in text
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 1
    body = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert len({line.replace(r"\&", "").count("&") for line in body}) == 1


def test_csv_has_raw_numbers_with_their_intervals(make_points: Make) -> None:
    rows = list(csv.DictReader(io.StringIO(paper_tables([record(make_points(stages=("random",)))], TableForm.CSV))))
    (row,) = [row for row in rows if row["effort"] == "ef 64"]
    assert (row["data"], row["run"], row["index"], row["k"]) == ("glyphs", "a", "hnsw", "10")
    assert [float(row[f"ann_recall{end}"]) for end in ("", "_lo", "_hi")] == [0.979, 0.975, 0.983]
    assert float(row["latency_p50_ms"]) == 0.131


@pytest.mark.parametrize("suffix", [".svg", ".pdf", ".png"])
def test_figures_are_written_in_every_form(make_points: Make, tmp_path: Path, suffix: str) -> None:
    points = make_points(stages=("random",))
    (file,) = paper_figures([record(points)], tmp_path / f"front{suffix}", "hit_rate@1", "index_bytes")
    assert file.stat().st_size > 1000 and list(tmp_path.iterdir()) == [file]


def test_wrong_suffixes_and_columns_are_told(make_points: Make, tmp_path: Path) -> None:
    points = record(make_points(stages=("random",)))
    with pytest.raises(BadConfig, match=r"--figure a\.svg"):
        paper_figures([points], tmp_path / "a.gif")
    with pytest.raises(BadConfig, match="no numeric column 'recal'"):
        paper_figures([points], tmp_path / "a.svg", "recal")


def test_the_command_prints_tables_and_names_figures(
    make_points: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    points = make_points(stages=("random",))
    keep(tmp_path, points, "a", "b")
    assert main(["report", str(tmp_path), "--table", "csv", "--figure", str(tmp_path / "front.svg")]) == 0
    told = capsys.readouterr()
    assert len(told.out.splitlines()) == 1 + 2 * 10
    assert told.err.split() == [str(tmp_path / f"front_{run}.svg") for run in ("a", "b")]
    assert main(["report", str(tmp_path / "empty")]) == 2
    assert "no finished run below" in capsys.readouterr().err


ODD = {  # column → value, and whether the figure can be drawn all the same
    "effort": ("many", False),
    "index_params": ("{m: 16", False),
    "latency_p95_ms": ("fast", True),
    "ann_recall_lo": ("x", False),
}


@pytest.mark.parametrize("form", list(TableForm))
@pytest.mark.parametrize("column", list(ODD))
def test_an_odd_record_is_named_once_and_the_others_are_told(
    make_points: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str], column: str, form: TableForm
) -> None:
    points, (value, drawn) = make_points(stages=("random",)), ODD[column]
    keep(tmp_path, points, "a", "b")
    assert main(["report", str(tmp_path), "--table", form]) == 0
    sound = capsys.readouterr().out
    keep(tmp_path, points.assign(**{column: value}), "c")
    assert main(["report", str(tmp_path), "--table", form, "--figure", str(tmp_path / "front.svg")]) == 0
    told = capsys.readouterr()
    assert told.out == sound
    *files, reason = told.err.splitlines()
    assert files == [str(tmp_path / f"front_{run}.svg") for run in ("a", "b", "c")[: 2 + drawn]]
    assert reason.startswith(f"skipped: {tmp_path / 'c'} cannot be told (") and reason.endswith("force=true")
    assert main(["report", str(tmp_path / "c"), "--table", form]) == 2
    assert "there is nothing to tell: " in capsys.readouterr().err


def test_a_missing_column_is_told_once_for_all_runs_that_lack_it(
    make_points: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    points = make_points(stages=("random",))
    keep(tmp_path, points, "a", "b")
    assert main(["report", str(tmp_path), "--figure", str(tmp_path / "front.svg"), "--metric", "recal"]) == 2
    told = capsys.readouterr().err
    assert told.count("no numeric column 'recal'") == 1 and told.count("--metric") == 1
    assert str(tmp_path / "a") in told and str(tmp_path / "b") in told


def test_runs_without_points_are_named(make_points: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    points = make_points(stages=("random",))
    keep(tmp_path, points, "a")
    keep(tmp_path, points[points["index"] == "null"], "b")
    assert main(["report", str(tmp_path), "--table", "csv", "--figure", str(tmp_path / "front.svg")]) == 0
    told = capsys.readouterr()
    assert len(told.out.splitlines()) == 1 + 10
    assert told.err.splitlines()[1:] == [f"skipped: {tmp_path / 'b'}: nothing was measured in it"]
    assert main(["report", str(tmp_path / "b"), "--table", "csv"]) == 2
    assert "nothing was measured in it" in capsys.readouterr().err


def test_the_same_run_under_two_names_gives_two_figures(make_points: Make, tmp_path: Path) -> None:
    runs = [replace(record(make_points(stages=("random",)), "a"), name=name) for name in ("one", "other")]
    files = paper_figures(runs, tmp_path / "front.svg")
    assert [file.name for file in files] == ["front_a.svg", "front_other_a.svg"]
    assert sorted(files) == sorted(tmp_path.iterdir())
