"""EU-k, exact unlearning of the last layers: put them back to before the original was trained and train them again, on the
retain rows alone (Goel et al., "Towards Adversarial Evaluations for Inexact Machine Unlearning", 2022; protocol §5.4).

    w_last ← w_last,start, then as CF-k

The last layers are those of CF-k. Two readings of "before":

    reset: code     the weights from which the original was trained: pretrained ones where there was a pretraining. Batch
                    norm's running statistics stay. ALL-CNN's classifier goes back to its random start and stays there;
                    ResNet-18's is left as it is. Both are frozen.
    reset: random   weights and running statistics as in a fresh random network, the classifier's too, which then trains along.
                    The last stage takes its own batch statistics, whatever the recipe: it has no others.

Symbols: lr = γ. Needs the retain rows, the recipe, the initial state (`code`) and a random network (`random`). Cost per epoch:
one forward and one (partial) backward pass over the retain rows.

Differences from the paper:
1. It says that the layers are trained "from scratch"; its authors' code starts from the pretrained weights (`code`, the
   default).
2. Learning rate after the first milestone: see CF-k. The default is the membership notebook's; at small scale SCRUB's rate
   stood there. The 30 epochs are the small-scale notebooks'.
3. The recipe's pull is towards the weights that the layers were put back to, as in the code.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from adaprob_ray.methods.base import Context, Split
from adaprob_ray.methods.cf_k import CFk, last_stage
from adaprob_ray.models.allcnn import AllCNN
from adaprob_ray.settings import Int, hyperparameter, settings_dataclass


@torch.no_grad()
def reset(module: nn.Module, state: dict[str, Tensor], *, buffers: bool) -> None:
    """Parameters, and running statistics if asked for, as in a state of the same module."""
    for name, tensor in [*module.named_parameters(), *(module.named_buffers() if buffers else ())]:
        tensor.copy_(state[name])


def under(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of one part of a network, by their names in that part."""
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


@settings_dataclass
class EUk(CFk):
    """Cross-entropy on the retain rows, last layers only, from their start."""

    name = "eu_k"
    needs = frozenset({"retain", "recipe", "initial_state", "fresh_model"})

    reset: Literal["code", "random"] = hyperparameter(default="code")
    epochs: int = hyperparameter(default=30, unit="passes over retain", ge=1, search=Int(5, 30))

    def unlearn(self, model: nn.Module, split: Split, context: Context) -> nn.Module:
        stage, classifier = last_stage(model), model.get_submodule("classifier")
        prefix = next(name for name, module in model.named_modules() if module is stage) + "."
        if self.reset == "random":
            state = context.fresh_model().state_dict()
            reset(stage, under(prefix, state), buffers=True)
            reset(classifier, under("classifier.", state), buffers=True)
            return self.train(model, split, context, stage, classifier, fresh=True)
        state = context.initial_state()
        reset(stage, under(prefix, state), buffers=False)
        if isinstance(model, AllCNN):
            reset(classifier, under("classifier.", state), buffers=False)
        return self.train(model, split, context, stage)
