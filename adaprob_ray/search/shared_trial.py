"""A FrozenTrial that Optuna does not copy in depth: that took four fifths of the time to ask for the 500th trial."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState


class SharedTrial(FrozenTrial):
    """A trial whose parameters, distributions and attributes are shared with its copies, because nobody changes them."""

    def __deepcopy__(self, memo: Mapping[int, Any]) -> SharedTrial:
        return copy.copy(self)


def shared_trial(
    *,
    state: TrialState,
    params: Mapping[str, Any],
    distributions: Mapping[str, BaseDistribution],
    values: Sequence[float] | None,
    user_attrs: Mapping[str, Any],
) -> SharedTrial:
    """As `optuna.trial.create_trial`."""
    now = datetime.now()
    return SharedTrial(
        number=-1,  # Optuna numbers the trials that are added to a study
        state=state,
        value=None,
        values=values,
        datetime_start=now,
        datetime_complete=now if state.is_finished() else None,
        params=dict(params),
        distributions=dict(distributions),
        user_attrs=dict(user_attrs),
        system_attrs={},
        intermediate_values={},
        trial_id=-1,
    )
