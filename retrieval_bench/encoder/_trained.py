"""Weights of an encoder of clips, from the file of an earlier training."""

from __future__ import annotations

import json
from pathlib import Path

from retrieval_bench.encoder._weights import Source, fill_named, source_of, tensors_of, told_by
from retrieval_bench.encoder.base import Encoder
from retrieval_bench.errors import BadConfig


def take_trained(encoder: Encoder, weights: str) -> dict[str, str]:
    """Fill an encoder of clips with what a training of such an encoder wrote, and keep the head that came along.

    Returns:
        What a description says of it: the name of the file; nothing where there is none.

    Raises:
        BadConfig: neither `none` nor a file that training wrote. CorruptInput: of another architecture.
    """
    for name, inner in encoder.named_children():
        if isinstance(inner, Encoder) and inner.head_weights:
            raise BadConfig(
                f"encoder.{name}: its weights were trained below a head, which would be lost here; train it with"
                " head=identity (and encoder.over.out=128, say, for fewer columns) and type its weights"
            )
    source = source_of(weights)
    if source is Source.NONE:
        return {}
    told = told_by(source) if isinstance(source, Path) else {}
    if not told or not isinstance(source, Path):
        raise BadConfig(
            f"encoder.weights={weights}: an encoder of clips takes none, or the weights.safetensors of a run that"
            " trained one; weights of the frames' model alone belong to encoder.frame.weights"
        )
    was, now = told.get("input", {}), json.loads(json.dumps(encoder.settings()))
    if was != now:
        raise BadConfig(
            f"encoder.weights={source.name} was trained with the input {json.dumps(was)}, not {json.dumps(now)}; type"
            " the same settings of the frames (their model, weights, input_size, crop …)"
        )
    tensors, encoder.head_weights = tensors_of(source)
    encoder.head_node = told["training"]["head"]
    fill_named(encoder, tensors, source)
    return {"weights": source.name}
