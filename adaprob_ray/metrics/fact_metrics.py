"""Metrics whose columns are facts of cells: they join every Record, and listing one asks tables to show it."""

from __future__ import annotations

from adaprob_ray.metrics import Metric

SECONDS = Metric(
    name="seconds",
    about="Time that the unlearning took",
    columns=("unlearn_seconds",),
    equation="wall-clock seconds of the method, preparation included, without loading and without evaluation",
    column_help={"unlearn_seconds": "of the unlearning; for retrained models, of their training"},
    better="Smaller, where errors and divergence are at Retrain's. Compare only times of cells that ran alone on one kind of "
    "hardware; tables say where they did not.",
    cost="None: each unlearning is timed.",
    source="AdaProb, Figure 4.",
)
PASSES = Metric(
    name="passes",
    about="Samples that the unlearning passed forward and backward through a network",
    columns=("forward_examples", "backward_examples"),
    equation="samples summed over all forward and all backward passes of the unlearning, preparation included",
    column_help={
        "forward_examples": "samples passed forward",
        "backward_examples": "samples passed backward",
    },
    better="Smaller, where errors and divergence are at Retrain's. Unlike seconds, the same on every machine.",
    cost="None: passes are counted while the unlearning runs.",
    source="This package; not in the AdaProb paper.",
)
DISTANCE = Metric(
    name="distance",
    about="L2 distance of the weights to those of the original and to the initial weights",
    columns=("parameter_distance", "start_distance"),
    equation="‖w − w_original‖₂ and ‖w − w_initial‖₂ over all trainable parameters",
    column_help={
        "parameter_distance": "to the original's weights",
        "start_distance": "to the weights before the training of the original",
    },
    better="No direction: it shows how far a method moves. Networks with the same outputs may have very different weights.",
    cost="One pass over the weights.",
    source="The authors' notebooks, which print both distances.",
)

# A separate stage measures it, which runs only in sweeps that list this metric.
RELEARN = Metric(
    name="relearn",
    about="Epochs of training until the loss on the forget set is back at the original's",
    columns=("relearn_steps",),
    needs=frozenset({"relearn"}),
    equation="""\
s = the smallest s ≥ 1 with  mean loss on the forget set after s − 1 epochs  ≤  the original's + 1e-5;    100 if there is none
an epoch: 500 samples drawn from the training set, forget set included""",
    column_help={"relearn_steps": "epochs of training, plus one; 100 where the loss never gets there"},
    better="Closer to Retrain's. Much smaller than Retrain's means that the forget set was still in the weights.",
    cost="Up to 100 epochs of training for each model, in a cell of its own. The sweep file needs `keep: {unlearn: weights}`.",
    source="The authors' code, which follows SCRUB's; not in the AdaProb paper's tables.",
)

PROBE = Metric(
    name="probe",
    about="Errors of a linear classifier on the model's features: what is left under the outputs",
    columns=("probe_forget_error_percent", "probe_test_forget_class_error_percent", "probe_test_error_percent"),
    needs=frozenset({"probe"}),
    equation="""\
h_n: input of the network's last layer;    probe: logistic regression of the classes on h, of unit variance
fitted to the retain set and, for classes of which no sample is retained, to their validation samples""",
    column_help={
        "probe_forget_error_percent": "the probe's error on the forget set",
        "probe_test_forget_class_error_percent": "on test samples of the forgotten class",
        "probe_test_error_percent": "on all test samples",
    },
    better="Closer to Retrain's. A method that rewrites outputs alone, as bias_shift does, stays at the original's.",
    cost="One pass over the data and a logistic regression for each model, in a cell of its own. The sweep file needs "
    "`keep: {unlearn: weights}`.",
    source="Alain and Bengio, 2016, for probes of features; as a test of unlearning, this package.",
)
