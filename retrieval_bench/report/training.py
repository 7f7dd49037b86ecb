"""What a training says in words: its parts, the epoch that was kept and why, what it saw, what it left."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import isfinite
from typing import Any

from retrieval_bench.naming import training_parts
from retrieval_bench.record import TRAINED, RunRecord
from retrieval_bench.report import text
from retrieval_bench.report.rows import INTERVAL, interval, number

CHOSEN_BY = "map_at_r"  # of the validation items
VALIDATED = "val_"  # begins the columns of a history that validation fills
WEIGHTS = f"{TRAINED}/weights.safetensors"  # in the folder of the run
NAMED = 3  # items that could not be read


def training_remarks(record: RunRecord, stage: str) -> Iterator[str]:
    """A few sentences, or none where the stage was not trained.

    The record has them after a training that came from the cache, too.
    """
    training = record.stages[stage].get("training")
    history = trained_history(training)
    if not history:
        return
    made, facts = named_parts(record.config, stage), training.get("facts") or {}
    yield f"Training ({stage}): {made or 'an unnamed loss'}, {_epochs(history, record.config)}; {kept(training)}."
    yield f"Trained on {_seen(training, facts)}; weights: {WEIGHTS} in the run's folder."
    for remark in facts.get("remarks") or ():
        yield f"Training ({stage}): {remark}."
    sources = record.protocol.get("sources")
    if isinstance(sources, Mapping) and (both := int(sources.get("in_training_and_test") or 0)):
        stand = "1 source stands" if both == 1 else f"{both:,} sources stand"
        yield (
            f"Training ({stage}): {stand} in training or validation and in test:"
            " near duplicates of test items may have been trained on."
        )
    if lost := facts.get("unreadable") or []:
        named = ", ".join(f"{key} ({reason})" for key, reason in lost[:NAMED])
        more = f", … {len(lost) - NAMED:,} more" if len(lost) > NAMED else ""
        many = "1 item could not be read and is" if len(lost) == 1 else f"{len(lost):,} items could not be read and are"
        yield f"Training ({stage}): {many} left out: {named}{more}."


def named_parts(config: Mapping[str, Any], stage: str) -> str:
    """Loss and head of a trained stage in words; empty where the configuration names neither."""
    parts = training_parts(config, stage)
    return ", ".join(told for told in (parts["loss"], parts["head"] and f"{parts['head']} head") if told)


def trained_history(training: Mapping[str, Any] | None) -> Sequence[Mapping[str, Any]]:
    """Rows of a training's history, one an epoch, with `epoch`; empty where there is none.

    >>> trained_history(None), trained_history({"history": [{"epoch": 1, "loss": 2.5}, {"loss": 1.0}]})
    ([], [{'epoch': 1, 'loss': 2.5}])
    """
    return [row for row in (training or {}).get("history") or [] if isfinite(number(row, "epoch"))]


def validated(training: Mapping[str, Any]) -> list[str]:
    """Columns of a training's history that hold metrics of validation, without their intervals.

    >>> validated({"history": [{"epoch": 0}, {"epoch": 1, "loss": 2.0, "val_map_at_r": 0.4, "val_map_at_r_lo": 0.3}]})
    ['val_map_at_r']
    """
    columns = dict.fromkeys(str(key) for row in trained_history(training) for key in row)
    return [name for name in columns if name.startswith(VALIDATED) and not name.endswith(INTERVAL)]


def kept(training: Mapping[str, Any]) -> str:
    """Which epoch's weights were kept, and by what.

    >>> before, after = ({"epoch": i, "val_map_at_r": v} for i, v in ((0, 0.31), (1, 0.42)))
    >>> kept({"best": 1, "history": [before, after]})
    'epoch 1 is kept, the best by validation: map_at_r 0.420 (before training 0.310)'
    >>> kept({"best": 2, "history": [{"epoch": 2, "loss": 0.1}]})
    'the last epoch is kept, there was no validation'
    """
    rows = {int(number(row, "epoch")): row for row in trained_history(training)}
    best, column = int(training["best"]), f"{VALIDATED}{CHOSEN_BY}"
    value = interval(rows.get(best, {}), column)
    if not isfinite(value[0]):
        return "the last epoch is kept, there was no validation"
    before = interval(rows.get(0, {}), column)
    aside = f" (before training {text.quality(*before)})" if isfinite(before[0]) else ""
    return f"epoch {best} is kept, the best by validation: {CHOSEN_BY} {text.quality(*value)}{aside}"


def _epochs(history: Sequence[Mapping[str, Any]], config: Mapping[str, Any]) -> str:
    done = int(max(number(row, "epoch") for row in history))
    asked = (config.get("trainer") or {}).get("epochs") or done
    many = "epoch" if asked == 1 else "epochs"
    return f"{done} {many}" if done == asked else f"stopped after {done} of {asked} {many}"


def _seen(training: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    images, classes = number(facts, "n_train"), number(facts, "n_classes")
    told = f"{text.count(images)} images of {text.count(classes)} classes"
    seconds = number(training, "seconds")
    return f"{told} at {text.count(number(training, 'images') / seconds)} images/s" if seconds > 0 else told
