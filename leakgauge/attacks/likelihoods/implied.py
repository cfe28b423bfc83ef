"""The likelihood that follows from the defense: log p(u given x) itself (Balunovic et al., ICLR 2022, arXiv 2111.04706, Sec. 4)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from leakgauge.attacks.likelihoods.gaussian import Gaussian
from leakgauge.attacks.replays.granted import Granted
from leakgauge.attacks.replays.undefended import Undefended
from leakgauge.attacks.replays.unlocking import Unlocking
from leakgauge.core import tree
from leakgauge.core.abilities import Bound
from leakgauge.core.algorithm import Positive, algorithm
from leakgauge.core.belief import Belief, Noisy, Spreading, certain, peeled
from leakgauge.core.errors import OutOfScope
from leakgauge.core.lock import is_closed
from leakgauge.core.protocols import Replay
from leakgauge.core.types import Model, Observation, Params


@final
@algorithm
class Implied:
    """`weight` times -log p(u given x) in nats, as the client's noise and the defenses that the threat model grants shape it.

    The candidate is replayed up to where chance begins, and the density takes what comes after: Gaussian noise makes squared
    distances, Laplace noise absolute ones, a number that a coin or a threshold dropped is judged by how likely that was, rounding
    by how likely it went that way. Without any chance the numbers have to be those that were seen, give or take `width` times
    their root mean square. Defenses whose density has no closed form are replayed at their mean instead, at that width. What sets
    locks, where the client keeps it, is searched along.
    """

    weight: Positive = 1.0
    width: Positive = 0.1

    def __call__(self, guess: Params, seen: Params, /) -> Tensor:
        """Return the likelihood without a defense: the squared distance at the width, 0 where the two agree."""
        return Gaussian(weight=self.weight / (2 * self._spread(seen) ** 2))(guess, seen)

    def bound(self, seen: Observation, replay: Replay, /) -> Bound:
        """Return the likelihood for this client and its defenses, and the replay that stops where they begin."""
        if seen.client is None or not isinstance(replay, Granted):
            return Bound(self, replay)
        client, layers = peeled(seen.client)
        deviation = client.deviation(seen.count) if isinstance(client, Noisy) else 0.0
        likelihood = Shaped(self.weight, self._spread(seen.update.delta), deviation, layers, seen.model)
        try:
            likelihood(tree.apply(torch.zeros_like, seen.model.params), seen.update.delta)
        except OutOfScope as reason:
            return Bound(self, replay, (f"The likelihood is that of numbers without chance: {reason}.",))
        return Bound(likelihood, Unlocking(replay=Undefended()) if is_closed(seen) else Undefended())

    def _spread(self, seen: Params) -> float:
        size = float(tree.squared_norm(seen)) / sum(value.numel() for value in seen.values())
        return self.width * math.sqrt(max(size, torch.finfo(torch.float32).tiny))


@final
@dataclass(frozen=True)
class Shaped:
    """The likelihood of what left a client whose own update has noise of `deviation`, or none, and passed through `layers`."""

    weight: float
    width: float
    deviation: float
    layers: tuple[Spreading, ...]
    model: Model

    def __call__(self, guess: Params, seen: Params, /) -> Tensor:
        """Return the weighted -log p(u given x), less what it is for a client that had computed just what was seen: 0 at best."""
        with torch.no_grad():
            least = self.belief({**guess, **seen}, seen).surprises(seen)
        excess = tree.apply(
            torch.sub, self.belief(guess, seen).surprises(seen), least
        )  # number by number: sums would round it away
        return self.weight * torch.stack([value.sum() for value in excess.values()]).sum()

    def belief(self, guess: Params, seen: Params) -> Belief:
        """Return what is believed of the update, given what the client computes before any defense."""
        belief = certain(guess, self.deviation or self.width, is_exact=not self.deviation)
        for layer in self.layers:
            belief = layer.spread(belief, seen, self.model)
        return belief
