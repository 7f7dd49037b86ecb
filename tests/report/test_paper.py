import csv
import io
import json
from collections.abc import Callable
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
    for run in ("a", "b"):
        write_json(tmp_path / run / "record.json", record(points, run).to_json())
    assert main(["report", str(tmp_path), "--table", "csv", "--figure", str(tmp_path / "front.svg")]) == 0
    told = capsys.readouterr()
    assert len(told.out.splitlines()) == 1 + 2 * 10
    assert told.err.split() == [str(tmp_path / f"front_{run}.svg") for run in ("a", "b")]
    assert main(["report", str(tmp_path / "empty")]) == 2
    assert "no finished run below" in capsys.readouterr().err


def test_an_odd_record_is_named_and_the_others_are_told(
    make_points: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    points = make_points(stages=("random",))
    for run in ("a", "b"):
        write_json(tmp_path / run / "record.json", record(points, run).to_json())
    odd = record(points.assign(effort="many", latency_p50_ms="fast", latency_p50_ms_lo="fast"), "c")
    write_json(tmp_path / "c" / "record.json", odd.to_json())
    assert main(["report", str(tmp_path), "--table", "csv", "--figure", str(tmp_path / "front.svg")]) == 0
    told = capsys.readouterr()
    assert len(told.out.splitlines()) == 1 + 2 * 10
    lines = told.err.splitlines()
    assert lines[:2] == [str(tmp_path / f"front_{run}.svg") for run in ("a", "b")]
    assert {line[: len(str(tmp_path)) + 11] for line in lines[2:]} == {f"skipped: {tmp_path / 'c'}"}
    assert main(["report", str(tmp_path / "c"), "--table", "csv"]) == 2
    assert "there is nothing to tell" in capsys.readouterr().err
    assert main(["report", str(tmp_path / "c"), "--figure", str(tmp_path / "odd.svg")]) == 2
    assert str(tmp_path / "c") in capsys.readouterr().err
