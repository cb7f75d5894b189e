"""AdaProb: give the forget samples pseudo-probabilities, refine all outputs by a projection, and train the network towards them
(Zhao et al., "Efficient Machine Unlearning via Adaptive Probability"; equations below are the paper's).

    (1)-(4)  g* = argmin_g Σ_f KL(g_f ‖ r_f) + λ Σ_r KL(g_r ‖ r_r),   rows sum to 1, columns to M
    (8)      L(w) = mean_n c_n KL(g*_n ‖ f(x_n; w)),                     over forget and retain samples together
    (9)      w ← w − γ ∇L(w)

Symbols: lam = λ, lr = γ, reference = r of the forget samples, totals = whose column sums M are; r of the retain samples is
always the original's output. Needs the retain and forget samples and the recipe (for its batch-norm mode and weight decay);
`lr: auto` also uses the validation samples, where there are any.
Cost: one forward pass over all training samples for the outputs; per epoch one forward and one backward pass over them. With
`lr: auto` also those of a trial and of checks, and perhaps fewer epochs: what `cost` declares is then the most.

Interpretations of the paper, by name (DESIGN §7, protocol §4.4):
    reference original, totals pseudo      Eq. (1)-(4) as written; the default
    reference pseudo,   totals pseudo      the authors' script: feasible already, so that targets = pseudo-probabilities
    reference pseudo,   totals original    "aligned with the model's overall distribution" (abstract)
    source scrub                           f are the outputs of a SCRUB student, which is trained first and then continues
                                           with (9); its settings are `scrub`, and its time and passes count

Differences from the paper:
1. Eq. (6) as printed has no row normalizer; here rows sum to 1, as (3) requires.
2. Eq. (8) is a sum without λ; here it is the mean over rows, so that γ does not depend on the batch, and `lam_in` puts λ into
   the targets (Eq. 1), into the loss as the weight c of retain samples, or into both.
3. The paper gives no hyperparameters for (9): the defaults are ours. By default γ is found for the network (difference 8).
   The recipe's weight decay applies in both of its forms:
   the optimizer's, and at small scale (wd/2)·‖w − w_f‖², where w_f are the weights of the network whose outputs f are.
4. `pseudo: uniform` is the paper's text, `random` (uniform entries divided by their sum) its code.
5. The targets are computed to 1e-9 of the rows by Newton's method. `solver: dual_ascent` with `eta` is the paper's Eq. (7) for
   `solver_iterations` iterations; the Record has the residual that it reached (projection_residual).
6. The text takes f from the original. The authors' script reads the logits of a SCRUB student, and only these agree with
   Table 5's retain errors: `source: scrub`. Which network (9) then trains is not said; here it is the one whose outputs f are.
7. Table 5 does not say whether it scores the targets or the trained network. The Record has both, the targets' errors as
   target_forget_error_percent and target_retain_error_percent. Uniform targets favor no class: ties are broken at random.
8. `lr: auto` is ours (`training/auto_rate.py`): no constant γ serves all networks. A trial of a few steps chooses γ. Checks
   on samples of up to 512 rows go back to the best state and divide γ by 3 where the retain error is more than 2 points
   above the original's, or the validation error (without classes that are forgotten as a whole) more than `max_drop`. The
   training ends early where (8) no longer falls. The result is the state with the lowest (8) on the samples. The Record has
   γ after the trial (lr), how often it was divided (lr_backoffs), how many epochs the result was trained for (best_epoch, 0
   for the original itself) and whether max_drop ended it (stopped_by_max_drop).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from adaprob_ray.data.batches import Batch, Subset
from adaprob_ray.errors import ProjectionFailed
from adaprob_ray.methods.base import Context, Cost, Sizes, Split, Unlearning
from adaprob_ray.methods.scrub import Scrub
from adaprob_ray.projection import Solution, project
from adaprob_ray.settings import Int, Log, PositiveFloat, from_mapping, hyperparameter, settings_dataclass
from adaprob_ray.training.auto_rate import AUTO_RATE_REVISION, AutoRateTraining, Samples, auto_rate_cost
from adaprob_ray.training.loop import predict, set_mode, sgd, train_epoch
from adaprob_ray.training.losses import L2SPPenalty, Loss, LossOutput, penalty_to_start

# Percentage points by which the validation error may rise at `lr: auto`: ten of 500 samples, a change that noise rarely makes.
DEFAULT_MAX_DROP = 2.0
# Targets that differ by less than this share are equal: the column sums are met to 1e-9 of the rows, and training uses the
# targets in float32.
TIE_TOLERANCE = 1e-6


def pseudo_probabilities(rows: int, classes: int, kind: str, generator: torch.Generator) -> Tensor:
    """Log-probabilities [rows, classes] float64: uniform, or independent U(0, 1) entries divided by their row sum."""
    if kind == "uniform":
        return torch.full((rows, classes), -math.log(classes), dtype=torch.float64)
    entries = torch.rand(rows, classes, generator=generator, dtype=torch.float64).clamp_min(
        torch.finfo(torch.float64).tiny
    )
    return (entries / entries.sum(1, keepdim=True)).log()


def mean_shift(targets_NK: Tensor, start_NK: Tensor) -> float:
    """Mean over rows of ½ Σ_k |g*_nk − r_nk|, the distance by which refinement moved the rows, from 0 to 1."""
    return float((targets_NK - start_NK).abs().sum(1).mean() / 2)


def predicted_classes(targets_NK: Tensor, generator: torch.Generator) -> Tensor:
    """The class of each row's largest target [N]; among entries that are equal up to TIE_TOLERANCE one is drawn."""
    largest_N1 = targets_NK.amax(1, keepdim=True)
    noise_NK = torch.rand(targets_NK.shape, generator=generator).to(targets_NK.device)
    return noise_NK.masked_fill(targets_NK < largest_N1 * (1 - TIE_TOLERANCE), -1.0).argmax(1)


