"""Soteria: the representation behind a linear layer is perturbed (Sun et al., CVPR 2021, arXiv 2012.06043)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from leakgauge.core.abilities import exchange_gradient
from leakgauge.core.algorithm import OpenShare, algorithm
from leakgauge.core.anatomy import linear_layers, running_order
from leakgauge.core.belief import Belief
from leakgauge.core.differentiation import slopes
from leakgauge.core.errors import UsageError, suggestion
from leakgauge.core.noise import Silent
from leakgauge.core.protocols import GradientRule
from leakgauge.core.types import Batch, Client, Model, Params, Rng, Update
from leakgauge.defenses.transformed import trained_on

_AT_ONCE = 128
"""Copies of examples in one pass, an entry each: a third faster than derivatives of many entries by vmap."""
_OFFSET = 0.1


@final
@algorithm
class Soteria:
    """Sets columns of one linear layer's weight update to zero: those of the `share` of its inputs with the lowest score.

    The layer's input r is the representation. Its entry i scores |d r_i / d x| / (|r_i| + 0.1): an image has to change most for
    an entry of low score to vanish, so that without it a match leads furthest astray. As in the released code, scores are summed
    over the batch (here averaged, which ranks them alike) and entries at or above the quantile `share` stay. `layer` None is the
    first linear layer after the last convolution; without convolutions the second one, for the first sees the image itself.

    Nothing is drawn. Scores are those of the received weights and the batch that is handed in, in evaluation mode and pixels; of
    local training, the difference of the weights is masked.
    """

    share: OpenShare = 0.8
    layer: str | None = None

    def protect(self, client: Client, /) -> Client:
        """Return the client with a masked layer."""
        return Perturbed(client, self)

    def defended(self, model: Model) -> str:
        """Return the name of the layer. Raises UsageError where the model has no linear layer of that name, or none to choose."""
        linear = linear_layers(model)
        if self.layer is not None:
            if self.layer not in linear:
                raise UsageError(f"Soteria.layer: {self.layer!r} is no linear layer of the model, {suggestion(self.layer, linear)}")
            return self.layer
        names = running_order(model)
        last = max((place for place, name in enumerate(names) if name not in linear), default=0)
        behind = len(names) - 1 - last  # all of them linear
        if behind < 1:
            raise UsageError(
                "Soteria.layer: got none, expected a linear layer behind another layer, and the model has no such; "
                "choose another victim, or name the layer"
            )
        return linear[-behind]

    def kept(self, model: Model, x: Tensor) -> Tensor:
        """Return 1 for the entries of the representation whose columns are sent and 0 for the others: [features]."""
        scores = sensitivity(model, self.defended(model), x)
        # The smallest score that is not below the interpolated quantile; the slack is for rounding in the product.
        place = math.ceil(self.share * (len(scores) - 1) - 1e-9)
        return (scores >= scores.kthvalue(place + 1).values).to(x.dtype)


@final
@dataclass(frozen=True)
class Perturbed:
    """A client that leaves columns of one layer out of its update. The mask has no derivative, as far as a replay is concerned."""

    client: Client
    defense: Soteria

    def __call__(self, model: Model, batch: Batch, /, *, rng: Rng | None = None) -> Update:
        """Return the masked update; one without the layer's weight is sent as it was."""
        update = self.client(model, batch, rng=rng)
        weight = f"{self.defense.defended(model)}.weight"
        if weight not in update.delta:
            return update
        masked = update.delta[weight] * self.defense.kept(model, batch.x)
        return replace(update, delta={**update.delta, weight: masked})

    def spread(self, belief: Belief, seen: Params, model: Model, /) -> Belief:
        """Return the belief in which columns of zeros say nothing: the mask is the secret's, and no candidate has the same."""
        weight = f"{self.defense.defended(model)}.weight"
        return belief.by_tensor(
            lambda name, noise: Silent(noise, (seen[name] == 0).all(dim=0)) if name == weight in seen else noise
        )

    def trained_on(self, model: Model, batch: Batch, /, *, rng: Rng | None) -> Batch:
        """Return what the client trains on."""
        return trained_on(self.client, model, batch, rng=rng)

    def with_gradient(self, rule: GradientRule, /) -> Client:
        """Return this defense around the client with another gradient rule. Raises UsageError where that has none."""
        return replace(self, client=exchange_gradient(self.client, rule))


def sensitivity(model: Model, layer: str, x: Tensor) -> Tensor:
    """The scores |d r_i / d x| / (|r_i| + 0.1) of a layer's inputs, averaged over pixels [n, *shape]: [features].

    Raises UsageError for a layer whose input is not one vector an image.
    """
    with torch.no_grad():
        entries = _entering(model, layer, x)
    if entries.ndim != 2:
        raise UsageError(
            f"Soteria.layer: {layer!r} sees {tuple(entries.shape[1:])} for an image, expected one vector; name another linear layer"
        )
    features = torch.arange(entries.shape[1], device=x.device)
    parts = torch.split(features, max(1, _AT_ONCE // len(x)))
    lengths = torch.cat([_slopes(model, layer, x, part) for part in parts])  # [features, n]
    return (lengths / (entries.T.abs() + _OFFSET)).mean(1)


def _slopes(model: Model, layer: str, x: Tensor, features: Tensor) -> Tensor:
    """The lengths of the derivatives of some entries in each example, [k, n]: each entry has examples of its own."""
    copies = x.detach().repeat(len(features), *[1] * (x.ndim - 1)).requires_grad_()
    with torch.enable_grad():
        entries = _entering(model, layer, copies)
        chosen = entries.gather(1, features.repeat_interleave(len(x))[:, None])
        (found,) = slopes(chosen.sum(), [copies])
    lengths: Tensor = torch.linalg.vector_norm(found.flatten(1), dim=1)
    return lengths.reshape(len(features), len(x))


def _entering(model: Model, layer: str, x: Tensor) -> Tensor:
    found: list[Tensor] = []
    hook = model.net.get_submodule(layer).register_forward_pre_hook(lambda _, given: found.append(given[0]))
    try:
        model.logits(x)
    finally:
        hook.remove()
    return found[0]
