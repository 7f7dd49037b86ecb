"""What every loss in conf/loss must do, because it is listed there.

Run as a script (FOLDER RANK PROCESSES), this file is one process of the test with two.
"""

import copy
import functools
import inspect
import io
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from torch import Tensor, nn
from torch.nn import functional as F

from retrieval_bench.cli import CONF
from retrieval_bench.loss import base
from retrieval_bench.loss.base import Loss, gathered

NAMES = sorted(file.stem for file in (CONF / "loss").glob("*.yaml"))
CLASSES, EACH, DIM, INPUTS = 8, 4, 16, 24
LABELS = torch.arange(CLASSES).repeat_interleave(EACH)
# A memory small enough that the third batch wraps it.
SMALL = {"cross_batch_memory": {"memory_size": 80, "start_step": 0}}
COMPLETED = {"dim", "n_classes", "num_classes", "embedding_size"}


@functools.cache
def factory(group: str, name: str, *overrides: str) -> functools.partial:
    """The yaml as a run gets it."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        node = compose(overrides=["+seed=0", f"+{group}={name}", *overrides])[group]
        return instantiate(node, _convert_="all")


def built(name: str, seed: int = 0, **changes: object) -> Loss:
    torch.manual_seed(seed)
    return factory("loss", name)(dim=DIM, n_classes=CLASSES, **{**SMALL.get(name, {}), **changes})


def random_batch(seed: int, dim: int = DIM) -> Tensor:
    return torch.randn(len(LABELS), dim, generator=torch.Generator().manual_seed(seed))


def centres() -> Tensor:
    """Unit vectors [classes, dim] that are equally far apart, as far as they can be: a regular simplex."""
    simplex = F.normalize(torch.eye(CLASSES) - 1 / CLASSES)
    turn = torch.linalg.qr(random_batch(99)[:DIM]).Q
    return simplex @ turn[:CLASSES]


def perfect(name: str) -> Tensor:
    """Classes far apart, each in one place.

    Recall at k looks at ranks among the positives, too: ranks 1, 2, 3 are a little better than three ranks of 2. So its
    classes are short arcs that lead out of the plane of the others, with all similarities of an item different.
    """
    if name == "classification":  # not normalised: the farther, the better
        return 30 * centres().repeat_interleave(EACH, 0)
    if name != "recall_at_k":
        return centres().repeat_interleave(EACH, 0)
    turn = torch.linalg.qr(random_batch(99)[:DIM]).Q
    angle = torch.tensor([0.0, 0.3, 0.8, 1.45]).repeat(CLASSES)[:, None]
    return turn[:CLASSES][LABELS] * angle.cos() + turn[CLASSES:][LABELS] * angle.sin()


def place_proxies(loss: Loss) -> None:
    """Proxies, class weights: at the centres of the classes."""
    with torch.no_grad():
        for parameter in loss.parameters():
            shapes = {(CLASSES, DIM): centres(), (DIM, CLASSES): centres().T, (CLASSES,): torch.zeros(CLASSES)}
            parameter.copy_(shapes[tuple(parameter.shape)])


def value_of(loss: Loss, embeddings: Tensor) -> float:
    return float(loss(embeddings.detach(), LABELS).detach())


def gradients(loss: Loss, embeddings: Tensor, labels: Tensor = LABELS) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Value, gradient of the embeddings and of the loss's own parameters."""
    leaf = embeddings.detach().clone().requires_grad_()
    loss.zero_grad()
    value = loss(leaf, labels)
    value.backward()
    assert leaf.grad is not None
    return value.detach(), leaf.grad, [p.grad.clone() for p in loss.parameters() if p.grad is not None]


def train(loss: Loss, steps: int) -> None:
    """Some optimizer steps of an encoder and this loss, a new batch each."""
    torch.manual_seed(7)
    encoder = nn.Linear(INPUTS, DIM)
    optimizer = torch.optim.SGD([*encoder.parameters(), *loss.parameters()], lr=0.1)
    for step in range(steps):
        optimizer.zero_grad()
        loss(encoder(random_batch(step, INPUTS)), LABELS).backward()
        optimizer.step()


