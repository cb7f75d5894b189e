"""EU-k, exact unlearning of the last layers: reset them to their state before the original was trained and train them again,
on the retain samples only (Goel et al., "Towards Adversarial Evaluations for Inexact Machine Unlearning", 2022; protocol §5.4).

    w_last ← w_last,start, then as CF-k

The last layers are those of CF-k. `reset` says which state they return to:

    reset: code     the weights from which the original was trained, which are pretrained ones if it was pretrained. Running
                    statistics of batch norm are not reset. ALL-CNN's classifier returns to its random start too, that of
                    ResNet-18 is left as it is. In both networks it is frozen.
    reset: random   weights and running statistics of a new random network. The classifier is reset and trained too. The last
                    stage uses batch statistics, whatever the recipe, because a random network has no trained running ones.

Symbols: lr = γ. Needs the retain samples, the recipe, the initial state (`code`) and a random network (`random`). Cost per
epoch: one forward and one (partial) backward pass over the retain samples.

Differences from the paper:
1. It says that the layers are trained "from scratch"; the authors' code starts from the pretrained weights (`code`, the
   default).
2. Learning rate after the first milestone: see CF-k. The default is that of the membership notebook; the small-scale
   notebooks use SCRUB's rate there. The 30 epochs are those of the small-scale notebooks.
3. The recipe's decay to the start is towards the weights after the reset, as in the code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from adaprob_ray.methods.base import Context, Sizes, Split
from adaprob_ray.methods.cf_k import CFk
from adaprob_ray.models.anatomy import LAYERS, anatomy, frozen_layers, missing_layers, submodule_name
from adaprob_ray.settings import Int, hyperparameter, settings_dataclass


@torch.no_grad()
def reset_layer(model: nn.Module, layer: nn.Module, state: Mapping[str, Tensor], *, buffers: bool) -> None:
    """Copy the parameters of one layer, and its running statistics if `buffers`, from a state of the whole network."""
    prefix = submodule_name(model, layer)
    for name, tensor in [*layer.named_parameters(), *(layer.named_buffers() if buffers else ())]:
        tensor.copy_(state[f"{prefix}.{name}"])


@settings_dataclass
class EUk(CFk):
    """Cross-entropy on the retain samples, last layers only, from their start."""

    name = "eu_k"
    needs = frozenset({"retain", "recipe", "initial_state", "fresh_model"})

    reset: Literal["code", "random"] = hyperparameter(default="code")
    epochs: int = hyperparameter(default=30, unit="passes over retain", ge=1, search=Int(5, 30))

    def skip(self, sizes: Sizes, architecture: nn.Module) -> str | None:
        return missing_layers(architecture, *LAYERS) or frozen_layers(architecture, "reset_layers")

    def changed_layers(self, model: nn.Module) -> Sequence[nn.Module]:
        network = anatomy(model, *LAYERS)
        return [network.last_stage, network.classifier] if self.reset == "random" else network.reset_layers

    def updated_statistics(self, model: nn.Module, batch_norm: str) -> Sequence[nn.Module]:
        last_stage = [anatomy(model, *LAYERS).last_stage] if self.reset == "random" else []
        return [*super().updated_statistics(model, batch_norm), *last_stage]

    def unlearn(self, model: nn.Module, split: Split, context: Context) -> nn.Module:
        network = anatomy(model, *LAYERS)
        if self.reset == "random":
            state = context.fresh_model().state_dict()
            layers = (network.last_stage, network.classifier)
            for layer in layers:
                reset_layer(model, layer, state, buffers=True)
            return self.train(model, split, context, *layers, update_statistics=True)
        state = context.initial_state()
        for layer in network.reset_layers:
            reset_layer(model, layer, state, buffers=False)
        return self.train(model, split, context, network.last_stage)
