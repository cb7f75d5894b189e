"""The page of a record: one self-contained HTML file that says what was done and what is known, for readers who do not code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from adaprob_ray.unlearning.evidence import Evidence, by_metric, evidence, models_of
from adaprob_ray.unlearning.run import Run

# Words for the metrics of a record, and what a reader should hold against them.
METRIC_WORDS = {
    "forget_error_percent": ("error on the forgotten samples (%)", "should be close to the error on held-out samples"),
    "retain_error_percent": ("error on retained samples (%)", "should be as low as before"),
    "validation_error_percent": ("validation error (%)", "should be as low as before"),
    "test_error_percent": ("test error (%)", "should be as low as before"),
    "validation_forgotten_class_error_percent": (
        "validation error, forgotten class (%)",
        "high if the class is forgotten",
    ),
    "test_forgotten_class_error_percent": (
        "test error, forgotten class (%)",
        "high if the class is forgotten",
    ),
    "validation_other_classes_error_percent": ("validation error, other classes (%)", "should be as low as before"),
    "test_other_classes_error_percent": ("test error, other classes (%)", "should be as low as before"),
    "membership_auc_percent": (
        "membership attack, AUC (%)",
        "should be close to 50: forgotten samples look like unseen ones",
    ),
    "kl_forget_nats": ("KL divergence on the forgotten samples (nats)", "should be as low as between two references"),
}


def render_page(record: Mapping[str, Any], run: Run) -> str:
    """The page as text. It names no file of the user and shows no sample."""
    items = evidence(run)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    models = models_of(items)
    rows = []
    for metric, members in by_metric(items).items():
        name = members[0].metric
        words, aim = METRIC_WORDS.get(name, (name, ""))
        against = f" against {members[0].against}" if name == "kl_forget_nats" else ""
        entries = {item.model: format_value(item) for item in members}
        rows.append(
            {"metric": metric, "words": words + against, "aim": aim, "entries": [entries.get(m, "–") for m in models]}
        )
    return environment.get_template("record.html.j2").render(
        record=record,
        predicate=record["predicate"],
        models=models,
        rows=rows,
        exposed=record["predicate"]["mostExposed"],
    )


def format_value(item: Evidence) -> str:
    """`12.0 (8.1–16.9)`."""
    decimals = 3 if item.metric.endswith("_nats") else 1
    value = f"{item.value:.{decimals}f}"
    if item.low is None or item.high is None:
        return value
    return f"{value} ({item.low:.{decimals}f}–{item.high:.{decimals}f})"
