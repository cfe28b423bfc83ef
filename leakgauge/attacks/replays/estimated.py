"""The adaptive replay: what the update says of its defense is done to the candidate's (GGL, Li et al., CVPR 2022, Sec. 3.2)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import final

from torch import Tensor

from leakgauge.attacks.engine.products import Change, Products, Shape, Shaping
from leakgauge.attacks.estimating import Estimates, estimate
from leakgauge.attacks.replays.one_gradient import OneGradient
from leakgauge.core import tree
from leakgauge.core.abilities import Fixed, used_by
from leakgauge.core.algorithm import algorithm
from leakgauge.core.magnitude import keep_largest, keep_largest_each
from leakgauge.core.protocols import Replay
from leakgauge.core.types import Batch, Capability, Observation, Params


@final
@algorithm
class Estimated:
    """Another replay, whose update is masked, pruned and clipped as the update that was seen tells; noise is left at its mean.

    Nothing of the defense has to be granted. At the truth the three change nothing that the defense has not changed: columns that
    Soteria dropped, as many numbers of a tensor as were left of it, and a norm that is no larger than the one seen.
    """

    replay: Replay = OneGradient()

    @property
    def needs(self) -> frozenset[Capability]:
        """What the wrapped replay needs."""
        return self.replay.needs

    @property
    def uses(self) -> frozenset[str]:
        """What the wrapped replay uses."""
        return used_by(self.replay)

    def fixed(self, seen: Observation, /) -> Fixed:
        """Return the replay with the estimates for one observation, and what they are."""
        found = estimate(seen)
        return Fixed(Adapted(self.replay, found), found.parameters(seen.update.delta))

    def __call__(self, seen: Observation, batch: Batch, /) -> Params:
        """Return the candidate's update after the defense that was estimated."""
        return self.fixed(seen).replay(seen, batch)


@final
@dataclass(frozen=True)
class Adapted:
    """A replay whose update goes through a defense of these parameters."""

    replay: Replay
    estimates: Estimates

    @property
    def needs(self) -> frozenset[Capability]:
        """What the wrapped replay needs."""
        return self.replay.needs

    def __call__(self, seen: Observation, batch: Batch, /) -> Params:
        """Return the defended update."""
        delta = dict(self.replay(seen, batch))
        for name, mask in self.estimates.columns.items():
            if name in delta:
                delta[name] = delta[name] * mask
        for name, count in self.estimates.kept.items():
            if name in delta:
                delta[name] = keep_largest(delta[name], count)
        sent = {name: value for name, value in delta.items() if name in seen.update.delta}
        factor = self._factor(tree.squared_norm(sent))
        return tree.apply(lambda value: factor * value, delta)

    def shape(self, seen: Observation, /) -> Shape | None:
        """Return the same for products of gradients; None where the wrapped replay has no such."""
        inner = self.replay.shape(seen) if isinstance(self.replay, Shaping) else None
        if inner is None or not inner.is_plain:
            return None
        changes: dict[str, Change] = {name: partial(_masked, mask=mask) for name, mask in self.estimates.columns.items()}
        changes |= {name: partial(keep_largest_each, count=count) for name, count in self.estimates.kept.items()}
        return Shape(changes, inner.scale, self._clipped)

    def _clipped(self, found: Products) -> Products:
        return found.scaled(self._factor(found.total()[1]))

    def _factor(self, squared: Tensor) -> Tensor:
        """What a norm is multiplied by; the clamp is on the square, for a norm has no derivative at 0."""
        least = max(self.estimates.norm**2, 1e-30)
        return (squared / least).clamp(min=1).rsqrt()


def _masked(gradients: Tensor, mask: Tensor) -> Tensor:
    return gradients * mask
