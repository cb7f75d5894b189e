"""Studies of real search files with invented trials: nothing is stored or trained."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from adaprob_ray.catalogue import REGISTRY
from adaprob_ray.reporting.search.studies import StudyGroup, StudyResults, group_studies
from adaprob_ray.search.search_file import SearchFile
from adaprob_ray.search.space import Alternatives
from adaprob_ray.search.study import Study, Trial
from adaprob_ray.settings import Choice, Int

TEXT = """\
name: tiny_search
grid:
  dataset: digits
  architecture: {{name: allcnn, filters: 0.02}}
  forget: {{kind: selective, class: 3, count: 25}}
  seed: [1, 2]
train: {{recipe: large, epochs: 1}}
methods:
  retrain: {{}}
  adaprob: {{epochs: 1}}
  finetune: {{}}
metrics: [errors, selection]
search:
  trials: 12
  seeds: [11, 12]
  rule: {rule}
  seed: {seed}
  lag: 3{objective}
  space:
    adaprob:
      reading:
        choice:
          eq1: {{reference: original, totals: pseudo, pseudo: uniform}}
          script: {{reference: pseudo, totals: pseudo, pseudo: random}}
      lam: {{log: [0.1, 10.0]}}
    finetune:
      lr: {{log: [0.01, 0.05]}}
      epochs: {{int: [1, 20]}}
"""
PARETO = "\n  objective: {forget_error_percent: maximize, retain_error_percent: minimize}"
# Values of trials by label, for a rule with one value; None diverged, and a value after "pruned" has one seed only.
ADAPROB, FINETUNE = [9.0, 8.0, None, 6.0, 7.0, 5.0], [9.0, 4.0, 3.0, 4.0, 3.5, 2.0]


def search_text(rule: str = "oracle", seed: int = 1, objective: str = "") -> str:
    return TEXT.format(rule=rule, seed=seed, objective=objective)


def studies(**settings: Any) -> list[Study]:
    """The studies of adaprob and finetune."""
    search = SearchFile.parse(search_text(**settings), REGISTRY)
    return [Study.create(search, target, REGISTRY) for target in search.targets]


def results(
    study: Study, values: Sequence[Any], *, passes: Sequence[int] | int = 100, pruned: Sequence[int] = ()
) -> StudyResults:
    """A study whose trials have these values: numbers, tuples with several objectives, None where one diverged."""
    trials = []
    for number, value in enumerate(values):
        if value is None:
            trials.append(Trial(number=number, params=params_of(study, number), state="diverged"))
            continue
        each = value if isinstance(value, tuple) else (value,)
        state, seeds = ("pruned", (each,)) if number in pruned else ("complete", (each, each))
        trials.append(
            Trial(number=number, params=params_of(study, number), state=state, values=each, seed_values=seeds)
        )
    counts = [passes] * len(trials) if isinstance(passes, int) else list(passes)
    return StudyResults(study, tuple(trials), tuple(counts))


def params_of(study: Study, number: int) -> dict[str, Any]:
    """A point of the space; trial 0 has the default where it is inside."""
    if number == 0 and study.starts_at_default:
        return study.ask([])
    share = math.modf(number * 0.618)[0]
    params: dict[str, Any] = {}
    for name, parameter in study.target.space.items():
        if isinstance(parameter, Alternatives):
            params[name] = list(parameter.options)[number % len(parameter.options)]
        elif isinstance(parameter, Choice):
            params[name] = parameter.values[number % len(parameter.values)]
        elif isinstance(parameter, Int):
            params[name] = parameter.low + number % (parameter.high - parameter.low + 1)
        else:
            params[name] = parameter.low * (parameter.high / parameter.low) ** share
    return params


def group(*values: Sequence[Any], **settings: Any) -> StudyGroup:
    """One group of adaprob and finetune."""
    (actual,) = group_studies([results(study, own) for study, own in zip(studies(**settings), values, strict=True)])
    return actual
