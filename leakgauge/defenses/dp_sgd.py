"""DP-SGD: per-example clipping and Gaussian noise (Abadi et al., CCS 2016, arXiv 1607.00133, Algorithm 1)."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn
from torch.func import grad, vmap

from leakgauge.core import tree
from leakgauge.core.abilities import exchange_gradient
from leakgauge.core.algorithm import NonNegative, Positive, algorithm
from leakgauge.core.autodiff import loss_gradient
from leakgauge.core.differentiation import Gradient, is_replayed
from leakgauge.core.errors import UsageError
from leakgauge.core.guarding import guarded
from leakgauge.core.rng import normal_like
from leakgauge.core.types import Batch, Client, Model, Params, Rng


@final
@algorithm
class DPSGD:
    """Clips each example's gradient to L2 norm `clip`, averages, and adds N(0, (noise_multiplier * clip / n)^2) to every number.

    A gradient rule: it acts in every local step, so wherever it stands among the defenses it comes before those that change
    the finished update, and a second one replaces the first. n is the size of the mini-batch. Without an `rng` no noise is
    added.
    """

    clip: Positive = 1.0
    noise_multiplier: NonNegative = 1.0

    def protect(self, client: Client, /) -> Client:
        """Return the client with this gradient rule. Raises UsageError where its rule cannot be exchanged."""
        return exchange_gradient(client, self)

    @property
    def averages(self) -> bool:
        """A sum over examples and their mean are the same to it."""
        return True

    def deviation(self, examples: int, /) -> float:
        """Return the standard deviation of the noise in every number."""
        return self.noise_multiplier * self.clip / examples

    def __call__(self, model: Model, batch: Batch, /, *, training: bool, rng: Rng | None) -> Gradient:
        """Return the private gradient, and the buffers as they were.

        Raises UsageError if a BatchNorm layer would mix the examples, which leaves no per-example gradient to clip.
        """
        _check_independent(model, training)
        with torch.set_grad_enabled(is_replayed(batch)):
            each = _per_example(model, batch)  # [n, *parameter shape]
            squares = torch.stack([value.square().reshape(len(batch), -1).sum(1) for value in each.values()]).sum(0)  # [n]
            # The clamp is on the square: a norm has no derivative at 0, and a replay must not turn into nan there.
            weights = (squares / self.clip**2).clamp(min=1).rsqrt() / len(batch)
            mean = tree.apply(lambda value: torch.tensordot(weights, value, 1), each)
        if rng is None:
            return Gradient(mean, model.buffers)
        sigma = self.noise_multiplier * self.clip / len(batch)
        return Gradient(tree.apply(lambda value: value + sigma * normal_like(value, rng), mean), model.buffers)


def _per_example(model: Model, batch: Batch) -> Params:
    # Unlike autograd, grad gives zeros for what the forward pass leaves unused, to which noise would be added and sent.
    used = loss_gradient(model, Batch(batch.x[:1].detach(), batch.y[:1].detach())).params
    trained = {name: model.params[name] for name in used}

    def loss(params: Params, x: Tensor, y: Tensor) -> Tensor:
        logits = model.forward({**model.params, **params}, model.buffers, x[None], training=False)
        return model.loss_of(logits, y[None])

    with guarded("model backward", "dp_sgd needs a gradient for each example (torch.func.vmap); change the layer that has none"):
        return vmap(grad(loss), in_dims=(None, 0, 0))(trained, batch.x, batch.y)  # type: ignore[no-any-return]


def _check_independent(model: Model, training: bool) -> None:
    for name, layer in model.net.named_modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm) and (training or not layer.track_running_stats):
            raise UsageError(
                f"batchnorm: layer {name!r} uses the statistics of the batch, expected examples that do not depend on each other "
                "for dp_sgd; set the client's batchnorm: eval, or choose a model without BatchNorm"
            )
