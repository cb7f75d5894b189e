"""Figures, files and report pages of searches: every label, the rule in each, and the command over a stubbed store."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from matplotlib.figure import Figure
from synthetic_searches import ADAPROB, FINETUNE, PARETO, group, results, search_text, studies
from test_report import Page, plain_records

import adaprob_ray
from adaprob_ray.reporting.report import build
from adaprob_ray.reporting.search.command import figures_of
from adaprob_ray.reporting.search.report_section import search_sections
from adaprob_ray.reporting.search.studies import STRIP_WORDS, StudyGroup, group_studies
from adaprob_ray.store import Store
from adaprob_ray.store.trials import StoredTrials
from analysis.__main__ import BAD_INPUT, DONE, main

pytestmark = pytest.mark.slow  # Matplotlib

MANY = [None if at % 5 == 4 else 120.0 if at % 3 == 2 else 9.0 - at / 4 for at in range(12)]


def words(figure: Figure) -> str:
    figure.draw_without_rendering()
    return "\n".join(text.get_text() for text in figure.findobj(match=lambda artist: hasattr(artist, "get_text")))


def replicated() -> list[StudyGroup]:
    """Two search seeds of both methods under the rule validation, with pruned, diverged and infeasible trials."""
    return group_studies(
        [
            results(study, [None if value is None else value + seed for value in MANY], passes=100 + seed, pruned=[3])
            for seed in (1, 2)
            for study in studies(rule="validation", seed=seed)
        ]
    )


def test_every_figure_shows_its_methods_and_says_the_rule() -> None:
    figures = figures_of(replicated())
    kinds = ["best-so-far", "history", "ranks", "importance", "slices-adaprob", "slices-finetune"]
    assert list(figures) == kinds
    for kind, figure in figures.items():
        shown = words(figure).replace("\n", " ")
        assert "rule validation: mean of |membership AUC − 50|" in shown, kind
        assert all(label in shown for label in ("adaprob", "finetune") if kind in kinds[:4] or kind.endswith(label))
    assert all(STRIP_WORDS in words(figures[kind]).replace("\n", " ") for kind in ("best-so-far", "history", kinds[-1]))
    assert "median of 2 search seeds" in words(figures["best-so-far"])
    assert {"reading", "lam", "eq1", "script"} <= set(words(figures["slices-adaprob"]).split("\n"))


def test_the_chosen_value_is_a_line_in_each_slice() -> None:
    actual = group(ADAPROB, FINETUNE)
    reading, lam = figures_of([actual])["slices-adaprob"].axes
    best = actual.studies["adaprob"][0].best[0].params
    assert lam.get_xscale() == "log"
    assert best["lam"] in [line.get_xdata()[0] for line in lam.lines if len(line.get_xdata()) == 2]
    assert [tick.get_text() for tick in reading.get_xticklabels()] == ["eq1", "script"]


def test_several_objectives_have_a_pareto_front_instead_of_a_best() -> None:
    values = [(float(at), float((at - 6) ** 2)) for at in range(12)]
    figures = figures_of([group(values, values, objective=PARETO)])
    assert list(figures) == ["pareto", "importance", "slices-adaprob", "slices-finetune"]
    shown = words(figures["pareto"])
    assert "forget error (%) (maximize)" in shown
    assert "retain error (%) (minimize)" in shown


def stub(monkeypatch: pytest.MonkeyPatch, groups: list[StudyGroup]) -> None:
    """`adaprob_ray.load_search` gives these studies, whose models have 60 forward and 40 backward examples a seed."""

    def load_search(store: str, path: str) -> Any:
        studies = [
            SimpleNamespace(
                study=run.study,
                trials=run.trials,
                cells=[SimpleNamespace(seeds=[SimpleNamespace(model="key")])] * len(run.trials),
            )
            for actual in groups
            for runs in actual.studies.values()
            for run in runs
        ]
        facts = {"forward_examples": 60, "backward_examples": 40}
        return SimpleNamespace(studies=studies, facts=lambda keys: [facts for _ in keys])

    monkeypatch.setattr(adaprob_ray, "load_search", load_search, raising=False)


def test_the_command_writes_all_tables_and_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stub(monkeypatch, [group(ADAPROB, FINETUNE)])
    assert main(["search", "--store", "s", "--sweep", "x.yaml", "--out", str(tmp_path)]) == DONE
    names = {path.name.removeprefix("tiny_search-") for path in tmp_path.iterdir()}
    tables = {f"{name}.{ending}" for name in ("best", "trials") for ending in ("csv", "md", "tex")}
    kinds = ("best-so-far", "history", "ranks", "slices-adaprob", "slices-finetune")
    assert names == tables | {f"{kind}.{ending}" for kind in kinds for ending in ("png", "pdf")}
    best = pd.read_csv(tmp_path / "tiny_search-best.csv")
    assert list(best["passes"]) == [600, 600]
    assert list(best["best.oracle"]) == [5, 2]
    assert "rule oracle" in (tmp_path / "tiny_search-trials.md").read_text()
    assert "finetune" in capsys.readouterr().out


def test_the_command_says_what_it_needs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", "--store", str(tmp_path / "none")]) == BAD_INPUT
    assert main(["search", "--store", "x.jsonl", "--sweep", "x.yaml"]) == BAD_INPUT
    (tmp_path / "sweep.yaml").write_text(search_text().partition("search:\n")[0])
    Store.open(tmp_path / "store")
    assert main(["search", "--store", str(tmp_path / "store"), "--sweep", str(tmp_path / "sweep.yaml")]) == BAD_INPUT
    first, second, third = capsys.readouterr().err.splitlines()
    assert first == "error: --sweep: must name a search file"
    assert second == "error: --store: must be a store, which has the trials, got x.jsonl"
    assert third.endswith(
        "search: must be in a search file, which is a sweep file plus search: {trials, seeds, rule, …}"
    )


# -- report ------------------------------------------------------------------------------------------------------------


def test_a_report_has_a_section_for_each_search() -> None:
    (actual,) = replicated()
    text = build.render_report(
        plain_records(), missing=(), title="t", extra=search_sections([actual, group(ADAPROB, FINETUNE)])
    )
    page = Page(text)
    assert [attributes["id"] for tag, attributes in page.elements if attributes.get("class") == "study"] == [
        "search-1",
        "search-2",
    ]
    assert "Search: tiny_search · digits (allcnn × 0.02) · forget 25 of class 3 · rule validation" in page.all("a")
    assert "Best so far against passes" in page.all("b")
    assert ["finetune", "oracle", "9", "2", "−7", "#5", "6", "600"] in page.lines
    assert page.all("summary") == [
        *(f"All 12 trials of {label}, search seed {seed}" for label in ("adaprob", "finetune") for seed in (1, 2)),
        *(f"All 6 trials of {label}, search seed 1" for label in ("adaprob", "finetune")),
    ]
    assert STRIP_WORDS in page.all("li")
    assert not any({"style", "src"} & set(attributes) for _, attributes in page.elements)


def test_a_report_of_several_objectives_has_its_front() -> None:
    values = [(float(at), float((at - 6) ** 2)) for at in range(12)]
    text = build.render_report(
        pd.DataFrame(), missing=(), title="t", extra=search_sections([group(values, [None, None], objective=PARETO)])
    )
    page = Page(text)
    assert "retain error (%) against forget error (%)" in page.all("b")
    assert "Best so far against trials" not in page.all("b")
    assert "All cells" not in page.all("h2")


def test_a_search_file_among_the_sweeps_of_a_report_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stub(monkeypatch, [group(ADAPROB, FINETUNE)])
    (tmp_path / "search.yaml").write_text(search_text())
    out = ["--out", str(tmp_path / "out")]
    assert main(["report", "--store", "s", "--sweep", str(tmp_path / "search.yaml"), *out]) == DONE
    assert 'id="search-1"' in (tmp_path / "out" / "report.html").read_text()


def test_a_report_of_a_whole_store_names_its_searches(tmp_path: Path) -> None:
    store, study = Store.open(tmp_path / "store"), studies()[0]
    StoredTrials(store, study.key).describe(study.document)
    assert main(["report", "--store", str(tmp_path / "store"), "--out", str(tmp_path)]) == DONE
    assert "The store has studies of searches (adaprob)" in (tmp_path / "report.html").read_text()
