"""The four stages: pretrain, train, unlearn, evaluate. Each takes a cell and a workspace and returns what it leaves.

No Ray here, no lease and no commit: a stage only reads its parents' artefacts and makes its own.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from adaprob_ray.catalogue import ARCHITECTURES, DATASETS, METHODS, METRICS
from adaprob_ray.data.batches import Part, Parts, load_parts
from adaprob_ray.data.split import forget_positions, retain_positions
from adaprob_ray.errors import DeadlineExceeded, Diverged, NotDone
from adaprob_ray.methods.base import Context, Split, Trained, Unlearning, seed_for
from adaprob_ray.metrics.errors import error_percent
from adaprob_ray.metrics.outputs import PARTS, Evaluation, Outputs
from adaprob_ray.record import RECORD
from adaprob_ray.sweep.cell import Cell, canonical, forget_words
from adaprob_ray.sweep.settings import check
from adaprob_ray.training import Recipe, Weights, check_finite, distance, fit, predict, snapshot

WEIGHTS, OUTPUTS, SERIES = "weights.safetensors", "outputs.safetensors", "series.json"


class Reader(Protocol):
    """What a stage needs of a store: verified artefacts, facts and descriptions of other cells."""

    def read(self, key: str, name: str) -> bytes: ...
    def cell(self, key: str) -> dict[str, Any] | None: ...
    def commit(self, key: str) -> Any: ...


@dataclass(kw_only=True)
class Workspace:
    """Where a cell runs. `report(step, **scalars)` is told every scalar of a series; `deadline` is on the monotonic clock."""

    store: Reader
    data_root: Path
    device: torch.device
    report: Callable[..., None]
    deadline: float | None = None
    series: dict[str, list[tuple[int, float]]] = field(default_factory=dict)

    def record_series(self, step: int, **scalars: float) -> None:
        """Keep scalars for the cell's own series and pass them on. Raises DeadlineExceeded once the deadline has passed."""
        if self.deadline is not None and time.monotonic() > self.deadline:
            raise DeadlineExceeded("the deadline of this cell has passed")
        for name, value in scalars.items():
            self.series.setdefault(name, []).append((step, float(value)))
        self.report(step, **scalars)


@dataclass(frozen=True)
class Product:
    """Files by name, and facts: flat numbers and words that join every Record of the model."""

    files: dict[str, bytes]
    facts: dict[str, Any]


class PassCounter:
    """Counts examples that pass forward and backward through every network made from a watched one, copies included."""

    def __init__(self) -> None:
        self.forward = self.backward = 0

    def watch(self, model: nn.Module) -> Any:
        return model.register_forward_hook(self)

    def watched(self, model: nn.Module) -> nn.Module:
        """The model, watched until it is gone."""
        self.watch(model)
        return model

    def __call__(self, model: nn.Module, inputs: Any, output: Tensor) -> None:
        self.forward += len(output)
        if output.requires_grad:
            output.register_hook(self._count_backward)

    def _count_backward(self, gradient: Tensor) -> None:
        self.backward += len(gradient)

    def __deepcopy__(self, memo: Any) -> PassCounter:
        return self  # a teacher copied from a watched student counts too


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextmanager
def measured(model: nn.Module, device: torch.device, counter: PassCounter) -> Iterator[dict[str, float]]:
    """Seconds by the wall clock, device synchronised at both ends, and passes in examples; filled in at the end."""
    facts = dict[str, float]()
    handle = counter.watch(model)
    synchronize(device)
    start = time.perf_counter()
    yield facts
    synchronize(device)
    facts["seconds"] = time.perf_counter() - start
    facts["forward_examples"], facts["backward_examples"] = counter.forward, counter.backward
    handle.remove()


# -- models and data of a cell ------------------------------------------------------------------------------------------


def parts_of(settings: Mapping[str, Any], workspace: Workspace) -> Parts:
    dataset = settings["dataset"]
    return load_parts(
        DATASETS[dataset["name"]],
        workspace.data_root,
        settings["seed"],
        test_pool=dataset["test_pool"],
        device=workspace.device,
    )


