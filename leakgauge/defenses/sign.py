"""signSGD: one bit per number (Bernstein et al., ICML 2018, arXiv 1802.04434, Algorithm 1)."""

from __future__ import annotations

from typing import final

from torch import Tensor

from leakgauge.core import tree
from leakgauge.core.algorithm import algorithm
from leakgauge.core.belief import Belief
from leakgauge.core.noise import Signed
from leakgauge.core.types import Client, Params, Rng
from leakgauge.defenses.transformed import Transformed


@final
@algorithm
class Sign:
    """Sends the sign of each number (0 for 0); `scaled` multiplies it by the tensor's mean magnitude.

    The scaled form is that of EF-signSGD (Karimireddy et al., ICML 2019, arXiv 1901.09847), without the error feedback.

    A sign has derivative 0 almost everywhere, so that a replay could not learn from it. Gradients therefore pass straight
    through (Bengio et al., 2013, arXiv 1308.3432), as if the numbers were sent themselves; the values are the exact ones.
    """

    scaled: bool = False

    def protect(self, client: Client, /) -> Client:
        """Return the client with an update of signs."""
        return Transformed(client, self)

    def spread(self, belief: Belief, seen: Params, /) -> Belief:
        """Return the belief about signs, as if there had been noise of a tensor's mean magnitude: bare signs have no slope."""
        (part,) = belief.moved(lambda center: center).parts
        return belief.by_tensor(lambda name, _: Signed(part.center[name].detach().abs().mean().clamp_min(1e-30)))

    def transform(self, delta: Params, /, *, rng: Rng | None) -> Params:
        """Return the signs; no chance is involved."""
        return tree.apply(self._sign, delta)

    def _sign(self, value: Tensor) -> Tensor:
        number = value.detach()
        sent = number.sign() * number.abs().mean() if self.scaled else number.sign()
        return sent + (value - number)  # the bracket is exactly 0 and carries the gradient
