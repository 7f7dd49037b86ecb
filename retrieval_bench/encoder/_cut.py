"""The lower part of a backbone, up to one of its layers: early layers keep where things are, and cost less."""

from __future__ import annotations

import difflib

import torch
from timm.models import create_feature_extractor
from torch import nn
from torch.fx.proxy import TraceError

from retrieval_bench.errors import BadConfig

MAP = "map"  # under this name a cut model gives its feature map
_SIDE = 64  # pixels of the picture by which the layer's columns are counted


def cut(backbone: nn.Module, layer: str, channels: int) -> tuple[nn.Module, int]:
    """A backbone that ends at one of its layers; what comes after it is neither computed nor kept.

    Args:
        backbone: a timm model of images, with its weights. layer: name of a module in it, such as `blocks.3`.
        channels: of the images.

    Returns:
        The model, images [b, channels, size, size] → {MAP: [b, c, h, w]}, with the names of the whole one's tensors;
        and c.

    Raises:
        BadConfig: there is no such layer (names the nearest ones), it gives no map, or the model cannot be cut.
    """
    names = [name for name, _ in backbone.named_modules() if name]
    if layer not in names:
        near = difflib.get_close_matches(layer, names, 5, 0.3)
        raise BadConfig(f"encoder.layer={layer} is not in this model; nearest: {', '.join(near) or 'none'}")
    try:
        lower: nn.Module = create_feature_extractor(backbone, {layer: MAP})
    except (TraceError, ValueError, TypeError) as error:
        raise BadConfig(f"encoder.layer={layer}: this model cannot be cut ({error}); type layer=null") from error
    training = lower.training
    with torch.inference_mode():
        found = lower.eval()(torch.zeros(1, channels, _SIDE, _SIDE))[MAP]
    if found.ndim != 4:
        raise BadConfig(f"encoder.layer={layer} gives {list(found.shape)}, no map of pixels; take one below it")
    return lower.train(training), int(found.shape[1])
