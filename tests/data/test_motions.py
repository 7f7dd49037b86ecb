import json

import numpy as np
import pytest

from retrieval_bench.data._camera import KINDS, PAIRS, PHOTOGRAPHS, Kind, Pace, draw_look, draw_motion
from retrieval_bench.data._shot import Look, Motion, Shot, View, maps, opencv, plain, progressed, render, texture
from retrieval_bench.data.motions import DRIFT, GROWTH, TRAVEL, TURN, Motions
from retrieval_bench.errors import BadConfig
from retrieval_bench.media.clip import Clip
from retrieval_bench.media.flow import Flow, FlowMethod
from retrieval_bench.media.sampling import SegmentSampling
from retrieval_bench.truth import ignored_counts, relevant_counts

SIZE, FRAMES = 64, 24
SMALL = {"image_size": SIZE, "train_clips": 1, "validation_clips": 2, "test_clips": 2}
PACE = Pace(*((low * (FRAMES - 1), high * (FRAMES - 1)) for low, high in (TRAVEL, GROWTH, TURN, DRIFT)))
TIMES = np.linspace(0, 1, FRAMES)


def clip(frames=FRAMES):
    return Clip(SegmentSampling(frames), None, None, None, None)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def small(cache):
    return Motions(clip(), cache, **SMALL)


@pytest.fixture(scope="module")
def clips(small):
    test = small.gallery()
    return np.stack([test.read(row)["rgb"] for row in range(len(test))])


def motion(**changes):
    still = Motion((0.0, 0.0), 0.0, 0.0, (0.0, 0.0), 0.0, np.zeros((2, 3)), (1.0, 1.0))
    return Motion(**{**vars(still), **changes})


def where(shot, point, time):
    """Output pixel (from the middle) that shows this point of the photograph."""
    affine = maps(shot, np.array([time]))[0]
    return np.linalg.solve(affine[:, :2], np.array(point) - affine[:, 2])


@pytest.mark.slow
def test_every_photograph_serves_every_class_alike(small):
    for items, n, number in ((small.train(), 8, 1), (small.validation(), 3, 2), (small.gallery(), 5, 2)):
        cells, counts = np.unique(np.stack([items.labels, items.groups]), axis=1, return_counts=True)
        assert cells.shape == (2, 14 * n) and set(counts.tolist()) == {number}
        for key, label, group in zip(items.keys, items.labels, items.groups, strict=True):
            kind, photograph, _ = key.split("/")
            assert items.label_names[label] == kind
            assert [name for names in PHOTOGRAPHS.values() for name in names][group] == photograph


@pytest.mark.slow
def test_parts_share_no_photograph_and_the_querys_is_ignored(small):
    groups = [set(items.groups.tolist()) for items in (small.train(), small.validation(), small.gallery())]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 16
    truth = small.truth()
    assert small.queries() is small.gallery()
    assert truth.query_groups is truth.gallery_groups is small.gallery().groups
    assert truth.query_labels is small.gallery().labels


