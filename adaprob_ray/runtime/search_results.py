"""The results of a search: an Optuna study, or a table of all trials."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaprob_ray.errors import InputError, unknown_name
from adaprob_ray.runtime.search_source import SearchSource, StudyProgress

if TYPE_CHECKING:
    import optuna
    import pandas as pd

    from adaprob_ray.store import Store


def load_search(store: Store | str | os.PathLike[str], file: str | os.PathLike[str]) -> SearchSource:
    """Load the trials of a search file from a store, with their results. Nothing is written.

    Args:
        store: A store, or the folder or URI of one.
        file: The search file.

    Returns:
        The plan of all trials so far; `studies` has one entry for each study, with its trials in order.

    Raises:
        InputError: If the file is at fault or there is no such store.
    """
    from adaprob_ray.catalogue import REGISTRY, data_root, register_prepared_folders
    from adaprob_ray.runtime.search import read_search
    from adaprob_ray.search.search_file import SearchFile
    from adaprob_ray.store import Store

    register_prepared_folders(data_root())
    search = SearchFile.load(Path(file), REGISTRY)
    return read_search(search, store if isinstance(store, Store) else Store.open(store, create=False), REGISTRY)


def load_study(
    store: Store | str | os.PathLike[str], file: str | os.PathLike[str], study: str | None = None
) -> optuna.Study:
    """One study of a search as an Optuna study in memory, for Optuna's own plots and analyses.

    Args:
        store: A store, or the folder or URI of one.
        file: The search file.
        study: Which one, if the file has several: its label, or its full name, such as
            "adaprob on digits, allcnn, 25of3".

    Returns:
        The study. Diverged trials have the worst value of the others; the user attribute `state` says how a trial ended.

    Raises:
        InputError: If the file is at fault, there is no such store, or `study` matches none or several.

    Example:
        >>> import adaprob_ray
        >>> study = adaprob_ray.load_study("./store", "sweeps/search_digits.yaml", "adaprob")  # doctest: +SKIP
        >>> optuna.visualization.plot_slice(study)  # doctest: +SKIP
    """
    progress = _choose(load_search(store, file).studies, study)
    return progress.study.optuna_study(progress.trials)


def load_trials(store: Store | str | os.PathLike[str], file: str | os.PathLike[str]) -> pd.DataFrame:
    """All trials of a search, one row each.

    Args:
        store: A store, or the folder or URI of one.
        file: The search file.

    Returns:
        label, dataset, architecture, forget, rule, trial, state, one `value.NAME` for each objective, `seed_values`,
        forward_examples and backward_examples (summed over the seeds), and one `params.NAME` for each parameter.

    Raises:
        InputError: If the file is at fault or there is no such store.
    """
    import pandas as pd

    source = load_search(store, file)
    return pd.DataFrame([row for progress in source.studies for row in trial_rows(source, progress)])


def trial_rows(source: SearchSource, progress: StudyProgress) -> list[dict[str, Any]]:
    """The rows of `load_trials` for one study."""
    target, rows = progress.study.target, []
    source.facts([seed.model for cells in progress.cells for seed in cells.seeds])  # all at once, which is faster
    for trial, cells in zip(progress.trials, progress.cells, strict=True):
        values = trial.values or (None,) * len(progress.study.objectives)
        facts = source.facts([seed.model for seed in cells.seeds])
        rows.append(
            {
                "label": target.label,
                "dataset": str(target.point.dataset),
                "architecture": target.point.architecture.title,
                "forget": str(target.point.forget),
                "rule": target.rule.name,
                "trial": trial.number,
                "state": trial.state,
                **{f"value.{name}": value for name, value in zip(progress.study.objectives, values, strict=True)},
                "seed_values": [list(item) for item in trial.seed_values],
                **{
                    name: sum(item.get(name, 0) for item in facts) for name in ("forward_examples", "backward_examples")
                },
                **{f"params.{name}": value for name, value in trial.params.items()},
            }
        )
    return rows


def export_studies(source: SearchSource, path: Path) -> None:
    """Write all studies to an SQLite file for optuna-dashboard.

    Raises:
        InputError: If the file exists or cannot be written.
    """
    import optuna

    if path.exists():
        raise InputError(f"{path}: exists already; give another name or remove it")
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        storage = optuna.storages.RDBStorage(f"sqlite:///{draft}")
        for progress in source.studies:
            study = progress.study.optuna_study(progress.trials)
            name = f"{study.study_name} {progress.study.key[:8]}"  # widths and test pools are not in the rest
            copy = optuna.create_study(storage=storage, study_name=name, directions=study.directions)
            copy.add_trials(study.trials)
            for attribute, value in study.user_attrs.items():
                copy.set_user_attr(attribute, value)
        storage.engine.dispose()
        os.replace(draft, path)
    except (OSError, optuna.exceptions.StorageInternalError) as error:
        raise InputError(f"{path}: cannot be written: {error}") from error
    finally:
        draft.unlink(missing_ok=True)


def verify_trials(source: SearchSource) -> list[str]:
    """Ask again for every trial whose predecessors have their results; a line for each that differs from the stored one."""
    lines = []
    for progress in source.studies:
        for trial in progress.trials:
            earlier = progress.trials[: trial.number]
            if not all(item.ended for item in earlier[: progress.study.first_unseen(trial.number)]):
                break
            params = progress.study.ask(earlier)
            if params != trial.params:
                lines.append(
                    f"{progress.study.target}: trial {trial.number}: stored {dict(trial.params)}, sampled again {params}"
                )
    return lines


def _choose(studies: Sequence[StudyProgress], name: str | None) -> StudyProgress:
    names = [str(progress.study.target) for progress in studies]
    matching = [
        progress for progress in studies if name in (None, progress.study.target.label, str(progress.study.target))
    ]
    if not matching:
        raise InputError(f"study: {unknown_name('study', name, names)}")
    if len(matching) > 1:
        raise InputError(f"study: must name one of {len(matching)} studies, got {name!r} (known: {'; '.join(names)})")
    return matching[0]
