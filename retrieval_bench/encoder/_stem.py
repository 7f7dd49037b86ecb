"""The first convolution of a model for images, made to fit inputs of other channels (Wang et al. 2016, section 3.2)."""

from __future__ import annotations

from enum import StrEnum

import torch
from torch import Tensor, nn

from retrieval_bench.errors import BadConfig


class Stem(StrEnum):
    """How weights over red, green and blue become weights over other channels."""

    MEAN = "mean"  # TSN: their mean over the three, the same for each channel
    TILE = "tile"  # timm: repeated in turn and scaled by 3 / channels


def with_channels(backbone: nn.Module, convolution: str, channels: int, stem: Stem) -> None:
    """Replace the first convolution by one over `channels` inputs whose weights come from those over RGB.

    Args:
        convolution: its name in the backbone.

    Raises:
        BadConfig: the model has no such convolution over three channels.
    """
    parent_name, _, name = convolution.rpartition(".")
    parent = backbone.get_submodule(parent_name)
    old = parent.get_submodule(name)
    if not isinstance(old, nn.Conv2d) or old.in_channels != 3 or old.groups != 1:
        raise BadConfig(
            f"encoder.channels={channels}: {convolution} is no plain convolution over three channels; take a model"
            " whose stem is one, such as tf_efficientnet_lite0 or resnet18"
        )
    options = {"dtype": old.weight.dtype, "device": old.weight.device}
    new = type(old)(
        channels,
        old.out_channels,
        old.kernel_size,  # type: ignore[arg-type]  # torch's type of it is wider than that of the argument
        old.stride,  # type: ignore[arg-type]
        old.padding,  # type: ignore[arg-type]
        old.dilation,  # type: ignore[arg-type]
        bias=old.bias is not None,
        **options,  # type: ignore[arg-type]
    )
    with torch.no_grad():
        new.weight.copy_(adapted(old.weight, channels, stem))
        if new.bias is not None and old.bias is not None:
            new.bias.copy_(old.bias)
    setattr(parent, name, new)


def adapted(weight: Tensor, channels: int, stem: Stem) -> Tensor:
    """[out, 3, h, w] → [out, channels, h, w].

    >>> adapted(torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1, 1), 4, Stem.MEAN).flatten().tolist()
    [2.0, 2.0, 2.0, 2.0]
    >>> adapted(torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1, 1), 6, Stem.TILE).flatten().tolist()
    [0.5, 1.0, 1.5, 0.5, 1.0, 1.5]
    """
    if stem is Stem.MEAN:
        return weight.mean(dim=1, keepdim=True).repeat(1, channels, 1, 1)
    repeats = -(-channels // weight.shape[1])
    return weight.repeat(1, repeats, 1, 1)[:, :channels] * (weight.shape[1] / channels)
