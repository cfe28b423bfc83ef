"""The key-lock of FedKL (Ren et al., arXiv 2305.04095): what the victim, the defense and the attackers share.

Behind a convolution, maps are normalized channel by channel, z, and go on as gamma z + beta. Both are made of a private key k by
private linear layers: gamma = act(G k + g), beta = act(H k + h).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal, NamedTuple, final

import torch
from torch import Tensor, nn

from leakgauge.core.errors import UsageError
from leakgauge.core.rng import uniform
from leakgauge.core.types import Model, Observation, Params, Rng

Activation = Literal["relu", "sigmoid"]
_PRIVATE = ("scale.weight", "scale.bias", "shift.weight", "shift.bias", "key")


class Factors(NamedTuple):
    """What a lock multiplies normalized maps by and adds to them, each [channels]."""

    gamma: Tensor
    beta: Tensor


@final
class KeyLock(nn.Module):
    """From maps [n, channels, height, width] to locked maps. The key [length] is a parameter that no client trains."""

    def __init__(self, channels: int, length: int, activation: Activation = "relu") -> None:
        super().__init__()
        self.normalize = nn.BatchNorm2d(channels, affine=False)
        self.scale = nn.Linear(length, channels)
        self.shift = nn.Linear(length, channels)
        self.key = nn.Parameter(torch.zeros(length), requires_grad=False)
        self.activation = activation

    def forward(self, maps: Tensor) -> Tensor:
        """Return gamma z + beta."""
        gamma, beta = self.factors()
        locked: Tensor = gamma[:, None, None] * self.normalize(maps) + beta[:, None, None]
        return locked

    def factors(self) -> Factors:
        """Return gamma and beta."""
        return Factors(self.act(self.scale(self.key)), self.act(self.shift(self.key)))

    def act(self, value: Tensor) -> Tensor:
        """Return the activation of what the linear layers give."""
        return value.relu() if self.activation == "relu" else value.sigmoid()


def locks(model: Model) -> dict[str, KeyLock]:
    """The locks of a model by name. Raises UsageError for a model without one."""
    found = {name: layer for name, layer in model.net.named_modules() if isinstance(layer, KeyLock)}
    if not found:
        raise UsageError("victim: has no key-lock, expected one behind a convolution; wrap the victim in key_locked")
    return found


def private(model: Model) -> frozenset[str]:
    """The names of the parameters that a client keeps: keys, and the layers that make factors of them."""
    return frozenset(_under(lock, part) for lock in locks(model) for part in _PRIVATE)


def is_closed(seen: Observation) -> bool:
    """Whether an adversary faces locks and nothing of what sets them: none of it was sent, and the model that is seen has zeros."""
    found = [name for name, layer in seen.model.net.named_modules() if isinstance(layer, KeyLock)]
    names = [_under(lock, part) for lock in found for part in _PRIVATE]
    return bool(names) and not any(name in seen.update.delta or bool(seen.model.params[name].any()) for name in names)


def drawn(model: Model, *, rng: Rng) -> Params:
    """Return new keys from U(0, 1), and new layers behind them as PyTorch initializes them: all that is private."""
    own: dict[str, Tensor] = {}
    for name in locks(model):
        length = len(model.params[_under(name, "key")])
        for part in _PRIVATE:
            like = model.params[_under(name, part)]
            draws = uniform(like.shape, rng).to(like)
            own[_under(name, part)] = draws if part == "key" else (2 * draws - 1) / length**0.5
    return own


def factors(model: Model) -> dict[str, Factors]:
    """What the locks of a model are set to, by name."""

    def made(name: str, lock: KeyLock, side: str) -> Tensor:
        weight, bias, key = (model.params[_under(name, part)] for part in (f"{side}.weight", f"{side}.bias", "key"))
        return lock.act(weight @ key + bias)

    return {name: Factors(made(name, lock, "scale"), made(name, lock, "shift")) for name, lock in locks(model).items()}


def told(found: Mapping[str, Factors]) -> Params:
    """Return the factors of all locks, one after the other, by the names under which an audit compares them."""
    sides = zip(*found.values(), strict=True)
    return {f"KeyLock.{side}": torch.cat(each) for side, each in zip(Factors._fields, sides, strict=True)}


def opened(model: Model, biases: Mapping[str, Factors]) -> Model:
    """Return the model whose locks are set to the activation of these numbers, whatever their keys."""
    own: dict[str, Tensor] = {}
    for name, (gamma, beta) in biases.items():
        own |= {_under(name, "scale.bias"): gamma, _under(name, "shift.bias"): beta}
        for part in ("scale.weight", "shift.weight"):
            own[_under(name, part)] = torch.zeros_like(model.params[_under(name, part)])
    return replace(model, params={**model.params, **own})


def _under(lock: str, part: str) -> str:
    return f"{lock}.{part}" if lock else part
