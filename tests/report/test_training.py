"""What is told and drawn of a training, from records whose numbers are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from retrieval_bench.record import RunRecord
from retrieval_bench.report.curve import training_figure
from retrieval_bench.report.remarks import run_facts
from retrieval_bench.report.training import kept, training_remarks

CONFIG = {
    "loss": {
        "_target_": "retrieval_bench.loss.pml.ProxyLoss",
        "loss": {"_target_": "pytorch_metric_learning.losses.ProxyAnchorLoss", "margin": 0.1},
    },
    "head": {"_target_": "retrieval_bench.head.mlp.MLP", "out": 8},
    "trainer": {"epochs": 2},
}
MAP, HIT = (0.30, 0.42, 0.40), (0.5, 0.6, 0.7)


def row(epoch: int, validation: bool = True) -> dict[str, Any]:
    loss = {"epoch": epoch, "step": 12 * epoch, "loss": 9.0 / epoch if epoch else None}
    for name, values, half in (("map_at_r", MAP, 0.01), ("hit_rate@1", HIT, 0.02)) if validation else ():
        value = values[epoch]
        loss |= {f"val_{name}": value, f"val_{name}_lo": value - half, f"val_{name}_hi": value + half}
    return loss


def training(**changes: Any) -> dict[str, Any]:
    facts = {"n_classes": 84, "n_train": 6821, "sampler": {}, "remarks": [], "unreadable": []}
    return {"history": [row(0), row(1), row(2)], "best": 1, "images": 300, "seconds": 4.0, "facts": facts} | changes


def record(told: dict[str, Any] | None, config: dict[str, Any] = CONFIG) -> RunRecord:
    stages = {"random": {}, "trained": {} if told is None else {"training": told}}
    return RunRecord("id", "name", config, {}, "f", {}, {}, stages, [])


def test_two_sentences_say_how_and_on_what() -> None:
    told = run_facts(record(training())).remarks
    assert told == [
        "Training (trained): ProxyAnchorLoss, MLP head, 2 epochs; epoch 1 is kept, the best by validation:"
        " map_at_r 0.420 ±.010 (before training 0.300 ±.010).",
        "Trained on 6,821 images of 84 classes at 75 images/s;"
        " weights: trained/weights.safetensors in the run's folder.",
    ]


@pytest.mark.parametrize(("both", "stand"), [(0, None), (1, "1 source stands"), (2500, "2,500 sources stand")])
def test_sources_on_both_sides_are_told_of(both: int, stand: str | None) -> None:
    told = record(training())
    told.protocol["sources"] = {"number": 3000, "in_training_and_test": both}
    found = [line for line in training_remarks(told, "trained") if "near duplicates" in line]
    end = "in training or validation and in test: near duplicates of test items may have been trained on."
    assert found == ([] if stand is None else [f"Training (trained): {stand} {end}"])
    assert list(training_remarks(told, "random")) == []


def test_without_validation_it_says_so() -> None:
    alone = training(history=[row(1, False), row(2, False)], best=2)
    assert "2 epochs; the last epoch is kept, there was no validation." in next(
        iter(training_remarks(record(alone), "trained"))
    )
    assert kept(alone) == "the last epoch is kept, there was no validation"


def test_what_the_training_found_is_told_again() -> None:
    bad = [[f"{i}.png", "broken"] for i in range(5)]
    facts = training()["facts"] | {"remarks": ["2 of 84 classes (3, 4) have one image only"], "unreadable": bad}
    told = list(training_remarks(record(training(facts=facts)), "trained"))[2:]
    assert told == [
        "Training (trained): 2 of 84 classes (3, 4) have one image only.",
        "Training (trained): 5 items could not be read and are left out: 0.png (broken), 1.png (broken),"
        " 2.png (broken), … 2 more.",
    ]
    one = list(training_remarks(record(training(facts=facts | {"remarks": [], "unreadable": bad[:1]})), "trained"))
    assert one[2:] == ["Training (trained): 1 item could not be read and is left out: 0.png (broken)."]


def test_early_stopping_and_older_records() -> None:
    early = record(training(), CONFIG | {"trainer": {"epochs": 30}})
    assert "stopped after 2 of 30 epochs" in next(iter(training_remarks(early, "trained")))
    bare = record({"history": [{"epoch": 1, "loss": 1.0}], "best": 1, "images": 0, "seconds": 0.0}, {})
    assert list(training_remarks(bare, "trained")) == [
        "Training (trained): an unnamed loss, 1 epoch; the last epoch is kept, there was no validation.",
        "Trained on – images of – classes; weights: trained/weights.safetensors in the run's folder.",
    ]
    for nothing in (None, training(history=[])):
        assert list(training_remarks(record(nothing), "trained")) == []
    assert list(training_remarks(record(training()), "random")) == []


def lines(axis: Any) -> dict[str, Any]:
    return {str(line.get_label()): line for line in axis.get_lines()}


def test_loss_and_validation_are_drawn_against_epochs() -> None:
    figure = training_figure(training(), "ProxyAnchorLoss")
    assert figure is not None
    loss, validation = figure.axes
    assert loss.get_ylabel() == "mean loss of an epoch (ProxyAnchorLoss)"
    np.testing.assert_allclose(lines(loss)["loss"].get_xydata(), [[1, 9], [2, 4.5]], err_msg="epoch 0 has none")
    for name, values, half in (("map_at_r", MAP, 0.01), ("hit_rate@1", HIT, 0.02)):
        np.testing.assert_allclose(lines(validation)[name].get_xydata(), list(enumerate(values)))
        colour = lines(validation)[name].get_color()
        (band,) = [b for b in validation.collections if _hex(b) == colour.lower()]
        corners = band.get_paths()[0].vertices
        for epoch, value in enumerate(values):
            at = corners[corners[:, 0] == epoch][:, 1]
            np.testing.assert_allclose([at.min(), at.max()], [value - half, value + half])
    for axis in (loss, validation):
        assert list(lines(axis)["epoch that is kept"].get_xdata()) == [1, 1]
    assert loss.get_xlim() == validation.get_xlim()
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["map_at_r", "hit_rate@1", "epoch that is kept"]


def _hex(band: Any) -> str:
    from matplotlib.colors import to_hex

    return to_hex(band.get_facecolor()[0])


@pytest.mark.parametrize("epochs", [2, 60])
def test_one_panel_without_validation(epochs: int) -> None:
    history = [row(epoch, False) for epoch in range(1, epochs + 1)]
    figure = training_figure(training(history=history, best=epochs))
    assert figure is not None
    (axis,) = figure.axes
    figure.draw_without_rendering()
    assert (lines(axis)["loss"].get_marker() == "o") == (epochs == 2), "many points need no markers"
    assert all(float(tick).is_integer() for tick in axis.get_xticks())


def test_nothing_is_drawn_of_nothing() -> None:
    assert training_figure({}) is None
    assert training_figure({"history": [row(0)], "best": 0}) is None, "killed before its first epoch"
    assert training_figure({"history": [row(1)], "best": 1}) is None, "one point is no curve"
