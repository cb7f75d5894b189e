"""Relearn time against a plain loop, and its rule for stopping (protocol §6.2)."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from adaprob_ray.data.batches import DeviceImages, Subset
from adaprob_ray.errors import Diverged
from adaprob_ray.recipe import Recipe
from adaprob_ray.stages.relearn import (
    DEFAULTS,
    LOSS_TOLERANCE,
    RelearnOptions,
    RelearnResult,
    forget_loss,
    resample,
    train_until_relearned,
)

ROWS, FORGET, CLASSES = 60, list(range(7, 60, 6)), 3
SETTINGS = RelearnOptions(lr=0.1, epochs=12, rows=50, batch_size=16)
SEED = 11


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Several make tiny networks slow where others use the cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def training_precision(request: pytest.FixtureRequest) -> None:
    """float64: at which step a loss passes a threshold does not depend on how a processor rounds; not under autocast."""
    if "bfloat16" not in request.node.name:
        request.getfixturevalue("float64")


def make_train() -> Subset:
    """Brighter with each class, so that what is learned of some rows helps with the others."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(CLASSES, (ROWS,), generator=generator)
    noise = torch.randint(0, 100, (ROWS, 6, 6, 1), generator=generator)
    images = (noise + 70 * labels.reshape(-1, 1, 1, 1)).to(torch.uint8)
    return Subset(DeviceImages(images, labels, torch.tensor([1 / 64]), torch.tensor([-2.0])), torch.arange(ROWS))


TRAIN = make_train()
FORGOTTEN = Subset(TRAIN.pixels, torch.tensor(FORGET))


def make_model() -> nn.Module:
    """A network whose batch norm has statistics of its own, so that frozen and training mode differ.

    Its weights are drawn as float32, so that they are the same in both precisions.
    """
    float32 = {"dtype": torch.float32}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = nn.Sequential(
            nn.Conv2d(1, 5, 3, **float32),
            nn.BatchNorm2d(5),
            nn.ReLU(),
            nn.AvgPool2d(4),
            nn.Flatten(),
            nn.Linear(5, CLASSES, **float32),
        ).to(torch.get_default_dtype())
    norm = model[1]
    assert isinstance(norm, nn.BatchNorm2d)
    norm.running_mean, norm.running_var = torch.linspace(-1, 1, 5), torch.linspace(0.5, 3, 5)
    return model


def plain_losses(settings: RelearnOptions, decay: float) -> list[float]:
    """The forget loss before each of all epochs; the decay differentiated, the steps written out, nothing stopped."""
    model = make_model().eval()
    parameters = list(model.parameters())
    start = [p.detach().clone() for p in parameters]
    every = torch.arange(ROWS)
    images = (TRAIN.pixels.images_NHWC.float() / 64 - 2).permute(0, 3, 1, 2)
    labels, generator, losses = TRAIN.pixels.labels, torch.Generator().manual_seed(SEED), []
    for _ in range(settings.epochs):
        with torch.no_grad():
            losses.append(float(functional.cross_entropy(model(images[FORGET]), labels[FORGET])))
        rows = every[torch.randint(ROWS, (settings.rows,), generator=generator)]
        for first in range(0, settings.rows, settings.batch_size):
            batch = rows[first : first + settings.batch_size]
            penalty = sum(((p - s) ** 2).sum() for p, s in zip(parameters, start, strict=True))
            loss = functional.cross_entropy(model(images[batch]), labels[batch]) + decay / 2 * penalty
            gradients = torch.autograd.grad(loss, parameters)
            with torch.no_grad():
                for p, g in zip(parameters, gradients, strict=True):
                    p -= settings.lr * g
    return losses


def ours(
    threshold: float, settings: RelearnOptions = SETTINGS, decay: dict[str, float] | None = None, **more: Any
) -> tuple[RelearnResult, list[float], nn.Module]:
    """The result, the reported forget losses, and the model as it was left."""
    model, losses = make_model(), list[float]()

    def report(step: int, **scalars: float) -> None:
        if "forget_loss" in scalars:
            losses.append(scalars["forget_loss"])
            assert step == len(losses)

    arguments = {"generator": torch.Generator().manual_seed(SEED), "precision": "float32", **more}
    recipe = Recipe(momentum=0.9, batch_norm="train", **(decay or {}))
    done = train_until_relearned(
        model, TRAIN, FORGOTTEN, settings, recipe, threshold=threshold, report=report, **arguments
    )
    return done, losses, model


