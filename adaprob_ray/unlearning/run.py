"""Runs a prepared unlearning: outputs before, the method, outputs after, and what it cost."""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

from adaprob_ray.errors import Diverged
from adaprob_ray.methods.base import Context, Split
from adaprob_ray.training.cost import PassCounter, measure_cost
from adaprob_ray.training.loop import check_finite, distance
from adaprob_ray.training.losses import snapshot
from adaprob_ray.unlearning.checks import method_sizes
from adaprob_ray.unlearning.memory import out_of_memory_as_input_error
from adaprob_ray.unlearning.monitor import ErrorMonitor, TooMuchError, WatchedSamples, error_warnings
from adaprob_ray.unlearning.network import AdaptedNetwork, copy_with_random_weights
from adaprob_ray.unlearning.outputs import ModelOutputs, measure
from adaprob_ray.unlearning.prepare import Plan
from adaprob_ray.unlearning.result_warnings import farther_from_references, suspicions, without_effect


@dataclass(frozen=True)
class Run:
    """One unlearning, from which the record is made.

    Attributes:
        plan: what was asked for.
        before, after: outputs by subset (`MEASURED`) of the original and of the new weights.
        references: outputs of each reference.
        cost: seconds, forward_examples and backward_examples of the method.
        seconds: by part: `outputs before`, `method`, `outputs after`.
        facts: what the method notes.
        series: name → points (step, value) that the method reports.
        distance: L2 distance between the old and the new parameters.
        stopped: whether the method was stopped because its error rose too much.
        warnings: what a user should know.
        error_rise: of the error that `max_drop` limits, in percentage points.
        is_beyond_limit: whether it rose by more, or the method was stopped before it had unlearned anything.
    """

    plan: Plan
    before: Mapping[str, ModelOutputs]
    after: Mapping[str, ModelOutputs]
    references: Sequence[Mapping[str, ModelOutputs]]
    cost: Mapping[str, float]
    seconds: Mapping[str, float]
    facts: Mapping[str, float]
    series: Mapping[str, list[tuple[int, float]]]
    distance: float
    stopped: bool
    warnings: list[str]
    error_rise: float = 0.0
    is_beyond_limit: bool = False


def execute(plan: Plan, *, progress: bool | None = None) -> tuple[AdaptedNetwork, Run]:
    """Unlearn. Returns the network with its new weights, and all that is known of the run.

    Args:
        plan: from `prepare`.
        progress: whether to show a progress bar; None for one in a terminal, or in a notebook that has ipywidgets.

    Raises:
        InputError: memory does not suffice.
        Diverged: a loss or a weight is no longer finite.
    """
    network, seconds, warnings = plan.network, dict[str, float](), list(plan.warnings)
    with out_of_memory_as_input_error(), _deterministic(plan.seed):
        with _timed("outputs before", seconds):
            before = measure(network, plan.subsets)
            references = [measure(reference, plan.subsets) for reference in plan.references]
        start = snapshot(network)
        series: dict[str, list[tuple[int, float]]] = {}
        watched = WatchedSamples.of(plan)
        with _timed("method", seconds), _progress_counter(plan, progress) as counter:
            monitor = ErrorMonitor(
                watched.subset(plan),
                watched.error_percent(before),
                max_drop=plan.max_drop,
                # A method that may end early lowers its rate first.
                stops=plan.method.steady_error and not plan.method.may_end_early,
                paused=lambda: counter.paused(plan.device),
            )
            network, cost, facts, stopped = _unlearn(plan, network, counter, monitor, series)
        if plan.batch_norm == "recompute":
            network.recompute_statistics(plan.subsets["retain"].batches(128))
        check_finite(network.state_dict())
        network.round_to_types()
        with _timed("outputs after", seconds):
            after = measure(network, plan.subsets)
    error = watched.error_percent(after)
    warnings += suspicions(before["retain_measured"])
    warnings += [] if stopped else without_effect(before["forget"], after["forget"])
    warnings += farther_from_references(before["forget"], after["forget"], references)
    warnings += error_warnings(monitor, watched, error, plan.max_drop, stopped=stopped)
    stopped_itself = bool(facts.get("stopped_by_max_drop"))
    if stopped_itself:
        warnings.append(
            f"stopped: at every rate that was tried the validation error rose by more than {plan.max_drop:g} points; the best "
            "state within the limit is kept"
        )
    return network, Run(
        plan=plan,
        before=before,
        after=after,
        references=references,
        cost=cost,
        seconds=seconds,
        facts=facts,
        series=series,
        distance=distance(network.parameters(), start),
        stopped=stopped or stopped_itself,
        warnings=warnings,
        error_rise=error - monitor.start_percent,
        is_beyond_limit=monitor.is_above(error) or (stopped and monitor.kept_epoch == 0),
    )


