"""The five stages: pretrain, train, unlearn, relearn, evaluate. Each takes a cell and a workspace and returns what it leaves.

No Ray here, no lease and no commit: a stage only reads its parents' artefacts and makes its own.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from adaprob_ray.catalogue import ARCHITECTURES, DATASETS, METHODS, METRICS, build_method
from adaprob_ray.data.batches import Subset, Subsets, load_subsets
from adaprob_ray.data.split import forget_positions, retain_positions
from adaprob_ray.errors import DeadlineExceeded, Diverged, NotDone
from adaprob_ray.methods.base import Context, Split, Trained, Unlearning, derive_seed
from adaprob_ray.metrics.error_rate import error_percent
from adaprob_ray.metrics.outputs import SUBSET_NAMES, Outputs, make_evaluation
from adaprob_ray.models.anatomy import anatomy, parameter_names
from adaprob_ray.recipe import Recipe
from adaprob_ray.stages.relearn import SLACK, Relearning, forget_loss
from adaprob_ray.stages.relearn import relearn as train_on
from adaprob_ray.store.records import RECORD, Reader, cell_of, record_settings
from adaprob_ray.sweep.cell import Cell, canonical
from adaprob_ray.sweep.relearn import RELEARN
from adaprob_ray.training.checkpoint import Checkpoint, Checkpoints, TrainingState
from adaprob_ray.training.cost import PassCounter, measure_cost
from adaprob_ray.training.loop import Weights, check_finite, distance, fit, predict
from adaprob_ray.training.losses import snapshot

WEIGHTS, OUTPUTS, SERIES = "weights.safetensors", "outputs.safetensors", "series.json"


@dataclass(kw_only=True)
class StageContext:
    """Where a cell runs. `report(step, **scalars)` is told every scalar of a series; `deadline` is on the monotonic clock.

    `checkpoints`: where a training goes on from if an earlier attempt did not end; None to begin anew each time.
    """

    store: Reader
    data_root: Path
    device: torch.device
    report: Callable[..., None]
    deadline: float | None = None
    checkpoints: Checkpoints | None = None
    series: dict[str, list[tuple[int, float]]] = field(default_factory=dict)

    def record_series(self, step: int, **scalars: float) -> None:
        """Keep scalars for the cell's own series and pass them on. Raises DeadlineExceeded once the deadline has passed."""
        if self.deadline is not None and time.monotonic() > self.deadline:
            raise DeadlineExceeded("the deadline of this cell has passed")
        for name, value in scalars.items():
            self.series.setdefault(name, []).append((step, float(value)))
        self.report(step, **scalars)

    def continue_series(self, series: Mapping[str, list[tuple[int, float]]]) -> None:
        """Take over what an earlier attempt recorded, and pass it on again."""
        for name, points in series.items():
            self.series[name] = list(points)
            for step, value in points:
                self.report(step, **{name: value})


@dataclass(frozen=True)
class StageOutput:
    """Files by name, and facts: flat numbers and words that join every Record of the model."""

    files: dict[str, bytes]
    facts: dict[str, Any]


# -- models and data of a cell ------------------------------------------------------------------------------------------


