"""From what is stored to vectors, in training and in validation: normalised images, frames, or vectors of frames."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Generator, Tensor, nn

from retrieval_bench._stored import FRAMES, trained_above
from retrieval_bench.augment import Augmentation, ClipAugmentation
from retrieval_bench.encoder.base import Headed, Preprocessing
from retrieval_bench.errors import BadConfig

Inputs = dict[str, Tensor]


class Look(nn.Module, ABC):
    """What a model sees of a batch."""

    @abstractmethod
    def forward(self, model: Headed, inputs: Inputs, generator: Generator | None) -> Tensor:
        """What is stored of some items → vectors [b, dim]. generator: of random changes; none: in validation."""


class Normalise(nn.Module):
    """Bytes → normalised floats, on the device that this is on."""

    def __init__(self, how: Preprocessing) -> None:
        super().__init__()
        mean, std = torch.tensor(how.mean), torch.tensor(how.std)
        self.shift: Tensor
        self.scale: Tensor
        self.register_buffer("shift", (mean * 255).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("scale", (1 / (std * 255)).view(1, -1, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """uint8 or float [n, c, size, size] in 0 … 255 → float32, channels last."""
        pixels = images.to(self.shift.device, torch.float32, copy=True).sub_(self.shift).mul_(self.scale)
        return pixels.contiguous(memory_format=torch.channels_last)


class LookAtImages(Look):
    """One image each."""

    def __init__(self, name: str, how: Preprocessing, augment: Augmentation) -> None:
        super().__init__()
        self._name, self._augment, self._normalise = name, augment, Normalise(how)

    def forward(self, model: Headed, inputs: Inputs, generator: Generator | None) -> Tensor:
        """As every `Look`."""
        images = inputs[self._name]
        if generator is not None:
            images = self._augment(images, generator)
        vectors: Tensor = model({self._name: self._normalise(images)})
        return vectors


class LookAtClips(Look):
    """The frames of clips, whose encoders are trained.

    In training the frames that the augmentation chooses, all of a clip cropped and mirrored alike, in every input.
    """

    def __init__(self, how: dict[str, Preprocessing], augment: ClipAugmentation) -> None:
        super().__init__()
        self._augment = augment
        self._normalise = nn.ModuleDict({name: Normalise(each) for name, each in how.items()})

    def forward(self, model: Headed, inputs: Inputs, generator: Generator | None) -> Tensor:
        """As every `Look`."""
        if generator is not None:
            inputs = self._augment.clips(inputs, generator)
        features, lengths = {}, {}
        for name, frame in model.frames().items():
            counts = inputs[name + FRAMES]
            encoded = frame({"image": self._normalise[name](inputs[name])})
            features[name] = nn.utils.rnn.pad_sequence(list(encoded.split(counts.tolist())), batch_first=True)
            lengths[name] = counts
        return model.over_time(features, lengths)


class LookAtVectors(Look):
    """The vectors of frames, of encoders that are not trained: nothing is changed at random."""

    def __init__(self) -> None:
        super().__init__()
        self.place: Tensor
        self.register_buffer("place", torch.empty(0), persistent=False)  # knows the device

    def forward(self, model: Headed, inputs: Inputs, generator: Generator | None) -> Tensor:
        """As every `Look`."""
        features = {name: inputs[name].to(self.place.device) for name in model.frames()}
        return model.over_time(features, {name: inputs[name + FRAMES] for name in model.frames()})


def look_of(model: Headed, native_size: int | None, augment: Augmentation | ClipAugmentation) -> Look:
    """The look that fits what `stored` gives of this model.

    Raises:
        BadConfig: the frames of clips are trained, and the augmentation is one of images; or the other way round.
    """
    frames = model.frames()
    if not frames:
        if not isinstance(augment, Augmentation):
            raise BadConfig("augment=clip changes clips, and the encoder takes images: type augment=crop_flip")
        return LookAtImages(model.inputs[0], model.preprocessing(native_size), augment)
    if trained_above(model):
        return LookAtVectors()
    if not isinstance(augment, ClipAugmentation):
        raise BadConfig(
            "the frames of clips are trained: type augment=clip (or augment=clip_motion, which mirrors nothing), or"
            " trainer.frozen=[frame] to train what is above them"
        )
    return LookAtClips({name: frame.preprocessing(native_size) for name, frame in frames.items()}, augment)
