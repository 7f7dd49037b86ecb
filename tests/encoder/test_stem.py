"""Models for images that take other channels."""

import pytest
import timm
import torch

from retrieval_bench.encoder._stem import Stem, adapted
from retrieval_bench.encoder.image import ImageEncoder
from retrieval_bench.encoder.pooling import Average
from retrieval_bench.errors import BadConfig


def test_tiling_is_that_of_timm() -> None:
    from timm.models._manipulate import adapt_input_conv

    weight = torch.randn(4, 3, 3, 3)
    torch.testing.assert_close(adapted(weight, 10, Stem.TILE), adapt_input_conv(10, weight))


def test_the_mean_sees_a_grey_picture_as_rgb_does_up_to_scale() -> None:
    weight = torch.randn(4, 3, 3, 3)
    grey = torch.randn(1, 1, 8, 8)
    of_rgb = torch.nn.functional.conv2d(grey.expand(-1, 3, -1, -1), weight)
    of_flow = torch.nn.functional.conv2d(grey.expand(-1, 10, -1, -1), adapted(weight, 10, Stem.MEAN))
    torch.testing.assert_close(of_flow, of_rgb * 10 / 3)


@pytest.mark.parametrize("stem", list(Stem))
def test_weights_come_from_those_over_rgb(stem: Stem) -> None:
    rgb, flow = (ImageEncoder("test_resnet", "none", Average(), channels=c, stem=stem, seed=3) for c in (3, 10))
    first = timm.create_model("test_resnet", num_classes=0).pretrained_cfg["first_conv"]
    name = f"backbone.{first}.weight"
    for key, tensor in flow.state_dict().items():
        wanted = rgb.state_dict()[key]
        torch.testing.assert_close(tensor, adapted(wanted, 10, stem) if key == name else wanted)
    how = flow.preprocessing(64)
    assert how.mean == (128 / 255,) * 10 and how.channels == 10
    assert flow.describe()["channels"] == 10 and "channels" not in rgb.describe()
    assert flow({"image": torch.zeros(2, 10, 64, 64)}).shape == (2, flow.dim)


def test_wrong_values_are_refused() -> None:
    with pytest.raises(BadConfig, match=r"encoder\.channels=0: type 3, or 2 L"):
        ImageEncoder("test_resnet", "none", channels=0)
    with pytest.raises(BadConfig, match=r"encoder\.stem=sum: type one of mean, tile"):
        ImageEncoder("test_resnet", "none", channels=10, stem="sum")
    with pytest.raises(BadConfig, match=r"encoder\.mean=\[0\.5, 0\.5, 0\.5\].*or 10 of them"):
        ImageEncoder("test_resnet", "none", channels=10, mean=[0.5, 0.5, 0.5])
    with pytest.raises(BadConfig, match=r"interpolation=nearest is for pictures of three channels, not of 10"):
        ImageEncoder("test_resnet", "none", channels=10, interpolation="nearest").preprocessing(64)
