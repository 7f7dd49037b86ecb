import copy
from pathlib import Path

import numpy as np
import pytest
import timm
import torch

from retrieval_bench.encoder.image import ImageEncoder
from retrieval_bench.encoder.pooling import MAC, Average, GeM, Grid
from retrieval_bench.errors import BadConfig, CorruptInput

KINDS = ["test_resnet", "test_efficientnet", "test_convnext", "test_vit", "test_vit2", "test_mambaout", "test_maxvit"]


def images(size: int, seed: int = 0) -> dict[str, torch.Tensor]:
    return {"image": torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(seed))}


@pytest.mark.parametrize("model", KINDS)
@pytest.mark.parametrize("pool", [None, Average(), Grid(2, 2)], ids=["own", "average", "grid"])
def test_every_kind_of_model_gives_dim_columns(model: str, pool: Average | Grid | None) -> None:
    encoder = ImageEncoder(model, "none", pool).eval()
    size = encoder.preprocessing(None).size
    with torch.inference_mode():
        vectors = encoder(images(size))
    assert vectors.shape == (2, encoder.dim)
    assert torch.isfinite(vectors).all() and (vectors[0] != vectors[1]).any()


def test_average_pooling_equals_the_models_own() -> None:
    encoder = ImageEncoder("test_resnet", "none", Average(), seed=3).eval()
    own = ImageEncoder("test_resnet", "none", None, seed=3).eval()
    with torch.inference_mode():
        torch.testing.assert_close(encoder(images(64)), own(images(64)))


def test_patch_tokens_keep_their_places() -> None:
    """Without attention between them, only one patch may change when only its pixels change."""
    encoder = ImageEncoder("test_vit", "none", Grid(10, 10)).eval()
    encoder.backbone.blocks = torch.nn.Sequential()
    given = images(160)
    changed = {"image": given["image"].clone()}
    changed["image"][:, :, :16, 16:32] += 1  # the second patch of the first row
    with torch.inference_mode():
        apart = (encoder(changed) - encoder(given)).view(2, 100, 64).abs().amax(dim=2)
    assert (apart[:, 1] > 0).all()
    assert (apart[:, [0, *range(2, 100)]] == 0).all()


def test_transformers_take_other_sizes_where_timm_lets_them() -> None:
    encoder = ImageEncoder("test_vit", "none", Average()).eval()
    assert encoder.preprocessing(48).size == 48
    with torch.inference_mode():
        assert encoder(images(48)).shape == (2, 64)


def test_the_seed_decides_random_weights_and_nothing_else() -> None:
    torch.manual_seed(11)
    before = torch.get_rng_state()
    one, same, other = (ImageEncoder("test_resnet", "none", MAC(), seed=s).weights_fingerprint() for s in (0, 0, 1))
    assert one == same != other
    assert torch.equal(before, torch.get_rng_state())


def test_one_changed_weight_changes_the_fingerprint() -> None:
    encoder = ImageEncoder("test_resnet", "none", GeM())
    before = encoder.weights_fingerprint()
    with torch.no_grad():
        next(encoder.parameters()).view(-1)[0].add_(1e-6)
    changed = encoder.weights_fingerprint()
    assert changed != before
    with torch.no_grad():
        encoder.pool.p.add_(0.5)
    assert encoder.weights_fingerprint() != changed


def test_input_size_rule() -> None:
    encoder = ImageEncoder("test_resnet", "none")  # timm's data config: 160 px, crop 0.95
    assert (encoder.preprocessing(None).size, encoder.preprocessing(None).resize) == (160, 168)
    assert (encoder.preprocessing(112).size, encoder.preprocessing(112).resize) == (112, None)
    set_size = ImageEncoder("test_resnet", "none", input_size=64)
    assert (set_size.preprocessing(None).size, set_size.preprocessing(None).resize) == (64, 67)
    assert (set_size.preprocessing(112).size, set_size.preprocessing(112).resize) == (64, None)
    cut = ImageEncoder("test_resnet", "none", crop=0.8)
    assert (cut.preprocessing(112).size, cut.preprocessing(112).resize) == (112, 140)


def test_a_model_of_one_size_gets_it_whatever_the_data() -> None:
    how = ImageEncoder("test_vit_relpos", "none").preprocessing(112)
    assert (how.size, how.resize) == (160, None)


def test_mean_std_interpolation_override_the_data_config() -> None:
    how = ImageEncoder("test_resnet", "none", mean=[0, 0, 0], std=[1, 1, 1], interpolation="nearest").preprocessing(
        None
    )
    assert (how.mean, how.std, how.interpolation) == ((0, 0, 0), (1, 1, 1), "nearest")
    config = ImageEncoder("test_resnet", "none").preprocessing(None)
    expected = timm.create_model("test_resnet").pretrained_cfg
    assert (config.mean, config.std, config.interpolation) == tuple(
        expected[n] for n in ("mean", "std", "interpolation")
    )


