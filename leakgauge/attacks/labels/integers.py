"""Counts are integers, and that gives an unknown scale away.

An update is an unknown factor times a gradient, so a rule of label restoration knows counts up to one number k: they lie on the
line offset - k * slope. On it, counts must not be negative and must be integers, as far as the rule's own errors let them be told
from integers. This is weighed by Bayes' rule: all counts are equally likely beforehand (so that a batch of one class is no less
likely than a mixed one), and so are all orders of magnitude of k; errors are normal.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from leakgauge.errors import OutOfScope


class Posterior(NamedTuple):
    """What is known of the counts of one batch."""

    counts: Tensor  # [classes], the mean of each
    factor: float  # k, the reciprocal of the scale
    evidence: float  # log probability of what was seen, up to a constant for given data


def weigh(offset: Tensor, slope: Tensor, spread: Tensor, count: int, *, factor: float | None) -> Posterior:
    """Return the posterior of the counts offset - k * slope, for a k that is known (`factor`) or not.

    `offset`, `slope` and `spread` (the standard deviation of the offset's error) are [classes]; offset sums to `count` and slope to
    0. Raises OutOfScope where the slope is 0 and k unknown: nothing then moves the counts.
    """
    offset, slope = offset.double(), slope.double()
    spread = spread.double().clamp(_LEAST, _MOST)
    factors = torch.tensor([factor]).to(offset) if factor is not None else _candidates(offset, slope, spread)
    places = offset - factors[:, None] * slope
    nearby = places.clamp_min(0).round()[..., None] + torch.arange(-_REACH, _REACH + 1).to(places)
    chances = -((places[..., None] - nearby) / spread[:, None]).square() / 2 - spread[:, None].log()
    chances = chances.masked_fill(nearby < 0, -math.inf)
    each = chances.logsumexp(dim=-1)
    # Errors are those of the counts; as a density of the update, each of its free numbers brings a factor k.
    weights = each.sum(dim=1) + (len(offset) - 1) * factors.log()
    share = weights.softmax(dim=0)
    means = (chances.softmax(dim=-1) * nearby.clamp_min(0)).sum(dim=-1)
    prior = 0.0 if factor is not None else math.log(_FINENESS / math.log(_RANGE))
    evidence = float(weights.logsumexp(dim=0)) + prior
    return Posterior((share[:, None] * means).sum(dim=0), float((share * factors.log()).sum().exp()), evidence)


def _candidates(offset: Tensor, slope: Tensor, spread: Tensor) -> Tensor:
    """All k worth a thought: down from the largest at which no count is negative beyond its error."""
    falling = slope > 0
    if not falling.any():
        raise OutOfScope("the update moves no class, which says nothing of the labels at an unknown scale")
    largest = float(((offset + 4 * spread).clamp_min(0.01) / slope)[falling].min())
    return largest * torch.exp(-torch.arange(0, math.log(_RANGE), _FINENESS)).to(offset)


_LEAST, _MOST = 0.02, 2.5
"""Errors below a fiftieth of a count are not believed; beyond a few counts, integers cannot be told apart."""
_REACH = 8
"""Integers to either side that are weighed."""
_RANGE, _FINENESS = 30.0, 3e-4
"""The candidates span this factor, in steps of this much."""
