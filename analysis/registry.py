"""The contents page of the analysis: every table, figure and document, the sweeps that it is made of, and what makes it."""

from __future__ import annotations

from adaprob_ray.reporting.request import Artefact
from adaprob_ray.reporting.search.command import searched
from adaprob_ray.reporting.search.tables.frozen import frozen
from analysis.figure_artefacts import ablation_of, maps, ranked, reported, solvers, times, trade, trajectories
from analysis.output_artefacts import archive, rescored, verified
from analysis.paper.training_recipes import NOTEBOOKS
from analysis.table_artefacts import claimed, compare, costed, paper_table, recipes, traced
from analysis.verify.fidelity_page import CLAIMED

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

_ALL = (
    Artefact("compare", "label x metric tables of any sweep", compare),
    Artefact(
        "table1", "KL to Retrain on forget rows", paper_table, ("small_all", "figure2", "table1_large"), "1",
        FORGET_DIVERGENCES,
    ),
    Artefact("table2", "errors, 100 images of a class forgotten by ALL-CNN", paper_table, ("table2",), "2", ERRORS),
    Artefact(
        "table3", "KL to Retrain on test rows", paper_table, ("small_all", "figure2", "table1_large", "table3_large"), "3",
        TEST_DIVERGENCES,
    ),
    Artefact("table4", "membership attack, CIFAR-10", paper_table, ("notebook_membership",), "4", ATTACKS),
    Artefact(
        "table5", "AdaProb over λ: errors of the trained model and of its targets", paper_table, ("table5",), "5",
        (*ERRORS[1:], *TARGETS),
    ),
    Artefact("table6", "pretraining: the paper's, the notebooks', ours", recipes, NOTEBOOKS, "6"),
    Artefact("table7", "training: the paper's, the notebooks', ours", recipes, NOTEBOOKS, "7"),
    Artefact("cifar100", "CIFAR-100, a class forgotten (§5.6)", paper_table, ("notebook_cifar100",), "sec5.6", ERRORS[1:]),
    Artefact("claims", "the abstract's claims", claimed, CLAIMED),
    Artefact("traces", "SCRUB epoch by epoch, the notebooks' and ours", traced, ("scrub_traces",)),
    Artefact("figure2", "t-SNE of outputs on the test set", maps("test"), ("figure2",)),
    Artefact("figure3", "t-SNE of outputs on the forget rows", maps("forget"), ("figure2",)),
    Artefact("figure4", "time bars with standard errors", times, ("figure4_class", "figure4_selective")),
    Artefact(
        "ablation_lambda", "errors and target shift over λ", ablation_of("method.lam"), ("ablation_lambda",),
        columns=(*ERRORS[1:], "target_shift"),
    ),
    Artefact(
        "ablation_eta", "residual, errors and target shift over η", ablation_of("method.eta"), ("ablation_eta",),
        columns=("projection_residual", *ERRORS[1:], "target_shift"),
    ),
    Artefact("trade_off", "forget error against retain error", trade, ("small_all",)),
    Artefact("ranks", "mean ranks by distance to Retrain", ranked, ("small_all",), columns=RANKED),
    Artefact("solvers", "residual against passes of every solver of the projection", solvers),
    Artefact("trajectories", "a scalar of cells' series, as a solver's residual", trajectories, ("ablation_eta",)),
    Artefact("search", "trials, best-so-far curves, importance and slices of hyperparameter searches", searched),
    Artefact("frozen", "settings that a search has frozen against the defaults, by both selection rules", frozen),
    Artefact("costs", "what sweeps cost, from the passes they make and measured Records", costed, (*SMALL_SCALE, *LARGE_SCALE)),
    Artefact("report", "one HTML file of every Record", reported),
    Artefact("archive", "Records and Outputs of a sweep as two files", archive),
    Artefact("rescore", "a metric of your own over stored Outputs, without training", rescored),
    Artefact("verify", "the numbers of README and docs against results/", verified),
)  # fmt: skip
ARTEFACTS = {artefact.name: artefact for artefact in _ALL}