def build_model(settings: Mapping[str, Any], seed: int) -> nn.Module:
    """A freshly initialised network on the CPU; the process's own generator is left as it was."""
    dataset, architecture = DATASETS[settings["dataset"]["name"]], settings["architecture"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ARCHITECTURES[architecture["name"]].build(
            classes=dataset.classes, channels=dataset.channels, filters=architecture["filters"]
        )


def put_on(model: nn.Module, device: torch.device) -> nn.Module:
    """On the device, in channels-last memory, which is the layout of the batches."""
    return model.to(device).to(memory_format=torch.channels_last)


def state_bytes(model: nn.Module) -> bytes:
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    check_finite(state)
    return save(state)


def load_weights(store: Reader, key: str) -> Weights:
    return load(store.read(key, WEIGHTS))


def start_model(cell: Mapping[str, Any], store: Reader) -> nn.Module:
    """The network that a train cell starts from: initialised, then all but the classifier from the pretrained one."""
    settings = cell["settings"]
    method = METHODS[settings["method"]]
    suffix = method.generator_suffix if issubclass(method, Trained) else ""
    model = build_model(settings, seed_for(settings["seed"], 0, "initial" + suffix))
    if "pretrain" in cell["parents"]:
        weights = load_weights(store, cell["parents"]["pretrain"])
        kept = {name: tensor for name, tensor in weights.items() if not name.startswith("classifier.")}
        missing = model.load_state_dict(kept, strict=False)
        assert set(missing.missing_keys) == {"classifier.weight", "classifier.bias"}, missing
    return model


def method_of(settings: Mapping[str, Any]) -> Any:
    cls = METHODS[settings["method"]]
    hyperparameters, faults = check(cls, settings["hyper"], settings["method"])
    assert not faults, faults  # checked when the sweep was read
    return cls(**hyperparameters)


def recipe_of(settings: Mapping[str, Any]) -> Recipe:
    return Recipe(**settings["recipe"])


def outputs_of(model: nn.Module, parts: Parts) -> Outputs:
    """Logits over train, validation and test. Raises Diverged if one is not finite."""
    sources: dict[str, Part] = {name: getattr(parts, name) for name in PARTS}
    logits = {name: predict(model, part).cpu().numpy() for name, part in sources.items()}
    for name, values in logits.items():
        if not np.isfinite(values).all():
            raise Diverged(f"the outputs on {name} are not finite; a smaller learning rate may help")
    return Outputs(logits=logits, labels={name: part.labels.cpu().numpy() for name, part in sources.items()})


def _series_bytes(workspace: Workspace) -> bytes:
    finite = {
        name: [(step, value if math.isfinite(value) else None) for step, value in points]
        for name, points in workspace.series.items()
    }
    return canonical(finite).encode()


# -- stages -------------------------------------------------------------------------------------------------------------


def _trained(model: nn.Module, part: Part, cell: Cell, workspace: Workspace, purpose: str) -> dict[str, Any]:
    """Fit `model` in place by the cell's recipe; returns facts."""
    settings = cell.settings
    start = snapshot(model)
    generator = torch.Generator().manual_seed(seed_for(settings["seed"], 0, purpose))
    with measured(model, workspace.device, PassCounter()) as cost:
        last = fit(
            model,
            part,
            recipe_of(settings),
            generator=generator,
            precision=settings["precision"],
            report=workspace.record_series,
        )
    return {
        **{f"training_{name}" if name == "seconds" else name: value for name, value in cost.items()},
        "last_epoch_loss": last.loss,
        "last_epoch_error_percent": last.error_percent,
        "start_distance": distance(model.parameters(), start),
    }


def pretrain(cell: Cell, workspace: Workspace) -> Product:
    """Train from a random start, on the training part of the pretraining data set."""
    model = put_on(build_model(cell.settings, seed_for(cell.settings["seed"], 0, "initial")), workspace.device)
    parts = parts_of(cell.settings, workspace)
    facts = _trained(model, parts.train, cell, workspace, "order")
    logits, labels = predict(model, parts.validation), parts.validation.labels
    facts["validation_error_percent"] = error_percent(logits.cpu().numpy(), labels.cpu().numpy())
    return Product({WEIGHTS: state_bytes(model), SERIES: _series_bytes(workspace)}, facts)


def train(cell: Cell, workspace: Workspace) -> Product:
    """Original, retrain, retrain_independent: by the recipe, from the seed's start."""
    settings, method = cell.settings, method_of(cell.settings)
    model = put_on(start_model(cell.identity, workspace.store), workspace.device)
    parts = parts_of(settings, workspace)
    labels = parts.train.labels.cpu().numpy()
    forget = np.empty(0, np.int64)
    if method.reads_forget:
        forget = forget_positions(labels, settings["forget"], settings["seed"])
    rows = method.rows(len(labels), forget, settings["seed"])
    facts = _trained(model, parts.train.select(rows), cell, workspace, "order" + method.generator_suffix)
    if method.reads_forget:
        facts["unlearn_seconds"] = facts["training_seconds"]
    files = {
        WEIGHTS: state_bytes(model),
        OUTPUTS: outputs_of(model, parts).to_bytes(),
        SERIES: _series_bytes(workspace),
    }
    return Product(files, facts)


def _cell_of(store: Reader, key: str) -> dict[str, Any]:
    """What a parent is. Raises NotDone for one that nobody began."""
    document = store.cell(key)
    if document is None:
        raise NotDone(key)
    return document


def _context(cell: Cell, workspace: Workspace, method: Unlearning, counter: PassCounter) -> Context:
    settings, store = cell.settings, workspace.store
    original = _cell_of(store, cell.parents["original"])

    def make_model(seed: int) -> nn.Module:
        return counter.watched(put_on(build_model(settings, seed), workspace.device))

    def initial_state() -> Weights:
        return put_on(start_model(original, store), workspace.device).state_dict()

    return Context(
        device=workspace.device,
        precision=settings["precision"],
        seed=settings["seed"],
        repeat=settings["repeat"],
        needs=method.needs,
        recipe=recipe_of(settings),
        make_model=make_model,
        initial_state=initial_state,
        report=workspace.record_series,
        deadline=workspace.deadline,
    )


def unlearn(cell: Cell, workspace: Workspace) -> Product:
    """Start from the original of the seed and unlearn; only this is timed."""
    settings, method = cell.settings, method_of(cell.settings)
    parts = parts_of(settings, workspace)
    model = build_model(settings, seed_for(settings["seed"], 0, "initial"))
    model.load_state_dict(load_weights(workspace.store, cell.parents["original"]))
    model = put_on(model, workspace.device)
    before = snapshot(model)
    labels = parts.train.labels.cpu().numpy()
    forget = forget_positions(labels, settings["forget"], settings["seed"])
    chosen = {
        "forget": parts.train.select(forget),
        "retain": parts.train.select(retain_positions(len(labels), forget)),
        "train": parts.train,
        "validation": parts.validation,
    }
    counter = PassCounter()
    context = _context(cell, workspace, method, counter)
    with measured(model, workspace.device, counter) as cost:
        model = method.unlearn(model, Split(needs=method.needs, parts=chosen), context)
    files = {OUTPUTS: outputs_of(model, parts).to_bytes(), SERIES: _series_bytes(workspace)}
    weights = state_bytes(model)
    if cell.keep == "weights":
        files[WEIGHTS] = weights
    moved = distance(model.parameters(), before)
    start = put_on(start_model(_cell_of(workspace.store, cell.parents["original"]), workspace.store), workspace.device)
    from_start = distance(model.parameters(), start.parameters())
    facts = {f"unlearn_{name}" if name == "seconds" else name: value for name, value in cost.items()}
    return Product(files, {**facts, **context.facts, "parameter_distance": moved, "start_distance": from_start})


def evaluate(cell: Cell, workspace: Workspace) -> Product:
    """Metrics from the stored Outputs of the model and its references; the result is one Record."""
    store, settings = workspace.store, cell.settings
    by_key = {key: Outputs.from_bytes(store.read(key, OUTPUTS)) for key in sorted(set(cell.parents.values()))}
    outputs = {role: by_key[key] for role, key in cell.parents.items()}
    labels = outputs["model"].labels["train"]
    forget = forget_positions(labels, settings["forget"], settings["seed"])
    evaluation = Evaluation(
        model=outputs["model"],
        original=outputs["original"],
        retrain=outputs["retrain"],
        independent=outputs["retrain_independent"],
        forget=forget,
        retain=retain_positions(len(labels), forget),
        forget_class=settings["forget"]["class"],
        seed=settings["seed"],
    )
    test_labels = outputs["model"].labels["test"]
    computed: dict[str, float | None] = {
        "test_other_classes_rows": int((test_labels != settings["forget"]["class"]).sum()),
        "forget_rows": len(forget),
        "retain_rows": len(labels) - len(forget),
        **{f"{part}_rows": len(outputs["model"].labels[part]) for part in ("validation", "test")},
    }
    for name in settings["metrics"]:
        computed.update(METRICS[name].compute(evaluation))
    for name, value in computed.items():
        if value is not None and not math.isfinite(value):
            raise Diverged(f"{name} is {value}")
    record = {**record_settings(cell, store), **computed, **_model_facts(cell, store)}
    return Product({RECORD: canonical(record).encode()}, {name: v for name, v in computed.items() if v is not None})


STAGES: dict[str, Callable[[Cell, Workspace], Product]] = {
    "pretrain": pretrain,
    "train": train,
    "unlearn": unlearn,
    "evaluate": evaluate,
}


# -- the Record ---------------------------------------------------------------------------------------------------------


def _parameters(weights: Weights) -> list[Tensor]:
    """Parameters without batch norm's statistics, which are no parameters."""
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    return [weights[name] for name in sorted(weights) if not name.endswith(statistics)]


def _model_facts(cell: Cell, store: Reader) -> dict[str, Any]:
    """The facts of the model's cell; for a model that keeps its weights and was not unlearned, its distance to the original."""
    commit = store.commit(cell.parents["model"])
    if commit is None:
        raise NotDone(cell.parents["model"])
    facts = dict(commit.facts)
    if "parameter_distance" not in facts:
        model, original = (_parameters(load_weights(store, cell.parents[role])) for role in ("model", "original"))
        facts = {**facts, "parameter_distance": distance(model, original)}
    return facts


def record_settings(cell: Cell, store: Reader) -> dict[str, Any]:
    """The settings columns of a Record, flat."""
    settings = cell.settings
    model = _cell_of(store, cell.parents["model"])
    return {
        "key": cell.key,
        "model_key": cell.parents["model"],
        "lineage": lineage(cell.identity, store),
        "stage": cell.stage,
        "dataset": settings["dataset"]["name"],
        "test_pool": settings["dataset"]["test_pool"],
        "architecture": settings["architecture"]["name"],
        "filters": settings["architecture"]["filters"],
        "forget": forget_words(settings["forget"]),
        "label": settings["label"],
        "method": settings["method"],
        "seed": settings["seed"],
        "repeat": settings["repeat"],
        "precision": settings["precision"],
        **{f"method.{name}": value for name, value in settings["hyper"].items()},
        **{f"recipe.{name}": value for name, value in model["settings"]["recipe"].items()},
        **_pretraining(cell, store),
    }


def _pretraining(cell: Cell, store: Reader) -> dict[str, Any]:
    """`pretrain.…` columns of a model that did not start at random."""
    original = _cell_of(store, cell.parents["original"])
    if "pretrain" not in original["parents"]:
        return {}
    source = _cell_of(store, original["parents"]["pretrain"])
    columns = {"dataset": source["settings"]["dataset"]["name"], "seed": source["settings"]["seed"]}
    return {f"pretrain.{name}": value for name, value in {**columns, **source["settings"]["recipe"]}.items()}


def lineage(identity: Mapping[str, Any], store: Reader) -> str:
    """A hash of a cell's settings and its ancestors', without metrics and revisions.

    Records of one lineage differ only in which metrics or revisions they hold.
    """
    settings = {name: value for name, value in identity["settings"].items() if name != "metrics"}
    parents = {role: lineage(_cell_of(store, key), store) for role, key in identity["parents"].items()}
    text = canonical({"stage": identity["stage"], "settings": settings, "parents": parents})
    return hashlib.sha256(text.encode()).hexdigest()[:16]
