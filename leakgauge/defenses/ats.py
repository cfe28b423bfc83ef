"""ATS: training on images that a searched policy has transformed (Gao et al., CVPR 2021, arXiv 2011.12505)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import final

from torch import Tensor

from leakgauge.core.abilities import exchange_gradient
from leakgauge.core.algorithm import algorithm
from leakgauge.core.belief import Belief
from leakgauge.core.errors import UsageError
from leakgauge.core.protocols import GradientRule
from leakgauge.core.types import Batch, Client, Model, Params, Rng, Update
from leakgauge.defenses import policies
from leakgauge.defenses.transformed import trained_on


@final
@algorithm
class ATS:
    """Transforms every image by a policy, such as "3-1-7": transforms 3, 1 and 7 of the library in `policies`, in that order.

    With alternatives, joined by "+" (the paper's hybrid), each image gets one of them by chance. The client's batch is transformed
    once, before its local training. Without an `rng` images are at the mean of what chance could make of them.

    An attack on the update finds what the client trained on; scores against the original count a shift or a change of colors as an
    error of the attack. So the client says what it trained on, and an audit scores guesses against that as well.
    """

    policy: str = "3-1-7"

    def __post_init__(self) -> None:
        policies.parse(self.policy)

    def protect(self, client: Client, /) -> Client:
        """Return the client on transformed images."""
        return Augmented(client, self)

    def augment(self, x: Tensor, /, *, rng: Rng | None) -> Tensor:
        """Return the transformed pixels [n, c, h, w]. Raises UsageError for what are no images of one channel or three."""
        if x.ndim != 4 or x.shape[1] not in (1, 3):
            raise UsageError(
                f"ATS: got inputs of shape {tuple(x.shape[1:])}, expected images of 1 or 3 channels; choose another defense"
            )
        return policies.apply(self.policy, x, rng=rng)


@final
@dataclass(frozen=True)
class Augmented:
    """A client that sees its images transformed."""

    client: Client
    defense: ATS

    def __call__(self, model: Model, batch: Batch, /, *, rng: Rng | None = None) -> Update:
        """Return the client's update on the transformed batch. The defense draws first."""
        return self.client(model, self._augmented(batch, rng), rng=rng)

    def spread(self, belief: Belief, seen: Params, model: Model, /) -> Belief:
        """Return the belief as it is: candidates stand for what the images were transformed to, which is what can be found."""
        return belief

    def trained_on(self, model: Model, batch: Batch, /, *, rng: Rng | None) -> Batch:
        """Return the transformed batch, and what the client makes of it."""
        return trained_on(self.client, model, self._augmented(batch, rng), rng=rng)

    def with_gradient(self, rule: GradientRule, /) -> Client:
        """Return this defense around the client with another gradient rule. Raises UsageError where that has none."""
        return replace(self, client=exchange_gradient(self.client, rule))

    def _augmented(self, batch: Batch, rng: Rng | None) -> Batch:
        return Batch(self.defense.augment(batch.x, rng=rng), batch.y)
