"""Every table, figure and page: its name, the sweeps that it is made from, and the function that builds it.

A builder is imported when it runs, so that `--help` loads neither pandas nor Matplotlib nor torch.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

ROOT = Path(__file__).resolve().parents[1]
SWEEPS, RESULTS = ROOT / "sweeps", ROOT / "results"

ERRORS = ("test_error_percent", "retain_error_percent", "forget_error_percent")
FORGET_DIVERGENCES = (
    "kl_forget_same_seed_nats", "kl_forget_nats", "kl_forget_reverse_nats", "kl_forget_centroid_nats",
    "kl_forget_centroid_reverse_nats",
)  # fmt: skip
TEST_DIVERGENCES = tuple(name.replace("forget", "test") for name in FORGET_DIVERGENCES)
ATTACKS = ("membership_accuracy_percent", "membership_auc_percent")
TARGETS = ("target_retain_error_percent", "target_forget_error_percent")
RANKED = (*ERRORS, ATTACKS[0], "kl_forget_nats", "kl_test_nats")
SMALL_SCALE = ("small_all", "table5", "ablation_lambda", "ablation_eta", "figure2", "scrub_traces")
LARGE_SCALE = (
    "figure4_class", "figure4_selective", "notebook_membership", "table2", "table1_large", "table3_large", "notebook_cifar100",
)  # fmt: skip
NOTEBOOKS = ("notebook_small", "notebook_large")  # the sweep files with all networks of Tables 6 and 7
CLAIMED = ("table2", "figure4_class", "figure4_selective")  # the sweep files that the abstract's claims are judged by


@dataclass(frozen=True)
class Artefact:
    """One command of `python -m analysis`.

    Attributes:
        builder: `module:function` in this package or in adaprob_ray.reporting, see `build`.
        sweeps: Files under sweeps/ that hold its cells, unless --sweep names others.
        table: The table of the paper.
        columns: Record columns, those of the paper first.
        arguments: Further keyword arguments of the builder.
        takes: What the builder is called with before the keyword arguments. `selection`: a Selection and the folder of
            the output; `files`: the place of the Records, the paths of files, and the folder; `outputs`: a Python file, the
            place of the Outputs, and the folder; `pages`: whether to rewrite them.
        options: Options of the command besides those that go with `takes`.
    """

    name: str
    summary: str
    builder: str
    sweeps: tuple[str, ...] = ()
    table: str = ""
    columns: tuple[str, ...] = ()
    arguments: Mapping[str, Any] = field(default_factory=dict)
    takes: Literal["selection", "files", "outputs", "pages"] = "selection"
    options: tuple[str, ...] = ("only", "partial")

    @property
    def build(self) -> Callable[..., Any]:
        """The builder."""
        module, _, function = self.builder.partition(":")
        return getattr(importlib.import_module(module), function)

    @property
    def keywords(self) -> dict[str, Any]:
        """The keyword arguments that every call of the builder has."""
        shared = {"table": self.table, "columns": self.columns}
        return {**{name: value for name, value in shared.items() if value}, **self.arguments}


def _paper_table(name: str, summary: str, table: str, sweeps: tuple[str, ...], columns: tuple[str, ...]) -> Artefact:
    builder = "analysis.paper.tables:build_paper_table"
    return Artefact(name, summary, builder, sweeps, table, columns, {"name": name})


PAPER, FIGURES = "analysis.paper", "adaprob_ray.reporting.figures"
_ALL = (
    Artefact("compare", "label x metric tables of any sweep", "adaprob_ray.reporting.tables.compare:build_comparison",
             options=("only", "partial", "metrics", "against")),
    _paper_table("table1", "KL to Retrain on the forget set", "1", ("small_all", "figure2", "table1_large"),
                 FORGET_DIVERGENCES),
    _paper_table("table2", "errors, 100 images of a class forgotten by ALL-CNN", "2", ("table2",), ERRORS),
    _paper_table("table3", "KL to Retrain on the test set", "3", ("small_all", "figure2", "table1_large", "table3_large"),
                 TEST_DIVERGENCES),
    _paper_table("table4", "membership inference attack, CIFAR-10", "4", ("notebook_membership",), ATTACKS),
    _paper_table("table5", "AdaProb over λ: errors of the trained model and of its targets", "5", ("table5",),
                 (*ERRORS[1:], *TARGETS)),
    Artefact("table6", "pretraining: the paper's, the notebooks', ours", f"{PAPER}.training_recipes:build_recipes", NOTEBOOKS,
             table="6", arguments={"name": "table6"}),
    Artefact("table7", "training: the paper's, the notebooks', ours", f"{PAPER}.training_recipes:build_recipes", NOTEBOOKS,
             table="7", arguments={"name": "table7"}),
    _paper_table("cifar100", "CIFAR-100, a class forgotten (paper §5.6)", "sec5.6", ("notebook_cifar100",), ERRORS[1:]),
    Artefact("claims", "the abstract's claims", f"{PAPER}.claims:build_claims", CLAIMED),
    Artefact("equivalence", "which methods are as near to Retrain as a second retrained model",
             f"{PAPER}.equivalence:build_equivalence", ("reduced_selective",)),
    Artefact("traces", "SCRUB epoch by epoch, the notebooks' and ours", f"{PAPER}.scrub_traces:build_traces",
             ("scrub_traces",)),
    Artefact("figure2", "t-SNE of outputs on the test set", f"{FIGURES}.embedding:build_embedding", ("figure2",),
             arguments={"subset": "test", "name": "figure2"}),
    Artefact("figure3", "t-SNE of outputs on the forget set", f"{FIGURES}.embedding:build_embedding", ("figure2",),
             arguments={"subset": "forget", "name": "figure3"}),
    Artefact("figure4", "time bars with standard errors", f"{FIGURES}.time_bars:build_time_bars",
             ("figure4_class", "figure4_selective"), arguments={"warm_up": 1, "name": "figure4"}),
    Artefact("ablation_lambda", "errors and target shift over λ", "analysis.builders:build_lambda_ablation",
             ("ablation_lambda",), columns=(*ERRORS[1:], "target_shift")),
    Artefact("ablation_eta", "residual, errors and target shift over η", f"{FIGURES}.ablation:build_ablation",
             ("ablation_eta",), columns=("projection_residual", *ERRORS[1:], "target_shift"),
             arguments={"over": "method.eta", "name": "ablation_eta"}),
    Artefact("trade_off", "forget error against retain error", f"{FIGURES}.trade_off:build_trade_off", ("small_all",)),
    Artefact("picture", "confidence on forgotten and unseen samples, and distance to Retrain over cost",
             f"{PAPER}.picture:build_picture", ("reduced_tuned",),
             arguments={"labels": ("original", "retrain", "scrub_tuned", "adaprob_tuned", "adaprob_tuned_fast")}),
    Artefact("cost", "distance to Retrain against passes", f"{FIGURES}.cost:build_cost", ("small_all",)),
    Artefact("ranks", "mean ranks by distance to Retrain", f"{FIGURES}.ranks:build_ranks", ("small_all",), columns=RANKED),
    Artefact("solvers", "residual against passes of every solver of the projection", "analysis.builders:build_solvers"),
    Artefact("trajectories", "a scalar of cells' series, as a solver's residual", f"{FIGURES}.curves:build_curves",
             ("ablation_eta",), arguments={"name": "trajectories"}, options=("only", "partial", "scalar")),
    Artefact("search", "trials, best-so-far curves, importance and slices of hyperparameter searches",
             "adaprob_ray.reporting.search.command:build_search", takes="files", options=()),
    Artefact("frozen", "settings that a search has frozen against the defaults, by both selection rules",
             "adaprob_ray.reporting.search.tables.frozen:build_frozen"),
    Artefact("costs", "what sweeps cost, from the passes they make and measured Records", "analysis.builders:build_costs",
             (*SMALL_SCALE, *LARGE_SCALE), options=()),
    Artefact("report", "one HTML file of every Record", "adaprob_ray.reporting.store_report:build_report", takes="files"),
    Artefact("archive", "Records and Outputs of a sweep as two files", "analysis.verify.archives:build_archive"),
    Artefact("rescore", "a metric of your own over stored Outputs, without training",
             "adaprob_ray.reporting.rescore:build_rescore", takes="outputs", options=()),
    Artefact("verify", "the numbers of README and docs against results/", "analysis.verify.pages:build_verification",
             takes="pages", options=()),
)  # fmt: skip
ARTEFACTS = {artefact.name: artefact for artefact in _ALL}
