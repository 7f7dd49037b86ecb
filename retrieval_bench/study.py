"""A search for good settings with Optuna: which to try next, what they were worth, kept in a file and gone on with.

A study knows no Hydra and runs nothing: it proposes settings (`ask`) and is told the operating points that they gave
(`tell`). One such evaluation is worth its best operating point: the smallest objective among those that keep all
limits; where none does, how far the nearest one is from them. Optuna's trial is everything but the effort of an index,
which is found by bisection: several evaluations, and none that cannot be the best.

Akiba et al. 2019, "Optuna"; proposals by Bergstra et al. 2011, "Algorithms for hyper-parameter optimization" (TPE).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from math import inf, isfinite, prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from retrieval_bench._journal import open_journal
from retrieval_bench.errors import BadConfig
from retrieval_bench.objective import Choice, Interval, Objective, Space, Worth, effort_key, measured, surpasses
from retrieval_bench.record import digest

if TYPE_CHECKING:
    import optuna

SPACE = "space"
_BEHIND = 1.5  # times as dear as the best known
_TRIES = 30  # proposals in a row that are known already: then one that is not is drawn, or the search is over


@dataclass(frozen=True)
class Proposal:
    """Settings to try: parameter → value as it is typed. number: of Optuna's trial; effort: its position, or none."""

    number: int
    settings: dict[str, str]
    effort: int | None


@dataclass
class _Open:
    """A trial whose effort is not found yet.

    Attributes:
        tried: position of the effort → worth. failed: positions of which nothing was measured. waiting: for an answer.
    """

    trial: Any
    space: int
    settings: dict[str, str]
    tried: dict[int, Worth]
    failed: set[int] = field(default_factory=set)
    waiting: bool = False


