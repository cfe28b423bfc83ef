"""Who stands beside the secret: a decoy batch, a line-up to tell it from, and the examples that the adversary holds."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from leakgauge.core.types import Batch, Rng


class Sides(NamedTuple):
    """Other data of the secret's kind, in parts that share no example; None where too little is left for one."""

    decoy: Batch | None
    lineup: Batch | None
    held: Batch | None  # by an adversary who is granted public data
    more: tuple[Batch, ...] = ()  # batches that the positive control is tried on as well


def split(others: Batch | None, secret: Batch, candidates: int, *, is_labeled: bool, more: int = 0, rng: Rng) -> Sides:
    """Split other data by chance. What the adversary is granted, decoy and line-up share with the secret.

    Where labels are granted (`is_labeled`), the decoy batch has the secret's labels, example for example, as far as the data has
    them, and the line-up its classes alone: a mean image of the class would else pass for knowledge of the secret. The line-up
    holds up to `candidates` - 1 images, but at most two thirds of what there is of their kind, so that the adversary keeps some.
    What is left gives up to `more` batches, with the same labels, too, if they are granted.
    """
    if others is None or not len(others):
        return Sides(None, None, None)
    order = torch.randperm(len(others), generator=rng)
    labels = others.y.cpu()[order]
    taken = torch.zeros(len(order), dtype=torch.bool)
    wanted = secret.y.cpu() if is_labeled else None
    decoy = _like(labels, taken, wanted, len(secret))
    taken[decoy] = True
    kin = torch.isin(labels, secret.y.cpu()) if is_labeled else torch.ones_like(taken)
    free = (~taken & kin).nonzero().squeeze(1)
    room = min(candidates - 1, max(_ENOUGH, len(free) // 2), -(-2 * len(free) // 3))
    lineup = free[:room]
    taken[lineup] = True
    batches = []
    for _ in range(more):
        chosen = _like(labels, taken, wanted, len(secret))
        if not chosen or (wanted is not None and not torch.equal(labels[chosen], wanted)):
            break
        taken[chosen] = True
        batches.append(chosen)

    def batch(places: Tensor | list[int]) -> Batch:
        return others[order[places].to(others.x.device)]

    held = (~taken).nonzero().squeeze(1)
    return Sides(
        batch(decoy) if decoy else None,
        batch(lineup) if len(lineup) else None,
        batch(held) if len(held) else None,
        tuple(map(batch, batches)),
    )


def _like(labels: Tensor, taken: Tensor, wanted: Tensor | None, size: int) -> list[int]:
    """The first free places [size] whose labels are those wanted, in their order; any place for a label that has run out.

    Empty unless as many are left then.
    """
    left = (~taken).nonzero().squeeze(1).tolist()
    if len(left) < 2 * size:
        return []
    if wanted is None:
        return left[:size]
    chosen = []
    for label in wanted.tolist():
        place = next((one for one in left if int(labels[one]) == label), left[0])
        left.remove(place)
        chosen.append(place)
    return chosen


_ENOUGH = 99
"""So many others, and a single truth that stands first is no accident at 1%."""
