"""`adaprob_ray.unlearn`: unlearn samples from a network of one's own."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from adaprob_ray.errors import InputError
from adaprob_ray.metrics.error_rate import error_percent
from adaprob_ray.unlearning.lower_rates import can_lower_rate, execute_within_limit
from adaprob_ray.unlearning.network import BatchNormChoice
from adaprob_ray.unlearning.prepare import Plan, prepare
from adaprob_ray.unlearning.run import Run, execute


@dataclass(frozen=True, repr=False)
class Unlearned:
    """What `unlearn` returns.

    Attributes:
        model: a copy of the network that was passed, in its mode and on its device, with new weights.
        run: outputs before and after, cost and warnings, from which the record is made.
    """

    model: nn.Module
    run: Run

    def __repr__(self) -> str:
        """A line for each error: before, after, and the number of samples."""
        lines = [f"Unlearned(method={self.run.plan.method.name}, {len(self.run.plan.forget.rows)} samples forgotten)"]
        for name, before in self.run.before.items():
            after = self.run.after[name]
            errors = [error_percent(outputs.logits, outputs.labels) for outputs in (before, after)]
            words = name.removesuffix("_measured")
            lines.append(f"  {words} error: {errors[0]:.1f} -> {errors[1]:.1f} % of {len(before.labels)} samples")
        return "\n".join([*lines, *(f"  warning: {line}" for line in self.warnings)])

    @property
    def warnings(self) -> list[str]:
        """What a user should know before using the model."""
        return self.run.warnings

    @property
    def record(self) -> dict[str, Any]:
        """What was done and what is known about the result, as an in-toto statement."""
        from adaprob_ray.unlearning.record import make_record

        return make_record(self.run, self.model)

    def save(self, out: str | Path) -> list[Path]:
        """Write the weights, record.json and a page to a new folder. Returns the paths. Raises InputError, and OSError."""
        from adaprob_ray.unlearning.save import save

        return save(self, Path(out))


def unlearn(
    model: nn.Module,
    dataset: Any,
    *,
    forget: Any,
    retain: Any = None,
    method: str = "adaprob",
    validation: Any = None,
    test: Any = None,
    reference: Sequence[nn.Module] | nn.Module | str = (),
    forward: Callable[[nn.Module, Tensor], Any] | None = None,
    mean: Sequence[float] = (),
    std: Sequence[float] = (),
    batch_norm: BatchNormChoice | None = None,
    max_drop: float = 2.0,
    precision: str = "float32",
    device: str = "auto",
    seed: int = 0,
    progress: bool | None = None,
    **settings: Any,
) -> Unlearned:
    """Unlearn samples from a trained classifier.

    Args:
        model: any classifier; it is not changed, nor are its mode and device. Its output is logits [B, K], an object with
            `.logits`, or whatever `forward` makes of it.
        dataset: what the model was trained on: a map-style data set of (image, label), a pair of tensors (images, labels) or a
            DataLoader of one. Images of any size, uint8 or float. Random transforms of torchvision are left out.
        forget: what is to be forgotten: indices into `dataset`, a boolean mask, or "class:5".
        retain: None for the rest of `dataset`, "sample:10000" for so many of them, indices, or a data set of its own.
        method: of `adaprob-ray list methods`, or the path of a class of another package, as `my_package.mine:MyMethod`, of the
            current folder or installed. Those that need the initial weights of the training are declined.
        validation, test: held-out data of the same kinds. Validation limits what the unlearning may cost; test, or else
            validation, is what forgotten samples are compared with.
        reference: one or several models that were trained without the forgotten samples, to compare with. A string sets
            AdaProb's setting `reference` instead.
        forward: `forward(model, images)` for a model that is not called with images alone.
        mean, std: per channel, if `dataset` gives images that are not normalized; in units of x/255 for uint8 images.
        batch_norm: `frozen` leaves the running statistics, `train` updates them, `recompute` replaces them at the end by
            averages over the retained samples. None is `train` for methods that always train so (SCRUB, bad teacher), else
            `frozen`.
        max_drop: percentage points by which the error on validation (without it, on retained samples) may rise; a method that
            exceeds it is stopped, and its last state within the limit is kept.
        precision: `float32` or `bfloat16`, of the training passes.
        device: `auto` for a GPU if there is one, else the CPU; or a device's name.
        seed: for all random numbers.
        progress: whether to show a progress bar; by default in a terminal, and in a notebook that has ipywidgets.
        **settings: of the method, such as `lr=1e-3`.

    Returns:
        The new model with its record.

    Raises:
        InputError: an argument is wrong, a method cannot run on this model, or memory does not suffice.
        Diverged: a loss or a weight is no longer finite.

    Example:
        >>> import torch
        >>> from adaprob_ray import unlearn
        >>> images, labels = torch.randn(60, 8), torch.arange(60) % 3
        >>> model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))
        >>> result = unlearn(model, (images, labels), forget=[0, 7, 9], method="finetune", epochs=1, progress=False)
        >>> [tuple(p.shape) for p in result.model.parameters()] == [tuple(p.shape) for p in model.parameters()]
        True
    """
    if isinstance(reference, str):  # a setting of AdaProb has the same name
        settings, reference = {**settings, "reference": reference}, ()
    with torch.inference_mode(False), torch.enable_grad():  # whatever the caller is in
        try:
            plan: Plan = prepare(
                model,
                dataset,
                forget=forget,
                retain=retain,
                method=method,
                settings=settings,
                validation=validation,
                test=test,
                references=[reference] if isinstance(reference, (nn.Module, Mapping)) else list(reference),
                forward=forward,
                mean=mean,
                std=std,
                batch_norm=batch_norm,
                max_drop=max_drop,
                precision=precision,
                device=device,
                seed=seed,
            )
        except InputError as error:
            if (mistyped := _mistyped(error, settings)) is not None:
                raise mistyped from error
            raise
        run_plan = execute_within_limit if can_lower_rate(plan, settings) else execute
        network, run = run_plan(plan, progress=progress)
        return Unlearned(network.write_to(model), run)


def _mistyped(error: InputError, settings: Mapping[str, Any]) -> InputError | None:
    """An error for a setting that the method does not know and that is nearly an argument of `unlearn`; else None."""
    known = [name for name in inspect.signature(unlearn).parameters if name != "settings"]
    for name in settings:
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.75)
        if close and f"unknown key {name!r}" in str(error):
            return InputError(
                f"{name}: must be an argument of unlearn or a setting of the method; did you mean {close[0]!r}?"
            )
    return None