def _unlearn(
    plan: Plan,
    network: AdaptedNetwork,
    counter: PassCounter,
    monitor: ErrorMonitor,
    series: dict[str, list[tuple[int, float]]],
) -> tuple[AdaptedNetwork, dict[str, float], Mapping[str, float], bool]:
    monitor.start(network)
    needs = plan.method.needs | plan.method.optional_needs

    def report(step: int, **scalars: float) -> None:
        for name, value in scalars.items():
            series.setdefault(name, []).append((step, float(value)))
        if any("loss" in name for name in scalars):
            monitor.after_epoch(counter.trained or network, step)

    context = Context(
        device=plan.device,
        precision=plan.precision,
        seed=plan.seed,
        repeat=0,
        needs=needs,
        recipe=plan.recipe,
        make_model=lambda seed: counter.watched(copy_with_random_weights(network, seed)),
        initial_state=dict,  # a method that needs it is declined before
        report=report,
    )
    split = Split(needs=needs, subsets=plan.subsets)
    stopped = False
    with measure_cost(network, plan.device, counter) as cost:
        try:
            network = _adapted(plan.method.unlearn(network, split, context))
        except TooMuchError:
            monitor.restore(network)
            stopped = True
        except Diverged as error:
            error.passes = {"forward_examples": counter.forward, "backward_examples": counter.backward}
            if plan.batch_norm != "frozen" or not network.batch_norm_layers():
                raise
            hint = Diverged(f"{error}, and so may batch_norm=train: frozen statistics no longer fit the weights")
            hint.passes = error.passes
            raise hint from error
    network.eval()
    return network, cost, context.facts, stopped


def _adapted(network: nn.Module) -> AdaptedNetwork:
    assert isinstance(network, AdaptedNetwork)
    return network


# -- surroundings ----------------------------------------------------------------------------------------------------------


@contextmanager
def _timed(name: str, seconds: dict[str, float]) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[name] = time.perf_counter() - start


@contextmanager
def _deterministic(seed: int) -> Iterator[None]:
    """The same bits for the same seed, dropout included; the caller's random state is left as it was."""
    with torch.random.fork_rng(), torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True):
        torch.manual_seed(seed)
        yield


class _ProgressCounter(PassCounter):
    """Moves a progress bar by the passes that it counts."""

    def __init__(self, bar: Progress, task: Any) -> None:
        super().__init__()
        self._bar, self._task = bar, task

    def __call__(self, model: nn.Module, inputs: Any, output: Tensor) -> None:
        super().__call__(model, inputs, output)
        self._bar.update(self._task, completed=self.forward + self.backward)


@contextmanager
def _progress_counter(plan: Plan, progress: bool | None) -> Iterator[PassCounter]:
    """A counter of passes that shows them as a bar, if `progress`."""
    from rich.console import Console

    # In a notebook a bar needs widgets; without them it would be printed once for each update.
    in_notebook = Console().is_jupyter and importlib.util.find_spec("ipywidgets") is not None
    shown = (sys.stderr.isatty() or in_notebook) if progress is None else progress
    if not shown:
        yield PassCounter()
        return
    cost = plan.method.cost(method_sizes(plan.network, plan.subsets, plan.recipe, plan.classes))
    columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=not in_notebook), transient=True) as bar:
        yield _ProgressCounter(bar, bar.add_task(f"{plan.method.name}", total=cost.forward + cost.backward))