class Study:
    """A search in a file, with which the same command goes on later; of one file there may be but one at a time.

    What failed is not proposed again by this object, and counts as an evaluation of it; the next one tries it anew.

    Args:
        file: of the journal. spaces: alternatives, each a set of parameters; a trial takes one of them.
        evaluations: in all. startup: trials before the first proposal by TPE. seed: of the proposals.
        anew: what the file knows stays in it, and is not believed any longer.

    Attributes:
        earlier: settings that an earlier command measured, and their run: where they give another by now, the data
            or the encoder changed.

    Raises:
        MissingExtra: Optuna is not installed. BadConfig: nothing to choose.
    """

    def __init__(  # noqa: PLR0917
        self,
        file: Path,
        spaces: Sequence[Space],
        objective: Objective,
        evaluations: int,
        startup: int,
        seed: int,
        *,
        anew: bool = False,
    ) -> None:
        if not any(spaces) or evaluations < 1:
            raise BadConfig(
                "a search needs something to choose and an evaluation at least; type hydra.sweeper.evaluations=20"
            )
        self._spaces, self._objective, self._evaluations = list(spaces), objective, evaluations
        self._startup, self._seed = startup, seed
        self._keys = [effort_key(space) if objective.settles_effort else None for space in spaces]
        self._found: list[tuple[dict[str, str], Worth]] = []
        self._visited: set[str] = set()
        self._at = dict[int, int]()  # space → position of the effort that was best in it
        self._settled = set[int]()  # spaces of which a trial was searched to its end
        self._open: list[_Open] = []
        self.earlier: tuple[dict[str, str], str] | None = None
        asked = [{key: str(each) for key, each in space.items()} for space in spaces]
        name = digest(asked, str(objective), seed)
        self._study = open_journal(file, name, len(objective.columns), startup, seed, anew=anew)
        for trial in self._study.get_trials(deepcopy=False):
            self._recall(trial)

    def _recall(self, trial: optuna.trial.FrozenTrial) -> None:
        """What an earlier command did in a trial."""
        if "settings" not in trial.user_attrs:
            return
        import optuna

        space, settings = int(trial.user_attrs["space"]), dict(trial.user_attrs["settings"])
        tried = {int(k): (list(map(tuple, w[0])), *w[1:]) for k, w in trial.user_attrs.get("tried", {}).items()}
        self._visited.add(digest(settings))
        self._found += [(self._with_effort(space, settings, position), worth) for position, worth in tried.items()]
        for position, worth in tried.items():
            if worth[1] == 0 and self._keys[space] is not None:
                self._at[space] = position
        if run := trial.user_attrs.get("run"):
            self.earlier = self._found[-1][0], str(run)
        if not trial.state.is_finished():
            self._open.append(_Open(optuna.Trial(self._study, trial._trial_id), space, settings, tried))
        else:
            self._settled.add(space)

    @property
    def left(self) -> int:
        """Evaluations that are still to be made."""
        return max(0, self._evaluations - len(self._found))

    def ask(self) -> Proposal | None:
        """Settings that were not tried before and can be better than what is known; none when none are found."""
        going = [(one, place) for one in self._open if not one.waiting and (place := self._next(one)) is not None]
        for one, place in going:
            if not self._far_behind(one):
                return self._propose(one, place)
        for attempt in range(2 * _TRIES):
            if attempt >= _TRIES and not self._enqueue_unvisited():
                break
            one = self._drawn()
            if digest(one.settings) in self._visited:
                self._study.tell(one.trial, state=_state("FAIL"))
                continue
            self._visited.add(digest(one.settings))
            one.trial.set_user_attr("space", one.space)
            one.trial.set_user_attr("settings", one.settings)
            self._open.append(one)
            return self._propose(one, self._next(one) or 0)
        return self._propose(*going[0]) if going else None

    def tell(self, proposal: Proposal, rows: Sequence[Mapping[str, Any]], run: str | None = None) -> None:
        """What the settings gave: their operating points, none if they failed; run: the name of their run."""
        one = next(each for each in self._open if each.trial.number == proposal.number)
        one.waiting, position = False, proposal.effort or 0
        one.tried[position] = worth = self._objective.worth(rows)
        if measured(rows):
            kept = {str(place): each for place, each in one.tried.items() if place not in one.failed}
            one.trial.set_user_attr("tried", kept)
            one.trial.set_user_attr("run", run)
        else:
            one.failed.add(position)
        self._found.append((proposal.settings, worth))
        if worth[1] == 0 and proposal.effort is not None:
            self._at[one.space] = proposal.effort
        if self._next(one) is None:
            self._close(one)

    def best(self) -> list[tuple[dict[str, str], tuple[float, ...]]]:
        """Settings and values of the best that keep all limits: one, or those that none surpasses in both values."""
        every = [(settings, values) for settings, (kept, _, _) in self._found for values in kept]
        best: dict[str, tuple[dict[str, str], tuple[float, ...]]] = {}
        for settings, values in every:
            if not any(surpasses(other, values) for _, other in every):
                best.setdefault(digest(settings, values), (settings, values))
        return list(best.values())

    def _propose(self, one: _Open, position: int) -> Proposal:
        one.waiting = True
        effort = None if self._keys[one.space] is None else position
        return Proposal(one.trial.number, self._with_effort(one.space, one.settings, position), effort)

    def _with_effort(self, space: int, settings: Mapping[str, str], position: int) -> dict[str, str]:
        key = self._keys[space]
        choice = None if key is None else self._spaces[space][key]
        return dict(settings) | ({str(key): choice.values[position]} if isinstance(choice, Choice) else {})

    def _next(self, one: _Open) -> int | None:
        """Position of the effort to try next; none when it is settled.

        Above an effort that keeps the limits all others cost more; below one that does not, none keeps them; and no
        effort is of use from which on this index costs more than the best one known.
        """
        key = self._keys[one.space]
        choice = None if key is None else self._spaces[one.space][key]
        if not isinstance(choice, Choice):
            return None if one.tried else 0
        low, high = -1, len(choice.values)
        for position, worth in one.tried.items():
            twice = any(self._objective.same(worth, other) for at, other in one.tried.items() if at != position)
            low = max(low, position) if worth[1] > 0 or twice else low  # twice: all efforts below are the same
            high = min(high, position) if worth[1] == 0 or self._too_dear(worth[2]) else high
        left = range(low + 1, high)
        if not left:
            return None
        if not one.tried and one.space in self._at:
            return self._at[one.space]
        known = self._at.get(one.space)
        if one.tried and known is not None:  # neighbours of what was best in an index of this kind
            return left[-1] if high <= known else left[0] if low >= known else left[len(left) // 2]
        return left[len(left) // 2]

    def _too_dear(self, cost: float) -> bool:
        """No better than the best that keeps the limits; of two objectives, nothing is too dear."""
        least = min((values[0] for _, (kept, _, _) in self._found for values in kept), default=inf)
        return len(self._objective.columns) == 1 and cost >= least

    def _far_behind(self, one: _Open) -> bool:
        """Within the limits at what was the best effort of its kind, but much dearer than the best known: it waits."""
        kept = [values[0] for worth in one.tried.values() for values in worth[0]]
        return one.space in self._settled and bool(kept) and self._too_dear(min(kept) / _BEHIND)

    def _close(self, one: _Open) -> None:
        self._open.remove(one)
        self._settled.add(one.space)
        if one.failed:  # it stays unfinished in the file, so that the same command, typed again, tries what failed
            return
        kept = [values for worth in one.tried.values() for values in worth[0]]
        beyond = min(worth[1] for worth in one.tried.values())
        cost = min(worth[2] for worth in one.tried.values())
        if not isfinite(beyond) or not isfinite(cost):
            self._study.tell(one.trial, state=_state("FAIL"))
            return
        one.trial.set_user_attr("beyond", beyond)
        self._study.tell(one.trial, list(min(kept)) if kept else [cost] * len(self._objective.columns))

    def _drawn(self) -> _Open:
        trial = self._study.ask()
        number = int(trial.suggest_categorical(SPACE, list(range(len(self._spaces)))))
        settings = {}
        for key, each in self._spaces[number].items():
            name = f"{number}:{key}"
            if key == self._keys[number]:
                continue
            if isinstance(each, Interval):
                whole = trial.suggest_int(name, int(each.low), int(each.high), log=each.log) if each.whole else None
                value = trial.suggest_float(name, each.low, each.high, log=each.log) if whole is None else whole
                settings[key] = str(value)
            elif each.ordered:
                settings[key] = each.values[trial.suggest_int(name, 0, len(each.values) - 1)]
            else:
                settings[key] = each.values[int(trial.suggest_categorical(name, list(range(len(each.values)))))]
        return _Open(trial, number, settings, {})

    def _enqueue_unvisited(self) -> bool:
        """Have a setting proposed that was never tried, where all can be listed; whether there is one."""
        left = []
        for number, space in enumerate(self._spaces):
            free = {key: each for key, each in space.items() if key != self._keys[number]}
            listed = [range(len(each.values)) for each in free.values() if isinstance(each, Choice)]
            if len(listed) < len(free) or prod(map(len, listed)) > 10_000:
                return True  # TPE goes on drawing from the interval
            for places in product(*listed):
                typed = {key: each.values[i] for (key, each), i in zip(free.items(), places, strict=True)}  # type: ignore[union-attr]
                if digest(typed) not in self._visited:
                    names = {f"{number}:{key}": i for key, i in zip(free, places, strict=True)}
                    left.append({SPACE: number, **names})
        if left:
            rng = np.random.default_rng([self._seed, len(self._visited)])
            self._study.enqueue_trial(left[int(rng.integers(len(left)))])
        return bool(left)


def _state(name: str) -> Any:
    from optuna.trial import TrialState

    return TrialState[name]
