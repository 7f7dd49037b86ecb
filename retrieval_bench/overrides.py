"""What a user's overrides say, apart from what Hydra composes of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from retrieval_bench.errors import BadConfig

_LISTS = frozenset({"k", "cuts", "stage", "search", "metric", "transform", "logger", "allow"})


def allowed(parsed: Sequence[Any]) -> tuple[str, ...]:
    """The targets that Hydra's parsed overrides of the command line allow: nothing else counts as permission."""
    typed = [override for override in parsed if override.key_or_group == "allow" and not override.is_delete()]
    for override in typed:
        if not isinstance(override.value(), list):
            raise BadConfig(f"{override.input_line}: one list is needed, for instance allow=[my_index.MyIndex]")
    return tuple(str(target) for override in typed for target in override.value())


def sweeps(parsed: Sequence[Any], folders: Sequence[Path]) -> list[list[str]]:
    """Overrides of all that a sweep composes: every combination of swept groups, with the first of swept values.

    `parsed` are Hydra's overrides (an interval has no first value and is left out); groups lie in `folders`.
    """
    choices: dict[str, list[str]] = {}  # a later override of the same key wins, as in Hydra
    for override in parsed:
        values = _values(override, folders)
        group = any((folder / override.key_or_group).is_dir() for folder in folders)
        if values is not None:
            choices[override.get_key_element()] = values if group else values[:1]
    return [list(combination) for combination in product(*choices.values())]


class Swept(NamedTuple):
    """What config files sweep over, as overrides; `drawn`: the sweeper chooses combinations on its way."""

    lines: list[str]
    drawn: bool


def swept_by(sweeper: Any) -> list[Swept]:
    """Of a sweeper's configuration: its parameters, with those of each alternative space."""
    spaces = sweeper.get("spaces")
    params = dict(sweeper.get("params") or {})
    drawn = "objective" in sweeper
    return [
        Swept([f"{key}={value}" for key, value in (params | dict(space)).items()], drawn) for space in spaces or [{}]
    ]


def grid(parsed: Sequence[Any], folders: Sequence[Path]) -> list[list[str]] | None:
    """Overrides of each job, in Hydra's order and without its own; none where a sweeper draws from an interval."""
    choices: dict[str, list[str]] = {}
    for override in parsed:
        if override.is_hydra_override():
            continue
        values = _values(override, folders)
        if values is None:
            return None
        choices[override.get_key_element()] = values
    return [list(combination) for combination in product(*choices.values())]


def singly(parsed: Sequence[Any], folders: Sequence[Path]) -> Iterator[list[str]]:
    """Overrides of the first job, then of one job for each other swept value: as many as there are values, not more."""
    choices: dict[str, list[str]] = {}
    for override in parsed:
        if (values := _values(override, folders)) is not None:
            choices[override.get_key_element()] = values
    if not all(choices.values()):
        return
    first = {key: values[0] for key, values in choices.items()}
    yield list(first.values())
    for key, values in choices.items():
        for value in values[1:]:
            yield list((first | {key: value}).values())


def _values(override: Any, folders: Sequence[Path]) -> list[str] | None:
    """What one override becomes in the jobs of a sweep; none for an interval, whose values are drawn."""
    key = override.get_key_element()
    if override.is_choice_sweep() and override.value_type.name == "GLOB_CHOICE_SWEEP":
        homes = [folder / override.key_or_group for folder in folders]
        names = override.value().filter(sorted({file.stem for home in homes for file in home.glob("*.yaml")}))
        return [f"{key}={name}" for name in names]
    if override.is_discrete_sweep():
        return [f"{key}={value}" for value in override.sweep_string_iterator()]
    if override.is_sweep_override():
        return None
    return [f"{key}={override.get_value_element_as_str()}"]  # as Hydra writes it: strict=true becomes strict=True


def one_run(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of a run, without the list of experiments. Raises BadConfig: it consists of several."""
    if names := config.get("experiments"):
        raise BadConfig(
            f"this experiment is several runs; type retrieval-bench run, or run each: experiment={', '.join(names)}"
        )
    return {key: value for key, value in config.items() if key != "experiments"}


def several(overrides: Sequence[str], config: Mapping[str, Any]) -> list[str]:
    """The sweep over the runs that an experiment consists of, as overrides; empty where it is one run.

    >>> several(["experiment=both", "seed=1"], {"experiments": ["one", "other"]})
    ['seed=1', 'experiment=one,other']
    """
    names = config.get("experiments") or ()
    rest = [text for text in overrides if not text.startswith("experiment=")]
    return [*rest, f"experiment={','.join(names)}"] if names else []


def origin_run(overrides: Sequence[str]) -> tuple[Path | None, list[str]]:
    """The run that `from=RUN` names, if one does, and the other overrides.

    Raises:
        BadConfig: there are two, or none is named.

    >>> origin_run(["from=runs/adhoc/1a2b", "k=[5]"])[1]
    ['k=[5]']
    """
    given = [text.partition("=")[2].strip("'\"") for text in overrides if text.startswith(("from=", "+from="))]
    rest = [text for text in overrides if not text.startswith(("from=", "+from="))]
    if len(given) > 1 or (given and "," in given[0] and not Path(given[0]).exists()):
        raise BadConfig("from= takes one run, in a sweep too; give each run a command of its own")
    if given and not given[0]:
        raise BadConfig("from= names no run; type from=runs/NAME/RUN, the folder that is printed at the end of a run")
    return (Path(given[0]) if given else None), rest


def refuse_sweeps(parsed: Sequence[Any]) -> None:
    """Commas outside brackets sweep, which one run cannot. `parsed` are Hydra's overrides. Raises BadConfig."""
    for override in parsed:
        if not override.is_sweep_override():
            continue
        key, value = override.key_or_group, str(override.input_line).partition("=")[2]
        many = key in _LISTS or key.endswith((".efforts", ".build_seeds"))
        listed = f"write {key}=[{value}] for one run with all of them, or " if many and "(" not in value else ""
        raise BadConfig(f"{override.input_line} is a sweep: {listed}add -m to run each of them")
