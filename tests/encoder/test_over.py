"""What puts frames together: order, padding, and where it starts from."""

from functools import partial

import pytest
import torch

from retrieval_bench.encoder.over import Max, Mean, Recurrent, widest
from retrieval_bench.errors import BadConfig

LENGTHS = torch.tensor([4, 2, 3])
ALL = [
    pytest.param(Mean, id="mean"),
    pytest.param(partial(Mean, out=3), id="mean with a map"),
    pytest.param(Max, id="max"),
    *(
        pytest.param(partial(Recurrent, cell=cell, hidden=6, bidirectional=both, residual=residual, out=7), id=name)
        for cell in ("lstm", "gru")
        for both in (False, True)
        for residual in (False, True)
        for name in [f"{cell}{' both ways' if both else ''}{' residual' if residual else ''}"]
    ),
    pytest.param(partial(Recurrent, hidden=6, centre=False), id="lstm residual not centred"),
]


def clips(seed: int = 0) -> torch.Tensor:
    features = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(seed))
    return features * (torch.arange(4) < LENGTHS[:, None])[..., None]


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(1)


def trained(make):
    """With a map that is not zero, as after some steps."""
    over = make(5).eval()
    for parameter in over.parameters():
        torch.nn.init.normal_(parameter, 0, 0.5)
    return over


@pytest.mark.parametrize("make", ALL)
def test_what_is_behind_the_end_of_a_clip_is_not_seen(make) -> None:
    over, features = trained(make), clips()
    whole = over(features, LENGTHS)
    assert whole.shape == (3, over.out) and torch.isfinite(whole).all()
    alone = torch.cat([over(features[i : i + 1, :n], LENGTHS[i : i + 1]) for i, n in enumerate(LENGTHS)])
    torch.testing.assert_close(whole, alone)
    longer = torch.cat([features, torch.zeros(3, 2, 5)], dim=1)
    torch.testing.assert_close(over(longer, LENGTHS), whole)


def test_mean_and_max_are_those_of_the_frames() -> None:
    features = clips()
    for i, n in enumerate(LENGTHS):
        torch.testing.assert_close(Mean(5)(features, LENGTHS)[i], features[i, :n].mean(dim=0))
        torch.testing.assert_close(Max(5)(features, LENGTHS)[i], features[i, :n].amax(dim=0))


def test_the_maximum_of_negative_features_is_negative() -> None:
    features = -1 - clips().abs()
    assert (Max(5)(features, LENGTHS) < 0).all(), "padding is no maximum"


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("both", [False, True])
def test_with_a_residual_training_starts_from_mean_pooling(cell: str, both: bool) -> None:
    over = Recurrent(5, cell=cell, hidden=6, bidirectional=both)
    assert over.out == 5
    torch.testing.assert_close(over(clips(), LENGTHS), Mean(5)(clips(), LENGTHS))


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("both", [False, True])
def test_a_centred_network_does_not_see_what_all_frames_have_in_common(cell: str, both: bool) -> None:
    make = partial(Recurrent, cell=cell, hidden=6, bidirectional=both, residual=False, out=7, normalise=False)
    features, shown = clips(), torch.randn(3, 1, 5)
    other = features + shown * (torch.arange(4) < LENGTHS[:, None])[..., None]
    over = trained(make)
    torch.testing.assert_close(over(other, LENGTHS), over(features, LENGTHS))
    blind = trained(partial(make, centre=False))
    assert (blind(other, LENGTHS) - blind(features, LENGTHS)).abs().amax(dim=1).min() > 1e-2


@pytest.mark.parametrize("normalise", [False, True])
def test_to_a_centred_network_all_still_clips_are_alike(normalise: bool) -> None:
    """Of several lengths, and after layer norm, too: a memory of nothing is not a memory of what is shown."""
    over = trained(partial(Recurrent, hidden=6, residual=False, out=7, normalise=normalise))
    still = torch.randn(3, 1, 5).expand(3, 4, 5)
    lengths = torch.tensor([4, 4, 2])
    vectors = over(still * (torch.arange(4) < lengths[:, None])[..., None], lengths)
    nothing = over(torch.zeros(3, 4, 5), lengths)
    torch.testing.assert_close(vectors, nothing)


@pytest.mark.parametrize("make", ALL)
def test_only_networks_hear_the_order_of_frames(make) -> None:
    over, features, lengths = trained(make), clips(), torch.tensor([4, 4, 4])
    apart = (over(features, lengths) - over(features.flip(1), lengths)).abs().max()
    assert apart > 1e-3 if isinstance(over, Recurrent) else apart < 1e-5


@pytest.mark.parametrize("make", [case for case in ALL if case.id not in {"mean", "max"}])
def test_gradients_reach_every_parameter(make) -> None:
    over = trained(make)
    over(clips(), LENGTHS).square().sum().backward()
    for name, parameter in over.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Recurrent(5, cell="rnn"), r"encoder\.over\.cell=rnn: type one of lstm, gru"),
        (lambda: Recurrent(5, hidden=0), r"encoder\.over\.hidden=0: a whole number from 1"),
        (lambda: Mean(5, out=0), r"encoder\.over\.out=0: a whole number from 1"),
    ],
)
def test_wrong_values_are_refused(make, message: str) -> None:
    with pytest.raises(BadConfig, match=message):
        make()


def test_mean_without_float64() -> None:
    assert widest(torch.device("mps")) == torch.float32 and widest(torch.device("cpu")) == torch.float64
