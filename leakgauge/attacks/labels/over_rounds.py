"""Labels of a batch that was seen in several rounds: each says what it can, and the mean of the counts is believed."""

from __future__ import annotations

import torch
from torch import Tensor

from leakgauge.attacks.labels.rounding import spelled_out, whole
from leakgauge.core.errors import OutOfScope
from leakgauge.core.protocols import Labels
from leakgauge.core.rng import fork
from leakgauge.core.types import Capability, Observation, Rng


def infer(rule: Labels, seen: Observation, count: int, *, rng: Rng) -> Tensor:
    """Return what a rule makes of all rounds: `count` classes, sorted where there are several, or the last round's logits.

    Raises OutOfScope if the rule applies to none of them.
    """
    if not seen.earlier or Capability.LABELS in rule.needs:  # who was told the labels reads them off no round
        return rule.infer(seen, count, rng=rng)
    found, reason = [], OutOfScope("the rule applies to no round")
    for one in (seen, *seen.earlier):
        try:
            found.append(rule.infer(one, count, rng=fork(rng)))
        except OutOfScope as error:
            reason = error
    if not found:
        raise reason
    if found[0].is_floating_point():
        return found[0]
    counts = torch.stack([labels.bincount(minlength=seen.model.inputs.classes) for labels in found])
    return spelled_out(whole(counts.double().mean(0), count))
