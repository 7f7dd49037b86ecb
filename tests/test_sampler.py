import json
from collections import Counter
from itertools import chain, islice, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval_bench._cycles import cycles, keys
from retrieval_bench.errors import BadConfig
from retrieval_bench.hashing import STEP
from retrieval_bench.sampler import BatchSampler, PKSampler, Shuffled

MASK = 2**64 - 1
SIZES = [1, 2, 3, 4, 5, 7, 9, 4, 12, 30, 6, 2]  # images of each class
K = 4


def labels_of(sizes: list[int], seed: int = 0) -> np.ndarray:
    """Labels 10, 13, 16, … in a random order of rows."""
    labels = np.repeat(10 + 3 * np.arange(len(sizes)), sizes).astype(np.int64)
    return np.random.default_rng(seed).permutation(labels)


def pk(classes: int = 4, batches: int | None = None, seed: int = 0, rank: int = 0, world: int = 1) -> PKSampler:
    return PKSampler(classes, K, batches, labels=labels_of(SIZES), seed=seed, rank=rank, world=world)


def shuffled(seed: int = 0, rank: int = 0, world: int = 1) -> Shuffled:
    return Shuffled(8, None, labels=labels_of(SIZES), seed=seed, rank=rank, world=world)


def epochs(sampler: BatchSampler, n: int) -> list[list[int]]:
    batches = []
    for epoch in range(n):
        sampler.set_epoch(epoch)
        batches += list(sampler)
    return batches


def mix(state: int) -> int:
    """splitmix64 in whole numbers of Python."""
    z = (state + STEP) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def slow_cycle(key: int, n: int, group: int, stop: int) -> list[int]:
    """The definition: shuffle behind shuffle from the very first one, each knowing all that came before."""
    drawn: list[int] = []
    while len(drawn) < stop:
        state = mix((key + len(drawn) // n * STEP) & MASK)
        order = sorted(range(n), key=lambda value, state=state: mix((state + value * STEP) & MASK))
        before = drawn[len(drawn) - len(drawn) % group :]
        order[:group] = sorted(order[:group], key=before.__contains__)
        drawn += order
    return drawn[:stop]


@given(st.integers(1, 30), st.data())
def test_cycles_are_those_of_the_definition_at_any_place(n: int, data: st.DataObject) -> None:
    group = data.draw(st.integers(1, n))
    first, count = data.draw(st.integers(0, 40)), data.draw(st.integers(1, 20))
    key, start, stop = keys(data.draw(st.integers(-5, 5)), 3), first * group, (first + count) * group
    expected = [slow_cycle(int(k), n, group, stop)[start:] for k in key]
    np.testing.assert_array_equal(cycles(key, n, group, start, stop), expected)


def slow_batches(labels: np.ndarray, p: int, k: int, batches: int, seed: int) -> list[list[int]]:
    """P × K batches from the first one on, image by image."""
    members = [np.flatnonzero(labels == name).tolist() for name in np.unique(labels)]
    class_key, *image_keys = keys(seed, len(members) + 1).tolist()
    rows, turns = [], Counter[int]()
    for drawn in slow_cycle(class_key, len(members), p, batches * p):
        own, turn = members[drawn], turns[drawn]
        more = k % len(own)
        rows += own * (k // len(own))
        if more:
            cycle = slow_cycle(image_keys[drawn], len(own), more, (turn + 1) * more)
            rows += [own[i] for i in cycle[turn * more :]]
        turns[drawn] += 1
    return [rows[i * p * k : (i + 1) * p * k] for i in range(batches)]


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(1, 11), min_size=1, max_size=9), st.integers(0, 99), st.data())
def test_batches_are_those_of_the_definition(sizes: list[int], seed: int, data: st.DataObject) -> None:
    p, k, b = data.draw(st.integers(1, len(sizes))), data.draw(st.integers(1, 6)), data.draw(st.integers(1, 5))
    labels = labels_of(sizes, seed)
    assert epochs(PKSampler(p, k, b, labels=labels, seed=seed), 4) == slow_batches(labels, p, k, 4 * b, seed)


def test_cycles_far_away_take_no_longer_way() -> None:
    """Place 10^12 is reached at once, and is even."""
    start = 10**12 - 10**12 % (7 * 3)
    drawn = cycles(keys(0, 1), 7, 3, start, start + 70)[0]
    assert Counter(drawn.tolist()) == dict.fromkeys(range(7), 10)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(1, 12), min_size=1, max_size=20), st.integers(0, 99), st.data())
