"""Optuna's file of a search, and the sampler that proposes."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from retrieval_bench.errors import MissingExtra
from retrieval_bench.record import make_folder

if TYPE_CHECKING:
    import optuna


def open_journal(file: Path, name: str, objectives: int, startup: int, seed: int, *, anew: bool) -> optuna.Study:
    """The newest study of a name, or one after it; a file holds any number.

    Args:
        startup: trials before the first proposal by TPE. seed: of the proposals.

    Raises:
        MissingExtra: Optuna is not installed.
    """
    try:
        import optuna
        from optuna.storages.journal import JournalFileBackend
    except ImportError as error:
        raise MissingExtra("optuna", "sweep") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    make_folder(file.parent)
    with warnings.catch_warnings():  # of features that Optuna calls experimental
        warnings.simplefilter("ignore")
        storage = optuna.storages.JournalStorage(JournalFileBackend(str(file)))
        there = sum(each.study_name.startswith(f"{name}-") for each in storage.get_all_studies())
        study = optuna.create_study(
            storage=storage,
            study_name=f"{name}-{there if anew else max(there, 1) - 1}",
            directions=["minimize"] * objectives,
            load_if_exists=True,
        )
        study.sampler = optuna.samplers.TPESampler(
            seed=seed + 1000 * len(study.get_trials(deepcopy=False)),  # what goes on draws anew
            n_startup_trials=startup,
            multivariate=True,
            group=True,
            constraints_func=lambda trial: [float(trial.user_attrs.get("beyond", 0.0))],
        )
    return study
