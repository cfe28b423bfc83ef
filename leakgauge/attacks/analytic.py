"""Analytic inversion of a linear layer with bias (Phong et al., IEEE TIFS 2018; Geiping et al., NeurIPS 2020, Prop. 3.1)."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from leakgauge.attacks.labels.counts import Counts
from leakgauge.attacks.labels.gradinversion import GradInversionRule
from leakgauge.attacks.settling import settle
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
    zeros say nothing, and each pixel is the least-squares solution over the rest of its column. For several examples, of the last
    round, each row gives a mixture of the inputs that activate its unit; units that only one example activates all give that very
    example, so the mixtures that occur more than once are taken first (ReLU nets with many more units than examples).
    """

    labels: Labels = GradInversionRule()

    @property
    def needs(self) -> frozenset[Capability]:
        """What the label rule needs; a count that is withheld is estimated."""
        return self.labels.needs

    def run(self, seen: Observation, /, *, rng: Rng, tick: Tick) -> Reconstruction:
        """Return the inputs. Raises OutOfScope unless the first layer is linear with bias, and both were sent."""
        seen, notes = settle(seen)
        count = seen.count
        weight, bias = input_layer(seen.model)
        rows, factors = seen_tensor(seen, weight), seen_tensor(seen, bias or "bias")
        if not factors.any():
            raise OutOfScope("every bias gradient of the first layer is 0: no unit was active")
        if count == 1:
            rounds = [(seen_tensor(one, weight), seen_tensor(one, bias or "bias")) for one in (seen, *seen.earlier)]
            flat = _one(torch.cat([one for one, _ in rounds]), torch.cat([one for _, one in rounds]))
        else:
            flat = _several(rows, factors, count)
        x = seen.model.inputs.denormalize(flat.reshape(-1, *seen.model.inputs.shape))
        y, doubts = self._labels(seen, count, rng)
        tick(1.0)
        return Reconstruction(Batch(x, y[: len(x)]), losses=torch.full((1,), torch.nan), notes=(*notes, *doubts))

    def _labels(self, seen: Observation, count: int, rng: Rng) -> tuple[Tensor, tuple[str, ...]]:
        """The labels by the rule. Pixels do not need them: where it does not apply, those granted or counted, or any, will do."""
        try:
            return self.labels.infer(seen, count, rng=rng), ()
        except OutOfScope as reason:
            if seen.labels is not None:
                return seen.labels, (f"The labels are those granted, because {reason}.",)
            try:
                return Counts().infer(seen, count, rng=rng), (f"The labels are those of the rule counts, because {reason}.",)
            except OutOfScope:
                unknown = torch.zeros(count, dtype=torch.long, device=next(iter(seen.update.delta.values())).device)
                return unknown, (f"The labels are no guess, because {reason}.",)


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
    """Up to `count` distinct mixtures rows[i] / factors[i], those with the nearest twin first: [<= count, d]."""
    strongest = factors.abs().topk(min(len(factors), _MOST_ROWS)).indices
    strongest = strongest[factors[strongest] != 0]
    mixtures = rows[strongest] / factors[strongest, None]
    distances = torch.cdist(mixtures, mixtures)
    twins = distances.clone().fill_diagonal_(torch.inf).amin(dim=1)
    apart = 1e-3 * mixtures.shape[1] ** 0.5
    chosen: list[int] = []
    for row in twins.argsort().tolist():
        if len(chosen) < count and all(distances[row, other] > apart for other in chosen):
            chosen.append(row)
    return mixtures[chosen]


_TURNS = 20
_HOLES = 0.001
"""The share of zeros that no accident of noise explains."""
_MOST_ROWS = 2048
"""Rows that are compared with each other: the distances take their square in memory."""
