"""The method and the test that `adaprob-ray init method` writes: a method that works, with a comment for each declared field.

Both are written for MyMethod, `my_method` in sweep files; these two names are replaced.
"""

from __future__ import annotations

METHOD_TEMPLATE = '''\
"""MyMethod: passes of gradient ascent on the forget samples, each followed by a pass of descent on the retain samples.

    w ← w + γ_f ∇_w mean_{r in forget} CE(f(x_r; w), y_r)                 in the first `ascent_epochs` epochs
    w ← w − γ ∇_w [ mean_{r in retain} CE(f(x_r; w), y_r) + (wd/2)·‖w − w_original‖² ]

Symbols: lr = γ, ascent_lr = γ_f. wd is the recipe's `decay_to_start`; its term is absent if the original was trained
without it. Needs the retain and forget samples and the recipe. Cost per epoch: one forward and one backward pass over the
retain samples and, in the first `ascent_epochs` epochs, over the forget samples.
"""

# `make docs` copies the docstring into docs/methods.md; `adaprob-ray list methods` shows its first sentence. Lines indented by
# four spaces are equations. A test checks that it names the method's needs and its cost. For a published method, add a
# paragraph that begins with "Source:" and gives authors, title and year, and number every difference from the paper.

from __future__ import annotations

from torch import nn

from adaprob_ray.data.batches import Batch
from adaprob_ray.methods.base import Context, Cost, Sizes, Split, Unlearning
from adaprob_ray.settings import Int, Log, hyperparameter, settings_dataclass
from adaprob_ray.training.loop import set_mode, sgd, train_epoch
from adaprob_ray.training.losses import LossOutput, cross_entropy, penalty_to_start


def ascent_loss(model: nn.Module, batch: Batch) -> LossOutput:
    """Minus the cross-entropy, because an optimizer minimizes."""
    loss, logits = cross_entropy(model, batch)
    return LossOutput(-loss, logits)


@settings_dataclass
class MyMethod(Unlearning):
    """Gradient ascent on the forget samples, descent on the retain samples."""

    # The name in sweep files, tables and figures.
    name = "my_method"
    # All that `unlearn` may use: retain, forget, validation (of `split`); recipe, initial_state, fresh_model (of `context`).
    # Anything else raises when it is used. Nothing gives access to the test set.
    needs = frozenset({"retain", "forget", "recipe"})
    # Part of the key of each cell. Raise it in each release in which the same settings give other numbers than before. While
    # you write the method, leave it, and recompute with `adaprob-ray run SWEEP --rerun method=my_method`.
    revision = 1
    # Settings that the contract tests run too, besides the defaults and each word of a field that takes one of several words.
    tested_settings = ({"ascent_epochs": 0},)

    # The settings, as sweep files name them. Each has a default that works, bounds (ge, gt, le, lt), a unit and a phrase for
    # the documentation, and `search`: the range from which `adaprob-ray search` draws values (Log, Uniform, Int, Choice).
    lr: float = hyperparameter(default=0.01, gt=0, help="γ, of the descent", search=Log(1e-3, 1e-1))
    ascent_lr: float = hyperparameter(default=0.01, gt=0, help="γ_f, of the ascent", search=Log(1e-3, 1e-1))
    epochs: int = hyperparameter(default=5, unit="passes over retain", ge=1, search=Int(1, 10))
    ascent_epochs: int = hyperparameter(
        default=3, unit="passes over forget", ge=0, help="epochs that begin with ascent", search=Int(0, 10)
    )
    batch_size: int = hyperparameter(default=64, unit="samples", ge=1)

    def cost(self, sizes: Sizes) -> Cost:
        """Samples in forward and in backward passes, preparation included. The tests compare it with what they count."""
        rows = self.epochs * sizes.retain + min(self.ascent_epochs, self.epochs) * sizes.forget
        return Cost(forward=rows, backward=rows)

    def unlearn(self, model: nn.Module, split: Split, context: Context) -> nn.Module:
        """At most 40 lines; more goes into functions above. `model` is a copy of the original and may be changed."""
        # Randomness comes from context.generator(PURPOSE) only, so that a seed gives the same numbers on every run.
        recipe, shuffle = context.recipe, context.generator("shuffle")
        # The recipe says how the original was trained: with which penalty, and with batch norm in training mode or frozen.
        penalty = penalty_to_start(model, recipe)
        descent, ascent = sgd(model, lr=self.lr, momentum=0.0), sgd(model, lr=self.ascent_lr, momentum=0.0)
        set_mode(model, recipe.batch_norm)
        for epoch in range(1, self.epochs + 1):
            context.check_deadline()  # once an epoch: a cell with a time limit stops here
            scalars: dict[str, float] = {}
            if epoch <= self.ascent_epochs:
                batches = split.forget.batches(self.batch_size, shuffle)
                metrics = train_epoch(model, batches, ascent_loss, ascent, precision=context.precision)
                scalars = {"forget_loss": -metrics.loss, "forget_error_percent": metrics.error_percent}
            batches = split.retain.batches(self.batch_size, shuffle)
            metrics = train_epoch(model, batches, cross_entropy, descent, precision=context.precision, penalty=penalty)
            # At the end of each epoch, from 1. TensorBoard and `adaprob-ray figure curves` show the numbers under these names.
            context.report(epoch, loss=metrics.loss, retain_error_percent=metrics.error_percent, **scalars)
        return model
'''