def subsets_of(settings: Mapping[str, Any], workspace: StageContext) -> Subsets:
    dataset = settings["dataset"]
    return load_subsets(
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


def to_device(model: nn.Module, device: torch.device) -> nn.Module:
    """On the device, in channels-last memory, which is the layout of the batches."""
    return model.to(device).to(memory_format=torch.channels_last)


def serialize_weights(model: nn.Module) -> bytes:
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    check_finite(state)
    return save(state)


def load_weights(store: Reader, key: str) -> Weights:
    return load(store.read(key, WEIGHTS))


def trained_model(settings: Mapping[str, Any], key: str, workspace: StageContext) -> nn.Module:
    """The network that cell `key` left, on the device."""
    model = build_model(settings, derive_seed(settings["seed"], 0, "initial"))
    model.load_state_dict(load_weights(workspace.store, key))
    return to_device(model, workspace.device)


def start_model(cell: Mapping[str, Any], store: Reader) -> nn.Module:
    """The network that a train cell starts from: initialised, then all but the classifier from the pretrained one."""
    settings = cell["settings"]
    method = METHODS[settings["method"]]
    suffix = method.generator_suffix if issubclass(method, Trained) else ""
    model = build_model(settings, derive_seed(settings["seed"], 0, "initial" + suffix))
    if "pretrain" in cell["parents"]:
        weights = load_weights(store, cell["parents"]["pretrain"])
        classifier = set(parameter_names(model, anatomy(model, "classifier").classifier))
        loaded = model.load_state_dict(
            {n: weight for n, weight in weights.items() if n not in classifier}, strict=False
        )
        assert set(loaded.missing_keys) == classifier, loaded
    return model


def recipe_of(settings: Mapping[str, Any]) -> Recipe:
    return Recipe(**settings["recipe"])


def compute_outputs(model: nn.Module, parts: Subsets) -> Outputs:
    """Logits over train, validation and test. Raises Diverged if one is not finite."""
    sources: dict[str, Subset] = {name: getattr(parts, name) for name in SUBSET_NAMES}
    logits = {name: predict(model, part).cpu().numpy() for name, part in sources.items()}
    for name, values in logits.items():
        if not np.isfinite(values).all():
            raise Diverged(f"the outputs on {name} are not finite; a smaller learning rate may help")
    return Outputs(logits=logits, labels={name: part.labels.cpu().numpy() for name, part in sources.items()})


def _series_bytes(workspace: StageContext) -> bytes:
    finite = {
        name: [(step, value if math.isfinite(value) else None) for step, value in points]
        for name, points in workspace.series.items()
    }
    return canonical(finite).encode()


# -- stages -------------------------------------------------------------------------------------------------------------


def _trained(model: nn.Module, part: Subset, cell: Cell, workspace: StageContext, purpose: str) -> dict[str, Any]:
    """Fit `model` in place by the cell's recipe, from the last checkpoint if there is one; returns facts."""
    settings = cell.settings
    start = snapshot(model)
    generator = torch.Generator().manual_seed(derive_seed(settings["seed"], 0, purpose))
    counter = PassCounter()
    earlier = _last_checkpoint(workspace)
    if earlier is not None:
        counter.forward, counter.backward = earlier.forward, earlier.backward
        workspace.continue_series(earlier.series)
    # Seconds of the attempts before this one, less those that go into keeping checkpoints: they are no training.
    extra = 0.0 if earlier is None else earlier.seconds
    began = time.perf_counter()

    def keep(state: Callable[[], TrainingState]) -> None:
        nonlocal extra
        if workspace.checkpoints is None or not workspace.checkpoints.due():
            return
        now = time.perf_counter()
        checkpoint = Checkpoint(
            state=state(),
            seconds=extra + now - began,
            forward=counter.forward,
            backward=counter.backward,
            series=workspace.series,
        )
        workspace.checkpoints.keep(checkpoint.to_bytes)
        extra -= time.perf_counter() - now

    with measure_cost(model, workspace.device, counter) as cost:
        last = fit(
            model,
            part,
            recipe_of(settings),
            generator=generator,
            precision=settings["precision"],
            report=workspace.record_series,
            start_from=None if earlier is None else earlier.state,
            after_epoch=keep,
        )
    cost["seconds"] += extra
    return {
        **{f"training_{name}" if name == "seconds" else name: value for name, value in cost.items()},
        "last_epoch_loss": last.loss,
        "last_epoch_error_percent": last.error_percent,
        "start_distance": distance(model.parameters(), start),
        "run_continued_after_epochs": 0 if earlier is None else earlier.state.epoch,
    }


def _last_checkpoint(workspace: StageContext) -> Checkpoint | None:
    data = None if workspace.checkpoints is None else workspace.checkpoints.last()
    return None if data is None else Checkpoint.from_bytes(data)


def pretrain(cell: Cell, workspace: StageContext) -> StageOutput:
    """Train from a random start, on the training part of the pretraining data set."""
    model = to_device(build_model(cell.settings, derive_seed(cell.settings["seed"], 0, "initial")), workspace.device)
    parts = subsets_of(cell.settings, workspace)
    facts = _trained(model, parts.train, cell, workspace, "order")
    logits, labels = predict(model, parts.validation), parts.validation.labels
    facts["validation_error_percent"] = error_percent(logits.cpu().numpy(), labels.cpu().numpy())
    return StageOutput({WEIGHTS: serialize_weights(model), SERIES: _series_bytes(workspace)}, facts)


def train(cell: Cell, workspace: StageContext) -> StageOutput:
    """Original, retrain, retrain_independent: by the recipe, from the seed's start."""
    settings, method = cell.settings, build_method(cell.settings)
    model = to_device(start_model(cell.identity, workspace.store), workspace.device)
    parts = subsets_of(settings, workspace)
    labels = parts.train.labels.cpu().numpy()
    forget = np.empty(0, np.int64)
    if method.reads_forget:
        forget = forget_positions(labels, settings["forget"], settings["seed"])
    rows = method.rows(len(labels), forget, settings["seed"])
    facts = _trained(model, parts.train.select(rows), cell, workspace, "order" + method.generator_suffix)
    if method.reads_forget:
        facts["unlearn_seconds"] = facts["training_seconds"]
    files = {
        WEIGHTS: serialize_weights(model),
        OUTPUTS: compute_outputs(model, parts).to_bytes(),
        SERIES: _series_bytes(workspace),
    }
    return StageOutput(files, facts)


def _context(cell: Cell, workspace: StageContext, method: Unlearning, counter: PassCounter) -> Context:
    settings, store = cell.settings, workspace.store
    original = cell_of(store, cell.parents["original"])

    def make_model(seed: int) -> nn.Module:
        return counter.watched(to_device(build_model(settings, seed), workspace.device))

    def initial_state() -> Weights:
        return to_device(start_model(original, store), workspace.device).state_dict()

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


def unlearn(cell: Cell, workspace: StageContext) -> StageOutput:
    """Start from the original of the seed and unlearn; only this is timed."""
    settings, method = cell.settings, build_method(cell.settings)
    parts = subsets_of(settings, workspace)
    model = trained_model(settings, cell.parents["original"], workspace)
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
    with measure_cost(model, workspace.device, counter) as cost:
        model = method.unlearn(model, Split(needs=method.needs, parts=chosen), context)
    files = {OUTPUTS: compute_outputs(model, parts).to_bytes(), SERIES: _series_bytes(workspace)}
    weights = serialize_weights(model)
    if cell.keep == "weights":
        files[WEIGHTS] = weights
    moved = distance(model.parameters(), before)
    start = to_device(
        start_model(cell_of(workspace.store, cell.parents["original"]), workspace.store), workspace.device
    )
    from_start = distance(model.parameters(), start.parameters())
    facts = {f"unlearn_{name}" if name == "seconds" else name: value for name, value in cost.items()}
    return StageOutput(files, {**facts, **context.facts, "parameter_distance": moved, "start_distance": from_start})


def relearn(cell: Cell, workspace: StageContext) -> StageOutput:
    """Train a copy of the model on until it knows the forget rows as the original does; its weights are not kept."""
    settings = cell.settings
    parts = subsets_of(settings, workspace)
    labels = parts.train.labels.cpu().numpy()
    forget = parts.train.select(forget_positions(labels, settings["forget"], settings["seed"]))
    threshold = forget_loss(trained_model(settings, cell.parents["original"], workspace), forget) + SLACK
    done = train_on(
        trained_model(settings, cell.parents["model"], workspace),
        parts.train,
        forget,
        Relearning(**settings["relearn"]),
        recipe_of(settings),
        threshold=threshold,
        generator=torch.Generator().manual_seed(derive_seed(settings["seed"], settings["repeat"], "relearn")),
        precision=settings["precision"],
        report=workspace.record_series,
    )
    facts = {"steps": done.steps, "forget_nats": done.forget_loss, "threshold_nats": threshold}
    return StageOutput({SERIES: _series_bytes(workspace)}, {f"relearn_{name}": value for name, value in facts.items()})


def evaluate(cell: Cell, workspace: StageContext) -> StageOutput:
    """Metrics from the stored Outputs of the model and its references; the result is one Record."""
    store, settings = workspace.store, cell.settings
    models = {role: key for role, key in cell.parents.items() if role != RELEARN}
    by_key = {key: Outputs.from_bytes(store.read(key, OUTPUTS)) for key in sorted(set(models.values()))}
    outputs = {role: by_key[key] for role, key in models.items()}
    evaluation = make_evaluation(outputs, settings["forget"], settings["seed"])
    test_labels = outputs["model"].labels["test"]
    computed: dict[str, float | None] = {
        "test_other_classes_rows": int((test_labels != settings["forget"]["class"]).sum()),
        "forget_rows": len(evaluation.forget),
        "retain_rows": len(evaluation.retain),
        **{f"{part}_rows": len(outputs["model"].labels[part]) for part in ("validation", "test")},
    }
    for name in settings["metrics"]:
        computed.update(METRICS[name].compute(evaluation))
    if RELEARN in cell.parents:
        computed.update({n: v for n, v in _facts(store, cell.parents[RELEARN]).items() if n.startswith("relearn_")})
    for name, value in computed.items():
        if value is not None and not math.isfinite(value):
            raise Diverged(f"{name} is {value}")
    record = {**record_settings(cell, store), **computed, **_model_facts(cell, store)}
    return StageOutput({RECORD: canonical(record).encode()}, {name: v for name, v in computed.items() if v is not None})


STAGES: dict[str, Callable[[Cell, StageContext], StageOutput]] = {
    "pretrain": pretrain,
    "train": train,
    "unlearn": unlearn,
    "relearn": relearn,
    "evaluate": evaluate,
}


# -- facts for the Record -----------------------------------------------------------------------------------------------


def _parameters(weights: Weights) -> list[Tensor]:
    """Parameters without batch norm's statistics, which are no parameters."""
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    return [weights[name] for name in sorted(weights) if not name.endswith(statistics)]


def _facts(store: Reader, key: str) -> dict[str, Any]:
    commit = store.commit(key)
    if commit is None:
        raise NotDone(key)
    return dict(commit.facts)


def _model_facts(cell: Cell, store: Reader) -> dict[str, Any]:
    """The facts of the model's cell; for a model that keeps its weights and was not unlearned, its distance to the original."""
    facts = _facts(store, cell.parents["model"])
    if "parameter_distance" not in facts:
        model, original = (_parameters(load_weights(store, cell.parents[role])) for role in ("model", "original"))
        facts = {**facts, "parameter_distance": distance(model, original)}
    return facts
