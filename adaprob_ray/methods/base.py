"""The contract of a method.

A method is a frozen dataclass of hyperparameters, in a file of its own that describes it completely. One that unlearns has
the verb `unlearn(model, split, context)`; one that trains from the start (original, retrain, retrain_independent) says which
rows it trains on. `needs` names everything that it may use, and using anything else raises. The test set is never reachable.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from torch import nn

from adaprob_ray.data.dataset import Integers
from adaprob_ray.methods.context import Context, Split, derive_seed
from adaprob_ray.models.anatomy import parameter_names
from adaprob_ray.sizes import Cost, Sizes

__all__ = ["LARGE_SCALE_SAMPLES", "Context", "Cost", "Method", "Sizes", "Split", "Trained", "Unlearning", "derive_seed"]

LARGE_SCALE_SAMPLES = 5_000


class Method:
    """Base of all methods. Derive from `Trained` or `Unlearning`, with the hyperparameters as fields.

    A method is listed in `adaprob_ray.catalogue`; the contract tests then apply to it without further entries.

    Attributes:
        name: the name that sweep files use.
        stage: `train` or `unlearn`.
        reads_forget: whether the result depends on the forget request.
        needs: everything that the method may use of `Split` and `Context`.
        optional_needs: what it uses besides where there is one, and can do without; see `Split.available`.
        revision: raised when the same settings give another result.
        tested_settings: settings that the contract tests run besides the defaults and each choice of each field.

    Example:
        >>> from adaprob_ray.methods.finetune import Finetune
        >>> finetune = Finetune(epochs=3)
        >>> sizes = Sizes(
        ...     retain=90, forget=10, validation=5, recipe_epochs=31, recipe_decay=0.1, classes=5, parameters=1000
        ... )
        >>> finetune.cost(sizes)
        Cost(forward=270, backward=270)
        >>> finetune.skip(sizes, nn.Linear(2, 2)) is None
        True
        >>> Finetune(epochs=0)
        Traceback (most recent call last):
        adaprob_ray.errors.InputError: epochs: must be an integer of at least 1, got 0
    """

    name: ClassVar[str]
    stage: ClassVar[Literal["train", "unlearn"]]
    reads_forget: ClassVar[bool] = True
    needs: ClassVar[frozenset[str]] = frozenset()
    optional_needs: ClassVar[frozenset[str]] = frozenset()
    revision: ClassVar[int] = 1
    tested_settings: ClassVar[tuple[Mapping[str, Any], ...]] = ()

    @property
    def part_revisions(self) -> Mapping[str, int]:
        """Revisions of parts that only some settings use, by name.

        They join `revision` in the key, so that a change of such a part moves no cell whose settings do without it.
        """
        return {}

    @property
    def may_end_early(self) -> bool:
        """Whether a run may end before its last epoch: its `cost` is then an upper bound, otherwise exact."""
        return False

    def cost(self, sizes: Sizes) -> Cost:
        """Passes that the method makes, including its preparation."""
        raise NotImplementedError(f"{type(self).__name__} declares no cost")

    def skip(self, sizes: Sizes, architecture: nn.Module) -> str | None:
        """Why the method cannot run, known before any work.

        Args:
            sizes: of the split, the recipe and the network.
            architecture: the network; it may be on the meta device.

        Returns:
            One sentence that states the limit and what was asked for, or None if the method can run. Methods check the same
            limits in `unlearn`, where they raise InputError with this sentence.
        """
        return None


class Trained(Method):
    """A method that trains by the recipe from the start of the original: it selects only rows and randomness.

    Attributes:
        generator_suffix: if not empty, the initial weights (of a pretrained network, the classifier's) and the order of the
            rows are drawn independently of the original's.

    Example:
        >>> import numpy as np
        >>> from adaprob_ray.methods.retrain import Retrain
        >>> Retrain(variant="plain").rows(5, np.array([1, 3]), seed=1)
        array([0, 2, 4])
    """

    stage = "train"
    generator_suffix: ClassVar[str] = ""

    def rows(self, train_count: int, forget: Integers, seed: int) -> Integers:
        """The rows to train on.

        Args:
            train_count: number of training samples.
            forget: positions of the forget samples; empty if `reads_forget` is false.
            seed: of the cell.

        Returns:
            Positions in the training set, repeats allowed.
        """
        raise NotImplementedError


class Unlearning(Method):
    """A method that starts from the trained original.

    Attributes:
        selects_only: those of `needs` that only select one of several results, so that other data may give the same one.
        steady_error: whether validation error stays low in every epoch, so that a rise is a reason to stop. Other methods are
            only judged at the end, since it may rise on the way and fall again.
        large_scale: settings that its authors use on data sets of tens of thousands of samples, where those differ from the
            defaults. `adaprob_ray.unlearn` takes them for LARGE_SCALE_SAMPLES retain and forget samples or more; a sweep
            never does.
        large_scale_class: those that they use besides where a whole class is forgotten.

    Example:
        A method that returns the original as it is:

        >>> from dataclasses import dataclass
        >>> @dataclass(frozen=True, kw_only=True)
        ... class Nothing(Unlearning):
        ...     name = "nothing"
        ...
        ...     def cost(self, sizes):
        ...         return Cost(forward=0, backward=0)
        ...
        ...     def unlearn(self, model, split, context):
        ...         return model
        >>> Nothing().stage
        'unlearn'
    """

    stage = "unlearn"
    selects_only: ClassVar[frozenset[str]] = frozenset()
    steady_error: ClassVar[bool] = False
    large_scale: ClassVar[Mapping[str, Any]] = {}
    large_scale_class: ClassVar[Mapping[str, Any]] = {}

    def changed_layers(self, model: nn.Module) -> Sequence[nn.Module]:
        """The layers whose parameters the method changes; by default the whole network."""
        return [model]

    def changed_parameters(self, model: nn.Module) -> set[str]:
        """The names of the parameters that the method changes; by default all of `changed_layers`."""
        return {name for layer in self.changed_layers(model) for name in parameter_names(model, layer)}

    def updated_statistics(self, model: nn.Module, batch_norm: str) -> Sequence[nn.Module]:
        """The layers whose running batch-norm statistics the method updates, under a recipe with this `batch_norm`.

        By default a method that needs the recipe follows it, and any other updates the whole network.
        """
        return [] if batch_norm == "frozen" and "recipe" in self.needs else [model]

    def unlearn(self, model: nn.Module, split: Split, context: Context) -> nn.Module:
        """Unlearn the forget samples.

        Args:
            model: a copy of the original, which may be changed in place.
            split: the rows that the method may use.
            context: device, randomness, reporting and deadline.

        Returns:
            The unlearned network, `model` itself or another one.

        Raises:
            InputError: the method cannot run, for the reason that `skip` gives.
            Diverged: a loss or a weight is no longer finite.
            DeadlineExceeded: the deadline has passed.
        """
        raise NotImplementedError
