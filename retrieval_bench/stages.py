"""From an experiment's data and encoders to stages that can be searched and judged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from retrieval_bench._moments import MomentSearch, moment_search
from retrieval_bench.data.base import Dataset, Items, MomentDataset, VectorDataset
from retrieval_bench.embed import Embedded, embed, transformed
from retrieval_bench.errors import BadConfig
from retrieval_bench.experiment import Experiment, data_fingerprint
from retrieval_bench.foresight import Foresight, Sizes
from retrieval_bench.points import Stage
from retrieval_bench.record import TRAINED, Progress, written_whole
from retrieval_bench.truth import restrict
from retrieval_bench.types import Embeddings, GroundTruth, Ragged
from retrieval_bench.video_cost import Encoding, Side, cut_short, query_ms, video_cost

if TYPE_CHECKING:
    from retrieval_bench.encoder.base import Encoder

Keys = dict[int, str]


@dataclass(frozen=True, eq=False)
class Prepared:
    """A stage, and what the record tells of it.

    Attributes:
        facts: encoder, engine, input, counts: JSON values.
        unreadable: (key, reason) of every item that was left out. truncated: of every video that is cut off.
        trained: folder with the weights, model card and history of its training, if it was trained.
        fingerprint: digest of the vectors on both sides.
    """

    stage: Stage
    facts: dict[str, Any]
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    trained: Path | None = None
    truncated: list[tuple[str, str]] = field(default_factory=list)

    def keep_training(self, run: Path) -> None:
        """Copy weights, model card and history of a training into the run's folder, where they are not yet."""
        if self.trained is None:
            return
        from retrieval_bench._trained_files import CARD, FILES

        (run / TRAINED).mkdir(parents=True, exist_ok=True)
        for name in FILES:
            if not (run / TRAINED / name).exists():
                content = (self.trained / name).read_bytes()
                if name == CARD:  # the cache knows no runs
                    content = content.replace(b"---\n", f"---\nrun: {run.name}\n".encode(), 1)
                with written_whole(run / TRAINED / name, "wb") as out:
                    out.write(content)

    @property
    def fingerprint(self) -> list[str]:
        """What decides the vectors of both sides."""
        return [self.stage.queries.fingerprint, self.stage.gallery.fingerprint]


def prepare(experiment: Experiment, progress: Progress, foresight: Foresight) -> list[Prepared]:
    """Encode what has to be encoded, once, and check it.

    Raises:
        CorruptInput: NaN or infinite vectors, or zero vectors under cosine. TooManyUnreadable. BadConfig: k is larger
        than the gallery, the data lacks an input of the encoder, or they are not those of the run to start from.
    """
    data = experiment.data
    _check_origin(experiment)
    if isinstance(data, VectorDataset):
        stages = [_given(experiment, data)]
    else:
        if "trained" in experiment.encoders and experiment.recipe is not None and _trained_before(experiment) is None:
            encoder = experiment.encoders["trained"]()
            _need_inputs(encoder, data)
            experiment.recipe().check(data, encoder)
        stages = [_encoded(experiment, data, name, progress, foresight) for name in experiment.encoders]
    for prepared in stages:
        _check(experiment, prepared.stage)
    return stages


def _given(experiment: Experiment, data: VectorDataset) -> Prepared:
    queries, gallery = data.queries(), data.gallery()
    queries, gallery, facts = _transformed(experiment, queries, gallery, data.train)
    given = data.truth()
    truth = _self_only(queries, gallery) if given is None else restrict(given, queries.ids, gallery.ids)
    return Prepared(_stage(experiment, "given", (queries, gallery), (truth, given is not None), float("nan")), facts)


def _check_origin(experiment: Experiment) -> None:
    origin, data = experiment.origin, experiment.data
    if origin is not None and data_fingerprint(data) != origin.data_fingerprint:
        raise BadConfig(
            f"data={data.name} is not what {origin.folder} was measured on any more (items were added, removed or"
            " changed), so there are no embeddings to start from; leave out from= and type the whole command"
        )