def test_classes_and_images_are_evenly_seen(sizes: list[int], seed: int, data: st.DataObject) -> None:
    p, k = data.draw(st.integers(1, len(sizes))), data.draw(st.integers(1, 6))
    labels = labels_of(sizes, seed)
    batches = epochs(PKSampler(p, k, data.draw(st.integers(1, 7)), labels=labels, seed=seed), 4)
    size_of = dict(zip(*(a.tolist() for a in np.unique(labels, return_counts=True)), strict=True))
    classes, images = [], {name: [] for name in size_of}  # in the order in which they were drawn, over all epochs
    for batch in batches:
        groups = np.array(batch).reshape(p, k)
        names = labels[groups]
        assert (names == names[:, :1]).all() and len({*names[:, 0].tolist()}) == p, "one class a row, none twice"
        classes += names[:, 0].tolist()
        for name, rows in zip(names[:, 0].tolist(), groups.tolist(), strict=True):
            images[name].append(rows)
            counts = Counter(rows)
            assert len(counts) == min(k, size_of[name]), "as many of its images as there are"
            assert max(counts.values()) - min(counts.values()) <= 1
    for start in range(0, len(classes) - len(sizes) + 1, len(sizes)):
        assert len({*classes[start : start + len(sizes)]}) == len(sizes), "each class once before any twice"
    for name, drawn in images.items():
        seen = Counter(dict.fromkeys(np.flatnonzero(labels == name).tolist(), 0))
        for rows in drawn:
            seen.update(rows)
            assert max(seen.values()) - min(seen.values()) <= 1, "each image once before any twice"
        if k <= size_of[name]:
            flat = list(chain(*drawn))
            for start in range(0, len(flat) - size_of[name] + 1, size_of[name]):
                assert len({*flat[start : start + size_of[name]]}) == size_of[name]


