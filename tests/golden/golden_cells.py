"""One tiny cell of each stage and method, and the numbers that it leaves, in float32 and in float64.

float32 numbers are those of a processor: others add in another order. float64 numbers are the same on every processor to
about nine digits. Both are pinned to one thread: sums of batch norm, and so all that follows, depend on the number of threads.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import json
import os
from pathlib import Path
from typing import Any
from unittest import mock

import instruction_sets
import torch
from double_precision import double_precision
from safetensors.torch import load

from adaprob_ray import contract
from adaprob_ray.catalogue import ARCHITECTURES, DATASETS, METHODS, METRICS, RECIPES, STAGES
from adaprob_ray.data.batches import load_subsets
from adaprob_ray.metrics.outputs import SUBSET_NAMES, Outputs
from adaprob_ray.recipe import Recipe
from adaprob_ray.reporting.records.grouping import METHOD_ORDER
from adaprob_ray.search.trial_cells import select_cell
from adaprob_ray.stages.base import StageContext, StageOutput
from adaprob_ray.store.names import OUTPUTS, RECORD, WEIGHTS
from adaprob_ray.sweep.cell import Cell
from adaprob_ray.sweep.cell_settings import ArchitectureSettings, PretrainSettings

FILE = Path(__file__).with_name("golden.json")
# The methods that the package comes with. One of your own has no golden cell until it is listed in METHOD_ORDER.
GOLDEN_METHODS = tuple(name for name in METHODS if name in METHOD_ORDER)
# The stage import computes nothing of its own: it reads the weights of a file.
GOLDEN_STAGES = tuple(name for name in STAGES if name != "import")
FILTERS = {"allcnn": 0.08, "resnet18": 0.08}
SETTINGS: dict[
    str, dict[str, Any]
] = {  # few steps and no tiny last batch: rounding grows with each step, most in batch norm
    "bias_shift": {},
    "random_label": {"epochs": 2},
    "finetune": {"epochs": 2, "batch_size": 300},
    "neggrad_plus": {"epochs": 2, "retain_batch": 300, "forget_batch": 25},
    "cf_k": {"epochs": 2, "batch_size": 300},
    "eu_k": {"epochs": 2, "batch_size": 300},
    "bad_teacher": {"epochs": 2, "retain_batch": 300, "forget_batch": 25, "temperature": 1.0, "lr": 1e-4},
    "scrub_rewind": {"epochs": 2, "retain_batch": 300, "forget_batch": 25},
    "scrub": {"epochs": 2, "retain_batch": 300, "forget_batch": 25},
    "adaprob": {"epochs": 2, "batch_size": 300, "lr": 5e-3},
}
VARIANTS = {
    "scrub": {"smoothed": {"smoothing": 0.5, "smoothing_start": 1, "milestones": [2]}},
    "adaprob": {
        "script": {"reference": "pseudo", "pseudo": "random", "lam": 2.0, "lam_in": "loss"},
        "restore": {"reference": "pseudo", "totals": "original", "lam": 2.0},
        # One epoch, in which no decision is close: on another processor float32 must take the same number of passes.
        "auto": {"lr": "auto", "epochs": 1},
        "stratified": {
            "reference": "pseudo",
            "pseudo": "heldout",
            "retain_targets": "labels",
            "lam": 0.5,
            "lam_in": "loss",
            "batches": "stratified",
            "forget_batch": 25,
            "schedule": "cosine",
            "steps": 5,
        },
    },
    "eu_k": {"random": {"reset": "random"}},
    "retrain": {},
}
NTK_ROWS = 320  # training rows for the golden cell of ntk, whose cost grows with their cube
SWEEP = """
name: golden
grid:
  dataset: digits
  architecture: {{name: {architecture}, filters: {filters}}}
  forget: {{kind: selective, class: 3, count: 25}}
  seed: 1
