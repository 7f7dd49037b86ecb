"""Made-up videos in which the right moments are known: for tests of moment search."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from retrieval_bench.intervals import MomentResult, MomentTruth
from retrieval_bench.moment.base import GalleryWindows, QueryWindows
from retrieval_bench.moment.search import Moments
from retrieval_bench.types import Ragged, Segments, Similarity

STEP = 0.1  # seconds between points of a walk
SLACK = 1e-3  # seconds
SAMPLES = 8  # points that a window's vector is the mean of
MEMORY = 3.0  # seconds after which a video resembles itself by 1/e


def windows(videos: NDArray[np.int64], durations: NDArray[np.float64], window: float, stride: float) -> Segments:
    """As `media.sampling.windows` cuts frames, in continuous time, of several videos: sorted by (video, start)."""
    order = np.argsort(videos)
    videos, durations = videos[order], durations[order].astype(np.float64)
    room = np.maximum(durations - window, 0.0)  # where the last window starts
    regular = np.floor((room + SLACK) / stride).astype(np.int64) + 1
    counts = regular + (room - (regular - 1) * stride > SLACK)
    owner = np.repeat(np.arange(len(videos)), counts)
    place = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    starts = np.minimum(place * stride, room[owner])
    return Segments(videos[owner], starts, np.minimum(starts + window, durations[owner]))


@dataclass(frozen=True, eq=False)
class Study:
    """Long videos, queries cut from them, and where they were cut."""

    gallery: GalleryWindows
    queries: list[QueryWindows]
    truth: MomentTruth


def study(videos: int, queries: int, noise: float, seed: int, *, dim: int = 32, fastest: float = 1.25) -> Study:
    """Videos of 1 to 3 minutes as stationary random walks on the unit sphere, so that neighbouring windows are alike.

    Queries are 4 to 40 s of a video at a speed from 1/fastest to fastest, evenly in the logarithm, with `noise` times a
    random unit vector added to each window's vector. They keep one second from the video's ends.
    """
    rng = np.random.default_rng(seed)
    durations = rng.uniform(60, 180, videos)
    decay = np.exp(-STEP / MEMORY)
    paths = [
        lfilter([np.sqrt(1 - decay**2)], [1, -decay], rng.standard_normal((int(d / STEP) + 100, dim)), axis=0)[50:]
        for d in durations
    ]
    ids = rng.permutation(1000)[:videos].astype(np.int64)
    cut = windows(ids, durations, 2.0, 1.0)
    place = {int(video): at for at, video in enumerate(ids)}
    vectors = np.concatenate(
        [_vectors(paths[place[v]], *_times(cut, cut.items == v)) for v in np.unique(cut.items).tolist()]
    )
    owner = rng.integers(0, videos, queries)
    lengths = rng.uniform(4, 40, queries)
    starts = rng.uniform(1, durations[owner] - lengths - 1)
    pace = fastest ** rng.uniform(-1, 1, queries)
    asked = []
    for at, length, start, speed in zip(owner, lengths, starts, pace, strict=True):
        part = windows(np.zeros(1, np.int64), np.array([length / speed]), 2.0, 1.0)
        clean = _vectors(paths[at], start + speed * part.starts, start + speed * part.ends)
        noisy = _unit(clean + noise * _unit(rng.standard_normal(clean.shape)))
        asked.append(QueryWindows(part.starts, part.ends, noisy))
    truth = MomentTruth(
        np.arange(queries) + 5000, np.sort(ids), Ragged(ids[owner], np.arange(queries + 1)), starts, starts + lengths
    )
    return Study(GalleryWindows(cut, vectors, Similarity.COSINE), asked, truth)


def lists(made: Study, k: int, dropped: float, seed: int) -> list[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Exact search for every window, but each neighbour is missed with probability `dropped`, as by a bad index."""
    rng = np.random.default_rng(seed)
    found = []
    for query in made.queries:
        scores = (query.vectors @ made.gallery.vectors.T).astype(np.float32)
        scores[rng.random(scores.shape) < dropped] = -np.inf
        rows = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        best = np.take_along_axis(scores, rows, 1)
        found.append((np.where(np.isinf(best), -1, rows), best))
    return found


def answers(made: Study, moments: Moments, k: int = 50, dropped: float = 0.0) -> MomentResult:
    """Ranked moments of all queries."""
    asked = zip(lists(made, k, dropped, 1), made.queries, strict=True)
    return MomentResult.of([moments(*found, query, made.gallery) for found, query in asked], moments.moments)


def _times(cut, rows):
    return cut.starts[rows], cut.ends[rows]


def _unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def _vectors(path, starts, ends):
    """Mean of the walk over each window, as unit vectors: [w, dim]."""
    share = (np.arange(SAMPLES) + 0.5) / SAMPLES
    at = (starts[:, None] + share * (ends - starts)[:, None]) / STEP
    before = np.floor(at).astype(int)
    part = (at - before)[..., None]
    return _unit((path[before] * (1 - part) + path[before + 1] * part).mean(axis=1))
