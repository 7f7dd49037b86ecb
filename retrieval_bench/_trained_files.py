"""What a training leaves in its folder: weights with where they come from, a model card, the history."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import yaml
from safetensors.torch import save_file

from retrieval_bench.encoder.base import HEAD, Headed, fill_named, tensors_of
from retrieval_bench.record import write_json, written_whole

if TYPE_CHECKING:
    from retrieval_bench._fit import Outcome

WEIGHTS, CARD, HISTORY, OUTCOME = "weights.safetensors", "model_card.md", "history.csv", "outcome.json"
FILES = (WEIGHTS, CARD, HISTORY, OUTCOME)


def write_trained(
    folder: Path, model: Headed, outcome: Outcome, nodes: Mapping[str, Any], protocol: Mapping[str, Any]
) -> None:
    """Write everything, the weights last: where they lie, training is done.

    Tensors of the encoder are named as `encoder.weights=FILE` takes them, those of the head with `head.` before.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.encoder.exported().items()}
    tensors |= {f"{HEAD}{name}": tensor.detach().cpu().contiguous() for name, tensor in model.head.state_dict().items()}
    about = {
        "encoder": model.encoder.describe(),
        "input": model.encoder.settings(),
        "training": dict(nodes),
        "protocol": dict(protocol),
    }
    write_json(folder / OUTCOME, asdict(outcome) | {"key": folder.name})
    with written_whole(folder / HISTORY) as file:
        pd.DataFrame(outcome.history).to_csv(file, index=False)
    with written_whole(folder / CARD) as file:
        file.write(_card(about, outcome))
    part = folder / f"{WEIGHTS}.part"
    save_file(tensors, part, metadata={"retrieval_bench": json.dumps(about, default=str)})
    part.chmod(0o644)  # safetensors writes for the owner alone
    part.replace(folder / WEIGHTS)


def fill(model: Headed, file: Path) -> None:
    """Fill a model with weights that `write_trained` wrote.

    Raises:
        CorruptInput: of another architecture; names the first tensors that differ.
    """
    tensors, head = tensors_of(file)
    fill_named(model.head, head, file)
    model.encoder.take(tensors, file)


def outcome_of(folder: Path) -> Outcome:
    """What training said."""
    from retrieval_bench._fit import Outcome

    return Outcome(**json.loads((folder / OUTCOME).read_text(encoding="utf-8")))


def typed(group: str, node: Mapping[str, Any]) -> str:
    """What to type for a node of the configuration: `head=linear head.out=128 …`."""
    values = {name: value for name, value in node.items() if not name.startswith("_")}
    chosen = f"{group}={str(node['_target_']).split('.')[-2]}"
    return " ".join([chosen, *(f"{group}.{name}={json.dumps(value)}" for name, value in values.items())])


def finish_card(file: Path, measured: Mapping[str, Sequence[float]]) -> None:
    """Put what a run measured on the test items into its model card: {metric: value, low, high}; once is enough."""
    _, front, rest = file.read_text(encoding="utf-8").split("---\n", 2)
    facts = yaml.safe_load(front)
    told = {name: [round(float(value), 5) for value in values] for name, values in measured.items()}
    if facts.get("test") != told:
        front = yaml.safe_dump(facts | {"test": told}, sort_keys=False, allow_unicode=True)
        with written_whole(file) as out:
            out.write(f"---\n{front}---\n{rest}")


def _card(about: Mapping[str, Any], outcome: Outcome) -> str:
    """A model card (Mitchell et al. 2019): the facts as yaml front matter, then how to use the weights."""
    chosen = next((row for row in outcome.history if row["epoch"] == outcome.best), {})
    validation = {name: round(value, 5) for name, value in chosen.items() if name.startswith("val_")}
    facts = {
        "library_name": "retrieval_bench",
        "encoder": about["encoder"],
        "input": about["input"],
        "training": about["training"],
        "data": about["protocol"],
        "epoch": outcome.best,
        "validation": validation,
        "remarks": outcome.facts["remarks"],
    }
    front = yaml.safe_dump(json.loads(json.dumps(facts, default=str)), sort_keys=False, allow_unicode=True)
    model, pool = about["encoder"].get("model"), str(about["encoder"].get("pool", {}).get("pool", "average")).lower()
    why = "the best on the validation classes" if validation else "the last; there was no validation"
    use = f"encoder=timm encoder.model={model} encoder.weights={WEIGHTS} pool={'null' if pool == 'model' else pool}"
    if model is None:  # of clips: what is inside has settings of its own
        model = f"Encoder of clips over {', '.join(about['input'])}"
        use = f"encoder=… encoder.weights={WEIGHTS}  # and the run's other settings of `encoder`, see its config.yaml"
    return (
        f"---\n{front}---\n\n# {model}, trained for retrieval\n\n"
        f"Weights of epoch {outcome.best} of {outcome.history[-1]['epoch']}: {why}.\n\n"
        f"    retrieval-bench run {use} \\\n      {typed('head', about['training']['head'])}\n"
    )
