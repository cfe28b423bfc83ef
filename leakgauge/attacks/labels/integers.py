"""Counts are integers, and that gives an unknown scale away.

An update is an unknown factor times a gradient, so a rule of label restoration knows counts up to one number k: they lie on the
line offset - k * slope. On it, counts must not be negative and must be integers, as far as the rule's own errors let them be told
from integers. This is weighed by Bayes' rule. Beforehand, all orders of magnitude of k are equally likely, and so are two kinds of
batches: those drawn at random from classes of equal size, and any at all, a batch of one class no less than a mixed one. Errors are
normal. Where many examples of all classes leave k open, the scatter of their embeddings says how large it is (last_layer.scatter).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from leakgauge.core.errors import OutOfScope


class Posterior(NamedTuple):
    """What is known of the counts of one batch."""

    chances: Tensor  # [classes, count + 1], of each number of examples
    factor: float  # k, the reciprocal of the scale
    evidence: float  # log probability of what was seen, up to a constant for given data

    @property
    def counts(self) -> Tensor:
        """The mean of each count [classes]."""
        return self.chances @ torch.arange(self.chances.shape[1]).to(self.chances)


def mixed(posteriors: Sequence[Posterior]) -> Posterior:
    """Return the posterior where one of several accounts is true, all equally likely beforehand."""
    evidence = torch.tensor([one.evidence for one in posteriors], dtype=torch.float64)
    shares = evidence.softmax(dim=0).tolist()
    pairs = list(zip(shares, posteriors, strict=True))
    return Posterior(
        chances=torch.stack([share * one.chances for share, one in pairs]).sum(dim=0),
        factor=math.exp(sum(share * math.log(one.factor) for share, one in pairs)),
        evidence=float(evidence.logsumexp(dim=0)) - math.log(len(posteriors)),
    )


def expected_right(posterior: Posterior, counts: Tensor) -> float:
    """The share of labels that a guess of the counts [classes] has right, as the posterior expects it."""
    numbers = torch.arange(posterior.chances.shape[1]).to(posterior.chances)
    right = (posterior.chances * torch.minimum(numbers, counts.to(numbers)[:, None])).sum()
    return float(right) / max(int(counts.sum()), 1)


def weigh(
    offset: Tensor,
    slope: Tensor,
    spread: Tensor,
    count: int,
    *,
    factor: float | None,
    scatter: float | None = None,
    drift: float = 0.0,
) -> Posterior:
    """Return the posterior of the counts offset - k * slope, for a k that is known (`factor`) or not.

    `offset`, `slope` and `spread` (the standard deviation of the offset's error) are [classes]; offset sums to `count` and slope to
    0. `scatter` is what k is about for labels of variance 1, if that is known; `drift`, how much less it is to be trusted because
    answers changed during training, as a standard deviation of its logarithm. Raises OutOfScope where the slope is 0 and k is not
    known: nothing then moves the counts.
    """
    offset, slope = offset.double(), slope.double()
    spread = spread.double().clamp(_LEAST, _MOST)
    if factor is None:
        factors, grid = _candidates(offset, slope, spread)
    else:
        factors, grid = torch.tensor([factor]).to(offset), 0.0
    places = offset - factors[:, None] * slope
    nearby = places.clamp_min(0).round()[..., None] + torch.arange(-_REACH, _REACH + 1).to(places)
    errors = -((places[..., None] - nearby) / spread[:, None]).square() / 2 - spread[:, None].log()
    chances = (errors + _prior(nearby, count)).masked_fill(nearby < 0, -math.inf)  # [2, k, classes, nearby]
    # Errors are those of the counts; as a density of the update, each of its free numbers brings a factor k.
    weights = chances.logsumexp(dim=-1).sum(dim=-1) + (len(offset) - 1) * factors.log()
    if factor is None and scatter is not None:
        variance = _SURE**2 + drift**2
        surprise = ((factors / scatter).log() - _variance(places).log() / 2).square() / variance
        weights = weights - (surprise + math.log(variance / _SURE**2)) / 2
    share = weights.flatten().softmax(dim=0).reshape(weights.shape)
    return Posterior(
        chances=torch.stack(
            [
                _by_number((share[..., None] * chances[:, :, place].softmax(dim=-1)).sum(dim=0), nearby[:, place], count)
                for place in range(len(offset))
            ]
        ),
        factor=float((share * factors.log()).sum().exp()),
        evidence=float(weights.logsumexp(dim=(0, 1))) + grid,
    )


def _by_number(weights: Tensor, numbers: Tensor, count: int) -> Tensor:
    """Sum weights [k, nearby] by the number of examples they are for: [count + 1]; more than there are count as all."""
    return weights.new_zeros(count + 1).scatter_add_(0, numbers.clamp(0, count).long().flatten(), weights.flatten())


def _variance(places: Tensor) -> Tensor:
    """The variance of one-hot labels with these counts [k, classes]; not quite 0 for one class, whose probabilities scatter too."""
    shares = places.clamp_min(0)
    shares = shares / shares.sum(dim=-1, keepdim=True).clamp_min(1e-12)
    return 1 - shares.square().sum(dim=-1) + _LEAST


def _prior(counts: Tensor, total: int) -> Tensor:
    """Log probabilities of single counts that add up to `total`: any at all (geometric), and random (Poisson)."""
    n, classes = counts.clamp_min(0), counts.shape[-2]
    mean = total / classes
    geometric = n * math.log(mean / (1 + mean)) - math.log(1 + mean)
    poisson = n * math.log(mean) - mean - torch.lgamma(n + 1)
    variances = torch.tensor([total * (1 + mean), total]).to(counts)  # of the sum, which is known
    known = (2 * math.pi * variances).log() / 2 / classes
    return torch.stack([geometric, poisson]) + known.reshape(2, 1, 1, 1)


def _candidates(offset: Tensor, slope: Tensor, spread: Tensor) -> tuple[Tensor, float]:
    """All k worth a thought, down from the largest at which no count is negative beyond its error, and each one's log prior.

    They lie so close that from one to the next no count moves by much of its error.
    """
    falling = slope > 0
    if not falling.any():
        raise OutOfScope("the update moves no class, which says nothing of the labels at an unknown scale")
    largest = float(((offset + 4 * spread).clamp_min(0.01) / slope)[falling].min())
    fastest = float((largest * slope.abs() / spread).max())
    step = min(max(0.3 / fastest, _FINEST), _COARSEST)
    return largest * torch.exp(-torch.arange(0, math.log(_RANGE), step)).to(offset), math.log(step / math.log(_RANGE))


_LEAST, _MOST = 0.02, 5.0
"""Errors below a fiftieth of a count are not believed; beyond a few counts, integers cannot be told apart."""
_SURE = 0.3
"""The standard deviation of the logarithm of k by scatter: 0.1 to 0.3 on fresh and trained nets, on training images of CIFAR-10."""
_REACH = 12
"""Integers to either side that are weighed."""
_RANGE, _FINEST, _COARSEST = 30.0, 3e-4, 1e-2
"""The candidates span this factor, in steps of between this much and this much."""
