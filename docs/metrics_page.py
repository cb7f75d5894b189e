"""Generates docs/metrics.md: every metric of the catalogue, with its equation, columns, direction, cost and source."""

from __future__ import annotations

import inspect
from pathlib import Path

from adaprob_ray.catalogue import METRICS
from adaprob_ray.metrics import Metric, no_computation
from adaprob_ray.reporting.records.metric_format import metric_format
from docs.markdown import prose, table

PATH = Path(__file__).resolve().parent / "metrics.md"
INTRODUCTION = """\
# Metrics

*Written by `make docs` from the catalogue; edit the files of `adaprob_ray/metrics/`.*

What the columns of a table mean, and which values are good. *Closer to Retrain is better*: an unlearned model should be what
training without the forgotten samples gives, no worse and no better. A sweep file lists metrics by name:

```yaml
metrics: [errors, membership, kl_to_retrain]
```

Metrics are functions of Outputs, the stored logits of each model. A metric that is added to a sweep later is computed from them
without training anything again.
"""


def page() -> str:
    return "\n".join([INTRODUCTION, overview(), *map(section, METRICS.values())])


def overview() -> str:
    """All metrics in the order of the catalogue."""
    rows = [[f"[`{name}`](#{name})", prose(metric.about), prose(metric.cost)] for name, metric in METRICS.items()]
    return table(["metric", "what it measures", "cost"], rows)


def section(metric: Metric) -> str:
    """One metric: equation, columns and facts."""
    rows = [[f"`{column}`", metric_format(column).unit, prose(metric.column_help[column])] for column in metric.columns]
    facts = [
        f"**Good**: {prose(metric.better)}",
        f"**Cost**: {prose(metric.cost)}",
        f"**Source**: {prose(metric.source)}",
        f"**Code**: {code(metric)}, revision {metric.revision}",
    ]
    lines = [
        f"## {metric.name}\n",
        f"{prose(metric.about)}.\n",
        f"```text\n{metric.equation}\n```\n",
        table(["column", "unit", "of"], rows),
        *(f"- {fact}" for fact in facts),
        "",
    ]
    return "\n".join(lines)


def code(metric: Metric) -> str:
    """A link to the file that computes a metric, or to the stage whose facts it shows."""
    if metric.compute is not no_computation:
        path = f"adaprob_ray/metrics/{Path(inspect.getfile(metric.compute)).name}"
    else:
        path = f"adaprob_ray/stages/{next(iter(metric.needs), 'unlearn')}.py"
    return f"[`{Path(path).name}`](../{path})"