def test_the_package_brings_its_own_normalisation() -> None:
    how = ImageEncoder("tf_efficientnet_lite0", "package").preprocessing(None)
    pixels = np.array([0, 127, 255]) / 255
    np.testing.assert_allclose((pixels - how.mean) / how.std, (np.array([0, 127, 255]) - 127) / 128)
    assert (how.size, how.resize) == (224, 256)


def test_describe_has_no_path(tmp_path) -> None:
    file = tmp_path / "w.pt"
    torch.save(timm.create_model("test_resnet", num_classes=0).state_dict(), file)
    said = ImageEncoder("test_resnet", str(file), Average()).describe()
    assert said["weights"] == "w.pt" and said["pool"] == {"pool": "Average"} and "seed" not in said
    assert ImageEncoder("test_resnet", "none", seed=4).describe()["seed"] == 4


def test_an_unknown_model_names_the_nearest() -> None:
    with pytest.raises(BadConfig, match="resnet50"):
        ImageEncoder("resnett50", "none")


@pytest.mark.parametrize("wrong", [{"mean": [0.5]}, {"std": [1, 0, 1]}, {"crop": 0.0}, {"crop": 1.5}])
def test_wrong_values_are_refused(wrong) -> None:
    with pytest.raises(BadConfig, match=next(iter(wrong))):
        ImageEncoder("test_resnet", "none", **wrong)


@pytest.mark.parametrize("model", ["test_resnet", "test_efficientnet", "test_convnext"])
def test_a_layer_gives_timms_own_map_of_it(model: str) -> None:
    whole = ImageEncoder(model, "none", Average(), seed=3).eval()
    for i, known in enumerate(whole.backbone.feature_info):
        encoder = ImageEncoder(model, "none", Average(), seed=3, layer=known["module"]).eval()
        assert encoder.dim == known["num_chs"] and encoder.preprocessing(48) == whole.preprocessing(48)
        with torch.inference_mode():
            (own,) = whole.backbone.forward_intermediates(images(64)["image"], [i], intermediates_only=True)
            torch.testing.assert_close(encoder(images(64)), own.mean(dim=(2, 3)))


def test_above_the_layer_nothing_is_kept_and_below_it_names_stay() -> None:
    whole, lower = (ImageEncoder("test_resnet", "none", Average(), seed=3, layer=x) for x in (None, "layer2"))
    kept = {name: tensor for name, tensor in whole.exported().items() if not name.startswith(("layer3", "layer4"))}
    assert set(lower.exported()) == set(kept)
    assert all(torch.equal(tensor, kept[name]) for name, tensor in lower.exported().items())
    assert lower.describe()["layer"] == "layer2" and "layer" not in whole.describe()


def test_a_layer_of_another_number_of_channels_and_a_grid() -> None:
    encoder = ImageEncoder("test_efficientnet", "none", Grid(2, 2), layer="blocks.1", channels=4).eval()
    with torch.inference_mode():
        vectors = encoder({"image": torch.randn(2, 4, 32, 32)})
    assert vectors.shape == (2, encoder.dim) and encoder.dim % 4 == 0


def test_a_cut_encoder_is_copied_and_takes_its_own_weights_back() -> None:
    one, other = (ImageEncoder("test_resnet", "none", GeM(), seed=s, layer="layer2").eval() for s in (0, 1))
    with torch.inference_mode():
        wanted = one(images(64))
        torch.testing.assert_close(copy.deepcopy(one)(images(64)), wanted)  # in the mode of its model: evaluation
        assert not torch.allclose(other(images(64)), wanted)
        other.take(one.exported(), Path("trained.safetensors"))
        torch.testing.assert_close(other(images(64)), wanted)


def test_a_copy_has_the_mode_of_each_part() -> None:
    encoder = ImageEncoder("test_resnet", "none", Average(), layer="layer2").train()
    encoder.backbone.layer1.eval()
    modes = {name: part.training for name, part in encoder.named_modules()}
    assert {name: part.training for name, part in copy.deepcopy(encoder).named_modules()} == modes
    assert set(modes.values()) == {True, False}


def test_weights_of_a_cut_encoder_are_not_those_of_the_whole() -> None:
    whole, lower = (ImageEncoder("test_resnet", "none", Average(), layer=x) for x in (None, "layer2"))
    for encoder, given in ((whole, lower), (lower, whole)):
        with pytest.raises(CorruptInput, match=r"layer3|layer4"):
            encoder.take(given.exported(), Path("trained.safetensors"))


@pytest.mark.parametrize(
    ("model", "layer", "pool", "message"),
    [
        ("test_resnet", "layer22", Average(), r"encoder\.layer=layer22 is not in this model; nearest: layer2"),
        ("test_resnet", "layer2", None, r"encoder\.layer=layer2 needs a pooling; type pool=average or pool=grid"),
        ("test_resnet", "global_pool", Average(), r"encoder\.layer=global_pool gives \[1, \d+\], no map of pixels"),
    ],
)
def test_layers_that_give_no_map_are_refused(model: str, layer: str, pool: Average | None, message: str) -> None:
    with pytest.raises(BadConfig, match=message):
        ImageEncoder(model, "none", pool, layer=layer)
