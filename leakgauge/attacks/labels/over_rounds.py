"""Labels of a batch that was seen in several rounds: each says what it can, and the mean of the counts is believed."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from leakgauge.attacks.labels.rounding import spelled_out, whole
from leakgauge.core.abilities import Believed, Believing
from leakgauge.core.errors import OutOfScope
from leakgauge.core.protocols import Labels
from leakgauge.core.rng import fork
from leakgauge.core.types import Capability, Observation, Rng


class Inferred(NamedTuple):
    """What a rule made of what was seen, and how sure it is, a sentence if it says so."""

    labels: Tensor
    notes: tuple[str, ...]


def infer(rule: Labels, seen: Observation, count: int, *, rng: Rng) -> Inferred:
    """Return what a rule makes of all rounds: `count` classes, sorted where there are several, or the last round's logits.

    Raises OutOfScope if the rule applies to none of them.
    """
    if not seen.earlier or Capability.LABELS in rule.needs:  # who was told the labels reads them off no round
        return _told(_believed(rule, seen, count, rng))
    found, reason = [], OutOfScope("the rule applies to no round")
    for one in (seen, *seen.earlier):
        try:
            found.append(_believed(rule, one, count, fork(rng)))
        except OutOfScope as error:
            reason = error
            continue
        if found[0].labels.is_floating_point():  # logits that a search starts from
            return _told(found[0])
    if not found:
        raise reason
    counts = torch.stack([one.labels.bincount(minlength=seen.model.inputs.classes) for one in found])
    shares = [one.share for one in found if one.share is not None]
    labels = spelled_out(whole(counts.double().mean(0), count))
    return _told(Believed(labels, sum(shares) / len(shares) if shares else None))


def _believed(rule: Labels, seen: Observation, count: int, rng: Rng) -> Believed:
    if isinstance(rule, Believing):
        return rule.believe(seen, count, rng=rng)
    return Believed(rule.infer(seen, count, rng=rng), None)


def _told(found: Believed) -> Inferred:
    if found.share is None:
        return Inferred(found.labels, ())
    return Inferred(
        found.labels, (f"The labels were read off the update; the rule expects {found.share:.0%} of them to be right.",)
    )
