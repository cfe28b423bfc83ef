"""Analytic inversion of a linear layer with bias (Phong et al., IEEE TIFS 2018; Geiping et al., NeurIPS 2020, Prop. 3.1)."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from leakgauge.attacks.labels.counts import Counts
from leakgauge.attacks.labels.gradinversion import GradInversionRule
from leakgauge.attacks.labels.over_rounds import Inferred, infer
from leakgauge.attacks.settling import settle
from leakgauge.core.abilities import ROUNDS, used_by
from leakgauge.core.algorithm import algorithm
from leakgauge.core.anatomy import input_layer, seen_tensor
from leakgauge.core.errors import OutOfScope
from leakgauge.core.protocols import Labels
from leakgauge.core.types import Batch, Capability, Observation, Reconstruction, Rng, Tick


@final
@algorithm
class Analytic:
    """Reads the input off the first layer: row i of its weight gradient is its bias gradient i times the input.

    One example is the direction in which all rows, of all rounds, agree most (total least squares): exact up to rounding whatever
    the update's scale, and without the contrast that noise in the bias gradient costs least squares. Where numbers were dropped,
    zeros say nothing, and each pixel is the least-squares solution over the rest of its column. For several examples each row gives
    a mixture of the inputs that activate its unit; units that only one example activates all give that very example, so the
    mixtures that occur more than once are taken first (ReLU nets with many more units than examples).
    """

    labels: Labels = GradInversionRule()

    @property
    def needs(self) -> frozenset[Capability]:
        """What the label rule needs; a count that is withheld is estimated."""
        return self.labels.needs

    @property
    def uses(self) -> frozenset[str]:
        """What the label rule uses, and all rounds."""
        return used_by(self.labels) | {ROUNDS}

    def run(self, seen: Observation, /, *, rng: Rng, tick: Tick) -> Reconstruction:
        """Return the inputs. Raises OutOfScope unless a linear layer with bias sees the inputs, and was sent."""
        seen, notes = settle(seen)
        count = seen.count
        layer = input_layer(seen.model)
        rounds = (seen, *seen.earlier)
        rows = torch.stack([seen_tensor(one, layer.weight) for one in rounds])
        factors = torch.stack([seen_tensor(one, layer.bias) for one in rounds])
        if not factors.any():
            raise OutOfScope("every bias gradient of the first layer is 0: no unit was active")
        flat = _one(rows.flatten(0, 1), factors.flatten()) if count == 1 else _several(rows, factors, count)
        x = seen.model.inputs.denormalize(layer.pixels(flat).reshape(-1, *seen.model.inputs.shape))
        y, doubts = self._labels(seen, count, rng)
        tick(1.0)
        return Reconstruction(Batch(x, y[: len(x)]), losses=torch.full((1,), torch.nan), notes=(*notes, *doubts))

    def _labels(self, seen: Observation, count: int, rng: Rng) -> Inferred:
        """The labels by the rule. Pixels do not need them: where it does not apply, those granted or counted, or any, will do."""
        try:
            return infer(self.labels, seen, count, rng=rng)
        except OutOfScope as reason:
            if seen.labels is not None:
                return Inferred(seen.labels, (f"The labels are those granted, because {reason}.",))
            try:
                found = infer(Counts(), seen, count, rng=rng)
                return Inferred(found.labels, (f"The labels are those of the rule counts, because {reason}.", *found.notes))
            except OutOfScope:
                unknown = torch.zeros(count, dtype=torch.long, device=next(iter(seen.update.delta.values())).device)
                return Inferred(unknown, (f"The labels are no guess, because {reason}.",))


def _one(rows: Tensor, factors: Tensor) -> Tensor:
    """The x for which rows [k, d] = outer(factors [k], x), though both may be noisy or have holes: [1, d]."""
    told = rows != 0
    weights = factors.square() @ told.to(rows)  # all of factors^2 where nothing was dropped
    x = factors @ rows / weights.clamp_min(torch.finfo(rows.dtype).tiny)
    live, open_columns = factors != 0, told.any(0)
    if float((~told[live][:, open_columns]).float().mean()) > _HOLES or bool(told[~live].any()):
        return x.unsqueeze(0)  # numbers were dropped: the rest of each column is exact
    for _ in range(_TURNS):  # power iteration towards the leading right singular vector of [rows, factors], which is (x, 1)
        along = rows @ x + factors
        x = (along @ rows) / (along @ factors)
    return x.unsqueeze(0)


def _several(rows: Tensor, factors: Tensor, count: int) -> Tensor:
    """Up to `count` distinct mixtures, rows [rounds, k, d] / factors [rounds, k], those with the nearest twin first: [<= count, d].

    A twin is of another unit: what one unit mixes hardly changes from round to round, whatever it is.
    """
    units = torch.arange(factors.shape[1], device=factors.device).expand_as(factors).flatten()
    rows, factors = rows.flatten(0, 1), factors.flatten()
    strongest = factors.abs().topk(min(len(factors), _MOST_ROWS)).indices
    strongest = strongest[factors[strongest] != 0]
    mixtures, unit = rows[strongest] / factors[strongest, None], units[strongest]
    parts = zip(mixtures.split(_AT_ONCE), unit.split(_AT_ONCE), strict=True)
    twins = torch.cat([torch.cdist(some, mixtures).masked_fill(ids[:, None] == unit, torch.inf).amin(dim=1) for some, ids in parts])
    apart = 1e-3 * mixtures.shape[1] ** 0.5
    chosen: list[Tensor] = []
    for mixture in mixtures[twins.argsort()]:
        if all((mixture - other).norm() > apart for other in chosen):
            chosen.append(mixture)
        if len(chosen) == count:
            break
    return torch.stack(chosen)


_TURNS = 20
_HOLES = 0.001
"""The share of zeros that no accident of noise explains."""
_MOST_ROWS = 16384
"""Rows that are compared with each other: the time takes their square."""
_AT_ONCE = 1024
"""Rows whose distances to all others are held in memory."""
