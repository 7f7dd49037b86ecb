import numpy as np
import pandas as pd
import pytest

from retrieval_bench.report.lsh import collision_figure


def curve(index: str = "simhash", stage: str = "random", efforts: tuple[float, ...] = (1, 2)) -> pd.DataFrame:
    """Curves as `collision_curves` makes them: four bins an effort."""
    rows = [
        {
            "stage": stage, "index": index, "index_params": "{}", "knob": "probes", "effort": effort,
            "similarity": s, "predicted": s**2, "measured": s, "measured_lo": s - 0.05, "measured_hi": s + 0.02,
            "pairs": 100,
        }
        for effort in efforts
        for s in (0.9, 0.3, 0.5, 0.7)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_lines_are_predicted_and_points_measured_with_their_intervals() -> None:
    axis = collision_figure(curve(efforts=(4,))).axes[0]
    assert axis.get_title() == "simhash · random"
    line, points = [one for one in axis.get_lines() if len(one.get_xdata()) == 4]
    np.testing.assert_allclose(line.get_xydata(), [[0.3, 0.09], [0.5, 0.25], [0.7, 0.49], [0.9, 0.81]])
    assert points.get_linestyle() == "None"
    np.testing.assert_allclose(points.get_xydata()[:, 1], [0.3, 0.5, 0.7, 0.9])
    bars = axis.containers[0].lines[2][0].get_segments()
    np.testing.assert_allclose(bars[0], [[0.3, 0.25], [0.3, 0.32]])


def test_a_panel_a_stage_and_index_and_at_most_five_efforts() -> None:
    tables = [curve("simhash", stage, tuple(range(1, 10))) for stage in ("random", "pretrained")]
    figure = collision_figure(pd.concat([*tables, curve("minhash_lsh")]))
    shown = [axis for axis in figure.axes if axis.axison]
    assert [axis.get_title() for axis in shown] == [
        "simhash · random", "simhash · pretrained", "minhash_lsh · random",
    ]  # fmt: skip
    names = [text.get_text() for text in shown[0].get_legend().get_texts()]
    assert names == ["probes 9", "probes 7", "probes 5", "probes 3", "probes 1"]
    colours = [tuple(line.get_color()) for line in shown[0].get_legend().get_lines()]
    assert len(set(colours)) == 5


def test_one_backend_at_two_sets_of_parameters_is_named_by_what_differs() -> None:
    both = [curve().assign(index_params=f'{{"bits": {bits}, "tables": 1}}') for bits in (8, 16)]
    titles = [axis.get_title() for axis in collision_figure(pd.concat(both)).axes]
    assert titles == ["simhash (bits=8) · random", "simhash (bits=16) · random"]


@pytest.mark.parametrize("effort", [None, float("nan")])
def test_an_index_without_a_knob_is_one_curve(effort: float | None) -> None:
    axis = collision_figure(curve(efforts=(1,)).assign(knob=None, effort=effort)).axes[0]
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["effort"]