@pytest.mark.parametrize(
    "decay", [{}, {"decay_to_start": 0.2, "weight_decay": 0.5}, {"weight_decay": 0.2}], ids=["none", "small", "large"]
)
@pytest.mark.parametrize("stop", [2, 6, 12])
def test_a_plain_loop_gives_the_same_losses_and_stops_at_the_same_step(decay: dict[str, float], stop: int) -> None:
    expected = plain_losses(SETTINGS, 0.2 if decay else 0.0)
    assert all(a > b for a, b in itertools.pairwise(expected)), "each threshold below is met once"
    done, losses, _ = ours((expected[stop - 1] + expected[stop - 2]) / 2, decay=decay)
    assert done.steps == len(losses) == stop
    assert losses == pytest.approx(expected[:stop], rel=1e-9)  # sums in another order
    assert done.forget_loss == losses[-1]


def test_the_decay_to_the_start_holds_it_back() -> None:
    free, held = plain_losses(SETTINGS, 0.0), plain_losses(SETTINGS, 0.2)
    assert held[-1] > free[-1] + 1e-3


def test_a_model_at_the_threshold_is_one_step_and_is_not_trained() -> None:
    generator = torch.Generator().manual_seed(SEED)
    before = generator.get_state()
    done, losses, model = ours(forget_loss(make_model(), FORGOTTEN), generator=generator)
    assert done == (1, losses[0])
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), make_model().parameters(), strict=True))
    assert torch.equal(generator.get_state(), before)


def test_a_hair_above_the_threshold_is_trained() -> None:
    done, _, _ = ours(forget_loss(make_model(), FORGOTTEN) - 1e-9)
    assert done.steps > 1


def test_the_original_itself_is_one_step() -> None:
    assert ours(forget_loss(make_model(), FORGOTTEN) + LOSS_TOLERANCE)[0].steps == 1


def test_never_is_a_hundred_by_default() -> None:
    done, losses, _ = ours(-1.0, RelearnOptions(lr=1e-6, rows=4))
    assert done.steps == len(losses) == 100
    assert done.forget_loss > -1.0  # what tells it from a threshold reached at the last step


def test_after_the_last_look_nothing_is_trained() -> None:
    done, _, model = ours(-1.0, RelearnOptions(epochs=1))
    assert done.steps == 1
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), make_model().parameters(), strict=True))


def test_batch_norm_keeps_its_statistics_and_trains_its_scale_and_shift() -> None:
    _, _, model = ours(-1.0)
    (old, new) = (dict(net.named_modules())["1"] for net in (make_model(), model))
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        assert torch.equal(getattr(old, name), getattr(new, name)), name
    for name in ("weight", "bias"):
        assert not torch.equal(getattr(old, name), getattr(new, name)), name


def test_draws_come_from_the_given_generator_alone() -> None:
    state = torch.random.get_rng_state()
    first, again = ours(-1.0), ours(-1.0)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert first[1] == again[1]
    assert first[1] != ours(-1.0, generator=torch.Generator().manual_seed(SEED + 1))[1]


def test_rows_are_drawn_with_replacement_from_all_training_rows() -> None:
    generator = torch.Generator().manual_seed(1)
    rows = resample(TRAIN, 2000, generator).rows
    counts = torch.bincount(rows, minlength=ROWS)
    assert len(rows) == 2000
    assert int(counts.min()) > 0, "forget rows too"
    assert len(counts) == ROWS
    assert not torch.equal(rows, resample(TRAIN, 2000, generator).rows), "a new draw for each epoch"


def test_a_part_of_the_rows_draws_only_from_itself() -> None:
    assert set(resample(FORGOTTEN, 200, torch.Generator().manual_seed(1)).rows.tolist()) == set(FORGET)


def test_the_loss_is_the_mean_in_eval_mode_whatever_the_mode_was() -> None:
    model = make_model()
    expected = forget_loss(copy.deepcopy(model).eval(), FORGOTTEN)
    assert forget_loss(model.train(), FORGOTTEN) == expected


@pytest.mark.parametrize("rate", [1e20, 1e38])
def test_what_is_no_number_any_more_has_diverged(rate: float) -> None:
    with pytest.raises(Diverged, match="smaller learning rate"):
        ours(-1.0, RelearnOptions(lr=rate, epochs=20, rows=50, batch_size=16))


def test_training_passes_may_be_bfloat16() -> None:
    assert ours(-1.0, precision="bfloat16")[1] == pytest.approx(ours(-1.0)[1], rel=0.05)


def test_settings_of_the_protocol() -> None:
    assert LOSS_TOLERANCE == 1e-5
    assert {name: settings.lr for name, settings in DEFAULTS.items()} == {"small": 0.1, "large": 0.01}
    for settings in DEFAULTS.values():
        assert (settings.epochs, settings.rows, settings.batch_size) == (100, 500, 128)