def test_within_pairs_clips_of_other_pairs_are_ignored(small, cache):
    paired = Motions(clip(), cache, **SMALL, within_pairs=True)
    truth, labels, groups = paired.truth(), small.gallery().labels, small.gallery().groups
    left = ignored_counts(truth)
    for row, (label, group) in enumerate(zip(labels, groups, strict=True)):
        seen = (labels // 2 == label // 2) & (groups != group)
        assert left[row] == len(labels) - seen.sum()
        assert set(truth.junk[row].tolist()) == set(small.gallery().ids[labels // 2 != label // 2].tolist())
    np.testing.assert_array_equal(relevant_counts(truth), relevant_counts(small.truth()))
    assert paired.gallery().fingerprint == small.gallery().fingerprint, "the same clips, judged otherwise"
    assert paired.protocol["relevance"] != small.protocol["relevance"]


def test_a_clips_reversed_twin_is_of_the_partner_class(small, clips):
    labels, keys = small.gallery().labels, small.gallery().keys
    np.testing.assert_array_equal(labels[1::2], small.partner[labels[::2]])
    np.testing.assert_array_equal(small.partner[small.partner], np.arange(14))
    np.testing.assert_array_equal(clips[1::2], clips[::2, ::-1])
    assert [key.split("/")[1:] for key in keys[::2]] == [key.split("/")[1:] for key in keys[1::2]]
    assert not any(np.array_equal(one, one[::-1]) for one in clips)
    assert small.protocol["pairs"] == [[one, other] for one, other in PAIRS]


@pytest.mark.parametrize("frames", [24, 8])
def test_means_of_frames_are_right_in_one_half_of_all_pairs(small, cache, frames):
    """Exactly: twins have equal means, so a query and its twin find the same clip, which is right for one of them."""
    test = Motions(clip(frames), cache, **SMALL).gallery()
    sums = np.stack([test.read(row)["rgb"].sum(axis=0, dtype=np.int64).ravel() for row in range(len(test))])
    right = np.zeros(7)
    for row in range(len(test)):
        among = np.flatnonzero((test.labels // 2 == test.labels[row] // 2) & (test.groups != test.groups[row]))
        nearest = among[((sums[among] - sums[row]) ** 2).sum(axis=1).argmin()]
        right[test.labels[row] // 2] += test.labels[nearest] == test.labels[row]
    np.testing.assert_array_equal(right / (len(test) / 7), 0.5)


def test_flow_runs_as_the_class_says(clips, small):
    cv2, labels = opencv(), small.gallery().labels
    dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    y, x = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    radius = np.hypot(x, y)
    signs = {Kind.PAN_LEFT: 0, Kind.PAN_UP: 1, Kind.ZOOM_IN: 2, Kind.CLOCKWISE: 3, Kind.ENTERS: 2}
    for first, at in signs.items():
        inward = first == Kind.ENTERS  # towards the middle
        for label, sign in ((KINDS.index(first) ^ inward, 1), (KINDS.index(first) ^ (not inward), -1)):
            for frames in clips[labels == label]:
                grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
                flow = np.stack([dis.calc(grey[i], grey[i + 1], None) for i in range(0, FRAMES - 1, 2)])
                u, v = flow[..., 0], flow[..., 1]
                outward, around = ((u * x + v * y) / radius).mean(), ((v * x - u * y) / radius).mean()
                assert sign * [np.median(u), np.median(v), outward, around][at] > 0.05, KINDS[label]


def test_fades_and_objects(clips, small):
    labels = small.gallery().labels
    light = clips.mean(axis=(2, 3, 4))
    assert (light[labels == KINDS.index(Kind.FADE_IN)] @ np.sign(TIMES - 0.5) > 0).all()
    ratio = light[:, -1] / light[:, 0]
    assert ratio[labels == KINDS.index(Kind.FADE_IN)].min() > 1.8
    for number in range(40):
        rng = np.random.default_rng(number)
        enters = draw_motion(Kind.ENTERS, PACE, SIZE, rng).sprite
        outside = np.abs(np.array(enters.start)) - np.abs(enters.outline).max(axis=0)
        assert outside.max() >= SIZE / 2, "unseen at first"
        assert (np.abs(enters.outline + enters.stop) < SIZE / 2).all(), "whole at last"
        crosses = draw_motion(Kind.RIGHTWARDS, PACE, SIZE, rng).sprite
        assert (crosses.start[0], crosses.stop[0]) == (-SIZE / 2, SIZE / 2)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_moves_faster_than_seven_pixels_a_frame(kind):
    """Content at the corners, between two frames; an object likewise; and a pan never stands still."""
    corners = np.array([(x, y, 1) for x in (-48, 48) for y in (-48, 48)], float).T
    for number in range(20):
        drawn = draw_motion(kind, PACE, 96, np.random.default_rng(number))
        affine = maps(Shot(Look("brick", (0.0, 0.0), np.eye(2), np.eye(3)), drawn, 96), TIMES)
        seen = affine @ corners  # where on the photograph: [24, 2, 4]
        later = np.linalg.solve(affine[1:, :, :2], seen[:-1] - affine[1:, :, 2:])
        steps = np.linalg.norm(later - corners[:2], axis=1)
        assert steps.max() < 7
        if kind in {Kind.PAN_LEFT, Kind.PAN_UP, Kind.PAN_RIGHT, Kind.PAN_DOWN}:
            assert steps.min() > 0.5
        if drawn.sprite is not None:
            done = np.diff(progressed(drawn, TIMES)) / (drawn.sprite.until - drawn.sprite.since)
            way = np.subtract(drawn.sprite.stop, drawn.sprite.start)
            assert np.abs(done).max() * np.linalg.norm(way) < 7


def test_where_a_point_of_the_photograph_goes():
    look = Look("brick", (200.0, 150.0), np.eye(2) * 1.5, np.eye(3))
    middle = (200.0, 150.0)
    pan = Shot(look, motion(travel=(-20.0, 0.0)), 64)
    np.testing.assert_allclose([where(pan, middle, t) for t in (0, 0.5, 1)], [(-10, 0), (0, 0), (10, 0)], atol=1e-12)
    back = Shot(look, motion(travel=(-20.0, 0.0), backwards=True), 64)
    np.testing.assert_allclose(where(back, middle, 0.25), where(pan, middle, 0.75))
    right = (215.0, 150.0)  # ten pixels to the right of the middle
    zoom = Shot(look, motion(growth=2 * np.log(2)), 64)
    np.testing.assert_allclose([where(zoom, right, t) for t in (0, 0.5, 1)], [(5, 0), (10, 0), (20, 0)])
    turn = Shot(look, motion(turn=np.pi), 64)  # clockwise: from the top by the right to the bottom
    np.testing.assert_allclose([where(turn, right, t) for t in (0, 1)], [(0, -10), (0, 10)], atol=1e-12)
    about = Shot(look, motion(growth=2 * np.log(2), centre=(10.0, 0.0)), 64)
    np.testing.assert_allclose([where(about, right, t) for t in (0, 1)], [(10, 0), (10, 0)], atol=1e-12)
    view = View(zoom=2.0, angle=np.pi / 2, shift=(4.0, 0.0))
    np.testing.assert_allclose(where(Shot(look, motion(), 64, view), right, 0.3), (0, 12), atol=1e-12)


def test_a_mirrored_photograph_is_panned_as_the_class_says():
    for base in (np.diag([-1.0, 1.0]), np.array([[0.0, 1.0], [-1.0, 0.0]])):
        shot = Shot(Look("brick", (200.0, 150.0), base, np.eye(3)), motion(travel=(-20.0, 0.0)), 64)
        np.testing.assert_allclose(where(shot, (200.0, 150.0), 1.0), (10, 0), atol=1e-12)


def test_pixels_stand_where_the_map_says():
    """At one pixel of the photograph for each of the picture: the mean of two linear samples along each side."""
    photo = texture("coins").astype(float)
    rows = (photo[:-2] + 6 * photo[1:-1] + photo[2:]) / 8
    both = (rows[:, :-2] + 6 * rows[:, 1:-1] + rows[:, 2:]) / 8  # begins at pixel (1, 1)
    look = Look("coins", (150.0, 120.0), np.eye(2), np.eye(3))
    shown = plain(Shot(look, motion(), 32), np.array([0.5]))[0]
    np.testing.assert_allclose(shown, both[103:135, 133:165], atol=1.5)


def test_the_photograph_goes_on_mirrored_beyond_its_edge():
    look = Look("coins", (0.5, 120.0), np.eye(2), np.eye(3))  # the middle of the first column: it is mirrored there
    shown = plain(Shot(look, motion(), 33), np.array([0.5]))[0]
    np.testing.assert_array_equal(shown, shown[:, ::-1])
    assert shown[:, :16].std() > 5


def test_two_renderings_give_the_same_bytes_and_a_seed_others(small, tmp_path):
    again = Motions(clip(), str(tmp_path), **SMALL)
    assert again.validation().keys == small.validation().keys
    assert again.validation().fingerprint == small.validation().fingerprint
    np.testing.assert_array_equal(again.validation().read(9)["rgb"], small.validation().read(9)["rgb"])
    other = Motions(clip(), str(tmp_path), **SMALL, seed=1)
    assert other.validation().fingerprint != small.validation().fingerprint
    assert not np.array_equal(other.validation().read(9)["rgb"], small.validation().read(9)["rgb"])


@pytest.mark.parametrize(("frames", "alike"), [(24, True), (8, True), (12, False)])
def test_the_protocol_says_whether_twins_are_read_alike(cache, frames, alike):
    assert Motions(clip(frames), cache, **SMALL).protocol["twins_are_read_at_the_same_frames"] is alike


def test_the_clip_resizes_and_adds_flow(cache):
    read = Clip(SegmentSampling(4), 48, 48, Flow(FlowMethod.DIS, 3), None)
    data = Motions(read, cache, **SMALL)
    arrays = data.gallery().read(1)
    assert data.inputs == ("rgb", "flow") == tuple(arrays)
    assert (arrays["rgb"].shape, arrays["flow"].shape) == ((4, 48, 48, 3), (4, 48, 48, 6))
    assert data.image_size == 48
    assert Motions(Clip(SegmentSampling(4), 171, 128, None, None), cache, **SMALL).image_size is None
    assert Motions(clip(), cache, **SMALL).image_size == SIZE


def test_what_is_read_decides_the_fingerprint(small, cache):
    prints = {Motions(clip(8), cache, **SMALL).gallery().fingerprint, small.gallery().fingerprint}
    prints.add(Motions(clip(), cache, **SMALL, rate=6.0).gallery().fingerprint)
    assert len(prints) == 3


def test_more_clips_keep_the_ones_there_were(small, tmp_path):
    more = Motions(clip(), str(tmp_path), **{**SMALL, "validation_clips": 3}).validation()
    row = small.validation().keys.index("zoom out/moon/1")
    at = more.keys.index("zoom out/moon/1")
    np.testing.assert_array_equal(small.validation().read(row)["rgb"], more.read(at)["rgb"])


def test_noise_light_and_colour():
    look = Look("coins", (150.0, 120.0), np.eye(2), np.array([[0, 1.0, 0], [0, 0, 0.5], [0.25, 0, 0]]))
    shot = Shot(look, motion(light=(1.0, 0.5)), 32)
    bare = plain(shot, np.array([0.0, 1.0])).astype(float)
    lit = render(shot, np.array([0.0, 1.0]), 0.0, np.random.default_rng(0))
    factors = np.array([1.0, 0.5])[:, None, None, None] * np.array([1.0, 0.5, 0.25])
    np.testing.assert_array_equal(lit, np.rint(bare[..., [1, 2, 0]] * factors))
    noisy = render(shot, np.array([0.0, 1.0]), 3.0, np.random.default_rng(0)).astype(float)
    assert (noisy - lit)[lit > 20].std() == pytest.approx(3.0, rel=0.05)


def test_crops_show_something_from_start_to_end():
    for number, name in enumerate(("moon", "rocket", "retina", "coffee")):
        rng = np.random.default_rng(number)
        drawn = draw_motion(Kind.PAN_LEFT, PACE, SIZE, rng)
        frames = plain(Shot(draw_look(name, drawn, SIZE, rng), drawn, SIZE), TIMES)
        assert frames.mean(axis=3).std(axis=(1, 2)).min() > 8, name


def test_protocol_is_json_and_says_how_many_photographs(small):
    protocol = json.loads(json.dumps(small.protocol))
    assert protocol["n_photographs"] == {"train": 8, "validation": 3, "test": 5}
    assert protocol["n_queries"] == protocol["n_gallery"] == len(small.gallery()) == 140
    assert protocol["clip"]["sampling"] == {"name": "segments", "frames": 24}
    assert set(protocol["drawn_with"]) == {"recipe", "photographs", "opencv", "pillow", "numpy"}


@pytest.mark.parametrize("wrong", [{"image_size": 8}, {"frames": 2}, {"test_clips": 0}, {"rate": 0}, {"seed": -1}])
def test_wrong_numbers_are_refused(wrong, tmp_path):
    with pytest.raises(BadConfig, match=f"data.{next(iter(wrong))}="):
        Motions(clip(), str(tmp_path), **wrong)
