import re

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from retrieval_bench.report.drawing import family_legend, literal, log_ticks, svg
from retrieval_bench.report.families import styles


def drawn(name: str = "a") -> Figure:
    with literal():
        figure = Figure(layout="constrained")
        FigureCanvasAgg(figure)
        axis = figure.subplots()
        axis.plot([1, 2], [3, 4], marker="o", gid="repeated")
        axis.set_title(name)
    return figure


def test_an_svg_is_the_element_alone_without_background_or_group_names() -> None:
    text = svg(drawn(), "one")
    assert text.startswith("<svg ") and text.rstrip().endswith("</svg>")
    assert "metadata" not in text
    assert 'id="repeated"' not in text
    assert "#ffffff" not in text
    assert text == svg(drawn(), "one"), "the same figure is the same text"


def test_two_svgs_on_a_page_share_no_ids() -> None:
    one, two = (set(re.findall(r'id="([^"]+)"', svg(drawn(), salt))) for salt in ("one", "two"))
    assert one and two and not one & two


def test_what_an_svg_refers_to_is_in_it() -> None:
    text = svg(drawn(), "one")
    referred = set(re.findall(r"#([\w-]+)\)?\"", text)) - {"000000"}
    known = set(re.findall(r'id="([^"]+)"', text))
    assert {name for name in referred if not re.fullmatch(r"[0-9a-f]{6}", name)} <= known


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "$x^{$", "a & b"])
def test_texts_are_escaped_and_taken_literally(name: str) -> None:
    text = svg(drawn(name), "one")
    assert name.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;") in text
    assert "<script" not in text


@pytest.mark.parametrize(
    ("low", "high", "labels"), [(0.008, 0.03, ["0.01", "0.02"]), (0.001, 10.0, ["0.001", "0.01", "0.1", "1", "10"])]
)
def test_a_short_range_has_numbers_too(low: float, high: float, labels: list[str]) -> None:
    axis = Figure().subplots()
    axis.set_xscale("log")
    axis.set_xlim(low, high)
    log_ticks(axis.xaxis, low, high)
    shown = [tick for tick in axis.xaxis.get_majorticklocs() if low <= tick <= high]
    assert [axis.xaxis.get_major_formatter()(tick, 0) for tick in shown] == labels


def test_the_legend_names_families_and_below_them_their_indexes() -> None:
    rows = [{"index": name, "family": kind} for name, kind in (("l", "LSH"), ("exact", "exact"), ("m", "LSH"))]
    figure = drawn()
    family_legend(figure, rows, styles(rows), hollow=["m"])
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["exact", "LSH", "l", "m"]
    assert legend.get_texts()[1].get_fontweight() == "bold"
    assert [line.get_markerfacecolor() for line in legend.get_lines()][-2:] == ["#cc79a7", "white"]
