"""What it says of numbers that a defense, which keeps the largest, did not keep them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from leakgauge.core.belief import Belief
from leakgauge.core.noise import censored
from leakgauge.core.types import Params


def least_kept(values: Tensor) -> Tensor:
    """The least size of the numbers that were kept, which no dropped number exceeds; 0 if none was."""
    sizes = values.detach().abs()
    return torch.where((sizes > 0).any(), torch.where(sizes > 0, sizes, torch.inf).amin(), 0)


def keep_belief(belief: Belief, seen: Params, limits: Params, *, prune: Callable[[Params], Params]) -> Belief:
    """Return the belief about what a defense leaves that keeps the largest numbers.

    What is zero is no larger than the limit of its tensor, the least that was kept. Noise that came later leaves no zeros to tell;
    then the candidate's numbers are pruned themselves.
    """
    if all(bool((value != 0).all()) for value in seen.values()):
        return belief.moved(prune)
    return belief.by_tensor(lambda name, noise: censored(noise, limits[name]))
