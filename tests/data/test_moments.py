import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from retrieval_bench.data._camera import PHOTOGRAPHS
from retrieval_bench.data._shot import LUMA, View, opencv
from retrieval_bench.data._timeline import CAMERA, FADE, Plan, draw_take, draw_video, frames_of, times
from retrieval_bench.data.base import TrueMoments
from retrieval_bench.data.moments import Moments
from retrieval_bench.errors import BadConfig
from retrieval_bench.media.clip import Clip
from retrieval_bench.media.sampling import SegmentSampling

SMALL = {"image_size": 48, "rate": 4.0, "n_videos": 3, "train_videos": 2, "validation_videos": 1}


def clip(frames=8):
    return Clip(SegmentSampling(frames), None, None, None, None)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def small(cache):
    return Moments(clip(), cache, **SMALL)


@pytest.fixture(scope="module")
def timeline():
    return Plan(PHOTOGRAPHS["test"], 12, 96, 8.0).timeline(np.random.default_rng(3))


def grey(frames, shrink=12):
    """Small grey pictures without their mean brightness and contrast: [n, shrink²]."""
    cv2 = opencv()
    small = [cv2.resize(frame, (shrink, shrink), interpolation=cv2.INTER_AREA) @ LUMA for frame in frames]
    flat = np.stack(small).reshape(len(frames), -1)
    flat -= flat.mean(axis=1, keepdims=True)
    return flat / np.linalg.norm(flat, axis=1, keepdims=True)


def test_videos_have_60_to_120_seconds_and_parts_lie_side_by_side(timeline):
    for parts in timeline.videos:
        assert 60 <= frames_of(parts) / 8 <= 120
        assert [part.begins for part in parts] == [0, *(part.ends for part in parts[:-1])]
        assert parts[-1].ends == frames_of(parts)
        overlaps = {one.first + one.length - other.first for one, other in pairwise(parts)}
        assert overlaps <= {0, round(FADE * 8)}
    passages = [one.first + one.length - other.first for parts in timeline.videos for one, other in pairwise(parts)]
    assert min(passages) == 0 < max(passages), "cuts and cross-fades"


def test_every_video_has_a_short_a_medium_and_a_long_moment(timeline):
    assert len(timeline.takes) == 36
    limits = {"short": (3, 10), "medium": (10, 30), "long": (30, 40)}
    for take in timeline.takes:
        low, high = limits[take.moment]
        assert low <= (take.stop - take.start) / 8 < high
        part = timeline.videos[take.video][take.part]
        assert part.like == -1 and part.begins <= take.start < take.stop <= part.ends
        assert take.length == pytest.approx((take.stop - take.start) / take.speed)
        assert 0.78 < take.speed < 1.28
    assert len({(take.video, take.moment) for take in timeline.takes}) == 36
    whole = [take.stop - take.start == frames for take in timeline.takes for frames in [_seen(timeline, take)]]
    assert 9 <= sum(whole) <= 27, "about half are cut shorter"


def _seen(timeline, take):
    part = timeline.videos[take.video][take.part]
    return part.ends - part.begins


def test_distractors_share_the_place_or_the_motion_never_both(timeline):
    moments = [  # in the order in which they were drawn
        timeline.videos[take.video][take.part]
        for take in sorted(timeline.takes, key=lambda t: (t.video, ["short", "medium", "long"].index(t.moment)))
    ]
    homes = np.repeat(np.arange(12), 3)
    places, motions = 0, 0
    for number, parts in enumerate(timeline.videos):
        assert sum(part.like >= 0 for part in parts) == 3
        for part in parts:
            if part.like < 0:
                continue
            moment = moments[part.like]
            assert (number - homes[part.like]) % 12 == part.like % 3, "its own video, the next, the one after it"
            if part.shot.look is moment.shot.look:
                assert part.kind != moment.kind
                places += 1
            else:
                assert part.kind == moment.kind
                assert part.shot.look.photograph != moment.shot.look.photograph
                assert part.shot.motion.light == moment.shot.motion.light
                motions += 1
    assert places == motions == 18


def test_photographs_and_motions_serve_alike(timeline):
    parts = [timeline.videos[take.video][take.part] for take in timeline.takes]
    for values, among in (
        ([part.shot.look.photograph for part in parts], PHOTOGRAPHS["test"]),
        ([part.kind for part in parts], CAMERA),
    ):
        counts = [values.count(value) for value in among]
        assert sum(counts) == 36 and max(counts) - min(counts) <= 1


def test_times_of_a_take_run_through_its_part(timeline):
    part = timeline.videos[0][2]
    np.testing.assert_allclose(
        times(part, part.first, part.first + part.length, part.length), np.linspace(0, 1, part.length), atol=1e-12
    )
    half = times(part, part.first + 8, part.first + 18, 5)  # twice the speed: every time between two frames
    np.testing.assert_allclose(half * (part.length - 1), [8.5, 10.5, 12.5, 14.5, 16.5])


