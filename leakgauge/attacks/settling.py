"""What an attack makes of a threat model that withholds the number of examples: it reads it off the update."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from leakgauge.anatomy import check_moved
from leakgauge.errors import OutOfScope
from leakgauge.types import Observation


class Settled(NamedTuple):
    """An observation that has a count, and what had to be guessed for it, a sentence each."""

    seen: Observation
    notes: tuple[str, ...]


def settle(seen: Observation) -> Settled:
    """Fill in what an attack cannot do without and the threat model withholds.

    The number of examples is the rank of a linear layer's gradient, as long as that is below the layer's sides (each example adds
    a matrix of rank one; Zhu and Blaschko, ICLR 2021, arXiv 2010.07733). It is too low for more examples than the layer can tell,
    and too high for several local steps. Raises OutOfScope for a model without a linear layer, and for an update that is exactly
    zero.
    """
    check_moved(seen)
    if seen.update.examples is not None:
        return Settled(seen, ())
    count = max((_rank(seen.update.delta[name], seen.model.params[name]) for name in _linear(seen)), default=0)
    if not count:
        raise OutOfScope("the number of examples is not granted, and no linear layer was sent that would give it away")
    note = f"The number of examples is not granted; the rank of the linear layers' update says {count}."
    return Settled(replace(seen, update=replace(seen.update, examples=count)), (note,))


def _linear(seen: Observation) -> list[str]:
    layers = [(name, layer) for name, layer in seen.model.net.named_modules() if isinstance(layer, nn.Linear)]
    names = [f"{name}.weight" if name else "weight" for name, _ in layers]
    return [name for name in names if name in seen.update.delta]


def _rank(update: Tensor, weight: Tensor) -> int:
    """How many singular values stand out of the rounding of a difference of weights."""
    values = torch.linalg.svdvals(update.double())
    eps = torch.finfo(update.dtype).eps
    rounding = eps * float(weight.abs().max()) * (update.shape[0] ** 0.5 + update.shape[1] ** 0.5)
    return int((values > rounding + 10 * eps * values[0]).sum())