def _encoder(
    experiment: Experiment, data: Dataset, name: str, progress: Progress, foresight: Foresight
) -> tuple[Encoder, dict[str, Any], Path | None]:
    """The encoder of a stage, what its training said, and the folder that keeps it, where it was trained."""
    encoder = experiment.encoders[name]()
    _need_inputs(encoder, data)
    if name != "trained" and not encoder.head_weights:
        return encoder, {}, None
    if experiment.recipe is None or experiment.head is None:
        raise BadConfig("the configuration has no trainer or no head; type trainer=default head=linear")
    from retrieval_bench._headed import headed, restored
    from retrieval_bench._trained_files import outcome_of

    if name != "trained":  # weights of an earlier training bring their head
        return headed(encoder, experiment.head(), experiment.seed), {}, None
    before = _trained_before(experiment)
    if before is not None:
        model = restored(encoder, experiment.head(), before)
        outcome = outcome_of(before)
        model.origin = {"trained": outcome.key}
        return model, {"training": asdict(outcome)}, before
    from retrieval_bench.train import Where, train

    def told(task: str, done: int, total: int) -> None:
        progress(f"{name}: {task}", done, total)
        foresight.training(task, done, total)

    where = Where(experiment.cache, experiment.seed, experiment.similarity, experiment.embed)
    model, outcome, folder = train(encoder, experiment.recipe(), data, where, told)
    return model, {"training": asdict(outcome)}, folder


def _trained_before(experiment: Experiment) -> Path | None:
    """The weights of the run to start from, where it trained any."""
    from retrieval_bench._trained_files import WEIGHTS

    folder = None if experiment.origin is None else experiment.origin.folder / TRAINED
    return folder if folder is not None and (folder / WEIGHTS).is_file() else None


class _Parts:
    """Embeds the parts of a data set at one stage, and tells how far that is."""

    def __init__(self, experiment: Experiment, data: Dataset, name: str, progress: Progress, foresight: Foresight):
        self.encoder, self.training, self.trained = _encoder(experiment, data, name, progress, foresight)
        self.gallery, self.queries = data.gallery(), data.queries()
        self.embedded: list[Embedded] = []
        self._experiment, self._data, self._name = experiment, data, name
        self._progress, self._foresight = progress, foresight

    def embed(self, part: str, items: Items) -> Embedded:
        """Encode, or take from the cache."""
        origin, settings = self._experiment.origin, self._experiment.embed

        def told(done: int, total: int) -> None:
            if done < total and (items is self.gallery or items is self.queries) and origin is not None:
                self._foresight.gone(origin.folder)
            self._progress(f"{self._name}: encode {part}", done, total)
            self._foresight.encoding(done, total, self._sizes)

        found = embed(items, self.encoder, self._data.image_size, settings, self._experiment.cache, told)
        self.embedded.append(found)
        return found

    def cost(self, gallery: Embedded, queries: Embedded) -> dict[str, Any] | None:
        """What videos cost, where these are any."""
        data, made = self._data, self._experiment
        owner = data.query_segments().items if isinstance(data, MomentDataset) else None
        encoding = Encoding(self.encoder, data.image_size, made.embed.batch_size, made.cache)
        return video_cost(Side(self.gallery, gallery), Side(self.queries, queries, owner), encoding)

    def _sizes(self) -> Sizes:
        sides = [self.gallery] if self.gallery is self.queries else [self.gallery, self.queries]
        counts = [len(side) for side in sides] + ([len(self._data.train())] if self._experiment.transforms else [])
        names = list(self._experiment.encoders)
        later = sum(counts[len(self.embedded) + 1 :]) + (len(names) - 1 - names.index(self._name)) * sum(counts)
        later_trained = "trained" in names[names.index(self._name) + 1 :]
        return Sizes(len(self.gallery), len(self.queries), self.encoder.dim, later, len(names), later_trained)


def _encoded(experiment: Experiment, data: Dataset, name: str, progress: Progress, foresight: Foresight) -> Prepared:
    parts = _Parts(experiment, data, name, progress, foresight)
    encoder, one = parts.encoder, parts.gallery is parts.queries
    gallery = parts.embed("items" if one else "gallery", parts.gallery)
    queries = gallery if one else parts.embed("queries", parts.queries)
    pair = _transformed(
        experiment,
        queries.embeddings,
        gallery.embeddings,
        lambda: parts.embed("training items", data.train()).embeddings,
    )
    unreadable = [bad for part in parts.embedded for bad in part.unreadable]
    cut_off = cut_short([parts.gallery, parts.queries])
    cost = parts.cost(gallery, queries)
    encode_ms = gallery.encode_ms if cost is None else query_ms(cost)
    facts = pair[2] | parts.training | {
        "encoder": encoder.describe(),
        "preprocessing": _prepared_how(encoder, data.image_size),
        "engine": gallery.engine,
        "encode_ms": encode_ms,
        "unreadable": len(unreadable),
    }  # fmt: skip
    facts |= {} if cost is None else {"video": cost, "truncated": len(cut_off)}
    truth = data.truth()
    if truth is not None:  # in the order of the embeddings, without what could not be read
        truth = restrict(truth, pair[0].ids, pair[1].ids)
    known = truth or _self_only(pair[0], pair[1])
    stage = _stage(experiment, name, pair[:2], (known, truth is not None), encode_ms)
    hours = float("nan") if cost is None else cost["hours"]
    stage = replace(stage, moments=_moments(experiment, data, stage), video_hours=hours)
    return Prepared(stage, facts, unreadable, parts.trained, cut_off)


