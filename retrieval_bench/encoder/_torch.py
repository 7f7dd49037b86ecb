"""Runs an encoder with torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from retrieval_bench.encoder._engine import Engine, EngineChoice, Images, Precision, Vectors
from retrieval_bench.encoder._preprocess import Preprocessing


class Normalised(nn.Module):
    """Pixels → vectors: normalisation belongs to the graph, so that engines take bytes."""

    def __init__(self, encoder: nn.Module, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.encoder = encoder
        mean, std = torch.tensor(preprocessing.mean), torch.tensor(preprocessing.std)
        self.shift: Tensor
        self.scale: Tensor
        self.register_buffer("shift", (mean * 255).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("scale", (1 / (std * 255)).view(1, -1, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """uint8 [b, size, size, c] → float32 [b, dim]; the permuted view is channels-last without a copy."""
        pixels = images.permute(0, 3, 1, 2).float()
        vectors: Tensor = self.encoder({"image": (pixels - self.shift) * self.scale})
        return vectors.float()


class TorchEngine(Engine):
    """Runs a graph with torch, channels last."""

    def __init__(self, graph: nn.Module, choice: EngineChoice) -> None:
        self._device = torch.device(str(choice.device))
        self._half = choice.precision == Precision.BFLOAT16
        self._graph = graph.to(self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def run(self, batches: Iterable[Images]) -> Iterator[Vectors]:
        for batch in batches:
            with torch.inference_mode(), torch.autocast(self._device.type, torch.bfloat16, enabled=self._half):
                vectors = self._graph(torch.from_numpy(batch).to(self._device))
            yield vectors.cpu().numpy()
