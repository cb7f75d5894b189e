"""The fit and predict loops against hand-written ones with autograd, and the recipes against protocol §3.

Axes: N rows, B batch, C channels, H W height and width, K classes.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from adaprob_ray.contract.fixtures import one_thread  # noqa: F401  # bit for bit needs the same number of threads everywhere
from adaprob_ray.data.batches import DeviceImages, Subset
from adaprob_ray.errors import Diverged
from adaprob_ray.models import AllCNN, ResNet18
from adaprob_ray.recipe import RECIPES, Recipe
from adaprob_ray.settings import as_mapping
from adaprob_ray.training.loop import check_finite, distance, fit, predict, set_mode, sgd, train_epoch
from adaprob_ray.training.losses import L2SPPenalty, cross_entropy, snapshot
from adaprob_ray.training.training_state import Checkpoint, TrainingState

CLASSES = 4


def make_part(rows: int = 70, channels: int = 3) -> Subset:
    generator = torch.Generator().manual_seed(11)
    labels = torch.randint(0, CLASSES, (rows,), generator=generator)
    images = torch.randint(0, 120, (rows, 8, 8, channels), generator=generator)
    images = (images + 30 * labels[:, None, None, None]).to(torch.uint8)  # something to learn
    scale, shift = torch.full((channels,), 1 / 64), torch.full((channels,), -1.5)
    return Subset(DeviceImages(images, labels, scale, shift), torch.arange(rows))


def make_model(seed: int = 0, filters: float = 0.04) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AllCNN(classes=CLASSES, channels=3, filters=filters).to(memory_format=torch.channels_last)


def generator(seed: int = 5) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def silent(step: int, **scalars: float) -> None:
    pass


def digest(model: nn.Module) -> str:
    content = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        content.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return content.hexdigest()


def buffers(model: nn.Module) -> dict[str, Tensor]:
    return {name: buffer.clone() for name, buffer in model.named_buffers()}


def plain_fit(model: nn.Module, part: Subset, recipe: Recipe, shuffle: torch.Generator) -> tuple[float, float]:
    """The plain loop: the whole loss differentiated by autograd, SGD written out, batches selected by hand."""
    parameters = list(model.parameters())
    start = [p.detach().clone() for p in parameters]
    velocity: list[Tensor | None] = [None] * len(parameters)
    model.train()
    if recipe.batch_norm == "frozen":
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
    for epoch in range(recipe.epochs):
        order = torch.randperm(len(part), generator=shuffle)
        loss_sum, wrong = 0.0, 0
        rate = recipe.lr
        if recipe.schedule == "cosine":
            rate *= math.cos(math.pi / 2 * epoch / recipe.epochs) ** 2
        for begin in range(0, len(part), recipe.batch_size):
            rows = part.rows[order[begin : begin + recipe.batch_size]]
            logits = model(part.pixels.select(rows))
            labels = part.pixels.labels[rows]
            entropy = functional.cross_entropy(logits, labels)
            decay = sum(((p - s) ** 2).sum() for p, s in zip(parameters, start, strict=True))
            gradients = torch.autograd.grad(entropy + recipe.decay_to_start / 2 * decay, parameters)
            with torch.no_grad():
                for index, (p, g) in enumerate(zip(parameters, gradients, strict=True)):
                    step = g + recipe.weight_decay * p
                    old = velocity[index]
                    velocity[index] = step if old is None else recipe.momentum * old + step
                    p -= rate * velocity[index]
            loss_sum += entropy.item() * len(rows)
            wrong += int((logits.argmax(1) != labels).sum())
    return loss_sum / len(part), 100 * wrong / len(part)


# -- recipes --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("pretrain", (31, 0.1, 0.9, 128, 0.0, 5e-4, "train")),
        ("small", (31, 0.001, 0.9, 128, 0.0, 0.1, "frozen")),
        ("large", (26, 0.01, 0.9, 128, 5e-4, 0.0, "train")),
    ],
)
def test_recipes_are_the_protocols(name: str, expected: tuple[Any, ...]) -> None:
    """Protocol §3: epochs, lr, momentum, batch, the optimizer's weight decay, decay to the start, batch norm."""
    recipe = RECIPES[name]
    actual = (recipe.epochs, recipe.lr, recipe.momentum, recipe.batch_size)
    assert (*actual, recipe.weight_decay, recipe.decay_to_start, recipe.batch_norm) == expected