@pytest.mark.parametrize("group", ["loss", "miner"])
def test_a_yaml_lists_every_parameter(group: str) -> None:
    def named(target: type) -> set[str]:
        parameters = inspect.signature(target).parameters.items()
        return {name for name, each in parameters if each.kind not in {each.VAR_KEYWORD, each.VAR_POSITIONAL}}

    for file in (CONF / group).glob("*.yaml"):
        made = factory(group, file.stem)
        node = yaml.safe_load(file.read_text())
        assert node["_partial_"] is True
        assert set(node) - {"_target_", "_partial_", "defaults"} == named(made.func) - COMPLETED
        for inner in made.keywords.values():
            if isinstance(inner, functools.partial):  # of the library, which hands some on to its bases
                assert named(inner.func) - COMPLETED <= set(inner.keywords)
                assert set(inner.keywords) <= set().union(*(named(each) for each in inner.func.__mro__[:-1]))


@pytest.mark.parametrize("name", NAMES)
def test_messages_name_the_losses_that_can(name: str) -> None:
    target = factory("loss", name).func
    assert target.needs_classes is (name not in base.CLASSLESS)
    assert target.mines is (name in base.MINING)
    assert built(name).refers is (name in base.REFERRING)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_less_than_at_perfect_embeddings(name: str) -> None:
    loss = built(name).eval()
    place_proxies(loss)
    best = perfect(name)
    # Similarities of recall_at_k's positives are a few temperatures apart only: its ranks are not quite 1, 2, 3.
    least = value_of(loss, best) - (1e-3 if name == "recall_at_k" else 1e-6)
    for seed in range(20):
        for noise in (0.03, 0.1, 0.3, 1.0, 3.0):
            assert value_of(loss, best + noise * random_batch(seed)) >= least
        assert value_of(loss, random_batch(seed)) > least + 0.01


@pytest.mark.parametrize("name", NAMES)
def test_gradient_steps_lead_there(name: str) -> None:
    """From random embeddings, with proxies at the centres: all but a hundredth of the way down to the perfect value."""
    loss, embeddings = built(name), nn.Parameter(random_batch(5))
    place_proxies(loss)
    least = value_of(copy.deepcopy(loss), perfect(name))
    first = value_of(copy.deepcopy(loss), embeddings)
    optimizer = torch.optim.Adam([embeddings], lr=0.3)
    for _ in range(200):
        optimizer.zero_grad()
        loss(embeddings, LABELS).backward()
        optimizer.step()
    assert value_of(loss, embeddings) - least <= 0.01 * (first - least)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_a_batch_does_not_matter(name: str, dtype: torch.dtype, tolerance: float) -> None:
    loss = built(name)
    train(loss, 2)  # fills a memory
    loss.to(dtype)
    batch, order = random_batch(3).to(dtype), torch.randperm(len(LABELS))
    value, of_batch, of_own = gradients(copy.deepcopy(loss), batch)
    shuffled, of_shuffled, of_own_shuffled = gradients(copy.deepcopy(loss), batch[order], LABELS[order])
    torch.testing.assert_close(shuffled, value, rtol=tolerance, atol=0)
    for ours, theirs in zip([of_shuffled, *of_own_shuffled], [of_batch[order], *of_own], strict=True):
        assert (ours - theirs).abs().max() <= tolerance * theirs.abs().max()


@pytest.mark.parametrize("labels", [torch.arange(CLASSES), torch.full((CLASSES,), 3)], ids=["no positives", "one"])
@pytest.mark.parametrize("name", NAMES)
def test_one_sided_batches_are_finite(name: str, labels: Tensor) -> None:
    loss = built(name)
    for seed in range(2):  # with a memory the second meets the first
        for tensor in flat(gradients(loss, random_batch(seed)[:CLASSES], labels)):
            assert tensor.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_perfect_and_collapsed_embeddings_have_a_finite_gradient(name: str) -> None:
    for embeddings in (perfect(name), torch.ones(len(LABELS), DIM), torch.zeros(len(LABELS), DIM)):
        loss = built(name)
        place_proxies(loss)
        for tensor in flat(gradients(loss, embeddings)):
            assert tensor.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_bfloat16_loses_nothing_inside_the_loss(name: str) -> None:
    loss, encoder = built(name), nn.Linear(INPUTS, DIM)
    with torch.autocast("cpu", torch.bfloat16):
        embeddings = encoder(random_batch(0, INPUTS))
        assert embeddings.dtype == torch.bfloat16
        value = copy.deepcopy(loss)(embeddings, LABELS)
    assert value.dtype == torch.float32
    assert value.isfinite()
    assert torch.equal(value, copy.deepcopy(loss)(embeddings.float(), LABELS))
    value.backward()
    for parameter in encoder.parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_two_optimizer_steps_change_the_loss(name: str) -> None:
    torch.manual_seed(0)
    loss, encoder = built(name), nn.Linear(INPUTS, DIM)
    optimizer = torch.optim.SGD([*encoder.parameters(), *loss.parameters()], lr=0.1)
    values = []
    for _ in range(3):
        optimizer.zero_grad()
        value = copy.deepcopy(loss).eval()(encoder(random_batch(0, INPUTS)), LABELS)
        values.append(float(value.detach()))
        loss(encoder(random_batch(0, INPUTS)), LABELS).backward()
        optimizer.step()
    assert len(set(values)) == 3