def test_a_cross_fade_mixes_the_two_parts():
    plan = Plan(PHOTOGRAPHS["test"], 1, 32, 8.0)
    (parts,) = plan.timeline(np.random.default_rng(5)).videos
    video = draw_video(parts, np.random.default_rng(0)).astype(float).mean(axis=(1, 2))
    faded = [b for a, b in pairwise(parts) if b.first < a.first + a.length]
    assert faded, "this seed has a cross-fade"
    at = faded[0].first
    before, after = video[at - 1], video[at + 4]
    wanted = before + np.arange(1, 5)[:, None] / 5 * (after - before)
    np.testing.assert_allclose(video[at : at + 4], wanted, atol=4)


def test_windows_cover_the_videos_and_the_queries(small):
    lengths = {ident: video.seconds for ident, video in small.videos().items()}
    queries = dict(zip(small.moments().queries.tolist(), small._test.take_names, strict=False))
    for items, segments in (
        (small.gallery(), small.gallery_segments()),
        (small.queries(), small.query_segments()),
    ):
        assert len(items) == len(segments.items) == len(set(items.ids.tolist()))
        for ident in np.unique(segments.items):
            rows = segments.items == ident
            starts, ends = segments.starts[rows], segments.ends[rows]
            assert starts[0] == 0 and (np.diff(starts) <= small.stride).all() and (starts[1:] <= ends[:-1]).all()
            np.testing.assert_allclose(ends - starts, min(small.window, ends[-1]))
            if ident in lengths:
                assert ends[-1] == lengths.pop(ident)
            else:
                del queries[ident]
    assert not lengths and not queries


def test_a_window_is_the_slice_of_its_video(small):
    segments, items = small.gallery_segments(), small.gallery()
    for row in (0, 17, len(items) - 1):
        number = int(small.videos()[int(segments.items[row])].name.rsplit(" ", 1)[1])
        frames = small._test._videos.shot(number)[round(4 * segments.starts[row]) : round(4 * segments.ends[row])]
        assert len(frames) == 8
        np.testing.assert_array_equal(items.read(row)["rgb"], frames)
        assert items.keys[row].startswith(f"test video {number:03} {segments.starts[row]:.2f}-")


def test_a_takes_first_and_last_frames_stand_at_the_ends_of_its_moment(small):
    """Searched in all videos frame by frame; without the second camera, whose other crop looks like another time."""
    videos = [grey(small._test._videos.shot(number)) for number in range(3)]
    frames = np.concatenate(videos)
    owners = np.repeat(np.arange(3), [len(video) for video in videos])
    firsts = np.array([0, len(videos[0]), len(videos[0]) + len(videos[1])])
    moments = small.moments()
    for take in small._test.timeline.takes:
        part = small._test.timeline.videos[take.video][take.part]
        plain = grey(draw_take(replace(take, view=View(), noise=0.0), part, np.random.default_rng(0)))
        row = moments.names.index(small._test.take_names[small._test.timeline.takes.index(take)])
        assert small.videos()[moments.videos[row]].name == f"test video {take.video:03}"
        for frame, at in ((plain[0], moments.starts[row] * 4), (plain[-1], moments.ends[row] * 4 - 1)):
            best = int((frames @ frame).argmax())
            assert owners[best] == take.video, moments.names[row]
            assert abs(best - firsts[take.video] - at) <= 1 + FADE * 4, "under a cross-fade its likeness is half"


def test_a_querys_moment_is_found_by_sliding_it_over_all_videos(small):
    """As filmed again, at the true speed: the best place covers at least seven tenths of the moment."""
    moments = small.moments()
    videos = [grey(small._test._videos.shot(number)) for number in range(3)]
    for row, name in enumerate(moments.names):
        number = small._test.take_names.index(name)
        take, query = small._test.timeline.takes[number], grey(small._test._takes.shot(number))
        span = take.stop - take.start
        at = np.rint((np.arange(len(query)) + 0.5) * span / len(query) - 0.5).astype(int)
        scores = {
            (i, start): float(np.einsum("ij,ij->", query, video[start + at]))
            for i, video in enumerate(videos)
            for start in range(len(video) - span + 1)
        }
        video, start = max(scores, key=lambda place: scores[place])
        shared = span - abs(start - moments.starts[row] * 4)
        assert video == take.video and shared / (2 * span - shared) >= 0.7, name
        assert span == round((moments.ends[row] - moments.starts[row]) * 4)


