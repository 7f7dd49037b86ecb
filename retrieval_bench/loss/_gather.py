"""The batch of all processes in each of them, with a gradient."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


class _AllGather(torch.autograd.Function):
    """Rows of all processes, in the order of ranks; backward hands each process the summed gradient of its rows.

    When each of W processes computes the loss L of the whole batch, the sum is W · dL/d(own rows), and the mean over
    processes that data parallelism takes of parameters' gradients is the gradient of one process with the whole batch.
    """

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        world, rank = dist.get_world_size(), dist.get_rank()
        sizes = torch.zeros(world, dtype=torch.int64, device=tensor.device)
        sizes[rank] = len(tensor)
        dist.all_reduce(sizes)
        rows = sizes.tolist()
        padded = tensor.new_zeros(max(rows), *tensor.shape[1:])  # the parts of a collective must be equal
        padded[: len(tensor)] = tensor
        parts = [torch.empty_like(padded) for _ in range(world)]
        dist.all_gather(parts, padded)
        ctx.start, ctx.rows = sum(rows[:rank]), rows[rank]
        return torch.cat([part[:n] for part, n in zip(parts, rows, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous().clone()
        dist.all_reduce(total)
        return total[ctx.start : ctx.start + ctx.rows]


def gathered(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Rows of all processes, in the order of ranks, for each tensor [b, …] of this one; b may differ between processes.

    Gradients flow to every process. Floats below float32 become float32. With one process nothing happens.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return tensors
    low = (torch.bfloat16, torch.float16)
    return tuple(_AllGather.apply(t.float() if t.dtype in low else t) for t in tensors)