@settings_dataclass
class AdaProb(Unlearning):
    """Targets by projection, then training on all training samples with these soft labels."""

    name = "adaprob"
    revision = 4
    needs = frozenset({"retain", "forget", "recipe"})
    optional_needs = frozenset({"validation"})
    selects_only = frozenset({"validation"})
    tested_settings: ClassVar[tuple[Mapping[str, Any], ...]] = ({"lr": 5e-3},)
    steady_error = True

    reference: Literal["original", "pseudo"] = hyperparameter(default="original", help="r of the forget samples")
    totals: Literal["pseudo", "original"] = hyperparameter(default="pseudo", help="whose column sums M are")
    source: Literal["original", "scrub"] = hyperparameter(default="original", help="the model whose outputs f are")
    scrub: Annotated[Scrub | None, from_mapping(Scrub)] = hyperparameter(
        default=None, help="settings of SCRUB for source: scrub; by default its defaults"
    )
    pseudo: Literal["uniform", "random"] = hyperparameter(default="uniform")
    solver: Literal["newton", "dual_ascent", "scaling"] = hyperparameter(default="newton", help="of the projection")
    eta: float | None = hyperparameter(
        default=None, gt=0, help="η of Eq. (7), for dual_ascent; by default a value that cannot diverge"
    )
    solver_iterations: int = hyperparameter(default=100, ge=1)
    lam: float = hyperparameter(default=1.0, gt=0, help="λ", search=Log(1e-1, 10.0))
    lam_in: Literal["targets", "loss", "both"] = hyperparameter(default="targets")
    epochs: int = hyperparameter(default=5, unit="passes over train", ge=1, search=Int(1, 10))
    lr: PositiveFloat | Literal["auto"] = hyperparameter(
        default="auto",
        help="γ, constant, or auto: found by a trial and lowered where retain error rises",
        search=Log(1e-4, 1e-1),
        search_start=5e-3,
    )
    max_drop: float | None = hyperparameter(
        default=None,
        gt=0,
        le=100,
        unit="percentage points",
        help="for lr: auto, by how much the validation error may rise; by default 2",
        omit_none=True,
    )
    momentum: float = hyperparameter(default=0.9, ge=0, lt=1)
    batch_size: int = hyperparameter(default=128, unit="samples", ge=1)

    def __post_init__(self) -> None:
        if self.reference == "original" and self.totals == "original":
            raise ValueError(
                "reference, totals: must be pseudo for at least one of them, got original for both, which changes nothing"
            )
        if self.scrub is not None and self.source != "scrub":
            raise ValueError(f"scrub: must be left out unless source is scrub, got settings with source {self.source}")
        if self.eta is not None and self.solver != "dual_ascent":
            raise ValueError(
                f"eta: must be left out unless solver is dual_ascent, got {self.eta:g} with solver {self.solver}"
            )

        if self.max_drop is not None and self.lr != "auto":
            raise ValueError(f"max_drop: must be left out unless lr is auto, got {self.max_drop:g} with lr {self.lr:g}")

    @property
    def part_revisions(self) -> Mapping[str, int]:
        return {"auto_rate": AUTO_RATE_REVISION} if self.lr == "auto" else {}

    @property
    def may_end_early(self) -> bool:
        return self.lr == "auto"

    def cost(self, sizes: Sizes) -> Cost:
        student = self._student().cost(sizes) if self.source == "scrub" else Cost(forward=0, backward=0)
        training = Cost(forward=self.epochs * sizes.train, backward=self.epochs * sizes.train)
        if self.lr == "auto":
            training = auto_rate_cost(sizes, epochs=self.epochs, batch_size=self.batch_size)
        return Cost(
            forward=student.forward + sizes.train + training.forward, backward=student.backward + training.backward
        )

    def updated_statistics(self, model: nn.Module, batch_norm: str) -> Sequence[nn.Module]:
        return super().updated_statistics(model, "train" if self.source == "scrub" else batch_norm)

    def _student(self) -> Scrub:
        """The SCRUB method that trains the source network."""
        return self.scrub or Scrub()

    def targets(self, log_f_NK: Tensor, forget: Tensor, generator: torch.Generator) -> tuple[Solution[Tensor], Tensor]:
        """Solve (1)-(4). Returns the solution and its reference r [N, K], log-probabilities in float64.

        `log_f_NK` are the source's log-probabilities in training order, `forget` the positions of the forget samples. Raises
        ProjectionFailed if the column sums are not met to the solver's tolerance; the slow solvers may stop earlier, after
        their iterations.
        """
        log_f_NK = log_f_NK.double()
        pseudo_NK = log_f_NK.clone()
        forget_FK = pseudo_probabilities(len(forget), log_f_NK.shape[1], self.pseudo, generator)
        pseudo_NK[forget] = forget_FK.to(log_f_NK.device)
        reference_NK = log_f_NK if self.reference == "original" else pseudo_NK
        totals_K = (pseudo_NK if self.totals == "pseudo" else log_f_NK).exp().sum(0)
        weights_N = torch.full((len(log_f_NK),), self.lam if self.lam_in != "loss" else 1.0, dtype=torch.float64)
        weights_N = weights_N.to(log_f_NK.device)
        weights_N[forget] = 1.0
        solution = project(
            reference_NK,
            weights_N,
            totals_K,
            solver=self.solver,
            step_size=self.eta,
            max_iterations=self.solver_iterations,
        )
        accepted = ("converged",) if self.solver == "newton" else ("converged", "max_iterations")
        if solution.status not in accepted:
            raise ProjectionFailed(f"the projection is {solution.status}: {solution.message}")
        return solution, reference_NK

    def _loss(self, targets_NK: Tensor, retain_weight_N: Tensor) -> Loss:
        """Eq. (8): the mean of KL(g* ‖ f) over the rows of a batch, with weights for the retain samples."""
        entropies_N = torch.special.entr(targets_NK).sum(1)

        def loss(model: nn.Module, batch: Batch) -> LossOutput:
            logits = model(batch.images).float()
            cross_N = -(targets_NK[batch.rows] * functional.log_softmax(logits, dim=1)).sum(1)
            divergence_N = cross_N - entropies_N[batch.rows]
            return LossOutput((retain_weight_N[batch.rows] * divergence_N).mean(), logits)

        return loss

    def _refine(self, model: nn.Module, train: Subset, forget: Tensor, context: Context) -> Tensor:
        """The targets g* [N, K] float32. Facts about the projection go into the Record."""
        log_f_NK = functional.log_softmax(predict(model, train).double(), dim=1)
        solution, reference_NK = self.targets(log_f_NK, forget, context.generator("pseudo"))
        for step, residual in enumerate(solution.trajectory.tolist()):
            context.report(step, projection_residual=residual)
        retain = torch.ones(len(train), dtype=torch.bool, device=forget.device)
        retain[forget] = False
        start_NK = reference_NK.exp()
        is_wrong_N = predicted_classes(solution.targets, context.generator("ties")) != train.labels
        context.note(
            target_forget_error_percent=100 * float(is_wrong_N[forget].double().mean()),
            target_retain_error_percent=100 * float(is_wrong_N[retain].double().mean()),
            target_shift=mean_shift(solution.targets[forget], start_NK[forget]),
            target_shift_retain=mean_shift(solution.targets[retain], start_NK[retain]),
            projection_residual=solution.residual,
            projection_passes=solution.passes,
        )
        return solution.targets.float()

    def _train_at_automatic_rate(
        self,
        model: nn.Module,
        split: Split,
        loss: Loss,
        optimizer: torch.optim.Optimizer,
        penalty: L2SPPenalty | None,
        context: Context,
    ) -> None:
        """Train at a rate that the method finds itself, at most `epochs` epochs; see `training/auto_rate.py`."""
        validation = split.available("validation")
        AutoRateTraining(
            model=model,
            train=split.train,
            loss=loss,
            optimizer=optimizer,
            penalty=penalty,
            samples=Samples.draw(split.retain, split.forget, validation, context.generator("auto_rate_samples")),
            batch_norm=context.recipe.batch_norm,
            batch_size=self.batch_size,
            epochs=self.epochs,
            max_drop=DEFAULT_MAX_DROP if self.max_drop is None else self.max_drop,
            context=context,
        ).run()

    def unlearn(self, model: nn.Module, split: Split, context: Context) -> nn.Module:
        if self.source == "scrub":
            model = self._student().unlearn(model, split, context)
        forget, recipe, shuffle = split.forget.rows, context.recipe, context.generator("shuffle")
        targets_NK = self._refine(model, split.train, forget, context)
        retain_weight = self.lam if self.lam_in != "targets" else 1.0
        weight_N = torch.full((len(split.train),), retain_weight, device=context.device)
        weight_N[forget] = 1.0
        loss = self._loss(targets_NK, weight_N)
        rate = 0.0 if self.lr == "auto" else self.lr
        optimizer = sgd(model, lr=rate, momentum=self.momentum, weight_decay=recipe.weight_decay)
        penalty = penalty_to_start(model, recipe)
        if self.lr == "auto":
            self._train_at_automatic_rate(model, split, loss, optimizer, penalty, context)
            return model
        set_mode(model, recipe.batch_norm)
        for epoch in range(1, self.epochs + 1):
            context.check_deadline()
            batches = split.train.batches(self.batch_size, shuffle)
            metrics = train_epoch(model, batches, loss, optimizer, precision=context.precision, penalty=penalty)
            context.report(epoch, loss=metrics.loss, train_error_percent=metrics.error_percent)
        return model
