"""The adaptive attacker against sparsified weights: what was set to zero in one snapshot only is taken out of the update."""

from __future__ import annotations

from dataclasses import replace
from typing import final

import torch
from torch import Tensor

from leakgauge.core.abilities import Diagnosable, Informable, used_by
from leakgauge.core.algorithm import algorithm
from leakgauge.core.protocols import Attack
from leakgauge.core.types import Batch, Capability, Observation, Reconstruction, Rng, Tick
from leakgauge.core.weights import jumps


@final
@algorithm
class WithoutJumps:
    """Runs another attack on the update with its jumps set to zero; give that one the likelihood `masked`, which leaves zeros out.

    A weight that `weight_sparsification` drops before training or after, but not both times, changes by its whole magnitude: that
    is no step of training, and outweighs those that are. Both snapshots are seen, so that such weights are known exactly: one of
    their two values is 0. A tensor that holds no zero after training, or nothing else before it (biases that start at 0), gained
    its numbers by training. No grant is needed: whoever sees the weights sees the zeros.
    """

    attack: Attack

    @property
    def needs(self) -> frozenset[Capability]:
        """What the attack needs."""
        return self.attack.needs

    @property
    def uses(self) -> frozenset[str]:
        """What the attack uses."""
        return used_by(self.attack)

    def informed(self) -> Attack:
        """The stronger self of the attack, which meets an update without defense."""
        return self.attack.informed() if isinstance(self.attack, Informable) else self.attack

    def run(self, seen: Observation, /, *, rng: Rng, tick: Tick) -> Reconstruction:
        """Return what the attack makes of the update without jumps. Raises what it raises."""
        return self.attack.run(_cleaned(seen), rng=rng, tick=tick)

    def loss_at(self, seen: Observation, batch: Batch, /) -> Tensor:
        """The attack's objective at a batch, on the update without jumps; nan for an attack that has none."""
        return self.attack.loss_at(_cleaned(seen), batch) if isinstance(self.attack, Diagnosable) else batch.x.new_tensor(torch.nan)


def _cleaned(seen: Observation) -> Observation:
    delta = {name: torch.where(jumps(seen.model.params[name], value), 0, value) for name, value in seen.update.delta.items()}
    earlier = tuple(_cleaned(one) for one in seen.earlier)
    return replace(seen, update=replace(seen.update, delta=delta), earlier=earlier)
