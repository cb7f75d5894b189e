"""The pages on methods and metrics say what the code does."""

from __future__ import annotations

import dataclasses
import re

import pytest

from adaprob_ray.catalogue import METHODS, METRICS
from adaprob_ray.describe import module_docstring
from adaprob_ray.reporting.records.metric_format import metric_format
from docs import metrics_page
from docs.generate import PATH, page, source


def test_the_page_on_methods_is_up_to_date() -> None:
    assert PATH.read_text() == page(), "docs/methods.md is stale: make docs"


@pytest.mark.parametrize("name", METHODS)
def test_every_word_of_a_docstring_and_every_setting_is_on_the_page(name: str) -> None:
    """Up to white space, and the backslashes that Markdown needs."""
    text = page().partition(f"\n## {name}\n")[2].partition("\n## ")[0]
    plain = re.sub(r"```(text)?|\\(?=[*<|])", " ", text).replace(" *", "*")
    words = " ".join(module_docstring(METHODS[name]).split())
    assert re.sub(r"\s", "", words) in re.sub(r"\s", "", plain)
    for field in dataclasses.fields(METHODS[name]):  # type: ignore[arg-type]
        assert f"| `{field.name}` |" in text


def test_sources_that_the_paper_gets_wrong_stand_beside_the_true_ones() -> None:
    for name, true, cited in (("neggrad_plus", "Kurmanji", "Kodge"), ("ntk", "Golatkar", "Doan")):
        published, instead = source(METHODS[name])
        assert true in published
        assert cited in instead
        assert f"| [`{name}`](#{name}) | {published} | {instead} |" in page()


def test_the_page_on_metrics_is_up_to_date() -> None:
    assert metrics_page.PATH.read_text(encoding="utf-8") == metrics_page.page(), "docs/metrics.md is stale: make docs"


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_has_its_equation_columns_direction_cost_and_source(name: str) -> None:
    metric = METRICS[name]
    text = metrics_page.page().partition(f"\n## {name}\n")[2].partition("\n## ")[0]
    assert metric.column_help.keys() == set(metric.columns)
    assert all([metric.equation, metric.better, metric.cost, metric.source])
    assert f"```text\n{metric.equation}\n```" in text
    for column in metric.columns:
        row = next(line for line in text.splitlines() if line.startswith(f"| `{column}` |"))
        assert metric.column_help[column].replace("|", "\\|") in row
        assert metric_format(column).unit in row.split(" | ")[1:2] or not metric_format(column).unit
    for heading in ("Good", "Cost", "Source", "Code"):
        assert f"- **{heading}**: " in text
    code = text.partition("- **Code**: ")[2]
    assert (metrics_page.PATH.parent / code.partition("](")[2].partition(")")[0]).is_file()