def test_truth_by_the_slow_way(small):
    truth, moments = small.truth(), small.moments()
    gallery, queries = small.gallery_segments(), small.query_segments()
    assert truth.query_ids is small.queries().ids
    for row in range(0, len(queries.items), 7):
        (number,) = np.flatnonzero(moments.queries == queries.items[row])
        wanted = []
        for at in range(len(gallery.items)):
            if gallery.items[at] != moments.videos[number]:
                continue
            inside = [
                moments.starts[number] <= t < moments.ends[number]
                for t in np.linspace(gallery.starts[at], gallery.ends[at], 800, endpoint=False)
            ]
            if np.mean(inside) >= small.least_overlap - 1e-3:
                wanted.append(small.gallery().ids[at])
        assert sorted(truth.relevant[row].tolist()) == sorted(wanted) != []


def test_a_larger_share_leaves_fewer_windows(small, cache):
    strict = Moments(clip(), cache, **SMALL, least_overlap=1.0)
    assert len(strict.truth().relevant.values) < len(small.truth().relevant.values)
    assert strict.gallery().fingerprint == small.gallery().fingerprint


def test_training_labels_are_stretches_in_videos_and_queries_alike(small):
    train, part = small.train(), small._parts["train"]
    assert train.labels.min() >= 0
    labels = dict(zip(train.keys, train.labels.tolist(), strict=True))
    take = next(take for take in part.timeline.takes if take.moment == "long")
    parts = part.timeline.videos[take.video]
    seen, mid = parts[take.part], (take.start + take.stop) / 2
    video = {k: v for k, v in labels.items() if k.startswith(part.video_names[take.video])}
    query = {k: v for k, v in labels.items() if k.startswith(part.take_names[part.timeline.takes.index(take)])}
    middles = {k: np.mean([float(t) for t in k.split(" ")[-2].split("-")]) * 4 for k in (*video, *query)}
    near = min(video, key=lambda k: abs(middles[k] - mid))
    again = min(query, key=lambda k: abs(middles[k] - take.length / 2))
    assert abs(video[near] - query[again]) <= 1, "the same stretch, or the next where one begins"
    assert set(query.values()) <= {v for k, v in video.items() if seen.begins <= middles[k] <= seen.ends}
    assert len(set(query.values())) >= 6, "a long moment has many stretches"
    for key, label in video.items():
        inside = next(i for i, p in enumerate(parts) if p.begins <= middles[key] < p.ends)
        assert label // 64 == take.video * 6 + inside


def test_parts_share_no_photograph_and_no_key(small):
    shown = [
        {part.shot.look.photograph for parts in stitched.timeline.videos for part in parts}
        for stitched in small._parts.values()
    ]
    assert sum(map(len, shown)) == len(set.union(*shown))
    keys = [*small.train().keys, *small.validation().keys, *small.queries().keys, *small.gallery().keys]
    assert len(keys) == len(set(keys))


def test_two_renderings_give_the_same_bytes_and_a_seed_others(small, tmp_path):
    again = Moments(clip(), str(tmp_path), **SMALL)
    assert again.queries().fingerprint == small.queries().fingerprint
    assert again.validation().fingerprint == small.validation().fingerprint
    np.testing.assert_array_equal(again.moments().starts, small.moments().starts)
    for other in ({"seed": 1}, {"stride": 0.5}, {"window": 1.0}):
        assert Moments(clip(), str(tmp_path), **SMALL, **other).queries().fingerprint != small.queries().fingerprint
    assert Moments(clip(2), str(tmp_path), **SMALL).queries().fingerprint != small.queries().fingerprint


def test_a_plan_needs_no_drawing(tmp_path):
    data = Moments(clip(), str(tmp_path), **SMALL)
    assert len(data.moments()) == 9 and len(data.videos()) == 3
    assert len(data.gallery_segments().items) == data.protocol["n_gallery"]
    assert not list(tmp_path.iterdir())


def test_protocol_is_json(small):
    protocol = json.loads(json.dumps(small.protocol))
    assert protocol["n_moments"] == {"short": 3, "medium": 3, "long": 3}
    assert (protocol["n_queries"], protocol["n_gallery"]) == (len(small.queries()), len(small.gallery()))
    assert protocol["seconds"] == sum(video.seconds for video in small.videos().values())


def test_moments_check_themselves():
    one = np.array([1.0])
    with pytest.raises(ValueError, match="must end after"):
        TrueMoments(np.array([3]), ["a"], np.array([1]), one, one)
    with pytest.raises(ValueError, match="must rise"):
        TrueMoments(np.array([3, 3]), ["a", "b"], np.array([1, 1]), np.zeros(2), np.ones(2))
    with pytest.raises(ValueError, match="one name"):
        TrueMoments(np.array([3]), [], np.array([1]), np.zeros(1), one)


@pytest.mark.parametrize(
    "wrong", [{"n_videos": 0}, {"rate": 1}, {"window": 0}, {"stride": -1.0}, {"least_overlap": 2}, {"image_size": 9}]
)
def test_wrong_numbers_are_refused(wrong, tmp_path):
    with pytest.raises(BadConfig, match=f"data.{next(iter(wrong))}="):
        Moments(clip(), str(tmp_path), **wrong)