def test_without_a_schedule_a_recipe_does_not_mention_one() -> None:
    """Cells from before there were schedules keep their keys."""
    assert "schedule" not in as_mapping(RECIPES["large"])
    assert as_mapping(Recipe(schedule="cosine"))["schedule"] == "cosine"


def test_there_are_three_recipes() -> None:
    assert sorted(RECIPES) == ["large", "pretrain", "small"]


# -- fit ------------------------------------------------------------------------------------------------------------------

in_float64 = pytest.mark.usefixtures("float64")


@in_float64
@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(epochs=3, lr=0.05, batch_size=16, decay_to_start=0.1, batch_norm="frozen"),
        Recipe(epochs=3, lr=0.02, batch_size=16, weight_decay=5e-2, batch_norm="train"),
        Recipe(epochs=2, lr=0.02, batch_size=32, decay_to_start=0.05, weight_decay=0.01, batch_norm="train"),
        Recipe(epochs=4, lr=0.05, batch_size=32, schedule="cosine"),
    ],
    ids=["small", "large", "both decays", "cosine"],
)
def test_fit_equals_a_plain_loop(recipe: Recipe) -> None:
    """Cross-entropy + (wd/2)·Σ‖w − w_start‖² over all parameters, by autograd, on the same batches, to 1e-10."""
    part, model = make_part(), make_model()
    other = copy.deepcopy(model)
    last = fit(model, part, recipe, generator=generator(), precision="float32", report=silent)
    loss, error = plain_fit(other, part, recipe, generator())
    assert distance(model.parameters(), make_model().parameters()) > 0.05
    for (name, mine), theirs in zip(model.state_dict().items(), other.state_dict().values(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-10, msg=lambda text, name=name: f"{name}: {text}")
    assert last.loss == pytest.approx(loss, rel=1e-10)
    assert last.error_percent == pytest.approx(error)


@in_float64
def test_fit_reports_each_epoch_and_returns_the_last() -> None:
    seen: list[tuple[int, dict[str, float]]] = []
    recipe = Recipe(epochs=4, lr=0.05, batch_size=32)
    last = fit(
        make_model(),
        make_part(),
        recipe,
        generator=generator(),
        precision="float32",
        report=lambda step, **scalars: seen.append((step, scalars)),
    )
    assert [step for step, _ in seen] == [1, 2, 3, 4]
    assert seen[-1][1] == {"loss": last.loss, "error_percent": last.error_percent}
    assert seen[0][1] != seen[-1][1]
    assert last.loss < seen[0][1]["loss"]


@in_float64
def test_the_last_epochs_error_is_of_the_outputs_while_training() -> None:
    """With a rate too small to move anything and frozen batch norm it is the error of the model in eval mode."""
    part, model = make_part(), make_model()
    recipe = Recipe(epochs=1, lr=1e-12, batch_size=16, batch_norm="frozen")
    last = fit(model, part, recipe, generator=generator(), precision="float32", report=silent)
    logits = predict(model, part)
    expected = 100 * float((logits.argmax(1) != part.labels).double().mean())
    assert 0 < expected < 100
    assert last.error_percent == pytest.approx(expected)
    assert last.loss == pytest.approx(float(functional.cross_entropy(logits, part.labels)), rel=1e-9)


def test_all_parameters_train() -> None:
    model = make_model()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    fit(model, make_part(), Recipe(epochs=1, lr=0.1), generator=generator(), precision="float32", report=silent)
    assert [name for name, p in model.named_parameters() if torch.equal(p, before[name])] == []


def test_parameters_that_require_no_gradient_stay_and_are_not_decayed() -> None:
    model = make_model()
    for p in model.features.parameters():
        p.requires_grad_(False)
    before = copy.deepcopy(model)
    recipe = Recipe(epochs=2, lr=0.1, weight_decay=0.1, decay_to_start=0.1, batch_norm="frozen")
    fit(model, make_part(), recipe, generator=generator(), precision="float32", report=silent)
    for name, p in model.named_parameters():
        assert torch.equal(p, dict(before.named_parameters())[name]) is name.startswith("features"), name


@pytest.mark.parametrize("make", [make_model, lambda: ResNet18(classes=CLASSES, filters=0.05)])
def test_frozen_batch_norm_keeps_its_statistics_and_trains_scale_and_shift(make: Any) -> None:
    part, model = make_part(), make()
    fit(model, part, Recipe(epochs=1, lr=0.01), generator=generator(), precision="float32", report=silent)
    statistics = buffers(model)
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    before = [(m.weight.detach().clone(), m.bias.detach().clone()) for m in norms]
    frozen = Recipe(epochs=2, lr=0.05, batch_norm="frozen")
    fit(model, part, frozen, generator=generator(), precision="float32", report=silent)
    assert all(torch.equal(statistics[name], buffer) for name, buffer in model.named_buffers())
    for module, (weight, bias) in zip(norms, before, strict=True):
        assert not torch.equal(module.weight, weight)
        assert not torch.equal(module.bias, bias)


def test_training_batch_norm_moves_its_statistics() -> None:
    model = make_model()
    before = buffers(model)
    fit(model, make_part(), Recipe(epochs=1, lr=1e-6), generator=generator(), precision="float32", report=silent)
    assert not any(torch.equal(before[name], buffer) for name, buffer in model.named_buffers())


@in_float64
def test_frozen_mode_uses_the_running_statistics() -> None:
    part, model = make_part(), make_model()
    fit(model, part, Recipe(epochs=2, lr=0.05), generator=generator(), precision="float32", report=silent)
    images = next(part.batches(16)).images
    set_mode(model, "frozen")
    with torch.no_grad():
        frozen = model(images)
        model.eval()
        assert torch.equal(frozen, model(images))
        set_mode(model, "train")
        assert not torch.allclose(frozen, model(images), atol=1e-2)


def test_optimizer_weight_decay_pulls_to_zero_and_decay_to_start_to_the_start() -> None:
    """Where cross-entropy has no say: on a classifier whose inputs are 0 only the decay is left."""

    class Mute(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.classifier = nn.Linear(3, CLASSES, bias=False)

        def forward(self, x_BCHW: Tensor) -> Tensor:
            return self.classifier(0 * x_BCHW.mean(dim=(2, 3)))

    torch.manual_seed(0)
    start = Mute()
    to_zero, to_start = copy.deepcopy(start), copy.deepcopy(start)
    one = Recipe(epochs=1, lr=0.5, momentum=0.0, batch_size=70, weight_decay=0.2)
    fit(to_zero, make_part(), one, generator=generator(), precision="float32", report=silent)
    torch.testing.assert_close(to_zero.classifier.weight, start.classifier.weight * (1 - 0.5 * 0.2))
    other = Recipe(epochs=1, lr=0.5, momentum=0.0, batch_size=70, decay_to_start=0.2)
    fit(to_start, make_part(), other, generator=generator(), precision="float32", report=silent)
    assert torch.equal(to_start.classifier.weight, start.classifier.weight)


# -- L2SPPenalty ---------------------------------------------------------------------------------------------------------


@in_float64
@pytest.mark.parametrize("squared", [True, False])
def test_the_penalty_adds_the_gradient_of_autograd(squared: bool) -> None:
    model = make_model()
    anchor = [p + 0.1 * torch.randn(p.shape, generator=generator(3)) for p in snapshot(model)]
    parameters, batch = list(model.parameters()), next(make_part().batches(20))
    model.train()
    norms = [(p - a).square().sum() for p, a in zip(parameters, anchor, strict=True)]
    term = 0.3 / 2 * sum(norms) if squared else 0.3 * sum(norm.sqrt() for norm in norms)
    expected = torch.autograd.grad(cross_entropy(model, batch).loss + term, parameters)
    plain = make_model().train()
    cross_entropy(plain, batch).loss.backward()
    L2SPPenalty(anchor=anchor, strength=0.3, squared=squared).add_to_gradients(list(plain.parameters()))
    for p, gradient in zip(plain.parameters(), expected, strict=True):
        torch.testing.assert_close(p.grad, gradient, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("squared", [True, False])
def test_the_gradient_of_the_penalty_is_zero_at_the_anchor(squared: bool) -> None:
    parameter = torch.ones(3, requires_grad=True)
    moved = torch.ones(2, requires_grad=True)
    parameter.grad, moved.grad = torch.full((3,), 2.0), torch.zeros(2)
    penalty = L2SPPenalty(anchor=[torch.ones(3), torch.tensor([1.0, -3.0])], strength=0.5, squared=squared)
    penalty.add_to_gradients([parameter, moved])
    assert torch.equal(parameter.grad, torch.full((3,), 2.0))  # not NaN, not moved
    torch.testing.assert_close(moved.grad, torch.tensor([0.0, 2.0]) if squared else torch.tensor([0.0, 0.5]))


# -- predict --------------------------------------------------------------------------------------------------------------


def test_predict_is_in_order_in_eval_mode_in_float32_and_changes_nothing() -> None:
    part, model = make_part(1203), make_model()
    fit(model, make_part(), Recipe(epochs=1, lr=0.05), generator=generator(), precision="float32", report=silent)
    before = digest(model)
    model.train()
    logits = predict(model, part)
    assert logits.dtype == torch.float32
    assert not logits.requires_grad
    assert digest(model) == before
    model.eval()
    with torch.no_grad():
        for row in (0, 499, 500, 1202):  # on both sides of a batch's border
            alone = model(part.pixels.select(torch.tensor([row])))[0]
            torch.testing.assert_close(logits[row], alone, rtol=1e-4, atol=1e-5)
    selection = part.select(torch.tensor([700, 3, 3, 1202]).numpy())
    torch.testing.assert_close(predict(model, selection), logits[[700, 3, 3, 1202]], rtol=1e-4, atol=1e-5)


def test_predict_does_not_depend_on_the_precision_of_training() -> None:
    """The outputs of a model that was trained in bfloat16 are those of its float32 weights in float32."""
    part, model = make_part(), make_model()
    fit(model, part, Recipe(epochs=1, lr=0.05), generator=generator(), precision="bfloat16", report=silent)
    fresh = make_model()
    fresh.load_state_dict(model.state_dict())
    assert torch.equal(predict(model, part), predict(fresh, part))


def test_predict_refuses_no_rows() -> None:
    part = make_part()
    with pytest.raises(ValueError, match="at least one row, got none"):
        predict(make_model(), Subset(part.pixels, part.rows[:0]))


# -- precision, failure, randomness -----------------------------------------------------------------------------------------


def test_bfloat16_moves_weights_and_keeps_them_float32() -> None:
    seen: set[torch.dtype] = set()
    model, reference = make_model(), make_model()
    model.features[1][0].register_forward_hook(lambda module, inputs, output: seen.add(output.dtype))
    recipe = Recipe(epochs=3, lr=0.01, batch_size=70, batch_norm="frozen")
    fit(model, make_part(), recipe, generator=generator(), precision="bfloat16", report=silent)
    fit(reference, make_part(), recipe, generator=generator(), precision="float32", report=silent)
    assert seen == {torch.bfloat16}
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    moved = distance(model.parameters(), make_model().parameters())
    apart = distance(model.parameters(), reference.parameters())
    assert moved > 0.001
    assert 0 < apart < 0.1 * moved  # another precision, the same few smooth steps


def test_float32_runs_without_autocast() -> None:
    seen: set[torch.dtype] = set()
    model = make_model()
    model.features[1][0].register_forward_hook(lambda module, inputs, output: seen.add(output.dtype))
    fit(model, make_part(), Recipe(epochs=1), generator=generator(), precision="float32", report=silent)
    assert seen == {torch.float32}


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_diverged(bad: float) -> None:
    model = make_model()
    with torch.no_grad():
        model.classifier.bias[0] = bad
    optimizer = sgd(model, lr=0.1, momentum=0.9)
    with pytest.raises(Diverged, match="smaller learning rate"):
        train_epoch(model, make_part().batches(32), cross_entropy, optimizer, precision="float32")


def test_an_exploding_fit_is_diverged() -> None:
    with pytest.raises(Diverged):
        fit(
            make_model(),
            make_part(),
            Recipe(epochs=5, lr=1e20, batch_size=16, batch_norm="frozen"),
            generator=generator(),
            precision="float32",
            report=silent,
        )


def test_check_finite_names_the_tensor() -> None:
    check_finite({"a": torch.ones(2), "count": torch.tensor(3)})
    with pytest.raises(Diverged, match=r"^b is not finite"):
        check_finite({"a": torch.ones(2), "b": torch.tensor([1.0, -math.inf])})


def test_distance_is_euclidean_over_all_tensors() -> None:
    assert distance([torch.tensor([3.0]), torch.tensor([[4.0]])], [torch.zeros(1), torch.zeros(1, 1)]) == 5.0
    with pytest.raises(ValueError, match="zip"):
        distance([torch.ones(1)], [])


def trained_digest(precision: str, seed: int = 5) -> str:
    model = make_model()
    recipe = Recipe(epochs=2, lr=0.05, batch_size=16, decay_to_start=0.01)
    fit(model, make_part(), recipe, generator=generator(seed), precision=precision, report=silent)
    return digest(model)


def all_digests() -> dict[str, str]:
    return {precision: trained_digest(precision) for precision in ("float32", "bfloat16")}


@pytest.mark.slow
def test_the_same_seed_gives_the_same_weights_here_and_in_another_process() -> None:
    here = all_digests()
    assert all_digests() == here
    assert trained_digest("float32", seed=6) != here["float32"]
    file = Path(__file__).resolve()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(file.parents[1]), str(file.parent)])}
    code = "import json, torch, test_training as t; torch.set_num_threads(1); print(json.dumps(t.all_digests()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert json.loads(done.stdout) == here


def test_resuming_restores_torchs_global_generator() -> None:
    """None of our networks has dropout; a user's may."""
    images = torch.randint(256, (64, 8, 8, 1), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    part = Subset(DeviceImages(images, torch.arange(64) % 4, torch.ones(1) / 255, torch.zeros(1)), torch.arange(64))
    recipe = Recipe(epochs=4, batch_size=16, lr=0.1)

    def trained(**how: Any) -> dict[str, Tensor]:
        torch.manual_seed(7)
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.Dropout(0.5), nn.Linear(16, 4))
        order = torch.Generator().manual_seed(3)
        fit(model, part, recipe, generator=order, precision="float32", report=lambda step, **scalars: None, **how)
        return {name: tensor.clone() for name, tensor in model.state_dict().items()}

    checkpoints: list[bytes] = []

    def save(state: Callable[[], TrainingState]) -> None:
        checkpoints.append(Checkpoint(state=state(), seconds=0.0, forward=0, backward=0, series={}).to_bytes())

    whole = trained(after_epoch=save)
    for data in checkpoints:
        resumed = trained(start_from=Checkpoint.from_bytes(data).state)
        assert all(torch.equal(resumed[name], tensor) for name, tensor in whole.items())
