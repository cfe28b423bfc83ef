"""What an attack makes of a threat model that withholds the number of examples, or the scale: it reads them off the update."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from leakgauge.attacks.labels.counts import explained
from leakgauge.attacks.labels.last_layer import LastLayer, look
from leakgauge.attacks.labels.signs import keeps_signs, names_too_many
from leakgauge.core import tree
from leakgauge.core.anatomy import check_moved, linear_layers
from leakgauge.core.errors import OutOfScope
from leakgauge.core.rng import stream
from leakgauge.core.types import Capability, Observation


class Settled(NamedTuple):
    """An observation that has a count, and what had to be guessed for it, a sentence each."""

    seen: Observation
    notes: tuple[str, ...]


def settle(seen: Observation) -> Settled:
    """Fill in what an attack cannot do without and the threat model withholds.

    The number of examples is the rank of a linear layer's gradient, as long as that is below the layer's sides (each example adds
    a matrix of rank one; Zhu and Blaschko, ICLR 2021, arXiv 2010.07733). It is too low for more examples than the layer can tell,
    and too high for several local steps. Raises OutOfScope for a model without a linear layer, and for an update that is exactly
    zero.

    The sign is that of a gradient where the scale is granted. Where it is not, someone may have subtracted the weights before from
    those after; `seen` is turned around if that explains the last layer far better, and a doubt is said (see `sign_odds`).
    """
    check_moved(seen)
    counted = _counted(seen)
    if Capability.SCALE in seen.threat:
        return counted
    rounds = (counted.seen, *counted.seen.earlier)
    odds = [sign_odds(one) for one in rounds]
    turned = [_negated(one) if odd < -_DOUBT else one for one, odd in zip(rounds, odds, strict=True)]
    notes = counted.notes
    if min(odds) < -_DOUBT:
        notes = (*notes, "The update points away from a gradient: it was taken as weights after minus before, and turned around.")
    if any(abs(odd) <= _DOUBT for odd in odds):
        notes = (*notes, "The last layer does not tell the sign of the update: it was taken as weights before minus after.")
    return Settled(replace(turned[0], earlier=tuple(turned[1:])), notes)


def sign_odds(seen: Observation) -> float:
    """The logarithm of the odds that an update is a gradient times a positive number, as far as its last layer can tell.

    Under either sign the update is explained by label counts, which are integers and not negative. Where the layer cannot be read,
    or neither sign explains it, the odds are even. Of an update that keeps little but signs, the number of classes that they name
    tells, or nothing does.
    """
    if seen.update.examples is None:
        return 0.0
    count = seen.update.examples
    try:
        layer = look(seen, _DUMMIES, "pink", rng=stream(0, "settling"))
        if keeps_signs(seen.update.delta):
            return _CERTAIN * (names_too_many(_behind(layer), count) - names_too_many(layer, count))
        ahead, behind = (explained(one, at, count).evidence for one, at in ((layer, seen), (_behind(layer), _negated(seen))))
    except OutOfScope:
        return 0.0
    # After many local steps neither sign explains the layer, and which one fails worse says nothing.
    return ahead - behind if max(ahead, behind) > 0 else 0.0


def _behind(layer: LastLayer) -> LastLayer:
    return layer._replace(rows=-layer.rows, sums=-layer.sums)


def _counted(seen: Observation) -> Settled:
    if seen.update.examples is not None:
        return Settled(seen, ())
    if seen.labels is not None:  # whoever knows the labels can count them
        return Settled(replace(seen, update=replace(seen.update, examples=len(seen.labels))), ())
    ranks = {name: _rank(seen.update.delta[name], seen.model.params[name]) for name in _linear(seen)}
    count = max(ranks.values(), default=0)
    if not count:
        raise OutOfScope("the number of examples is not granted, and no linear layer was sent that would give it away")
    is_full = all(rank >= _most(seen.update.delta[name], seen) for name, rank in ranks.items() if rank == count)
    told = f"at least {count}, which is as much as it can show" if is_full else str(count)
    note = f"The number of examples is not granted; the rank of the linear layers' update says {told}."
    return Settled(replace(seen, update=replace(seen.update, examples=count)), (note,))


def _negated(seen: Observation) -> Observation:
    return replace(seen, update=replace(seen.update, delta=tree.apply(torch.neg, seen.update.delta)))


def _linear(seen: Observation) -> list[str]:
    names = [f"{name}.weight" if name else "weight" for name in linear_layers(seen.model)]
    return [name for name in names if name in seen.update.delta]


def _most(update: Tensor, seen: Observation) -> int:
    """The largest rank that an update can have, however many the examples: silent units add none, and p - y sums to 0."""
    sides = [int((update != 0).any(axis).sum()) for axis in (0, 1)]
    return min(side - (side == seen.model.inputs.classes) for side in sides)


def _rank(update: Tensor, weight: Tensor) -> int:
    """How many singular values stand out of the rounding of a difference of weights."""
    values = torch.linalg.svdvals(update.double())
    eps = torch.finfo(update.dtype).eps
    rounding = eps * float(weight.abs().max()) * (update.shape[0] ** 0.5 + update.shape[1] ** 0.5)
    return int((values > rounding + 10 * eps * values[0]).sum())


_DUMMIES = 128
_DOUBT = 5.0
"""Evidence below which a sign is not believed: after three steps with momentum, it was up to 4.2 for the wrong one (on training
images of CIFAR-10)."""
_CERTAIN = 100.0