@given(st.integers(1, 40), st.integers(0, 99), st.data())
def test_shuffled_images_are_evenly_seen(n: int, seed: int, data: st.DataObject) -> None:
    size = data.draw(st.integers(1, n))
    batches = epochs(Shuffled(size, None, labels=np.zeros(n, np.int64), seed=seed), 5)
    assert all(len({*batch}) == size for batch in batches) and len(batches) == 5 * (n // size)
    flat = list(chain(*batches))
    for start in range(0, len(flat) - n + 1, n):
        assert sorted(flat[start : start + n]) == list(range(n))


@pytest.mark.parametrize("make", [pk, shuffled])
@pytest.mark.parametrize("world", [2, 4])
def test_processes_share_the_batches_of_one(make, world: int) -> None:
    alone = epochs(make(seed=3), 3)
    parts = [epochs(make(seed=3, rank=rank, world=world), 3) for rank in range(world)]
    assert [list(chain(*shares)) for shares in zip(*parts, strict=True)] == alone
    assert {len(share) for part in parts for share in part} == {len(alone[0]) // world}


@pytest.mark.parametrize("make", [pk, shuffled])
def test_an_epoch_hangs_on_seed_and_number_alone(make) -> None:
    walked = make(seed=5)
    for epoch in range(7):
        walked.set_epoch(epoch)
        list(islice(walked, epoch % 3))  # left in the middle
    jumped = make(seed=5)
    jumped.set_epoch(6)
    assert list(walked) == list(jumped) == list(jumped)
    orders = [epochs(make(seed=seed), 1) for seed in (5, 6, -1, 2**70)]
    assert all(a != b for a, b in pairwise(orders)) and list(make(seed=5)) == orders[0] != list(jumped)


@pytest.mark.parametrize("make", [pk, shuffled])
@pytest.mark.parametrize("epoch", [0, 2])
@pytest.mark.parametrize("world", [1, 2])
def test_a_state_goes_on_where_it_was_taken(make, epoch: int, world: int) -> None:
    whole, after = make(), make(world=world)
    whole.set_epoch(epoch)
    batches = list(whole)
    for position in range(len(batches) + 1):
        stopped, resumed = make(), make(world=world)
        stopped.set_epoch(epoch)
        list(islice(stopped, position))
        resumed.load_state_dict(json.loads(json.dumps(stopped.state_dict())))
        assert (resumed.epoch, resumed.position) == (epoch, position)
        assert resumed.state_dict() == stopped.state_dict()
        resumed.set_epoch(epoch)  # as Lightning does once it goes on
        own = len(batches[0]) // world
        assert list(resumed) == [batch[:own] for batch in batches[position:]]
        after.set_epoch(epoch)
        assert list(resumed) == list(after), "the epoch anew is whole again"
        resumed.set_epoch(epoch + 1)
        after.set_epoch(epoch + 1)
        assert list(resumed) == list(after), "and so is the next"


def test_the_state_counts_what_was_given_out() -> None:
    sampler = pk()
    batches = iter(sampler)
    assert sampler.state_dict()["position"] == 0
    for position in range(1, len(sampler) + 1):
        next(batches)
        assert sampler.state_dict()["position"] == position
    sampler.set_epoch(1)
    assert (sampler.state_dict()["epoch"], sampler.state_dict()["position"]) == (1, 0)


def test_a_state_of_other_batches_is_refused() -> None:
    state = pk().state_dict()
    with pytest.raises(
        BadConfig, match=r"other batches: batches 5 \(now 3\), classes 4 \(now 6\); type .* or start from"
    ):
        pk(classes=6).load_state_dict(state)
    with pytest.raises(BadConfig, match=r"seed 0 \(now 1\)"):
        pk(seed=1).load_state_dict(state)
    with pytest.raises(BadConfig, match=r"sampler pk \(now shuffled\)"):
        shuffled().load_state_dict(state)
    other = PKSampler(4, K, None, labels=labels_of(SIZES, seed=1), seed=0)
    with pytest.raises(BadConfig, match="other batches: labels"):
        other.load_state_dict(state)
    with pytest.raises(BadConfig, match="damaged: it is at batch 99 of 5"):
        pk().load_state_dict({**state, "position": 99})


def test_the_number_of_batches() -> None:
    n = sum(SIZES)
    assert (n, len(pk()), len(pk(classes=2)), len(pk(batches=7)), len(shuffled())) == (85, 5, 10, 7, 10)
    assert len(PKSampler(12, 100, None, labels=labels_of(SIZES), seed=0)) == 1, "one at least"


def test_golden_batches() -> None:
    """Pinned: a release that draws other batches from the same seed says so."""
    sampler = PKSampler(2, 2, None, labels=np.array([0, 0, 0, 1, 1, 2, 2, 2, 2, 3]), seed=0)
    assert epochs(sampler, 2) == [[3, 4, 1, 0], [5, 7, 9, 9], [9, 9, 3, 4], [2, 0, 6, 8]]
    other = Shuffled(3, None, labels=np.zeros(7, np.int64), seed=0)
    assert epochs(other, 2) == [[1, 0, 4], [6, 2, 3], [5, 3, 6], [1, 5, 0]]


def test_small_classes_are_reported() -> None:
    sampler = pk()
    assert sampler.report() == {
        "images": 85,
        "classes": 12,
        "batches": 5,
        "batch_size": 16,
        "fewer_than_per_class": {"classes": 4, "labels": [10, 13, 16, 43]},
        "one_image": {"classes": 1, "labels": [10]},
    }
    assert json.loads(json.dumps(sampler.report())) == sampler.report()
    assert sampler.remarks() == [
        "4 of 12 classes (10, 13, 16, 43) have fewer than sampler.per_class=4 images: some are repeated in a batch",
        "1 of 12 classes (10) have one image only, whose positives are copies of itself: pairs of it teach little",
    ]
    many = PKSampler(2, 2, None, labels=np.arange(9), seed=0)
    assert many.report()["one_image"] == {"classes": 9, "labels": [0, 1, 2, 3, 4]}
    assert "9 of 9 classes (0, 1, 2, 3, 4, …) have fewer" in many.remarks()[0]
    assert PKSampler(2, 1, None, labels=np.arange(9), seed=0).remarks() == [], "no positives were asked for"
    assert PKSampler(2, 3, None, labels=np.repeat([1, 2], 3), seed=0).remarks() == []
    assert shuffled().report() == {"images": 85, "classes": 12, "batches": 10, "batch_size": 8}
    assert shuffled().remarks() == []


@pytest.mark.parametrize(
    ("classes", "per_class", "batches", "world", "message"),
    [
        (
            13,
            4,
            None,
            1,
            r"sampler.classes=13: the training part has 12 classes; type sampler.classes=12, and a larger",
        ),
        (20, 4, None, 5, r"sampler.classes=20: the training part has 12 classes; type sampler.classes=10"),
        (16, 4, None, 16, r"the training part has 12 classes, too few for 16 processes"),
        (8, 4, None, 3, r"sampler.classes=8 cannot be shared alike by 3 processes; type sampler.classes=6"),
        (2, 4, None, 3, r"type sampler.classes=3"),
        (0, 4, None, 1, r"sampler.classes=0: type a whole number of 1 or more"),
        (4, 0, None, 1, r"sampler.per_class=0: type"),
        (4, 4, 0, 1, r"sampler.batches=0: type"),
        (4, 2.5, None, 1, r"sampler.per_class=2.5: type"),
    ],
)
def test_what_cannot_be_drawn_is_refused(classes, per_class, batches, world, message) -> None:
    with pytest.raises(BadConfig, match=message):
        PKSampler(classes, per_class, batches, labels=labels_of(SIZES), seed=0, world=world)


@pytest.mark.parametrize(
    ("size", "n", "world", "message"),
    [
        (9, 8, 1, r"sampler.batch_size=9: the training part has 8 images .*type sampler.batch_size=8"),
        (9, 8, 3, r"type sampler.batch_size=6"),
        (8, 8, 3, r"sampler.batch_size=8 cannot be shared alike by 3 processes; type sampler.batch_size=6"),
        (0, 8, 1, r"sampler.batch_size=0: type"),
    ],
)
def test_what_cannot_be_shuffled_is_refused(size: int, n: int, world: int, message: str) -> None:
    with pytest.raises(BadConfig, match=message):
        Shuffled(size, None, labels=np.zeros(n, np.int64), seed=0, world=world)


def test_no_labels_and_no_such_process() -> None:
    with pytest.raises(BadConfig, match="has 0 classes"):
        PKSampler(1, 1, None, labels=np.zeros(0, np.int64), seed=0)
    with pytest.raises(ValueError, match="process 2 of 2"):
        pk(rank=2, world=2)


def test_labels_beyond_float_precision_stay_apart() -> None:
    labels = np.repeat([2**53, 2**53 + 1, -(2**60)], 4)
    for batch in PKSampler(3, 4, 5, labels=labels, seed=0):
        assert Counter(labels[batch].tolist()) == dict.fromkeys(labels.tolist(), 4)
