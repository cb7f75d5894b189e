"""AdaProb: give the forget samples pseudo-probabilities, refine all outputs by a projection, and train the network towards them
(Zhao et al., "Efficient Machine Unlearning via Adaptive Probability"; equations below are the paper's).

    (1)-(4)  g* = argmin_g Σ_f KL(g_f ‖ r_f) + λ Σ_r KL(g_r ‖ r_r),   rows sum to 1, columns to M
    (8)      L(w) = mean_n c_n KL(g*_n ‖ f(x_n; w)),                     over forget and retain samples together
    (9)      w ← w − γ ∇L(w)

Symbols: lam = λ, lr = γ, reference = r of the forget samples, totals = whose column sums M are; r of the retain samples is
always the original's output. Needs the retain and forget samples and the recipe (for its batch-norm mode and weight decay);
`lr: auto` also uses the validation samples, where there are any, and `pseudo: heldout` those of the forgotten classes of which
samples are retained.
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
4. `pseudo: uniform` is the paper's text, `random` (uniform entries divided by their sum) its code. `heldout` is ours: the
   sample's own output, made as confident as on a held-out sample (`adaprob_targets.py`).
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
9. `batches: stratified` is ours: each batch has `forget_batch` forget samples, weighted so that the expected gradient is that
   of (8). Of 6,000 samples of which 100 are forgotten, random batches of 128 have two. An epoch is then one pass over the
   retain samples. With `lam_in: loss` and λ < 1 a forget sample counts 1/λ times as much as a retain sample.
10. `retain_targets: labels` is ours: at high rates labels keep the retain error low, where the network's own outputs, which it
   has already, cannot. `schedule: cosine` and `steps` are ours too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from adaprob_ray.errors import ProjectionFailed
from adaprob_ray.methods.adaprob_targets import (
    NO_VALIDATION,
    heldout_targets,
    pseudo_probabilities,
    refinement_facts,
)
from adaprob_ray.methods.base import Context, Cost, Sizes, Split, Unlearning
from adaprob_ray.methods.scrub import Scrub
from adaprob_ray.projection import Solution, project
from adaprob_ray.settings import Int, Log, PositiveFloat, from_mapping, hyperparameter, settings_dataclass
from adaprob_ray.training.auto_rate import AUTO_RATE_REVISION, AutoRateTraining, Samples, auto_rate_cost
from adaprob_ray.training.batch_source import (
    BatchSource,
    RandomBatches,
    StratifiedBatches,
    random_epoch,
    stratified_epoch,
)
from adaprob_ray.training.loop import predict, set_mode, sgd
from adaprob_ray.training.losses import Loss, penalty_to_start, soft_target_loss
from adaprob_ray.training.scheduled_training import scheduled_rates, train_at_rates

# Of a batch: an eighth of the default batch size.
DEFAULT_FORGET_BATCH = 16
# Percentage points by which the validation error may rise at `lr: auto`: ten of 500 samples, a change that noise rarely makes.
DEFAULT_MAX_DROP = 2.0


@settings_dataclass
class AdaProb(Unlearning):
    """Targets by projection, then training on all training samples with these soft labels."""

    name = "adaprob"
    revision = 4
    needs = frozenset({"retain", "forget", "recipe"})
    optional_needs = frozenset({"validation"})
    selects_only = frozenset({"validation"})
    tested_settings: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"lr": 5e-3},
        {"lr": 1e-2, "batches": "stratified", "forget_batch": 5, "schedule": "cosine", "lam": 0.5, "lam_in": "loss"},
        {"lr": 1e-2, "epochs": 2, "steps": 3, "retain_targets": "labels"},
    )
    steady_error = True

    reference: Literal["original", "pseudo"] = hyperparameter(default="original", help="r of the forget samples")
    totals: Literal["pseudo", "original"] = hyperparameter(default="pseudo", help="whose column sums M are")
    source: Literal["original", "scrub"] = hyperparameter(default="original", help="the model whose outputs f are")
    scrub: Annotated[Scrub | None, from_mapping(Scrub)] = hyperparameter(
        default=None, help="settings of SCRUB for source: scrub; by default its defaults"
    )
    pseudo: Literal["uniform", "random", "heldout"] = hyperparameter(default="uniform")
    solver: Literal["newton", "dual_ascent", "scaling"] = hyperparameter(default="newton", help="of the projection")
    eta: float | None = hyperparameter(
        default=None, gt=0, help="η of Eq. (7), for dual_ascent; by default a value that cannot diverge"
    )
    solver_iterations: int = hyperparameter(default=100, ge=1)
    lam: float = hyperparameter(default=1.0, gt=0, help="λ", search=Log(1e-1, 10.0))
    lam_in: Literal["targets", "loss", "both"] = hyperparameter(default="targets")
    retain_targets: Literal["refined", "labels"] = hyperparameter(
        default="refined", help="what retain samples are trained towards", omit_default=True
    )
    epochs: int = hyperparameter(default=5, unit="passes over train", ge=1, search=Int(1, 10))
    steps: int | None = hyperparameter(
        default=None, ge=1, unit="batches", help="trains for so many, whatever `epochs` is", omit_default=True
    )
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
        omit_default=True,
    )
    schedule: Literal["constant", "cosine"] = hyperparameter(
        default="constant", help="cosine: γ falls from lr to 0, from batch to batch", omit_default=True
    )
    momentum: float = hyperparameter(default=0.9, ge=0, lt=1)
    batches: Literal["random", "stratified"] = hyperparameter(
        default="random", help="stratified: each batch has `forget_batch` forget samples", omit_default=True
    )
    batch_size: int = hyperparameter(default=128, unit="samples", ge=1)
    forget_batch: int = hyperparameter(
        default=DEFAULT_FORGET_BATCH, unit="samples", ge=1, help="of a batch, for stratified", omit_default=True
    )

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
        if self.lr == "auto" and (self.schedule != "constant" or self.steps is not None):
            raise ValueError(
                f"schedule, steps: must be left out where lr is auto, got {self.schedule} and {self.steps}"
            )
        if self.batches == "random" and self.forget_batch != DEFAULT_FORGET_BATCH:
            raise ValueError(f"forget_batch: must be left out unless batches is stratified, got {self.forget_batch}")
        if self.batches == "stratified" and self.forget_batch >= self.batch_size:
            raise ValueError(f"forget_batch: must be less than batch_size, {self.batch_size}, got {self.forget_batch}")

    @property
    def part_revisions(self) -> Mapping[str, int]:
        return {"auto_rate": AUTO_RATE_REVISION} if self.lr == "auto" else {}

    @property
    def may_end_early(self) -> bool:
        return self.lr == "auto"

    def cost(self, sizes: Sizes) -> Cost:
        student = self._student().cost(sizes) if self.source == "scrub" else Cost(forward=0, backward=0)
        held_out = sizes.validation if self._reads_held_out(sizes) else 0
        if self.batches == "stratified":
            retain_size = self.batch_size - self.forget_batch
            epoch = stratified_epoch(sizes.retain, sizes.forget, retain_size=retain_size, forget_size=self.forget_batch)
        else:
            epoch = random_epoch(sizes.train, self.batch_size)
        rows = epoch.rows_of(self.steps or self.epochs * epoch.batches)
        training = Cost(forward=rows, backward=rows)
        if self.lr == "auto":
            training = auto_rate_cost(sizes, epoch, epochs=self.epochs)
        return Cost(
            forward=student.forward + sizes.train + held_out + training.forward,
            backward=student.backward + training.backward,
        )

    def skip(self, sizes: Sizes, architecture: nn.Module) -> str | None:
        return NO_VALIDATION if self._reads_held_out(sizes) and not sizes.validation else None

    def _reads_held_out(self, sizes: Sizes) -> bool:
        """Whether the targets depend on validation samples: of a whole class, none says what Retrain would."""
        return self.pseudo == "heldout" and not sizes.whole_classes

    def updated_statistics(self, model: nn.Module, batch_norm: str) -> Sequence[nn.Module]:
        return super().updated_statistics(model, "train" if self.source == "scrub" else batch_norm)

    def _student(self) -> Scrub:
        """The SCRUB method that trains the source network."""
        return self.scrub or Scrub()

    def targets(
        self, log_f_NK: Tensor, forget: Tensor, generator: torch.Generator, heldout_FK: Tensor | None = None
    ) -> tuple[Solution[Tensor], Tensor]:
        """Solve (1)-(4). Returns the solution and its reference r [N, K], log-probabilities in float64.

        `log_f_NK` are the source's log-probabilities in training order, `forget` the positions of the forget samples,
        `heldout_FK` their log pseudo-probabilities for `pseudo: heldout`. Raises ProjectionFailed if the column sums are not
        met to the solver's tolerance; the slow solvers may stop earlier, after their iterations.
        """
        log_f_NK = log_f_NK.double()
        pseudo_NK = log_f_NK.clone()
        forget_FK = heldout_FK
        if forget_FK is None:
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

    def _refine(self, model: nn.Module, split: Split, context: Context) -> Tensor:
        """The targets g* [N, K] float32. Facts about the projection go into the Record."""
        train, forget = split.train, split.forget.rows
        log_f_NK = functional.log_softmax(predict(model, train).double(), dim=1)
        heldout_FK = heldout_targets(model, split, log_f_NK[forget]) if self.pseudo == "heldout" else None
        solution, reference_NK = self.targets(log_f_NK, forget, context.generator("pseudo"), heldout_FK)
        for step, residual in enumerate(solution.trajectory.tolist()):
            context.report(step, projection_residual=residual)
        context.note(**refinement_facts(solution, reference_NK, train, forget, context.generator("ties")))
        targets_NK, retain = solution.targets.float(), split.retain
        if self.retain_targets == "labels":
            targets_NK[retain.rows] = functional.one_hot(retain.labels, targets_NK.shape[1]).float()
        return targets_NK

    def _source_of_batches(self, split: Split) -> RandomBatches | StratifiedBatches:
        if self.batches == "random":
            return RandomBatches(split.train, self.batch_size)
        retain_rows = self.batch_size - self.forget_batch
        return StratifiedBatches(split.retain, split.forget, retain_size=retain_rows, forget_size=self.forget_batch)

    def _losses(self, targets_NK: Tensor, split: Split, source: BatchSource) -> tuple[Loss, Loss]:
        """Eq. (8) for the batches of the source, and for any rows."""
        weight_N = torch.full(
            (len(targets_NK),), self.lam if self.lam_in != "targets" else 1.0, device=targets_NK.device
        )
        weight_N[split.forget.rows] = 1.0
        mean = soft_target_loss(targets_NK, weight_N)
        if isinstance(source, StratifiedBatches):
            return soft_target_loss(targets_NK, weight_N * source.weights(), reduction="sum"), mean
        return mean, mean

    def unlearn(self, model: nn.Module, split: Split, context: Context) -> nn.Module:
        if self.source == "scrub":
            model = self._student().unlearn(model, split, context)
        recipe, targets_NK, source = context.recipe, self._refine(model, split, context), self._source_of_batches(split)
        loss, check_loss = self._losses(targets_NK, split, source)
        rate = 0.0 if self.lr == "auto" else self.lr
        optimizer = sgd(model, lr=rate, momentum=self.momentum, weight_decay=recipe.weight_decay)
        penalty = penalty_to_start(model, recipe)
        if self.lr != "auto":
            set_mode(model, recipe.batch_norm)
            rates = scheduled_rates(self.lr, self.steps or self.epochs * len(source), self.schedule)
            train_at_rates(model, source, loss, optimizer, rates, penalty=penalty, context=context)
            return model
        validation = split.available("validation")
        samples = Samples.draw(split.retain, split.forget, validation, context.generator("auto_rate_samples"))
        AutoRateTraining(
            model=model,
            source=source,
            loss=loss,
            check_loss=check_loss,
            optimizer=optimizer,
            penalty=penalty,
            samples=samples,
            batch_norm=recipe.batch_norm,
            epochs=self.epochs,
            max_drop=DEFAULT_MAX_DROP if self.max_drop is None else self.max_drop,
            context=context,
        ).run()
        return model
