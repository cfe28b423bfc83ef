"""Adam's first step turned back into a gradient: its epsilon gives away the sizes that its division hides."""

from __future__ import annotations

from dataclasses import replace
from typing import final

import torch
from torch import Tensor

from leakgauge.attacks.settling import settle
from leakgauge.core.abilities import Diagnosable, used_by
from leakgauge.core.algorithm import Positive, algorithm
from leakgauge.core.protocols import Attack
from leakgauge.core.types import Batch, Capability, Observation, Params, Reconstruction, Rng, Tick


@final
@algorithm
class AdamUndone:
    """Runs another attack on the gradient behind a step of Adam; give that one the likelihood `saturated`.

    The first step is rate * g / (|g| + epsilon) (Kingma and Ba, ICLR 2015, arXiv 1412.6980, Algorithm 1, bias corrected). Some
    gradient is far above epsilon, so the largest number of the update is the rate, and r = |step| / rate gives |g| = epsilon *
    r / (1 - r). Weights are rounded, so 1 - r is known up to rounding / rate: where the error of |g| would be more than `error` of
    it, its size is cut off there, and its sign remains. In the last layer many gradients are near epsilon, those of classes that
    the model rules out. The gradient comes in units of epsilon, without a scale. Several steps are taken for one, which blurs the
    sizes.
    """

    attack: Attack
    error: Positive = 0.03

    @property
    def needs(self) -> frozenset[Capability]:
        """What the attack needs."""
        return self.attack.needs

    @property
    def uses(self) -> frozenset[str]:
        """What the attack uses."""
        return used_by(self.attack)

    def run(self, seen: Observation, /, *, rng: Rng, tick: Tick) -> Reconstruction:
        """Return what the attack makes of the gradient. Raises what it raises, and OutOfScope as `settle` does."""
        settled = settle(seen)
        found = self.attack.run(self._undone(settled.seen), rng=rng, tick=tick)
        return replace(found, notes=(*settled.notes, *found.notes))

    def loss_at(self, seen: Observation, batch: Batch, /) -> Tensor:
        """The attack's objective at a batch, on the gradient; nan for an attack that has none."""
        if not isinstance(self.attack, Diagnosable):
            return batch.x.new_tensor(torch.nan)
        return self.attack.loss_at(self._undone(settle(seen).seen), batch)

    def _undone(self, seen: Observation) -> Observation:
        delta = self.gradient(seen.update.delta, seen.model.params)
        return replace(seen, update=replace(seen.update, delta=delta), earlier=tuple(self._undone(one) for one in seen.earlier))

    def gradient(self, step: Params, before: Params) -> Params:
        """Return the gradient behind a step in units of epsilon, cut off where its size is unknown."""
        rounding = {name: _rounding(value, before[name] - value) for name, value in step.items()}
        # No number exceeds the rate by more than its rounding: where weights are small, that is a tight bound.
        rate = torch.stack([(value.abs() - rounding[name]).amax() for name, value in step.items()]).amax()
        least = {name: value / rate / self.error for name, value in rounding.items()}  # of 1 - r
        most = torch.stack([1 / value.amin() for value in least.values()]).amax()
        return {name: _size(value.abs() / rate, least[name], most) * value.sign() for name, value in step.items()}


def _rounding(step: Tensor, after: Tensor) -> Tensor:
    """How far a step may be off: weights are rounded to half a unit in their last place, and so was the step."""
    return torch.finfo(step.dtype).eps * (0.5 * after.abs() + step.abs())


def _size(share: Tensor, least: Tensor, most: Tensor) -> Tensor:
    return torch.where(1 - share > least, share / (1 - share).clamp_min(least), most)