def _moments(experiment: Experiment, data: Dataset, stage: Stage) -> MomentSearch | None:
    if not isinstance(data, MomentDataset) or experiment.moment is None:
        return None
    return moment_search(data, experiment.moment, experiment.config["moment"], stage.queries, stage.gallery)


def _prepared_how(encoder: Encoder, native_size: int | None) -> dict[str, Any]:
    """How images became inputs; of clips, by input."""
    if not encoder.frames():
        return encoder.preprocessing(native_size).describe()
    return {name: frame.preprocessing(native_size).describe() for name, frame in encoder.frames().items()}


def _need_inputs(encoder: Encoder, data: Dataset) -> None:
    missing = [each for each in encoder.inputs if each not in data.inputs]
    if missing:
        needs, has = ", ".join(encoder.inputs), ", ".join(data.inputs)
        raise BadConfig(f"the encoder takes {needs}, but data={data.name} yields only {has}{_remedy(missing, data)}")


def _remedy(missing: list[str], data: Dataset) -> str:
    """What to type instead."""
    if "image" in missing:
        return "; for videos type encoder=frames, encoder=lstm or encoder=two_stream"
    if "flow" in missing and "rgb" in data.inputs:
        return "; for optical flow type flow=dis"
    return "; clips come from data=motions, data=ucf101 or data=video_folder, for instance"


def _transformed(
    experiment: Experiment, queries: Embeddings, gallery: Embeddings, training: Callable[[], Embeddings]
) -> tuple[Embeddings, Embeddings, dict[str, Any]]:
    """Both sides after the transforms, fitted on the training part (of given vectors perhaps the gallery itself)."""
    if not experiment.transforms:
        return queries, gallery, {}
    train = training()
    transforms = list(experiment.transforms.values())
    new_gallery = transformed(gallery, transforms, train, experiment.cache, experiment.seed)
    new_queries = (
        new_gallery
        if queries is gallery
        else transformed(queries, transforms, train, experiment.cache, experiment.seed)
    )
    return new_queries, new_gallery, {"transform": [t.describe() for t in transforms]}


def _self_only(queries: Embeddings, gallery: Embeddings) -> GroundTruth | None:
    """Without relevance, there is still the query itself to ignore where it stands in the gallery."""
    if not np.isin(queries.ids, gallery.ids).any():
        return None
    nothing = Ragged(np.empty(0, np.int64), np.zeros(len(queries) + 1, np.int64))
    return GroundTruth(queries.ids, gallery.ids, relevant=nothing)


def _stage(
    experiment: Experiment,
    name: str,
    sides: tuple[Embeddings, Embeddings],
    truth: tuple[GroundTruth | None, bool],
    encode_ms: float,
) -> Stage:
    metrics = experiment.metrics if truth[1] else {}
    return Stage(
        name, sides[0], sides[1], truth[0], experiment.similarity, metrics, experiment.cuts, experiment.seed, encode_ms
    )


def _check(experiment: Experiment, stage: Stage) -> None:
    stage.gallery.check(experiment.similarity)
    if stage.queries is not stage.gallery:
        stage.queries.check(experiment.similarity)
    if stage.queries.dim != stage.gallery.dim:
        raise BadConfig(f"queries have {stage.queries.dim} dimensions, the gallery {stage.gallery.dim}")
    n, deepest = len(stage.gallery), max(experiment.k)
    left = n - int(np.isin(stage.queries.ids, stage.gallery.ids).any())
    if left < 1:
        raise BadConfig("the gallery has one item, the query itself: nothing is left to find; add items to the gallery")
    if deepest > left:
        raise BadConfig(
            f"k={deepest} is larger than the gallery ({left} items to find); type k=[{min(10, left)}], for instance"
        )