train: {{recipe: {recipe}, epochs: 2, lr: 0.002, batch_size: 300}}
methods: {methods}
metrics: [{metrics}]
keep: {{unlearn: weights}}
"""
RELEARN = "relearn: {lr: 0.1, epochs: 4}\n"  # ends far from the threshold: no rounding decides about a step


def sweep(architecture: str, recipe: str, methods: dict[str, Any], *, stage: str = "") -> dict[str, Cell]:
    """All metrics but those with a stage of their own; with that of `stage`, which runs for each model that is evaluated."""
    text = SWEEP.format(
        architecture=architecture,
        filters=FILTERS[architecture],
        recipe=recipe,
        methods=json.dumps(methods),
        metrics=", ".join(name for name in METRICS if name not in STAGES or name == stage),
    )
    return contract.planned(text + RELEARN if stage == "relearn" else text)


def labels() -> dict[str, Any]:
    """Every method of GOLDEN_METHODS, with few epochs, and its variants."""
    chosen: dict[str, Any] = {}
    for name in GOLDEN_METHODS:
        chosen[name] = SETTINGS.get(name, {})
        for label, given in VARIANTS.get(name, {}).items():
            chosen[f"{name}_{label}"] = {"method": name, **chosen[name], **given}
    chosen.pop("retrain_independent")  # takes the settings of retrain, and is planned unasked
    chosen.pop("ntk")  # see ntk_cell
    return chosen


def pretrain_cell() -> Cell:
    """Digits has nothing to be pretrained on: the stage is run on digits itself."""
    recipe = dataclasses.asdict(RECIPES["pretrain"])
    settings = PretrainSettings(
        dataset=contract.SETTINGS.dataset,
        architecture=ArchitectureSettings(name="allcnn", filters=FILTERS["allcnn"]),
        recipe=Recipe(**{**recipe, "epochs": 2, "lr": 0.02, "batch_size": 300}),
        seed=1,
        precision="float32",
    )
    revisions = {
        "stage:pretrain": STAGES["pretrain"].revision,
        "dataset:digits": DATASETS["digits"].revision,
        "architecture:allcnn": ARCHITECTURES["allcnn"].revision,
        "recipe": RECIPES["pretrain"].revision,
    }
    return Cell("pretrain", settings, {}, revisions)


def ntk_cell(like: Cell) -> Cell:
    """NTK with the settings and the original of another cell of the stage unlearn; run on fewer rows, and not evaluated."""
    settings = dataclasses.replace(like.settings, method="ntk", hyper=dataclasses.asdict(METHODS["ntk"]()))
    revisions = {name: revision for name, revision in like.revisions.items() if not name.startswith("method:")}
    return Cell("unlearn", settings, like.parents, {**revisions, "method:ntk": METHODS["ntk"].revision})


def run(name: str, cell: Cell, store: contract.MemoryStore) -> StageOutput:
    if name != "unlearn ntk":
        return store.run(cell)
    parts = load_subsets(DATASETS["digits"], Path(), cell.settings.seed, test_pool="clean", device=contract.CPU)
    parts = dataclasses.replace(parts, train=contract.shrunk(parts.train, NTK_ROWS))
    with mock.patch.object(StageContext, "subsets", return_value=parts):
        return store.run(cell)


def cells() -> dict[str, Cell]:
    """Cells by a readable name, parents first."""
    named = {"pretrain": pretrain_cell()}
    every = sweep("allcnn", "large", labels())
    owners: dict[str, str] = {}
    for cell in every.values():
        if cell.stage == "evaluate":
            owners.setdefault(cell.parents["model"], cell.settings.label)
    for cell in every.values():
        label = cell.settings.label if cell.stage == "evaluate" else owners[cell.key]
        named[f"{cell.stage} {label}"] = cell
    for stage, name in {"probe": "probed", "relearn": "relearned"}.items():
        for cell in sweep("allcnn", "large", {}, stage=stage).values():
            if cell.stage in (stage, "evaluate") and cell.method == "retrain_independent":
                named[f"{cell.stage} {name}"] = cell
    named["unlearn ntk"] = ntk_cell(named["unlearn finetune"])
    named["select scrub"] = select_cell(named["evaluate scrub"], STAGES["select"], STAGES["select"].resources)
    for recipe, architecture in (("small", "allcnn"), ("large", "resnet18")):
        for cell in sweep(architecture, recipe, {"original": {}}).values():
            if cell.stage == "train" and cell.method == "original":
                named[f"train original {recipe} {architecture}"] = cell
    return named


def timeless(facts: dict[str, Any]) -> dict[str, float]:
    return {
        name: float(value)
        for name, value in facts.items()
        if isinstance(value, (int, float)) and not name.endswith("seconds") and not name.startswith("run_")
    }


def numbers(cell: Cell, product: StageOutput) -> dict[str, float]:
    """Facts, metrics, and enough of weights and logits that nothing can change unseen."""
    actual = timeless(product.facts)
    if RECORD in product.files:
        record = json.loads(product.files[RECORD])
        columns = [column for metric in METRICS.values() for column in metric.columns]
        actual |= timeless({name: record.get(name) for name in columns})
    if WEIGHTS in product.files:
        weights = load(product.files[WEIGHTS])  # in no particular order
        flat = torch.cat([weights[name].double().flatten() for name in sorted(weights)])
        wave = torch.linspace(1, 2, len(flat), dtype=torch.float64)  # tells a permutation from the same weights
        actual |= {"weights_norm": float(flat.norm()), "weights_wave": float((wave * flat.abs()).sum())}
    if OUTPUTS in product.files:
        outputs = Outputs.from_bytes(product.files[OUTPUTS])
        for part in SUBSET_NAMES:
            actual[f"{part}_logits_size"] = float(abs(outputs.logits[part].astype(float)).mean())
            actual[f"{part}_first_logit"] = float(outputs.logits[part][0, 0])
    return actual


PRECISIONS = {"float32": contextlib.nullcontext, "float64": double_precision}


def compute() -> dict[str, dict[str, Any]]:
    """Every golden cell, run now: its revisions, the names of the cells that it depends on, and its numbers."""
    named = cells()
    names = {cell.key: name for name, cell in named.items()}
    entries: dict[str, dict[str, Any]] = {
        name: {
            "revisions": dict(sorted(cell.revisions.items())),
            "parents": sorted({names[key] for key in cell.parents.values()}),
        }
        for name, cell in named.items()
    }
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for precision, context in PRECISIONS.items():
            store = contract.MemoryStore()
            with context():
                for name, cell in named.items():
                    entries[name][precision] = dict(sorted(numbers(cell, run(name, cell, store)).items()))
    finally:
        torch.set_num_threads(before)
    return entries


def made_with() -> dict[str, str]:
    """What decides the bits of float32 numbers besides the code: versions, the processor, and the limits that it is held to."""
    packages = ("torch", "numpy", "scipy", "scikit-learn")
    return {
        **{name: importlib.metadata.version(name).partition("+")[0] for name in packages},
        "aten": torch.backends.cpu.get_cpu_capability(),
        "processor": " ".join(map(instruction_sets.cpuinfo, ("vendor_id", "cpu family", "model"))),
        "features": " ".join(instruction_sets.processor_features()),
        "limits": " ".join(f"{name}={os.environ[name]}" for name in instruction_sets.VARIABLES if name in os.environ),
        "threads": "1",
    }


def stored() -> dict[str, dict[str, Any]]:
    return json.loads(FILE.read_text())["cells"]


def stored_with() -> dict[str, str]:
    return json.loads(FILE.read_text())["made_with"]