@pytest.mark.parametrize(
    ("name", "changes"),
    [*((name, {}) for name in NAMES), ("cross_batch_memory", {"memory_size": 200})],
    ids=[*NAMES, "cross_batch_memory, partly filled"],
)
def test_a_resumed_loss_goes_on_alike(name: str, changes: dict[str, int]) -> None:
    loss = built(name, **changes)
    train(loss, 3)
    file = io.BytesIO()
    torch.save(loss.state_dict(), file)
    file.seek(0)
    fresh = built(name, seed=1, **changes)
    fresh.load_state_dict(torch.load(file, weights_only=True))
    for seed in (10, 11, 12):
        for ours, theirs in zip(*(flat(gradients(each, random_batch(seed))) for each in (fresh, loss)), strict=True):
            assert torch.equal(ours, theirs)


def flat(found: tuple[Tensor, Tensor, list[Tensor]]) -> list[Tensor]:
    return [found[0], found[1], *found[2]]


class Trained(nn.Module):
    """What data parallelism wraps: an encoder with its loss, and a miner if there is one."""

    def __init__(self, name: str, miner: str | None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder, self.loss = nn.Linear(INPUTS, DIM), built(name)
        self.miner = None if miner is None else factory("miner", miner)()

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        embeddings, labels = gathered(self.encoder(images), labels)
        return self.loss(embeddings, labels, None if self.miner is None else self.miner(embeddings, labels))


def process(folder: Path, rank: int, world: int) -> None:
    """Save the gradients of two steps with each loss, as one of so many processes."""
    torch.set_num_threads(1)
    if world > 1:
        torch.distributed.init_process_group("gloo", f"file://{folder / 'meeting'}", rank=rank, world_size=world)
    mine = slice(None) if world == 1 else slice(0, 20) if rank == 0 else slice(20, None)  # unequal parts
    found = {}
    for name, miner in [*((name, None) for name in NAMES), ("triplet", "distance_weighted")]:
        model: nn.Module = Trained(name, miner)
        model = nn.parallel.DistributedDataParallel(model) if world > 1 else model
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        torch.manual_seed(1000 + rank)  # what processes draw is not alike
        steps = []
        for step in range(2):
            optimizer.zero_grad()
            value = model(random_batch(step, INPUTS)[mine], LABELS[mine])
            value.backward()
            steps += [value.detach(), *(p.grad.clone() for p in model.parameters())]
            optimizer.step()
        found[f"{name}, {miner}"] = steps
    torch.save(found, folder / f"{rank}_of_{world}.pt")
    if world > 1:
        torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_have_the_gradient_of_one(tmp_path: Path) -> None:
    arguments = [("0", "2"), ("1", "2"), ("0", "1")]
    started = [subprocess.Popen([sys.executable, __file__, str(tmp_path), *each]) for each in arguments]
    assert [each.wait(timeout=200) for each in started] == [0, 0, 0]
    one = torch.load(tmp_path / "0_of_1.pt")
    assert len(one) == len(NAMES) + 1
    for rank in (0, 1):
        two = torch.load(tmp_path / f"{rank}_of_2.pt")
        for name, tensors in one.items():
            for ours, theirs in zip(two[name], tensors, strict=True):
                assert (ours - theirs).abs().max() <= 1e-5 * theirs.abs().max(), name


if __name__ == "__main__":
    process(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