TEST_TEMPLATE = '''\
"""MyMethod against its equations, by hand. The contract of all methods is in test_contract.py."""

from __future__ import annotations

import dataclasses
import json

import torch
from torch import nn
from torch.nn import functional

from adaprob_ray import contract
from adaprob_ray.contract import RECIPE, Case
from adaprob_ray.data.batches import Subset
from adaprob_ray.training.loop import set_mode


def cross_entropy(model: nn.Module, subset: Subset) -> torch.Tensor:
    """Of all samples of a subset in one batch."""
    return functional.cross_entropy(model(subset.pixels.select(subset.rows)), subset.labels)


def gradient_step(model: nn.Module, loss: torch.Tensor, lr: float) -> None:
    """w ← w − lr ∇ loss."""
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    with torch.no_grad():
        for parameter, gradient in zip(model.parameters(), gradients, strict=True):
            parameter -= lr * gradient


def test_an_epoch_is_a_pass_of_ascent_and_one_of_descent() -> None:
    """Each pass is one batch. The tests of methods compute in float64, so that only rounding differs, by less than 1e-10."""
    settings = {"epochs": 2, "ascent_epochs": 1, "batch_size": 1000, "lr": 0.02, "ascent_lr": 0.03}
    recipe = dataclasses.replace(RECIPE, decay_to_start=0.1, batch_norm="frozen")
    case = Case("my_method", json.dumps(settings))
    model, split = contract.original(), contract.make_split(contract.make_parts(), case.cls.needs)
    start = [parameter.detach().clone() for parameter in model.parameters()]
    set_mode(model, recipe.batch_norm)
    gradient_step(model, -cross_entropy(model, split.forget), lr=0.03)
    for _ in range(2):
        distance = sum((p - s).square().sum() for p, s in zip(model.parameters(), start, strict=True))
        gradient_step(model, cross_entropy(model, split.retain) + 0.1 / 2 * distance, lr=0.02)
    after = contract.attempt(case, recipe=recipe).after
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(after[name], tensor, rtol=0, atol=1e-10)


def test_without_ascent_it_is_finetune() -> None:
    shared = {"epochs": 2, "lr": 0.02, "batch_size": 50}
    mine = contract.trial(Case("my_method", json.dumps({**shared, "ascent_epochs": 0}))).after
    finetune = contract.trial(Case("finetune", json.dumps(shared))).after
    assert contract.digest(mine) == contract.digest(finetune)
'''

# What the two files say otherwise where the method is in a package of its user, and its tests train in float32.
PACKAGE_CHANGES = (
    (
        """\
# `make docs` copies the docstring into docs/methods.md; `adaprob-ray list methods` shows its first sentence. Lines indented by
# four spaces are equations. A test checks that it names the method's needs and its cost. For a published method, add a
# paragraph that begins with "Source:" and gives authors, title and year, and number every difference from the paper.
""",
        """\
# `adaprob-ray list methods` shows the first sentence of the docstring. The contract tests check that it names the method's
# needs and its cost. An edit of this file, or of a module of this package that it imports, gives the method's cells new keys;
# comments and docstrings do not count.
""",
    ),
    (
        "    # The name in sweep files, tables and figures.\n",
        "    # The name in messages and records. In tables it is the label, which is the class's name by default.\n",
    ),
    (
        """\
    # Part of the key of each cell. Raise it in each release in which the same settings give other numbers than before. While
    # you write the method, leave it, and recompute with `adaprob-ray run SWEEP --rerun method=my_method`.
""",
        """\
    # Part of the key of each cell. Raise it where the same settings give other numbers than before for a reason that this
    # package's source does not show, such as another version of a library.
""",
    ),
    (
        "The contract of all methods is in test_contract.py.",
        "The contract of all methods: pytest --pyargs adaprob_ray.contract.",
    ),
    (
        "Each pass is one batch. The tests of methods compute in float64, so that only rounding differs, by less than 1e-10.",
        "Each pass is one batch, so that only rounding in float32 differs, by less than 1e-5.",
    ),
    ("rtol=0, atol=1e-10", "rtol=0, atol=1e-5"),
)
