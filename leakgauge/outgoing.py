"""Defenses on what is about to leave a client, in whatever framework: built, and applied to a difference of weights."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from leakgauge.api import Config
from leakgauge.core.abilities import Transforming
from leakgauge.core.errors import UsageError
from leakgauge.spec import build

_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def built(configs: Sequence[Config], where: str = "defenses") -> tuple[Transforming, ...]:
    """Return defenses that act on what is sent alone. Raises UsageError, naming `where`, for others."""
    return tuple(_transforming(config, build("defense", config, f"{where}.{place}")) for place, config in enumerate(configs))


def transformed(delta: Mapping[str, Tensor], defenses: Sequence[Transforming]) -> dict[str, Tensor]:
    """Return what a defended client sends of weights before minus after training; chance comes from the operating system."""
    rng = torch.Generator().manual_seed(secrets.randbits(63))
    for defense in defenses:
        delta = defense.transform(delta, rng=rng)
    return dict(delta)


def is_parameter(name: str, value: Tensor) -> bool:
    """Return whether a tensor is a floating one that is no running statistic: these are sent as they are."""
    return value.is_floating_point() and name.rpartition(".")[2] not in _STATISTICS


def _transforming(config: Any, defense: Any) -> Transforming:
    if not isinstance(defense, Transforming):
        raise UsageError(
            f"defenses: {config!r} changes how a client trains, expected one that acts on what is sent alone; "
            "put it into the training"
        )
    return defense
